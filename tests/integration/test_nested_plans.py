"""A step may be a blueprint: a nested plan with its own parameters, conditions, failures and budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Blueprint, Edit, InvalidPlan, Limits, Plan, Policy, Run, Step, tool
from agent_graph.plan import Param
from agent_graph.ports import ReplanningContext
from agent_graph.testing import ScriptedPlanner

CALLS: list[tuple[str, Any]] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


@tool(risk="read_only")
def look(name: str) -> dict[str, Any]:
    """Looks something up."""
    CALLS.append(("look", name))
    if name == "broken":
        raise ValueError("out of order")
    return {"name": name, "size": len(name)}


@tool(risk="write", recovery="idempotent")
def write(text: str) -> str:
    """Writes."""
    CALLS.append(("write", text))
    return f"written {text}"


def blueprint(*steps: Step, name: str = "inner", **more: Any) -> Blueprint:
    return Blueprint(name=name, goal="the inner goal", steps=steps, **more)


LOOK_AND_WRITE = blueprint(
    Step(id="look", tool="look", args={"name": {"$ref": "params.name"}}),
    Step(id="write", tool="write", args={"text": {"$ref": "steps.look.output.name"}}, when="steps.look.output.size > params.least"),
    params={"name": Param(), "least": Param(type="integer", default=0)},
    answer={"written": {"$ref": "steps.write.output"}, "size": {"$ref": "steps.look.output.size"}},
)


def agent(tmp_path: Path, *blueprints: Blueprint, policy: Policy | None = None, **more: Any) -> AgentGraph:
    limits = more.pop("limits", Limits(max_parallel=1))
    return AgentGraph(
        [look, write], blueprints=blueprints, policy=policy or Policy.allow_all(), store=tmp_path / "runs.db", limits=limits, **more
    )


def plan(*steps: Step, **more: Any) -> Plan:
    return Plan(goal="try", steps=steps, **more)


def nested(**more: Any) -> Step:
    return Step(id="sub", blueprint="inner", **more)


def ids(run: Run) -> list[str]:
    assert run.plan is not None
    return [step.id for step in run.plan.steps]


def test_a_nested_plan_runs_as_steps_of_its_plan_and_gives_its_answer(tmp_path: Path) -> None:
    made = plan(
        Step(id="first", tool="look", args={"name": "abc"}),
        nested(args={"name": {"$ref": "steps.first.output.name"}}),
        Step(id="last", tool="write", args={"text": {"$ref": "steps.sub.output.written"}}),
    )
    with agent(tmp_path, LOOK_AND_WRITE) as here:
        done = here.run(plan=made)
        assert done.status == "succeeded"
        assert done.results["sub"].output == {"written": "written abc", "size": 3}
        assert ids(done) == ["first", "sub__look", "sub__write", "sub", "last"]
        assert done.answer == "written written abc"


def test_a_condition_of_the_blueprint_reads_the_value_that_it_was_given(tmp_path: Path) -> None:
    with agent(tmp_path, LOOK_AND_WRITE) as here:
        done = here.run(plan=plan(nested(args={"name": "ab", "least": 2})))
        assert (done.status, CALLS) == ("succeeded", [("look", "ab")])
        assert done.answer == {"written": None, "size": 2}  # as of a run: what a skipped step would have given is null


def test_a_nested_plan_whose_step_is_skipped_starts_nothing(tmp_path: Path) -> None:
    inner = blueprint(
        Step(id="a", tool="look", args={"name": "a"}),
        Step(id="b", tool="write", args={"text": "b"}, depends_on=("a",)),  # would go on after a step that is skipped
    )
    with agent(tmp_path, inner) as here:
        done = here.run(plan=plan(Step(id="first", tool="look", args={"name": "x"}), nested(when="steps.first.output.size > 5")))
        assert (done.status, CALLS) == ("succeeded", [("look", "x")])
        assert {step: done.results[step].status for step in ("sub__a", "sub__b", "sub")} == dict.fromkeys(
            ("sub__a", "sub__b", "sub"), "skipped"
        )


def test_a_part_that_does_not_read_what_the_nested_plan_was_given_does_not_run_without_it(tmp_path: Path) -> None:
    inner = blueprint(
        Step(id="a", tool="look", args={"name": {"$ref": "params.name"}}),
        Step(id="b", tool="write", args={"text": "b"}),
        params={"name": Param()},
    )
    first = Step(id="first", tool="look", args={"name": "broken"}, on_failure="continue")
    with agent(tmp_path, inner) as here:
        done = here.run(plan=plan(first, nested(args={"name": {"$ref": "steps.first.output.name"}})))
        assert CALLS == [("look", "broken")]
        assert done.results["sub"].status == "skipped"


def test_a_nested_plan_that_fails_and_may_goes_no_further_and_the_plan_goes_on(tmp_path: Path) -> None:
    inner = blueprint(
        Step(id="a", tool="look", args={"name": "broken"}),
        Step(id="b", tool="write", args={"text": "b"}, depends_on=("a",)),
        Step(id="c", tool="write", args={"text": "c"}, depends_on=("b",)),
    )
    with agent(tmp_path, inner) as here:
        done = here.run(
            plan=plan(nested(on_failure="continue"), Step(id="after", tool="look", args={"name": "after"}, depends_on=("sub",)))
        )
        assert (done.status, CALLS) == ("succeeded", [("look", "broken"), ("look", "after")])
        result = done.results["sub"]
        assert result.error is not None
        assert (result.status, result.error.code) == ("failed", "part_failed")
        assert "out of order" in result.error.message


def test_another_nested_plan_stands_in_for_one_that_failed(tmp_path: Path) -> None:
    failing = blueprint(Step(id="a", tool="look", args={"name": "broken"}), name="failing")
    other = blueprint(Step(id="a", tool="look", args={"name": "other"}), name="other")
    made = plan(
        Step(id="sub", blueprint="failing", on_failure="step:instead"),
        Step(id="instead", blueprint="other"),
        Step(id="last", tool="write", args={"text": {"$ref": "steps.sub.output.name"}}),
    )
    with agent(tmp_path, failing, other) as here:
        done = here.run(plan=made)
        assert (done.status, CALLS) == ("succeeded", [("look", "broken"), ("look", "other"), ("write", "other")])


def test_a_nested_plan_that_stands_in_does_not_start_when_it_is_not_needed(tmp_path: Path) -> None:
    other = blueprint(Step(id="a", tool="write", args={"text": "other"}), name="other")
    made = plan(Step(id="first", tool="look", args={"name": "fine"}, on_failure="step:instead"), Step(id="instead", blueprint="other"))
    with agent(tmp_path, other) as here:
        done = here.run(plan=made)
        assert (done.status, CALLS) == ("succeeded", [("look", "fine")])


def test_a_part_that_fails_is_replanned_like_any_step_and_what_ended_stays(tmp_path: Path) -> None:
    inner = blueprint(
        Step(id="a", tool="write", args={"text": "a"}),
        Step(id="b", tool="look", args={"name": "broken"}, depends_on=("a",)),
    )
    planner = ScriptedPlanner(plan(nested()), plan(Step(id="c", tool="look", args={"name": "c"})))
    with agent(tmp_path, inner, planner=planner) as here:
        done = here.run("try")
        assert (done.status, CALLS) == ("succeeded", [("write", "a"), ("look", "broken"), ("look", "c")])
        assert ids(done) == ["sub__a", "c"]


def test_blueprints_nest_in_each_other(tmp_path: Path) -> None:
    middle = blueprint(Step(id="deep", blueprint="inner", args={"name": {"$ref": "params.who"}}), name="middle", params={"who": Param()})
    with agent(tmp_path, LOOK_AND_WRITE, middle) as here:
        done = here.run(plan=plan(Step(id="top", blueprint="middle", args={"who": "xyz"})))
        assert done.answer == {"written": "written xyz", "size": 3}
        assert ids(done) == ["top__deep__look", "top__deep__write", "top__deep", "top"]


def test_each_write_of_a_nested_plan_is_approved_like_any_other(tmp_path: Path) -> None:
    with agent(tmp_path, LOOK_AND_WRITE, policy=Policy.default()) as here:
        waits = here.run(plan=plan(nested(args={"name": "abc"})))
        (request,) = waits.requests
        assert (request.step_id, request.args, CALLS) == ("sub__write", {"text": "abc"}, [("look", "abc")])
        assert here.resume(waits, Approve()).status == "succeeded"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (nested(), "name is missing"),
        (nested(args={"name": 3}), "name: 3 is not of type"),
        (nested(args={"name": "a", "color": "b"}), "there is no parameter color"),
        (nested(args={"name": "a"}, timeout_s=3), "timeout_s has no meaning"),
        (Step(id="sub", blueprint="unknown"), "there is no blueprint 'unknown'; there is: inner"),
        (Step(id="a", tool="look", args={"name": "a"}, part_of="nobody"), "it says that it is part of 'nobody'"),
    ],
)
def test_what_cannot_be_laid_out_is_said_before_a_run_exists(tmp_path: Path, made: Step, said: str) -> None:
    with agent(tmp_path, LOOK_AND_WRITE) as here:
        with pytest.raises(InvalidPlan) as refused:
            here.run(plan=plan(made))
        assert [issue.code for issue in refused.value.issues] == ["invalid_blueprint"]
        assert said in str(refused.value)
        assert here.runs() == []


def test_a_blueprint_that_is_inside_of_itself_is_refused(tmp_path: Path) -> None:
    one = blueprint(Step(id="a", blueprint="two"), name="one")
    two = blueprint(Step(id="b", blueprint="one"), name="two")
    with agent(tmp_path, one, two) as here, pytest.raises(InvalidPlan, match="inside of itself: one → two → one"):
        here.run(plan=plan(Step(id="sub", blueprint="one")))


# ── its own budget ────────────────────────────────────────────────────────────────────────────────────────────────────


def looks(*names: str, **more: Any) -> Blueprint:
    """One look after the other."""
    steps = [Step(id=f"s{n}", tool="look", args={"name": name}, depends_on=(f"s{n - 1}",) if n else ()) for n, name in enumerate(names)]
    return blueprint(*steps, **more)


def test_a_nested_plan_makes_no_more_calls_than_its_budget_allows(tmp_path: Path) -> None:
    with agent(tmp_path, looks("a", "b", "c")) as here:
        made = plan(nested(budget={"max_calls": 2}, on_failure="continue"), Step(id="after", tool="look", args={"name": "after"}))
        done = here.run(plan=made)
        assert sorted(name for _, name in CALLS) == ["a", "after", "b"]
        error = done.results["sub__s2"].error
        assert error is not None
        assert (error.code, done.results["sub__s2"].status) == ("part_over_budget", "blocked")
        assert error.message == "look may take 1 calls, and 0 of 2 are left to the nested plan of step sub"
        assert done.status == "succeeded"


def test_where_the_plan_may_not_go_on_the_run_ends_with_the_budget_as_reason(tmp_path: Path) -> None:
    with agent(tmp_path, looks("a", "b")) as here:
        done = here.run(plan=plan(nested(budget={"max_calls": 1})))
        assert done.error is not None
        assert (done.status, done.error.code, done.error.cause) == ("failed", "part_over_budget", "budget")


def test_a_call_whose_worst_case_takes_longer_than_what_is_left_is_not_made(tmp_path: Path) -> None:
    with agent(tmp_path, looks("a")) as here:
        done = here.run(plan=plan(nested(budget={"max_seconds": 30})))  # the tool may take 60
        assert (done.status, CALLS) == ("failed", [])
        assert done.error is not None
        assert "60 seconds" in done.error.message


def test_what_is_nested_deeper_counts_for_the_whole(tmp_path: Path) -> None:
    middle = blueprint(Step(id="one", blueprint="inner"), Step(id="two", blueprint="inner"), name="middle")
    with agent(tmp_path, looks("a", "b"), middle) as here:
        done = here.run(plan=plan(Step(id="top", blueprint="middle", budget={"max_calls": 3})))
        assert (done.status, len(CALLS)) == ("failed", 3)


def test_after_a_stop_the_budget_counts_on(tmp_path: Path) -> None:
    inner = blueprint(
        Step(id="a", tool="look", args={"name": "a"}),
        Step(id="w", tool="write", args={"text": {"$ref": "steps.a.output.name"}}),
        Step(id="b", tool="look", args={"name": "b"}, depends_on=("w",)),
    )
    with agent(tmp_path, inner, policy=Policy.default()) as here:
        waits = here.run(plan=plan(nested(budget={"max_calls": 2})))
        assert waits.status == "paused"
    with agent(tmp_path, inner, policy=Policy.default()) as other:  # as another process would
        done = other.resume(other.get(waits.id), Approve())
        assert (done.status, CALLS) == ("failed", [("look", "a"), ("write", "a")])


def test_money_of_its_calls_is_bounded(tmp_path: Path) -> None:
    priced = tool(lambda ctx, **_: "paid", name="priced", args_schema={"type": "object", "properties": {}}, risk="read_only", price=2.0)
    inner = blueprint(Step(id="a", tool="priced"), Step(id="b", tool="priced", depends_on=("a",)))
    with AgentGraph([priced], blueprints=[inner], policy=Policy.allow_all(), store=tmp_path / "runs.db") as here:
        done = here.run(plan=plan(nested(budget={"max_money": 3})))
        assert done.results["sub__a"].status == "succeeded"
        assert done.error is not None
        assert done.error.message.endswith("priced may take 2 money, and 1 of 3 are left to the nested plan of step sub")


def test_a_plan_that_a_person_hands_in_at_a_gate_may_have_a_nested_plan(tmp_path: Path) -> None:
    policy = Policy.default().model_copy(update={"review_plans": True})
    with agent(tmp_path, LOOK_AND_WRITE, policy=policy) as here:
        waits = here.run(plan=plan(Step(id="a", tool="look", args={"name": "a"})))
        other = plan(nested(args={"name": "abc", "least": 9}))
        done = here.resume(waits, Edit(plan=other))
        assert (done.status, CALLS) == ("succeeded", [("look", "abc")])


def test_a_nested_plan_that_is_proposed_by_a_planner_and_cannot_be_laid_out_is_replanned(tmp_path: Path) -> None:
    planner = ScriptedPlanner(plan(nested(args={"nome": "abc"})), plan(nested(args={"name": "abc"})))
    with agent(tmp_path, LOOK_AND_WRITE, planner=planner) as here:
        done = here.run("try")
        assert done.status == "succeeded"
        asked = planner.contexts[1]
        assert isinstance(asked, ReplanningContext)
        assert [issue.code for issue in asked.issues] == ["invalid_blueprint"]


def test_a_nested_plan_that_is_said_again_is_nothing_new_where_the_plan_goes_on(tmp_path: Path) -> None:
    inner = blueprint(
        Step(id="look", tool="look", args={"name": {"$ref": "params.name"}}), params={"name": Param()}, answer={"$ref": "steps.look.output"}
    )
    nested = Step(id="a", blueprint="inner", args={"name": "ann"})
    script = plan(nested, mode="iterative", open=True), plan(nested, mode="iterative", answer={"$ref": "steps.a.output.size"})
    planner = ScriptedPlanner(*script)
    with agent(tmp_path, inner, planner=planner) as graph:
        run = graph.run("try")
        assert (run.status, run.answer, CALLS) == ("succeeded", 3, [("look", "ann")])
        assert len(planner.contexts) == 2  # and was not sent back


def test_a_nested_plan_that_is_said_again_and_again_is_stuck(tmp_path: Path) -> None:
    inner = blueprint(Step(id="look", tool="look", args={"name": {"$ref": "params.name"}}), params={"name": Param()})
    nested = Step(id="a", blueprint="inner", args={"name": "ann"})
    with agent(tmp_path, inner, planner=ScriptedPlanner(*[plan(nested, mode="iterative", open=True)] * 4)) as graph:
        run = graph.run("try")
        assert (run.status, run.error and run.error.code) == ("failed", "stuck")
