"""Why a run failed, from what is recorded: who or what has to change for it to succeed."""

from __future__ import annotations

from agent_graph.verdicts import Cause, Diagnosis

CAUSES: dict[str, Cause] = {
    "invalid_plan": "plan",
    "no_plan": "plan",
    "planner_failed": "plan",
    "gave_up": "plan",
    "budget_exceeded": "budget",
    "part_over_budget": "budget",
    "questions_exhausted": "budget",
    "goal_not_met": "plan",
    "stuck": "execution",
    "cancelled": "human",
    "rejected": "human",
    "not_answered": "human",
    "denied_by_policy": "policy",
    "tool_not_allowed": "policy",
    "missing_scope": "policy",
    "untrusted_flow": "policy",
    "sensitive_flow": "policy",
    "order_violated": "policy",
    "unknown_tool": "plan",
    "invalid_arguments": "plan",
    "invalid_reference": "plan",
    "condition_failed": "plan",
    "criteria_unmet": "tool",
    "unexpected_output": "tool",
    "output_too_large": "tool",
    "empty_result": "tool",
    "assumption_broken": "plan",
    "part_failed": "tool",
    "tool_failed": "tool",
    "timeout": "tool",
    "outcome_unknown": "tool",
    "model_failed": "tool",
    "agent_bound": "budget",
    "inputs_too_large": "plan",
}
"""By reason code, what is to blame."""


def diagnose(code: str, message: str, step_id: str | None = None) -> Diagnosis:
    return Diagnosis(code=code, cause=CAUSES.get(code, "execution"), message=message, step_id=step_id)
