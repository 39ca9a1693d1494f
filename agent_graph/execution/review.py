"""A judge's remarks on a plan: what code cannot see of it. They are shown to whoever decides, and decide nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent_graph.execution.evidence import cut, delimited, filled
from agent_graph.identity import digest
from agent_graph.models.replies import WrongReply, closed_object
from agent_graph.plan import Goal, Plan
from agent_graph.policy.schemas import mismatches
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Issue, Judgement

if TYPE_CHECKING:
    from agent_graph.models.client import Asking, RoleClient

MOST_REMARKS = 8
MOST_WORDS = 500
"""Characters of one remark, and of what it says to do."""
MAX_PLAN_BYTES = 40_000
"""Of a plan as it is shown to the judge."""

_REMARK = closed_object({"step_id": {"type": ["string", "null"]}, "message": {"type": "string"}, "fix": {"type": "string"}})
_SCHEMA = closed_object({"remarks": {"type": "array", "items": _REMARK}})


def review_key(plan: Plan) -> str:
    """Remarks are on these very steps, for this very goal, whichever version brings them."""
    return digest(["review", plan.goal.text, plan.digest])


def review(client: RoleClient, plan: Plan, tools: Mapping[str, ToolSpec], asking: Asking, now: float) -> Judgement:
    """Raises ModelError when the model gives nothing that can be used, and BudgetExceeded before a request that does not fit."""
    from langchain_core.messages import HumanMessage, SystemMessage

    from agent_graph.models.client import Form

    head = filled("review", most=str(MOST_REMARKS)) + (filled("review_schema") if client.method == "plain" else "")
    task = filled("review_task", goal=_goal(plan.goal), plan=_plan(plan), tools=delimited("tools", _tools(plan, tools)))
    said: Judgement = client.document(
        [SystemMessage(head), HumanMessage(task)],
        Form(name="review", schema=_SCHEMA),
        lambda document: Judgement(criterion="review", holds=None, remarks=_read(document, plan), by=client.name, at=now),
        asking,
    )
    return said


def _goal(goal: Goal) -> str:
    return "\n".join([goal.text, *(f"- {constraint}" for constraint in goal.constraints)])


def _plan(plan: Plan) -> str:
    document = {name: value for name, value in plan.document().items() if name not in ("goal", "interpretation", "created_by")}
    return delimited("plan", cut(json.dumps(document, ensure_ascii=False, indent=1), MAX_PLAN_BYTES))


def _tools(plan: Plan, tools: Mapping[str, ToolSpec]) -> str:
    named = {name for step in plan.steps for name in (step.tool or "", *step.allowed_tools) if name in tools}
    return "\n".join(f"- {name} ({tools[name].risk}): {tools[name].description.strip()}" for name in sorted(named)) or "None."


def _read(document: Any, plan: Plan) -> tuple[Issue, ...]:
    """Raises WrongReply. A step that is not in the plan is named in words, not as a step."""
    wrong = mismatches(_SCHEMA, document)
    if wrong:
        raise WrongReply(wrong)
    found = []
    for remark in document["remarks"][:MOST_REMARKS]:
        about, message = remark["step_id"], " ".join(remark["message"].split())
        known = about in plan.by_id
        if message:
            said = message if known or about is None else f"{about}: {message}"
            found.append(
                Issue(
                    code="judge_remark",
                    severity="warning",
                    step_id=about if known else None,
                    message=said[:MOST_WORDS],
                    fix=" ".join(remark["fix"].split())[:MOST_WORDS],
                )
            )
    return tuple(found)
