"""What a fine plan may leave to an agent."""

from __future__ import annotations

from typing import Any

import pytest

from agent_graph.plan import Goal, Plan, Risk
from agent_graph.policy.granularity import too_coarse
from agent_graph.ports import ToolSpec


def spec(name: str, risk: Risk) -> ToolSpec:
    return ToolSpec(name=name, description="", args_schema={"type": "object"}, output_schema=None, risk=risk, recovery="blind")


TOOLS = {"look": spec("look", "read_only"), "save": spec("save", "write"), "pay": spec("pay", "money")}


def found(step: dict[str, Any], granularity: str = "fine") -> list[str]:
    plan = Plan.model_validate({"goal": Goal(text="try"), "steps": [{"id": "a", **step}], "granularity": granularity})
    return [said for _, said in too_coarse(plan, TOOLS)]


def test_an_agent_that_could_change_something_is_named_with_what_it_could_call() -> None:
    assert found({"agent": "do", "allowed_tools": ["look", "save", "pay"]}) == ["its agent may call save, pay, and this plan is to be fine"]


@pytest.mark.parametrize("granularity", ["auto", "coarse"])
def test_a_plan_that_need_not_be_fine_may_leave_it_to_an_agent(granularity: str) -> None:
    assert found({"agent": "do", "allowed_tools": ["pay"]}, granularity) == []


@pytest.mark.parametrize(
    "step",
    [
        {"agent": "do", "allowed_tools": ["look"]},
        {"tool": "pay", "allowed_tools": ["pay"]},
        {"agent": "do", "allowed_tools": ["pay"], "part_of": "nested"},
    ],
    ids=["an agent that reads", "a call of its own", "an agent that people designed"],
)
def test_what_is_fine(step: dict[str, Any]) -> None:
    assert found(step) == []
