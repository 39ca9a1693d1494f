"""What models read and write inside of a nested plan counts against the budget of its step, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_graph import AgentGraph, Blueprint, Plan, Policy, Step, tool
from agent_graph.plan import Param, StepBudget

from .conftest import ModelServer, chat_openai, completion


@tool(risk="read_only")
def read(name: str) -> str:
    """Reads."""
    return f"text of {name}"


INNER = Blueprint(
    name="sum-up",
    goal="sum up",
    params={"name": Param()},
    steps=(
        Step(id="read", tool="read", args={"name": {"$ref": "params.name"}}),
        Step(id="short", model="Sum it up.", args={"text": {"$ref": "steps.read.output"}}),
        Step(id="shorter", model="Make it shorter.", args={"text": {"$ref": "steps.short.output"}}),
    ),
    answer={"$ref": "steps.shorter.output"},
)


@pytest.fixture
def agent(server: ModelServer, tmp_path: Path) -> Iterator[AgentGraph]:
    executor = {"model": chat_openai(server)}
    with AgentGraph(
        [read], models={"executor": executor}, blueprints=[INNER], policy=Policy.allow_all(), store=tmp_path / "runs.db"
    ) as made:
        yield made


def plan(budget: StepBudget | None) -> Plan:
    return Plan(goal="g", steps=(Step(id="sub", blueprint="sum-up", args={"name": "a"}, budget=budget),))


def used(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens - 10, "completion_tokens": 10, "total_tokens": tokens}


def test_models_in_a_nested_plan_give_its_answer(server: ModelServer, agent: AgentGraph) -> None:
    server.says("a long text", "short")
    run = agent.run(plan=plan(StepBudget(max_tokens=100_000)))
    assert (run.status, run.answer) == ("succeeded", "short")


def test_a_request_that_does_not_fit_into_what_the_nested_plan_has_left_is_not_sent(server: ModelServer, agent: AgentGraph) -> None:
    server.says(completion("a long text", usage=used(4_900)), "short")
    run = agent.run(plan=plan(StepBudget(max_tokens=5_000)))
    assert (run.status, len(server.bodies)) == ("failed", 1)
    assert run.error is not None
    assert "5000 tokens of the nested plan of step sub" in run.error.message
