"""What a planner is told of what went wrong: from the ledger, and never from what somebody remembers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from agent_graph.execution.failures import Failing, failing
from agent_graph.execution.outcome import words
from agent_graph.identity import canonical
from agent_graph.nodes.extending import NEXT
from agent_graph.nodes.visit import Visit
from agent_graph.policy.touched import other_params, touched
from agent_graph.ports import Attempt
from agent_graph.records import ApprovalRecord, PlanRecord

MOST_ATTEMPTS = 10
"""Earlier versions that a planner is told of, the newest ones."""


def why(visit: Visit) -> str:
    """What made a new version necessary."""
    if visit.revised:
        return "; ".join(["a person revised the goal", *_of_other_params(visit)])
    reasons = [str(issue) for issue in visit.current.issues if issue.severity == "error"] if visit.current else []
    reasons += [_said(record) for record in visit.deps.store.approvals.rejections(visit.run_id, visit.plan.version)]
    for step in visit.plan.steps:
        if visit.results.halted(step.id):
            result = visit.results.result(step.id)
            reasons.append(f"step {step.id} failed: {result.error.message if result and result.error else ''}")
    if not reasons and visit.record.observation is not None and visit.record.observation.next == "replan":
        reasons = [visit.record.observation.why]
    return "; ".join(reasons) or "a new plan was asked for"


def _of_other_params(visit: Visit) -> Iterator[str]:
    """What had ended with parameters that are others now: what is made again, and what has landed and stays. Values that are not for everybody
    are not told."""
    plan, gone, frozen, after = visit.plan, visit.outdated(), visit.frozen(), visit.record.goal
    other = touched(plan, after)
    for step in plan.steps:
        if step.id in other and (step.id in gone or step.id in frozen):
            names = other_params(step, plan.goal, after)
            ran = (
                f"ran with {', '.join(_value(visit, name) for name in names)}" if names else "ran with what came of the earlier parameters"
            )
            yield f"step {step.id} {ran}: {'it has to be made again' if step.id in gone else 'it stays as it was done, with the old value'}"


def _value(visit: Visit, name: str) -> str:
    before, after = visit.plan.goal, visit.record.goal
    if name in before.sensitive or name in after.sensitive:
        return f"another {name}"
    return f"{name}={words(canonical(before.params.get(name)), visit.deps.redaction)[:MOST_OF_A_VALUE]}"


MOST_OF_A_VALUE = 60
"""Characters of a parameter's value in a reason."""


def _said(record: ApprovalRecord) -> str:
    """A no, in words."""
    request, reason = record.request, getattr(record.decision, "reason", "") or "no reason given"
    if request.criterion is not None:
        return f"{record.by or 'a person'} says that this does not hold: {request.criterion}: {reason}"
    what = f"step {request.step_id}" if request.step_id else "the question" if request.kind == "question" else "the plan"
    return f"{what} was rejected by {record.by or 'a person'}: {reason}"


def attempts(visit: Visit) -> tuple[Attempt, ...]:
    """The versions before this one that were given up, the oldest first; one that was only added to was not."""
    records = visit.deps.store.runs.plans(visit.run_id)
    given_up = [one for one, following in itertools.pairwise(records) if not following.plan.created_by.endswith(NEXT)]
    if not given_up:
        return ()
    found = failing(visit.deps.store, visit.run_id, {record.plan.version: record.plan for record in given_up})
    following = {record.plan.parent: record.plan.reason for record in records}
    return tuple(_attempt(visit, record, found, following) for record in given_up[-MOST_ATTEMPTS:])


def _attempt(visit: Visit, record: PlanRecord, found: list[Failing], following: Mapping[int | None, str]) -> Attempt:
    version = record.plan.version
    failed = {one.step.id: str(one) for one in found if one.version == version}
    reasons = [str(issue) for issue in record.issues if issue.severity == "error"] if record.verdict == "invalid" else []
    reasons += [_said(each) for each in visit.deps.store.approvals.rejections(visit.run_id, version)]
    reasons += [f"{', '.join(failed)} failed"] if failed else []
    return Attempt(version=version, reason="; ".join(reasons) or following.get(version, ""), failed=failed)


def approvals(visit: Visit) -> dict[str, str]:
    """By step of the newest version, how its approval stands."""
    return dict(_approvals(visit))


def _approvals(visit: Visit) -> Iterator[tuple[str, str]]:
    store, steps = visit.deps.store.approvals, visit.plan.by_id
    for call in visit.current.calls if visit.current is not None else ():
        if store.grant(visit.run_id, call.digest) is not None:
            yield call.step_id, "approved"
    for record in store.rejections(visit.run_id, visit.plan.version):
        reason = getattr(record.decision, "reason", "") or "no reason given"
        for step_id in _about(record.request.step_id, [call.step_id for call in record.request.calls], steps):
            yield step_id, f"rejected: {reason}"
    for request in store.open(visit.run_id):
        if request.kind != "in_doubt":
            for step_id in _about(request.part_of or request.step_id, [call.step_id for call in request.calls], steps):
                yield step_id, "waits"


def _about(step_id: str | None, calls: list[str], steps: Mapping[str, object]) -> list[str]:
    return [each for each in ([step_id] if step_id is not None else calls) if each in steps]
