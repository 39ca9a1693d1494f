"""An edit at a gate makes a new plan version, checked like any other before it counts."""

from __future__ import annotations

from collections.abc import Mapping

from agent_graph.errors import InvalidDecision
from agent_graph.identity import RunId, StepId, call_digest
from agent_graph.plan import Blueprint, Plan, references
from agent_graph.policy.compiler import Rules, SoFar, compile_plan
from agent_graph.policy.nesting import lay_out
from agent_graph.policy.schemas import mismatches
from agent_graph.verdicts import Call, Deny, Edit, Report, Request


def edited_plan(plan: Plan, edit: Edit, request: Request, version: int, blueprints: Mapping[str, Blueprint]) -> Plan:
    """The plan with the edit in it, as version ``version``."""
    if edit.plan is not None:
        steps, rest = (
            edit.plan.steps,
            {"answer": edit.plan.answer, "success_criteria": edit.plan.success_criteria, "stop_when": edit.plan.stop_when},
        )
    else:
        steps = tuple(step.model_copy(update={"args": edit.args or {}}) if step.id == request.step_id else step for step in plan.steps)
        rest = {}
    made = plan.model_copy(
        update={
            **rest,
            "steps": steps,
            "version": version,
            "parent": plan.version,
            "created_by": edit.by or "a person",
            "reason": f"edited at the gate{f' of step {request.step_id}' if request.step_id else ''}",
        }
    )
    return Plan.model_validate(lay_out(made, blueprints).document())


def check_call_edit(edit: Edit, request: Request, rules: Rules, run_id: str, principal: str | None, now: float) -> Call:
    """The call of an ``agent`` step as a person wants it. The plan stays as it is. Raises InvalidDecision for one that cannot be made."""
    spec, args = rules.tools.get(request.tool or ""), dict(edit.args or {})
    if spec is None:
        raise InvalidDecision(f"there is no tool {request.tool!r} any more")
    wrong = mismatches(spec.args_schema, args)
    if references(args):
        wrong.append("arguments of such a call are plain values: no object in them may have a key $ref")
    said = rules.policy.judge(spec, args, step=request.step_id or "", principal=principal, scopes=rules.scopes_of(principal), now=now)
    if isinstance(said, Deny):
        wrong.append(said.reason)
    if wrong:
        raise InvalidDecision(f"{spec.name} cannot be called so: {'; '.join(wrong)}")
    step_id = StepId(request.step_id or "")
    bound = call_digest(RunId(run_id), step_id, spec.name, spec.digest, args, request.mark)
    return Call(step_id=step_id, tool=spec.name, args=args, risk=spec.risk, digest=bound, reason="edited and approved")


def check_edit(made: Plan, rules: Rules, run_id: RunId, so_far: SoFar) -> Report:
    """Raises InvalidDecision with everything that is wrong with the edited plan. ``so_far``: with the lineage of the edited plan."""
    report = compile_plan(made, rules, run_id, so_far)
    if not report.valid:
        raise InvalidDecision("the edit cannot run: " + "; ".join(str(issue) for issue in report.errors))
    return report
