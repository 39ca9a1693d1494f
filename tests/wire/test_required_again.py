"""A step that says ``approval: required`` runs on a yes to a version that holds it, and on nothing less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Edit, Plan, Reject, Step, tool
from agent_graph.model_server import ModelServer
from agent_graph.state import Run
from agent_graph.testing import MemoryStore, ScriptedPlanner

WRITE = Step(id="poem", model="write a poem", approval="required")
LOOK_AROUND = Step(id="poem", agent="look around", allowed_tools=("look",), approval="required")
OTHER = Step(id="other", tool="look", args={"name": "other"})
UNKNOWN = Step(id="bad", tool="nope")


@tool(risk="read_only")
def look(name: str) -> str:
    """Look something up."""
    if name == "bad":
        raise ValueError("out of order")
    return f"seen {name}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with ModelServer(["once", "twice"]) as said:
        monkeypatch.setenv("OPENAI_BASE_URL", said.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield said


def agent(*script: tuple[Step, ...]) -> AgentGraph:
    planner = ScriptedPlanner(*(Plan(goal="x", steps=steps) for steps in script))
    return AgentGraph([look], planner=planner, models={"executor": "openai:gpt-4.1-mini"}, store=MemoryStore())


def asks_for_the_plan(run: Run, version: int) -> bool:
    return (
        run.status == "paused"
        and [(each.kind, each.plan_version) for each in run.requests] == [("plan", version)]
        and "poem" not in run.results
    )


@pytest.mark.parametrize("step", [WRITE, LOOK_AROUND], ids=["model", "agent"])
def test_a_gate_that_was_withdrawn_was_no_yes(server: ModelServer, step: Step) -> None:
    with agent((step,), (step, OTHER)) as graph:
        run = graph.revise(graph.run("x"), goal="y")
        assert asks_for_the_plan(run, 2)


@pytest.mark.parametrize("step", [WRITE, LOOK_AROUND], ids=["model", "agent"])
def test_a_no_to_the_plan_was_no_yes_to_its_step(server: ModelServer, step: Step) -> None:
    with agent((step,), (step, OTHER)) as graph:
        run = graph.resume(graph.run("x"), Reject(reason="no"))
        assert asks_for_the_plan(run, 2)


@pytest.mark.parametrize("step", [WRITE, LOOK_AROUND], ids=["model", "agent"])
def test_a_version_that_was_refused_before_anybody_saw_it_was_no_yes(server: ModelServer, step: Step) -> None:
    with agent((step, UNKNOWN), (step, OTHER)) as graph:
        assert asks_for_the_plan(graph.run("x"), 2)


def failing_first(**more: Any) -> tuple[Step, ...]:
    return Step(id="first", tool="look", args={"name": "bad"}), WRITE.model_copy(update={"depends_on": ("first",), **more})


def test_what_was_approved_is_not_asked_again_in_the_next_version(server: ModelServer) -> None:
    first, poem = failing_first()
    with agent((first, poem), (OTHER.model_copy(update={"id": "first"}), poem)) as graph:
        run = graph.resume(graph.run("x"), Approve())
        assert (run.status, run.plan and run.plan.version, run.results["poem"].output) == ("succeeded", 2, "once")


def test_what_a_person_put_into_the_plan_is_not_asked_again_in_the_next_version(server: ModelServer) -> None:
    first, poem = failing_first()
    edited = Plan(goal="x", steps=(first, poem))
    with agent((first, WRITE), (OTHER.model_copy(update={"id": "first"}), poem)) as graph:
        run = graph.resume(graph.run("x"), Edit(plan=edited))
        assert (run.status, run.plan and run.plan.version, run.results["poem"].output) == ("succeeded", 3, "once")


def test_a_later_no_outweighs_an_earlier_yes(server: ModelServer) -> None:
    first, poem = failing_first()
    mended = OTHER.model_copy(update={"id": "first"})
    another = Step(id="another", model="write a letter", approval="required")
    with agent((first, poem), (mended, poem, another), (mended, OTHER, poem)) as graph:
        run = graph.resume(graph.run("x"), Approve())
        assert (run.status, run.plan and run.plan.version) == ("paused", 2)
        run = graph.resume(run, Reject(reason="none of it"))
        assert asks_for_the_plan(run, 3)


def test_a_yes_is_none_to_the_same_step_with_other_parameters(server: ModelServer) -> None:
    _, poem = failing_first(args={"about": {"$ref": "params.about"}})
    waits = Step(id="which", ask="which one?")
    poem = poem.model_copy(update={"depends_on": ("which",)})
    with agent((waits, poem), (waits, poem)) as graph:
        run = graph.resume(graph.run("x", params={"about": "rain"}), Approve())
        assert [each.kind for each in run.requests] == ["question"]
        run = graph.revise(run, params={"about": "snow"})
        assert asks_for_the_plan(run, 2)
