"""What makes a plan wrong, each with its code, and the way on from the cheapest to the last."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, GiveUp, Limits, NotDone, Plan, Policy, Reject, Step, tool
from agent_graph.events import Observed
from agent_graph.ports import ReplanningContext
from agent_graph.state import Run
from agent_graph.testing import ScriptedPlanner

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


@tool(risk="read_only")
def give(value: Any = None, name: str = "give") -> Any:
    """Gives back what it is given."""
    CALLS.append(name)
    return value


@tool(risk="read_only")
def fail(name: str = "fail") -> str:
    CALLS.append(name)
    raise ValueError("out of order")


@tool(risk="write", recovery="idempotent", price=4)
def write(name: str = "write") -> str:
    CALLS.append(name)
    return name


@tool(risk="read_only", price="cost")
def costly(cost: int, name: str = "costly") -> int:
    CALLS.append(name)
    return cost


def step(name: str, of: str = "give", **more: Any) -> Step:
    args = more.pop("args", {})
    return Step(id=name, tool=of, args={"name": name, **args}, **more)


def plan(*steps: Step, **more: Any) -> Plan:
    return Plan(goal="try", steps=steps, **more)


GOOD = plan(step("other"))


def run(store_path: Path, *script: Any, limits: Limits | None = None, policy: Policy | None = None, **more: Any) -> Run:
    given = policy or Policy.allow_all()
    with AgentGraph([give, fail, write, costly], planner=ScriptedPlanner(*script), policy=given, limits=limits, store=store_path) as agent:
        return agent.run("try", **more)


def deviations(store_path: Path, run: Run) -> list[str]:
    with AgentGraph(store=store_path) as agent:
        return [each["code"] for event in agent.trace(run.id) if isinstance(event, Observed) for each in event.deviations]


# ── an empty result ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("empty", [None, "", "  \n", [], {}])
def test_an_empty_result_fails_a_step_that_wants_one(store_path: Path, empty: Any) -> None:
    done = run(store_path, plan(step("a", args={"value": empty}, allow_empty=False)), GOOD)
    assert (done.status, CALLS) == ("succeeded", ["a", "other"])
    assert done.results["a"].error is not None
    assert done.results["a"].error.code == "empty_result"
    assert deviations(store_path, done) == ["empty_result"]


@pytest.mark.parametrize("value", [0, False, "0", [None], {"rows": []}])
def test_what_holds_something_is_not_empty(store_path: Path, value: Any) -> None:
    assert run(store_path, plan(step("a", args={"value": value}, allow_empty=False))).status == "succeeded"


def test_by_default_a_step_may_give_nothing(store_path: Path) -> None:
    assert run(store_path, plan(step("a"))).status == "succeeded"


def test_an_empty_result_of_a_fixed_plan_ends_the_run_and_says_so(store_path: Path) -> None:
    with AgentGraph([give], store=store_path) as agent:
        done = agent.run(plan=plan(step("a", allow_empty=False)))
    assert done.error is not None
    assert (done.error.code, done.error.cause) == ("empty_result", "tool")


def test_an_output_outside_of_what_was_expected_is_named(store_path: Path) -> None:
    done = run(store_path, plan(step("a", args={"value": 3}, expected_output={"type": "string"})), GOOD)
    assert (done.status, deviations(store_path, done)) == ("succeeded", ["unexpected_output"])


# ── an assumption ─────────────────────────────────────────────────────────────────────────────────────────────────────

RESTS = ("size(steps.a.output) > 0",)


def test_an_assumption_that_is_false_asks_for_a_new_version_before_anything_else_starts(store_path: Path) -> None:
    first = plan(step("a", args={"value": []}), step("w", "write", depends_on=("a",)), assumptions=RESTS)
    planner = ScriptedPlanner(first, plan(step("other")))
    with AgentGraph([give, write], planner=planner, policy=Policy.allow_all(), store=store_path) as agent:
        done = agent.run("try")
    assert (done.status, CALLS) == ("succeeded", ["a", "other"])
    assert deviations(store_path, done) == ["assumption_broken"]
    told = planner.contexts[1]
    assert isinstance(told, ReplanningContext)
    assert "rests on size(steps.a.output) > 0, and that is false (saw {'steps.a.output': []})" in told.reason


def test_one_that_holds_or_whose_steps_have_not_ended_stands_in_nobodys_way(store_path: Path) -> None:
    first = plan(step("a", args={"value": [1]}), step("b", depends_on=("a",)), assumptions=(*RESTS, "steps.b.status == 'succeeded'"))
    assert (run(store_path, first).status, CALLS) == ("succeeded", ["a", "b"])


def test_one_that_cannot_be_evaluated_is_not_false(store_path: Path) -> None:
    first = plan(step("a", "fail", on_failure="continue"), step("b", depends_on=("a",)), assumptions=("steps.a.output == 'x'",))
    assert (run(store_path, first).status, CALLS) == ("succeeded", ["a", "b"])


def test_one_about_a_parameter_is_known_to_be_false_before_anything_runs(store_path: Path) -> None:
    done = run(store_path, plan(step("a"), assumptions=("params.n > 3",)), GOOD, params={"n": 1})
    assert (done.status, CALLS) == ("succeeded", ["other"])


def test_a_broken_assumption_of_a_fixed_plan_ends_the_run(store_path: Path) -> None:
    fixed = plan(step("a", args={"value": []}), step("w", "write", depends_on=("a",)), assumptions=RESTS)
    with AgentGraph([give, write], policy=Policy.allow_all(), store=store_path) as agent:
        done = agent.run(plan=fixed)
    assert done.error is not None
    assert (done.status, done.error.code, done.error.step_id, CALLS) == ("failed", "assumption_broken", "a", ["a"])


def test_assumptions_that_stay_false_are_bounded(store_path: Path) -> None:
    same = plan(step("a", args={"value": []}), step("w", "write", depends_on=("a",)), assumptions=RESTS)
    done = run(store_path, *[same] * 9, limits=Limits(max_replans=2))
    assert (done.status, done.error and done.error.code, CALLS) == ("failed", "budget_exceeded", ["a"])


def test_an_assumption_is_checked_like_a_condition_before_it_counts(store_path: Path) -> None:
    done = run(store_path, plan(step("a"), assumptions=("steps.zzz.output >",)), GOOD)
    assert (done.status, CALLS) == ("succeeded", ["other"])


KILLED = """
import os, signal, sys
from agent_graph import AgentGraph, Plan, Policy, Step, tool
from agent_graph.checkpoints.ledger import Ledger

@tool(risk="read_only")
def give(value: list[int]) -> list[int]:
    return value

@tool(risk="write", recovery="idempotent")
def write() -> str:
    open(sys.argv[2], "a").write("written")
    return "w"

made = Plan(goal="try", steps=(Step(id="a", tool="give", args={"value": []}), Step(id="w", tool="write", depends_on=("a",))), **{MORE})
agent = AgentGraph([give, write], policy=Policy.allow_all(), store=sys.argv[1])
kill = len(sys.argv) > 3
if kill:
    flush = type(agent.store).flush
    def and_die(self):
        flush(self)
        if any(standing.status for standing in self.ledger.standings(sys.argv[3]).values()):
            os.kill(os.getpid(), signal.SIGKILL)
    type(agent.store).flush = and_die
    agent.run(plan=made, run_id=sys.argv[3])
else:
    (run,) = agent.runs()
    done = agent.resume(run.id)
    print(done.status, done.error.code if done.error else "")
"""


@pytest.mark.parametrize(
    ("more", "says"),
    [({"assumptions": RESTS}, "failed assumption_broken"), ({"stop_when": "steps.a.output == []"}, "succeeded")],
    ids=["an assumption", "an early stop"],
)
def test_a_crash_right_after_the_result_does_not_lose_what_it_means(tmp_path: Path, more: Any, says: str) -> None:
    script, store, written = tmp_path / "script.py", tmp_path / "runs.db", tmp_path / "written"
    script.write_text(textwrap.dedent(KILLED.replace("{MORE}", repr(more))), encoding="utf-8")
    command, env = [sys.executable, str(script), str(store), str(written)], {**os.environ, "PYTHONWARNINGS": "error"}
    killed = subprocess.run([*command, "12345678-1234-4234-8234-123456789abc"], env=env, check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    resumed = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    assert resumed.stdout.strip() == says
    assert not written.exists()


# ── the budget ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_when_the_rest_of_the_plan_no_longer_fits_another_is_asked_for_before_the_next_call(store_path: Path) -> None:
    """It fits when it is checked; that one call cost more than anybody could know from the plan."""
    first = plan(
        step("a", args={"value": 9}),
        Step(id="b", tool="costly", args={"cost": {"$ref": "steps.a.output"}, "name": "b"}),
        step("c", "write", depends_on=("b",)),
        mode="iterative",
    )
    done = run(store_path, first, plan(step("cheap", depends_on=("b",))), limits=Limits(max_money=10))
    assert (done.status, CALLS) == ("succeeded", ["a", "b", "cheap"])
    assert deviations(store_path, done) == ["budget_pressure"]


def test_a_call_that_does_not_fit_leads_to_another_plan_while_one_may_be_made(store_path: Path) -> None:
    first = plan(step("a", args={"value": 11}), Step(id="b", tool="costly", args={"cost": {"$ref": "steps.a.output"}, "name": "b"}))
    done = run(store_path, first, GOOD, limits=Limits(max_money=10))
    assert (done.status, CALLS) == ("succeeded", ["a", "other"])
    assert deviations(store_path, done) == ["budget_exceeded"]


def test_without_another_plan_the_limit_ends_the_run_with_what_was_spent(store_path: Path) -> None:
    first = plan(step("a", args={"value": 11}), Step(id="b", tool="costly", args={"cost": {"$ref": "steps.a.output"}, "name": "b"}))
    done = run(store_path, first, GOOD, limits=Limits(max_money=10, max_replans=0))
    assert done.error is not None
    assert (done.status, done.error.code, CALLS) == ("failed", "budget_exceeded", ["a"])


# ── an early stop ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_early_stop_names_what_is_not_needed_any_more(store_path: Path) -> None:
    first = plan(step("a"), step("b", depends_on=("a",)), step("c", depends_on=("b",)), stop_when="steps.a.status == 'succeeded'")
    done = run(store_path, first)
    assert (done.status, CALLS) == ("succeeded", ["a"])
    assert done.observation is not None
    assert done.observation.why.endswith("not needed any more: b, c")


# ── the ladder ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_retry_then_fallback_then_another_plan(store_path: Path) -> None:
    tries: list[str] = []

    def refusing(name: str) -> Callable[[], str]:
        def call() -> str:
            tries.append(name)
            raise NotDone("not now")

        return call

    tools = [tool(refusing(name), name=name, description=name, risk="write", recovery="idempotent") for name in ("first", "second")]
    plan_a = plan(Step(id="a", tool="first", max_attempts=2, on_failure="step:b"), Step(id="b", tool="second"))
    planner = ScriptedPlanner(plan_a, GOOD)
    with AgentGraph([*tools, give], planner=planner, policy=Policy.allow_all(), store=store_path) as agent:
        assert agent.run("try").status == "succeeded"
    assert (tries, CALLS, len(planner.contexts)) == (["first", "first", "second"], ["other"], 2)


def test_a_stand_in_that_has_not_run_yet_comes_along_with_the_step_that_it_stands_in_for(store_path: Path) -> None:
    first = plan(
        step("a", "fail", on_failure="step:b"),
        step("c", "fail"),
        step("b", depends_on=("c",)),
        step("d", args={"value": {"$ref": "steps.a.output"}}),
    )
    done = run(store_path, first, plan(step("c", args={"value": 1}), step("e")), limits=Limits(max_parallel=1))
    assert done.plan is not None
    assert (done.status, [each.id for each in done.plan.steps], CALLS) == ("succeeded", ["a", "c", "e", "b"], ["a", "c", "c", "e", "b"])


STUCK = Policy.allow_all().model_copy(update={"ask_when_stuck": True})


@pytest.mark.parametrize("script", [[GiveUp("no way")], []], ids=["the planner gives up", "no replan is left"])
def test_before_a_run_ends_stuck_a_person_may_be_asked(store_path: Path, script: list[Any]) -> None:
    planner = ScriptedPlanner(plan(step("a", "fail")), *script)
    limits = Limits(max_replans=len(script))
    with AgentGraph([fail], planner=planner, policy=STUCK, limits=limits, store=store_path) as agent:
        paused = agent.run("try")
        assert (paused.status, paused.requests[0].step_id, paused.requests[0].allowed) == ("paused", "a", ("approve", "reject"))
        done = agent.resume(paused, Reject(reason="enough", stop=True))
        assert (done.status, done.error and done.error.code, CALLS) == ("failed", "rejected", ["a"])


def test_the_person_may_have_it_tried_again(store_path: Path) -> None:
    with AgentGraph([fail], policy=STUCK, store=store_path) as agent:
        paused = agent.run(plan=plan(step("a", "fail")))
        assert agent.resume(paused, Approve()).status == "paused"
    assert CALLS == ["a", "a"]


def test_a_no_is_not_asked_for_twice(store_path: Path) -> None:
    planner = ScriptedPlanner(plan(step("a", "fail")), GiveUp("no way"), GiveUp("still no way"))
    with AgentGraph([fail], planner=planner, policy=STUCK, store=store_path) as agent:
        done = agent.resume(agent.run("try"), Reject(reason="enough"))
    assert (done.status, done.error and done.error.code) == ("failed", "gave_up")


def test_by_default_nobody_is_asked(store_path: Path) -> None:
    assert run(store_path, plan(step("a", "fail")), GiveUp("no way")).status == "failed"
