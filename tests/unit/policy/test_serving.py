"""Which steps serve what is asked for: what is read in words counts as what is read by code."""

from __future__ import annotations

from typing import Any

import pytest

from agent_graph import Plan, tool
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.serving import idle_steps


@tool(risk="read_only")
def look() -> int:
    """Looks."""
    return 1


def idle(**more: Any) -> list[str]:
    steps = [{"id": "used", "tool": "look"}, {"id": "other", "tool": "look"}]
    plan = Plan.model_validate({"goal": "g", "answer": {"$ref": "steps.used.output"}, **more, "steps": steps})
    needs = {step.id: step.needs | expression_reads(step) for step in plan.steps}
    return [step.id for step in idle_steps(plan, {"look": look.spec}, needs)]


def test_what_nobody_reads_is_idle() -> None:
    assert idle() == ["other"]


@pytest.mark.parametrize(
    "more",
    [
        {"success_criteria": [{"judge": "all is well"}]},
        {"goal": {"text": "g", "success_criteria": [{"judge": "all is well"}]}},
        {"template": "{{ steps.other.output }}"},
        {"template": "{{ steps['other'].status }}"},
        {"template": "{% for id, step in steps.items() %}{{ id }}{% endfor %}"},
        {"assumptions": ["steps.other.output > 0"]},
    ],
)
def test_what_a_judge_a_template_or_an_assumption_reads_is_not(more: dict[str, Any]) -> None:
    assert idle(**more) == []


@pytest.mark.parametrize("template", ["{{ answer }}", "{{ steps.used.output }}", "{{ no template"])
def test_a_template_serves_what_it_reads_and_no_more(template: str) -> None:
    assert idle(template=template) == ["other"]
