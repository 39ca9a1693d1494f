"""What happens when a plan does not work out: replan, fall back, go on, ask, or end with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, GiveUp, InvalidPlan, Limits, Plan, Policy, Reject, Step, tool
from agent_graph.events import IssueFound, Observed, Replanned
from agent_graph.ports import ReplanningContext
from agent_graph.testing import ScriptedPlanner

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


@tool(risk="read_only")
def good(name: str = "good") -> dict[str, Any]:
    """Works."""
    CALLS.append(name)
    return {"name": name, "n": len(CALLS)}


@tool(risk="read_only")
def bad(name: str = "bad") -> str:
    """Never works."""
    CALLS.append(name)
    raise ValueError("out of order")


def step(name: str, kind: str = "good", **more: Any) -> Step:
    return Step(id=name, tool=kind, args={"name": name}, **more)


def plan(*steps: Step, **more: Any) -> Plan:
    return Plan(goal="try", steps=steps, **more)


def run(tmp_path: Path, *script: Any, **more: Any) -> tuple[Any, ScriptedPlanner, AgentGraph]:
    planner = ScriptedPlanner(*script)
    limits = more.pop("limits", Limits(max_parallel=1))  # one after another, so that the calls have an order
    agent = AgentGraph([good, bad], planner=planner, policy=Policy.allow_all(), store=tmp_path / "runs.db", limits=limits, **more)
    return agent.run("try"), planner, agent


def test_a_failed_step_leads_to_a_new_version_that_keeps_what_ended(tmp_path: Path) -> None:
    done, planner, agent = run(tmp_path, plan(step("a"), step("b", "bad")), plan(step("a"), step("c")))
    with agent:
        assert (done.status, CALLS) == ("succeeded", ["a", "b", "c"])
        context = planner.contexts[1]
        assert isinstance(context, ReplanningContext)
        assert context.results["a"].status == "succeeded"
        assert "out of order" in context.reason
        (replanned,) = [event for event in agent.store.events.of(done.id) if isinstance(event, Replanned)]
        assert (replanned.version, replanned.kept) == (2, ["a"])


def test_a_step_that_ended_is_carried_over_when_the_planner_leaves_it_out(tmp_path: Path) -> None:
    done, _, agent = run(tmp_path, plan(step("a"), step("b", "bad")), plan(step("c")))
    with agent:
        assert [each.id for each in done.plan.steps] == ["a", "c"]
        assert CALLS == ["a", "b", "c"]


def test_a_step_that_ended_cannot_be_changed(tmp_path: Path) -> None:
    changed = plan(Step(id="a", tool="good", args={"name": "other"}), step("c"))
    done, _, agent = run(tmp_path, plan(step("a"), step("b", "bad")), changed, plan(step("c")))
    with agent:
        codes = [event.code for event in agent.store.events.of(done.id) if isinstance(event, IssueFound)]
        assert codes == ["frozen_step_changed"]
        assert (done.status, CALLS) == ("succeeded", ["a", "b", "c"])


def test_a_failed_step_that_the_new_version_keeps_is_tried_again(tmp_path: Path) -> None:
    done, _, agent = run(tmp_path, plan(step("a", "bad")), plan(step("a", "bad"), step("z", depends_on=("a",))), plan(step("b")))
    with agent:
        assert (done.status, CALLS) == ("succeeded", ["a", "a", "b"])


def test_replans_are_bounded(tmp_path: Path) -> None:
    done, planner, agent = run(tmp_path, *[plan(step(f"s{n}", "bad")) for n in range(9)], limits=Limits(max_replans=2))
    with agent:
        assert (done.status, done.error.code) == ("failed", "budget_exceeded")
        assert len(planner.contexts) == 3


def test_a_planner_that_gives_up_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    done, _, agent = run(tmp_path, plan(step("a", "bad")), GiveUp("no other way in"))
    with agent:
        assert (done.status, done.error.code) == ("failed", "gave_up")
        assert "no other way in" in done.error.message


def test_a_planner_that_raises_ends_the_run_with_what_it_raised(tmp_path: Path) -> None:
    done, _, agent = run(tmp_path, RuntimeError("no model"))
    with agent:
        assert (done.status, done.error.code) == ("failed", "planner_failed")
        assert "no model" in done.error.message


def test_an_invalid_plan_goes_back_with_its_issues(tmp_path: Path) -> None:
    done, planner, agent = run(tmp_path, plan(Step(id="a", tool="nonsense")), plan(step("a")))
    with agent:
        assert done.status == "succeeded"
        context = planner.contexts[1]
        assert isinstance(context, ReplanningContext)
        assert [issue.code for issue in context.issues] == ["unknown_tool"]


def test_a_planner_that_cannot_plan_is_stopped(tmp_path: Path) -> None:
    done, planner, agent = run(tmp_path, *[plan(Step(id="a", tool="nonsense")) for _ in range(20)])
    with agent:
        assert (done.status, done.error.code) == ("failed", "budget_exceeded")
        assert len(planner.contexts) == 4
        assert CALLS == []


def test_a_plan_that_was_handed_in_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    broken = plan(Step(id="a", tool="nonsense"), Step(id="b", tool="good", args={"name": {"$ref": "steps.zz.output"}}))
    with AgentGraph([good], store=tmp_path / "runs.db") as agent:
        with pytest.raises(InvalidPlan) as refused:
            agent.run(plan=broken)
        assert {issue.code for issue in refused.value.issues} == {"unknown_tool", "dangling_reference"}
        assert agent.runs() == []


def test_continue_records_the_failure_and_skips_what_needs_the_output(tmp_path: Path) -> None:
    steps = (
        step("a", "bad", on_failure="continue"),
        Step(id="b", tool="good", args={"name": {"$ref": "steps.a.output"}}),
        step("c", depends_on=("a",)),
    )
    done, _, agent = run(tmp_path, plan(*steps))
    with agent:
        assert done.status == "succeeded"
        assert {key: result.status for key, result in done.results.items()} == {"a": "failed", "b": "skipped", "c": "succeeded"}


def test_a_fallback_stands_in_for_the_step_that_failed(tmp_path: Path) -> None:
    steps = (
        step("a", "bad", on_failure="step:plan_b"),
        step("plan_b"),
        Step(id="use", tool="good", args={"name": {"$ref": "steps.a.output.name"}}),
    )
    done, _, agent = run(tmp_path, plan(*steps))
    with agent:
        assert (done.status, CALLS) == ("succeeded", ["a", "plan_b", "plan_b"])


def test_a_fallback_that_is_not_needed_does_not_run(tmp_path: Path) -> None:
    steps = (
        step("a", on_failure="step:plan_b"),
        step("plan_b"),
        Step(id="use", tool="good", args={"name": {"$ref": "steps.a.output.name"}}),
    )
    done, _, agent = run(tmp_path, plan(*steps))
    with agent:
        assert (done.status, CALLS) == ("succeeded", ["a", "a"])
        assert done.results["plan_b"].status == "skipped"


def test_fail_ends_the_run_although_the_planner_could_go_on(tmp_path: Path) -> None:
    done, planner, agent = run(tmp_path, plan(step("a", "bad", on_failure="fail")), plan(step("b")))
    with agent:
        assert (done.status, done.error.code, done.error.step_id) == ("failed", "tool_failed", "a")
        assert len(planner.contexts) == 1


def test_ask_lets_a_person_try_again_or_give_up(tmp_path: Path) -> None:
    done, _, agent = run(tmp_path, plan(step("a", "bad", on_failure="ask")), GiveUp("nothing else"))
    with agent:
        assert (done.status, done.requests[0].kind) == ("paused", "question")
        done = agent.resume(done, Approve())
        assert (done.status, CALLS) == ("paused", ["a", "a"])
        given_up = agent.resume(done, Reject(reason="enough", stop=True))
        assert given_up.error is not None
        assert (given_up.status, given_up.error.code) == ("failed", "rejected")


def test_unmet_criteria_are_a_failure_with_the_values_that_were_seen(tmp_path: Path) -> None:
    done, _, agent = run(tmp_path, plan(step("a", success_criteria=("output.n > 5",), on_failure="fail")))
    with agent:
        result = done.results["a"]
        assert (done.status, done.error.code, result.landed) == ("failed", "criteria_unmet", True)
        assert (result.evidence[0].holds, result.evidence[0].values) == (False, {"output.n": 1})


def test_a_condition_that_is_false_skips_the_step_and_what_needs_it(tmp_path: Path) -> None:
    steps = (
        step("a"),
        step("b", when="steps.a.output.n > 5"),
        Step(id="c", tool="good", args={"name": {"$ref": "steps.b.output.name"}}),
        step("d", depends_on=("b",)),
    )
    done, _, agent = run(tmp_path, plan(*steps, answer={"b": {"$ref": "steps.b.output"}, "a": {"$ref": "steps.a.output.n"}}))
    with agent:
        assert (done.status, CALLS, done.answer) == ("succeeded", ["a", "d"], {"b": None, "a": 1})
        assert {key: result.status for key, result in done.results.items()} == {
            "a": "succeeded",
            "b": "skipped",
            "c": "skipped",
            "d": "succeeded",
        }


def test_stop_when_skips_the_rest(tmp_path: Path) -> None:
    done, _, agent = run(tmp_path, plan(step("a"), step("b", depends_on=("a",)), stop_when="steps.a.output.n >= 1", mode="iterative"))
    with agent:
        assert (done.status, CALLS) == ("succeeded", ["a"])


def test_an_iterative_plan_is_looked_at_after_each_step(tmp_path: Path) -> None:
    done, _, agent = run(tmp_path, plan(*[step(name, depends_on=tuple("abc"[: "abc".index(name)])) for name in "abc"], mode="iterative"))
    with agent:
        looks = [event for event in agent.store.events.of(done.id) if isinstance(event, Observed)]
        assert (done.status, len(looks)) == ("succeeded", 3)


def test_the_goals_own_criteria_decide(tmp_path: Path) -> None:
    done, _, agent = run(tmp_path, plan(step("a"), success_criteria=("steps.a.output.n == 2",)))
    with agent:
        assert (done.status, done.error.code) == ("failed", "goal_not_met")
        assert "steps.a.output.n" in done.error.message


def test_a_landed_write_whose_criterion_failed_is_not_repeated(tmp_path: Path) -> None:
    sent: list[str] = []

    @tool(risk="write", recovery="idempotent")
    def write(name: str) -> str:
        sent.append(name)
        return "odd"

    first = plan(Step(id="w", tool="write", args={"name": "x"}, success_criteria=("output == 'even'",)))
    second = plan(Step(id="w", tool="write", args={"name": "x"}, success_criteria=("output == 'odd'",)))
    with AgentGraph([write], planner=ScriptedPlanner(first, second), policy=Policy.allow_all(), store=tmp_path / "runs.db") as agent:
        done = agent.run("write")
        assert (done.status, sent) == ("succeeded", ["x"])
