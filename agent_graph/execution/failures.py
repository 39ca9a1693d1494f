"""What has failed in a run, version by version, and what people refused: from the ledger, for those who plan and check what comes next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from agent_graph.events import StepFinished
from agent_graph.identity import RunId
from agent_graph.plan import Goal, Plan, Step
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.params import with_params
from agent_graph.policy.repeating import CIRCUMSTANCES, OF_OUTPUTS, PASSING, Failed, ancestors, expected_of, key_of, key_of_plan
from agent_graph.ports import Store

MOST_ARGUMENTS = 300
"""Characters of a failed call's arguments that are told."""
MOST_MESSAGE = 600
"""Characters of its error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A step that failed or was blocked in a plan version."""

    step: Step
    version: int
    code: str
    message: str

    def __str__(self) -> str:
        step = self.step
        args = json.dumps(step.args, ensure_ascii=False, separators=(",", ":"))
        call = f"{step.tool}({_cut(args, MOST_ARGUMENTS)})" if step.tool is not None else f"{step.kind} step"
        return f"{call}: [{self.code}] {_cut(self.message, MOST_MESSAGE)}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def any_failed(store: Store, run_id: RunId) -> bool:
    """Whether a step stands as failed or blocked: quickly said, since mostly none does."""
    return any(standing.status in ("failed", "blocked") for standing in store.ledger.standings(run_id).values())


def failing(store: Store, run_id: RunId, plans: Mapping[int, Plan]) -> list[Failing]:
    """Every failure that is on record, the oldest first, also of steps that were tried again since. ``plans``: by version."""
    found: dict[tuple[str, int], Failing] = {}
    for event in store.events.of(run_id):
        if isinstance(event, StepFinished) and event.status in ("failed", "blocked"):
            plan = plans.get(event.plan_version)
            step = None if plan is None else plan.by_id.get(event.step_id)
            if step is not None:
                error = event.error or {}
                found[event.step_id, event.plan_version] = Failing(
                    step=step, version=event.plan_version, code=str(error.get("code", "failed")), message=str(error.get("message", ""))
                )
    return list(found.values())


def failed_calls(store: Store, run_id: RunId, version: int, goal: Goal) -> dict[str, Failed]:
    """By ``key_of``, the calls that version ``version`` should not propose again: failed for good, or refused for this goal, in an earlier one."""
    refused = [record for earlier in range(1, version) for record in store.approvals.rejections(run_id, earlier)]
    if not refused and not any_failed(store, run_id):
        return {}
    plans = {record.plan.version: record.plan for record in store.runs.plans(run_id) if record.plan.version < version}
    found: dict[str, Failed] = {}
    tried: dict[str, int] = {}
    for one in failing(store, run_id, plans):
        key = key_of(one.step, with_params(one.step, plans[one.version].goal.params))
        tried[key] = tried.get(key, 0) + 1
        passing = one.code in PASSING or one.step.kind in ("model", "agent")
        if one.code in CIRCUMSTANCES or (passing and tried[key] == 1):
            continue
        was = Failed(
            step_id=one.step.id,
            version=one.version,
            said=f"[{one.code}] {_cut(one.message, MOST_MESSAGE)}",
            after=before(plans[one.version], one.step.id),
            expected=expected_of(one.step) if one.code in OF_OUTPUTS else None,
        )
        found[key] = was
        sent = _sent(store, run_id, one)
        if sent is not None:
            found[sent] = was
    for record in refused:
        request, plan = record.request, plans.get(record.request.plan_version)
        if plan is None or plan.goal != goal:
            continue  # what was refused may be just what is wanted now
        reason = getattr(record.decision, "reason", "")
        said = f"{record.by or 'a person'} refused it{': ' + _cut(reason, MOST_MESSAGE) if reason else ''}"
        step = plan.by_id.get(request.step_id or "")
        if request.kind == "plan":
            found[key_of_plan(plan)] = Failed(step_id="", version=plan.version, said=said, after={}, refused=True)
        elif request.kind == "step" and step is not None and step.tool is not None:
            was = Failed(step_id=step.id, version=plan.version, said=said, after=before(plan, step.id), refused=True)
            found[key_of(step, request.args or {})] = found[key_of(step, with_params(step, plan.goal.params))] = was
    return found


def _sent(store: Store, run_id: RunId, one: Failing) -> str | None:
    """The key of the call with the arguments that it was made with, where the row is still there."""
    standing = store.ledger.standings(run_id).get(one.step.id) if one.step.reads else None
    if standing is None or standing.plan_version != one.version:
        return None
    effect = store.ledger.effect(standing.key)
    return None if effect is None else key_of(one.step, effect.args)


def before(plan: Plan, step_id: str) -> dict[str, Step]:
    """The steps that it waited for in its version."""
    needs = {step.id: step.needs | expression_reads(step) for step in plan.steps}
    return ancestors(plan, needs, step_id)
