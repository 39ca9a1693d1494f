"""An edit at a gate makes a new plan version, checked like any other before it counts."""

from __future__ import annotations

from agent_graph.errors import InvalidDecision
from agent_graph.identity import RunId
from agent_graph.plan import Plan
from agent_graph.policy.compiler import Rules, SoFar, compile_plan
from agent_graph.verdicts import Edit, Report, Request


def edited_plan(plan: Plan, edit: Edit, request: Request, version: int) -> Plan:
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
    return Plan.model_validate(made.document())


def check_edit(made: Plan, rules: Rules, run_id: RunId, so_far: SoFar) -> Report:
    """Raises InvalidDecision with everything that is wrong with the edited plan. ``so_far``: with the lineage of the edited plan."""
    report = compile_plan(made, rules, run_id, so_far)
    if not report.valid:
        raise InvalidDecision("the edit cannot run: " + "; ".join(str(issue) for issue in report.errors))
    return report
