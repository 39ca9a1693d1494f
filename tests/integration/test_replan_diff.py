"""What a replan changed is in the trace, in the conversation, and asked for by version; what has ended and what was agreed to stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, GiveUp, Plan, Policy, Rule, Step, UsageError, tool
from agent_graph.events import Replanned
from agent_graph.testing import ScriptedPlanner

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


@tool(risk="read_only")
def look_up(name: str) -> str:
    CALLS.append(name)
    if name.startswith("bad"):
        raise ValueError("out of order")
    return name


@tool(risk="write", recovery="idempotent")
def write(name: str) -> str:
    CALLS.append(f"write {name}")
    return name


def look(name: str, step_id: str | None = None, **more: Any) -> Step:
    return Step(id=step_id or name, tool="look_up", args={"name": name}, **more)


def wrote(name: str, *after: str, step_id: str = "w") -> Step:
    return Step(id=step_id, tool="write", args={"name": name}, depends_on=after)


def plan(*steps: Step, **more: Any) -> Plan:
    return Plan(goal="try", steps=steps, **more)


def agent(store_path: Path, *script: Any) -> AgentGraph:
    return AgentGraph([look_up, write], planner=ScriptedPlanner(*script), store=store_path)


FIRST = plan(look("a"), look("bad", "b", depends_on=("a",)), look("c", depends_on=("b",)), look("d", depends_on=("b",)))
SECOND = plan(look("a"), look("z", "c"), look("d", depends_on=("c",)), look("e"), reason="around b")


def test_the_trace_names_what_a_replan_changed(store_path: Path) -> None:
    with agent(store_path, FIRST, SECOND) as made:
        done = made.run("try")
        (event,) = [event for event in made.trace(done.id) if isinstance(event, Replanned)]
    assert (event.kept, event.dropped, event.added) == (["a"], ["b"], ["e"])
    assert event.changed == {"c": ["args", "depends_on"], "d": ["depends_on"]}
    assert event.reason == "around b"


def test_each_version_can_be_held_against_the_one_before(store_path: Path) -> None:
    with agent(store_path, FIRST, SECOND) as made:
        done = made.run("try")
        found = made.revision(done.id)
        assert (found.finished, found.kept, found.dropped, found.added) == (("a",), (), ("b",), ("e",))
        assert found == made.revision(done.id, 2)
        with pytest.raises(UsageError, match="is the first; it revises nothing"):
            made.revision(done.id, 1)
        with pytest.raises(UsageError, match="the newest is version 2"):
            made.revision(done.id, 7)


def test_the_conversation_shows_the_diff_and_not_the_whole_plan_again(store_path: Path) -> None:
    with agent(store_path, FIRST, SECOND) as made:
        done = made.run("try")
        messages = made.graph.get_state({"configurable": {"thread_id": done.thread_id}}).values["messages"]
        (said,) = [message.content for message in messages if message.id == f"{done.id}:plan:2"]
    assert said.splitlines()[0] == "Plan, version 2 (around b):"
    assert '~ c  args: {"name": "c"} → {"name": "z"}' in said
    assert "- b" in said


def test_the_command_line_prints_it(store_path: Path) -> None:
    with agent(store_path, FIRST, SECOND) as made:
        done = made.run("try")
    command = [sys.executable, "-m", "agent_graph", "trace", done.id, "--store", str(store_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "1 kept, dropped b, changed c (args, depends_on), d (depends_on), added e: around b" in said
    assert '~ c  args: {"name": "c"} → {"name": "z"}' in said
    as_json = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True).stdout
    (event,) = [event for event in json.loads(as_json) if event["kind"] == "replanned"]
    assert event["dropped"] == ["b"]


def test_whoever_is_to_agree_to_a_new_version_is_told_what_it_changed(store_path: Path) -> None:
    with agent(store_path, plan(look("a"), look("bad", depends_on=("a",))), plan(look("a"), wrote("x"))) as made:
        (request,) = made.run("try").requests
    assert request.reason.endswith("version 2 of the plan, in place of version 1: 1 finished; dropped bad; added w")


# ── what a replan does not touch ──────────────────────────────────────────────────────────────────────────────────────


def test_a_yes_stays_with_a_step_that_is_exactly_as_it_was(store_path: Path) -> None:
    first = plan(look("bad"), wrote("x", "bad"), look("y"))
    second = plan(look("good", "bad"), wrote("x", "bad"))

    class Deaf(ScriptedPlanner):
        reads_values = False  # else whatever it proposes after reading is asked about anew

    with AgentGraph([look_up, write], planner=Deaf(first, second), store=store_path) as made:
        done = made.resume(made.run("try"), Approve())
    assert (done.status, CALLS[-1]) == ("succeeded", "write x")


@pytest.mark.parametrize(
    "other", [wrote("y", "bad"), wrote("x", "bad", step_id="v")], ids=["other arguments", "another step with the same call"]
)
def test_a_yes_does_not_go_over_to_a_step_that_is_not(store_path: Path, other: Step) -> None:
    with agent(store_path, plan(look("bad"), wrote("x", "bad")), plan(look("good", "bad"), other)) as made:
        paused = made.resume(made.run("try"), Approve())
    assert (paused.status, [call for call in CALLS if call.startswith("write")]) == ("paused", [])


def test_a_yes_stays_while_an_open_plan_is_planned_on(store_path: Path) -> None:
    first = plan(look("a"), wrote("x", "a"), mode="iterative", open=True)
    with agent(store_path, first, plan(look("b"), open=False)) as made:
        done = made.resume(made.run("try"), Approve())
    assert (done.status, CALLS) == ("succeeded", ["a", "write x", "b"])


def test_what_has_landed_is_not_undone_nor_done_again_by_any_later_version(store_path: Path) -> None:
    script = [plan(wrote("x"), look("bad", depends_on=("w",))), plan(look("bad2")), plan(look("bad3")), GiveUp("enough")]
    with agent(store_path, *script) as made:
        done = made.resume(made.run("try"), Approve())
        assert done.plan is not None
        assert [step.id for step in done.plan.steps] == ["w", "bad3"]
    assert CALLS == ["write x", "bad", "bad2", "bad3"]


def test_what_a_refused_version_made_of_an_ended_step_is_nothing_to_build_on(store_path: Path) -> None:
    other = look("other", "a")
    script = [plan(look("a"), look("bad", depends_on=("a",))), plan(other, look("b")), plan(other, look("c")), plan(look("d"))]
    planner = ScriptedPlanner(*script)
    with AgentGraph([look_up, write], planner=planner, store=store_path) as made:
        done = made.run("try")
        assert [record.verdict for record in made.store.runs.plans(done.id)] == ["valid", "invalid", "invalid", "valid"]  # type: ignore[arg-type]
        revision = made.revision(done.id)
        assert [event.added for event in made.trace(done.id) if isinstance(event, Replanned)] == [["b"], ["c"], ["d"]]
    assert done.plan is not None
    assert (done.status, CALLS, done.plan.by_id["a"]) == ("succeeded", ["a", "bad", "d"], look("a"))
    assert (revision.before, revision.finished, revision.dropped, revision.added) == (1, ("a",), ("bad",), ("d",))
    told: Any = planner.contexts[2]
    assert told.plan.by_id["a"] == look("a")


def test_what_has_ended_stays_although_a_changed_policy_refuses_the_version_that_it_ran_in(store_path: Path) -> None:
    later = Step(id="w", tool="write", args={"name": {"$ref": "steps.a.output"}})  # is asked about once the read has ended
    with agent(store_path, plan(look("a"), later)) as made:
        paused = made.run("try")
    deny = Policy(rules=(Rule(verdict="allow", risks=("read_only",)), Rule(verdict="deny", tools=("write",))))
    planner = ScriptedPlanner(plan(look("b")))
    with AgentGraph([look_up, write], planner=planner, policy=deny, store=store_path) as made:
        done = made.resume(paused.id)
        assert made.revision(done.id).finished == ("a",)
    assert done.plan is not None
    assert (done.status, [step.id for step in done.plan.steps], CALLS) == ("succeeded", ["a", "b"], ["a", "b"])


def test_what_is_stored_of_where_steps_came_from_does_not_grow_with_each_step(store_path: Path) -> None:
    script = [plan(look(f"s{number}"), mode="iterative", open=True) for number in range(30)]
    with agent(store_path, *script, plan(open=False, answer="x")) as made:
        done = made.run("try")
        sizes = [len(json.dumps(record.lineage)) for record in made.store.runs.plans(done.id)]  # type: ignore[arg-type]
    assert done.status == "succeeded"
    assert sizes[30] - sizes[20] < 10 * 60
