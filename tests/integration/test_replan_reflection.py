"""What a replanner is told: what failed and with which evidence, what it tried before, what waits and what was refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Limits, Plan, Policy, Reject, Step, tool
from agent_graph.events import IssueFound
from agent_graph.ports import ReplanningContext
from agent_graph.testing import ScriptedPlanner

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


@tool(risk="read_only")
def look_up(name: str) -> dict[str, Any]:
    """Fails for a name that begins with "bad"."""
    CALLS.append(name)
    if name.startswith("bad"):
        raise ValueError(f"{name} is out of order")
    return {"name": name}


@tool(risk="write", recovery="idempotent")
def write(name: str) -> str:
    CALLS.append(f"write {name}")
    return name


def look(name: str, step_id: str | None = None, **more: Any) -> Step:
    return Step(id=step_id or name, tool="look_up", args={"name": name}, **more)


def plan(*steps: Step, **more: Any) -> Plan:
    return Plan(goal="try", steps=steps, **more)


def agent(store_path: Path, *script: Any, policy: Policy | None = None, limits: Limits | None = None) -> tuple[AgentGraph, ScriptedPlanner]:
    planner = ScriptedPlanner(*script)
    return AgentGraph([look_up, write], planner=planner, policy=policy, limits=limits, store=store_path), planner


def told(planner: ScriptedPlanner, number: int = -1) -> ReplanningContext:
    context = planner.contexts[number]
    assert isinstance(context, ReplanningContext)
    return context


def codes(made: AgentGraph, run_id: str) -> list[str]:
    return [event.code for event in made.trace(run_id) if isinstance(event, IssueFound) and event.severity == "error"]


# ── earlier attempts ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_first_replan_has_no_earlier_attempts(store_path: Path) -> None:
    made, planner = agent(store_path, plan(look("bad")), plan(look("a")))
    made.run("try")
    assert told(planner).attempts == ()


def test_each_version_that_was_given_up_is_told_with_what_failed_in_it_and_how(store_path: Path) -> None:
    script = [plan(look("bad1", "s")), plan(Step(id="t", tool="nonsense")), plan(look("bad2", "s")), plan(look("a"))]
    made, planner = agent(store_path, *script)
    assert made.run("try").status == "succeeded"
    first, second = told(planner).attempts
    assert (first.version, second.version) == (1, 2)
    assert first.failed == {"s": 'look_up({"name":"bad1"}): [tool_failed] ValueError: bad1 is out of order'}
    assert "unknown_tool" in second.reason
    assert second.failed == {}


def test_a_failure_is_remembered_although_its_step_was_tried_again(store_path: Path) -> None:
    script = [plan(look("bad", "s")), plan(look("bad", "s"), look("x")), plan(look("bad3")), plan(look("a"))]
    made, planner = agent(store_path, *script)
    made.run("try")
    assert [list(attempt.failed) for attempt in told(planner).attempts] == [["s"], ["s"]]


def test_a_version_that_was_only_added_to_was_not_given_up(store_path: Path) -> None:
    script = [plan(look("a"), mode="iterative", open=True), plan(look("bad"), open=True), plan(look("bad2")), plan(look("b"))]
    made, planner = agent(store_path, *script)
    assert made.run("try").status == "succeeded"
    assert [attempt.version for attempt in told(planner).attempts] == [2]


def test_how_each_approval_stands_is_told(store_path: Path) -> None:
    def late(name: str) -> Step:  # its argument comes from a step, so that it is asked about alone
        return Step(id=f"w_{name}", tool="write", args={"name": {"$ref": "steps.a.output.name"}})

    made, planner = agent(store_path, plan(look("a"), late("one"), late("two")), plan(look("b")))
    paused = made.run("try")
    asked = {request.step_id: request.id for request in paused.requests}
    made.resume(paused.id, {asked["w_one"]: Reject(reason="too early")})
    assert told(planner).approvals == {"w_one": "rejected: too early", "w_two": "waits"}


def test_a_yes_that_was_not_used_yet_is_told(store_path: Path) -> None:
    later = Step(id="w", tool="write", args={"name": "x"}, depends_on=("bad",))
    made, planner = agent(store_path, plan(look("bad"), later), plan(look("b")))
    made.resume(made.run("try"), Approve())
    assert told(planner).approvals == {"w": "approved"}


# ── what has just failed is not proposed again ────────────────────────────────────────────────────────────────────────

UNMET = ("output.name == 'zzz'",)


def test_a_call_that_came_to_nothing_is_not_made_again_under_another_name(store_path: Path) -> None:
    first, again = look("a", success_criteria=UNMET), look("a", "b", success_criteria=UNMET)
    made, planner = agent(store_path, plan(first), plan(again), plan(look("c")))
    done = made.run("try")
    assert (done.status, CALLS, codes(made, done.id)) == ("succeeded", ["a", "c"], ["repeats_failure"])
    assert [issue.code for issue in told(planner).issues] == ["repeats_failure"]


def test_a_planner_that_proposes_it_a_second_time_has_given_up(store_path: Path) -> None:
    step = look("a", success_criteria=UNMET)
    made, planner = agent(store_path, *[plan(step)] * 9, limits=Limits(max_replans=7))
    done = made.run("try")
    assert (done.status, done.error and done.error.code, CALLS) == ("failed", "gave_up", ["a"])
    assert len(planner.contexts) == 3


def test_an_error_may_have_been_a_passing_one_so_the_call_may_be_tried_once_more(store_path: Path) -> None:
    made, _ = agent(store_path, *[plan(look("bad"))] * 9, limits=Limits(max_replans=7))
    done = made.run("try")
    assert (done.status, done.error and done.error.code, CALLS) == ("failed", "gave_up", ["bad", "bad"])


def test_the_same_call_after_a_repair_is_another_matter(store_path: Path) -> None:
    step = look("a", success_criteria=UNMET)
    repaired = step.model_copy(update={"depends_on": ("repair",)})
    made, _ = agent(store_path, plan(step), plan(look("repair"), repaired), plan(look("c")))
    done = made.run("try")
    assert (CALLS, codes(made, done.id)) == (["a", "repair", "a", "c"], [])


def test_other_expectations_of_the_same_call_are_another_matter(store_path: Path) -> None:
    made, _ = agent(store_path, plan(look("a", success_criteria=UNMET)), plan(look("a", "b", success_criteria=("output.name == 'a'",))))
    assert made.run("try").status == "succeeded"


def test_what_was_sent_counts_and_not_how_it_was_written(store_path: Path) -> None:
    by_reference = Step(id="b", tool="look_up", args={"name": {"$ref": "steps.a.output.name"}}, success_criteria=UNMET)
    by_value = look("a", "c", success_criteria=UNMET, depends_on=("a",))
    made, _ = agent(store_path, plan(look("a"), by_reference), plan(look("a"), by_value), plan(look("d")))
    done = made.run("try")
    assert (CALLS, codes(made, done.id)) == (["a", "a", "d"], ["repeats_failure"])


def test_a_call_that_a_person_refused_is_not_put_before_them_again(store_path: Path) -> None:
    def sent(step_id: str, **more: Any) -> Step:
        return Step(id=step_id, tool="write", args={"name": {"$ref": "steps.a.output.name"}}, **more)

    made, planner = agent(store_path, plan(look("a"), sent("w")), plan(look("a"), sent("v")), plan(look("b")))
    done = made.resume(made.run("try"), Reject(reason="leave it"), by="ann")
    assert (done.status, CALLS, codes(made, done.id)) == ("succeeded", ["a", "b"], ["repeats_failure"])
    assert "ann refused it: leave it" in told(planner).issues[0].message


def test_a_plan_that_a_person_refused_is_not_put_before_them_again(store_path: Path) -> None:
    refused = plan(look("a"), Step(id="w", tool="write", args={"name": "x"}))
    made, _ = agent(store_path, refused, refused, plan(look("b")))
    done = made.resume(made.run("try"), Reject(reason="leave it"))
    assert (done.status, CALLS, codes(made, done.id)) == ("succeeded", ["b"], ["repeats_failure"])


def test_for_another_goal_what_was_refused_may_be_just_what_is_wanted(store_path: Path) -> None:
    def sent(step_id: str) -> Step:
        return Step(id=step_id, tool="write", args={"name": {"$ref": "steps.a.output.name"}})

    asks = Step(id="q", ask="what now?", depends_on=("a",))
    made, _ = agent(store_path, plan(look("a"), sent("w")), plan(look("a"), asks), plan(look("a"), sent("v")))
    paused = made.resume(made.run("try"), Reject(reason="not for this"))
    assert (paused.status, paused.requests[0].step_id) == ("paused", "q")
    paused = made.revise(paused.id, goal="write it after all")
    assert (paused.status, [request.step_id for request in paused.requests]) == ("paused", ["v"])
    assert codes(made, paused.id) == []


def test_after_a_new_check_what_was_refused_may_be_asked_again(store_path: Path) -> None:
    def sent(step_id: str, **more: Any) -> Step:
        return Step(id=step_id, tool="write", args={"name": {"$ref": "steps.a.output.name"}}, **more)

    made, _ = agent(store_path, plan(look("a"), sent("w")), plan(look("a"), look("check"), sent("v", depends_on=("check",))))
    paused = made.resume(made.run("try"), Reject(reason="check it first"))
    assert (paused.status, paused.requests[0].step_id) == ("paused", "v")
