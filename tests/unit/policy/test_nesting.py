"""How a nested plan is written out in the place of the step that names it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_graph import Limits, Policy
from agent_graph.identity import RunId
from agent_graph.plan import Blueprint, Goal, Param, Plan, Step
from agent_graph.policy.compiler import Rules, compile_plan
from agent_graph.policy.dataflow import Dataflow
from agent_graph.policy.nesting import MAX_DEPTH, lay_out, wrong_with
from agent_graph.tools.registry import ToolRegistry
from agent_graph.tools.tool import tool

SCHEMA = {"type": "object", "properties": {"value": {}}}
REGISTRY = ToolRegistry([tool(lambda ctx, **args: args, name="t", args_schema=SCHEMA, risk="read_only")])


def blueprint(*steps: Step, name: str = "inner", **more: Any) -> Blueprint:
    return Blueprint(name=name, goal="the inner goal", steps=steps, **more)


def step(step_id: str, value: Any = 1, **more: Any) -> Step:
    return Step(id=step_id, tool="t", args={"value": value}, **more)


def laid(inner: Blueprint, *others: Blueprint, before: tuple[Step, ...] = (), params: dict[str, Any] | None = None, **more: Any) -> Plan:
    goal = Goal(text="g", params=params or {})
    plan = Plan(goal=goal, steps=(*before, Step(id="sub", blueprint=inner.name, **more)))
    return lay_out(plan, {each.name: each for each in (inner, *others)})


def problem(inner: Blueprint, *others: Blueprint, goal: Goal | None = None, **more: Any) -> str:
    plan = Plan(goal=goal or Goal(text="g"), steps=(step("first"), Step(id="sub", blueprint=inner.name, **more)))
    blueprints = {each.name: each for each in (inner, *others)}
    assert lay_out(plan, blueprints) == plan  # it stays as it is, for the compiler to say why
    found = wrong_with(plan.steps[1], plan, blueprints)
    assert found is not None
    return found


def test_a_plan_without_nested_plans_is_itself() -> None:
    plan = Plan(goal="g", steps=(step("a"),))
    assert lay_out(plan, {}) is plan


def test_laying_out_twice_is_laying_out_once() -> None:
    once = laid(blueprint(step("a")))
    assert lay_out(once, {"inner": blueprint(step("a"))}) == once


def test_parts_say_whose_they_are_and_stand_before_it() -> None:
    plan = laid(blueprint(step("a"), step("b", {"$ref": "steps.a.output.x"})))
    assert [(each.id, each.part_of) for each in plan.steps] == [("sub__a", "sub"), ("sub__b", "sub"), ("sub", None)]
    assert plan.by_id["sub__b"].args == {"value": {"$ref": "steps.sub__a.output.x"}}
    assert plan.by_id["sub"].depends_on == ("sub__a", "sub__b")


def test_without_an_answer_the_last_step_that_stands_in_for_no_other_gives_it() -> None:
    plan = laid(blueprint(step("a"), step("b", on_failure="step:c"), step("c")))
    assert plan.by_id["sub"].args["answer"] == {"$ref": "steps.sub__b.output"}


def test_parameters_are_filled_with_values_references_and_defaults() -> None:
    inner = blueprint(
        step("a", {"x": {"$ref": "params.x"}, "y": [{"$ref": "params.y"}], "z": {"$ref": "params.z"}}),
        params={"x": Param(), "y": Param(type="object"), "z": Param(type="integer", default=7)},
    )
    args = {"x": {"$ref": "steps.first.output.v"}, "y": {"k": {"$ref": "params.p"}}}
    plan = laid(inner, before=(step("first"),), params={"p": 3}, args=args)
    assert plan.by_id["sub__a"].args["value"] == {"x": {"$ref": "steps.first.output.v"}, "y": [{"k": {"$ref": "params.p"}}], "z": 7}


def test_what_decides_about_the_step_decides_about_each_part() -> None:
    inner = blueprint(step("a"), step("b", depends_on=("a",), when="steps.a.output.n > 1"))
    plan = laid(inner, before=(step("first"),), when="steps.first.output.ok", depends_on=("first",))
    assert plan.by_id["sub__a"].when == "steps.first.output.ok"
    assert plan.by_id["sub__b"].when == "(steps.first.output.ok) && (steps.sub__a.output.n > 1)"
    assert (plan.by_id["sub__a"].depends_on, plan.by_id["sub__b"].depends_on) == (("first",), ("sub__a",))


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("replan", "replan", "replan"),
        ("fail", "replan", "fail"),
        ("ask", "replan", "ask"),
        ("continue", "replan", "continue"),
        ("fail", "continue", "continue"),
        ("continue", "fail", "fail"),
        ("fail", "step:b", "step:sub__b"),
    ],
)
def test_a_part_fails_as_its_step_says_unless_it_says_so_itself(outer: str, inner: str, expected: str) -> None:
    plan = laid(blueprint(step("a", on_failure=inner), step("b")), on_failure=outer)
    assert plan.by_id["sub__a"].on_failure == expected


def test_a_step_that_requires_approval_requires_it_of_each_call_inside() -> None:
    plan = laid(blueprint(step("a")), approval="required")
    assert plan.by_id["sub__a"].approval == "required"


def test_a_step_that_allows_some_tools_allows_no_others_inside() -> None:
    plan = laid(blueprint(step("a")), allowed_tools=("t", "u"))
    assert plan.by_id["sub__a"].allowed_tools == ("t", "u")
    assert "allows only u" in problem(blueprint(step("a")), allowed_tools=("u",))
    assert "allows only u" in problem(blueprint(step("a", allowed_tools=("t",))), allowed_tools=("u",))


def test_how_old_the_inputs_may_be_holds_where_they_come_in() -> None:
    inner = blueprint(step("a", {"$ref": "params.x"}, max_age_s=90), step("b", {"$ref": "steps.a.output"}), params={"x": Param()})
    plan = laid(inner, before=(step("first"),), args={"x": {"$ref": "steps.first.output"}}, max_age_s=30)
    assert (plan.by_id["sub__a"].max_age_s, plan.by_id["sub__b"].max_age_s) == (30, None)


def test_the_blueprints_criteria_are_the_steps_and_its_assumptions_the_plans() -> None:
    inner = blueprint(step("a"), success_criteria=("steps.a.output.n > 0",), assumptions=("steps.a.output.ok",))
    plan = laid(inner, before=(step("first"),), success_criteria=("output != null",), when="steps.first.output.ok")
    assert plan.by_id["sub"].success_criteria == ("output != null", "steps.sub__a.output.n > 0")
    assert plan.assumptions == ("!(steps.first.output.ok) || (steps.sub__a.output.ok)",)


def test_the_goal_inside_of_a_blueprint_is_its_own() -> None:
    plan = laid(blueprint(step("a", when="goal != ''")))
    assert plan.by_id["sub__a"].when == "\"the inner goal\" != ''"


# ── what cannot be laid out ───────────────────────────────────────────────────────────────────────────────────────────

ONE = {"x": Param()}


@pytest.mark.parametrize(
    ("inner", "more", "said"),
    [
        (blueprint(step("a"), stop_when="steps.a.output.ok"), {}, "has stop_when, which would end the whole run"),
        (blueprint(step("a"), template="{{ steps.a }}"), {}, "has a template and no answer"),
        (blueprint(step("a", {"$ref": "params.y"})), {}, "refers to params.y, which the blueprint does not have"),
        (blueprint(step("a", {"$ref": "steps.first.output"})), {}, "names step 'first', which the blueprint does not have"),
        (blueprint(step("a", depends_on=("first",))), {}, "names step 'first', which the blueprint does not have"),
        (blueprint(step("a", when="steps.first.output.ok")), {}, "names step 'first', which the blueprint does not have"),
        (blueprint(step("a", on_failure="step:first")), {}, "names step 'first', which the blueprint does not have"),
        (blueprint(step("a", when="size(params) > 0")), {}, "it reads 'params' as a whole"),
        (
            blueprint(step("a", when="params.x > 1"), params=ONE),
            {"args": {"x": {"$ref": "steps.first.output.items[?n]"}}},
            "is more than a path, which an expression cannot follow",
        ),
        (blueprint(step("a" * 62)), {}, "is longer than 64 characters"),
        (blueprint(step("a")), {"max_attempts": 2}, "max_attempts has no meaning for a nested plan"),
        (blueprint(step("a")), {"use_model": "openai:gpt-5"}, "use_model has no meaning for a nested plan"),
        (blueprint(step("a"), params=ONE), {"args": {"x": {"$ref": "params.p"}}}, "x: 5 is not of type"),
        (blueprint(step("a"), params={"x": Param(pattern="(")}), {"args": {"x": "a"}}, "x is declared wrongly"),
    ],
)
def test_what_a_nested_plan_cannot_be_is_said(inner: Blueprint, more: dict[str, Any], said: str) -> None:
    assert said in problem(inner, goal=Goal(text="g", params={"p": 5}), **more)


def test_a_mark_of_a_parameter_is_not_lost_on_the_way_in() -> None:
    inner = blueprint(step("a", {"$ref": "params.x"}), params={"x": Param(untrusted=True)})
    args = {"x": {"$ref": "params.mail"}}
    bare, marked = Goal(text="g", params={"mail": "text"}), Goal(text="g", params={"mail": "text"}, untrusted=("mail",))
    assert "params.mail, which it is given, is not marked so in the goal" in problem(inner, goal=bare, args=args)
    plan = Plan(goal=marked, steps=(Step(id="sub", blueprint="inner", args=args),))
    assert len(lay_out(plan, {"inner": inner}).steps) == 2


def test_nesting_has_an_end() -> None:
    chain = [blueprint(Step(id="s", blueprint=f"b{n + 1}"), name=f"b{n}") for n in range(MAX_DEPTH)]
    assert f"nested more than {MAX_DEPTH} deep" in problem(*chain, blueprint(step("a"), name=f"b{MAX_DEPTH}"))


def test_a_nested_plan_has_no_more_steps_than_anybody_can_look_at() -> None:
    many = blueprint(*(Step(id=f"s{n}", blueprint="small") for n in range(60)))
    small = blueprint(*(step(f"s{n}") for n in range(40)), name="small")
    assert "comes to more than 2000 steps" in problem(many, small)


def test_a_step_is_no_part_of_another_because_it_says_so() -> None:
    forged = step("sub__a").model_copy(update={"part_of": "sub"})
    plan = Plan(goal="g", steps=(forged, Step(id="sub", blueprint="inner")))
    assert lay_out(plan, {"inner": blueprint(step("a"))}) == plan
    assert wrong_with(plan.steps[1], plan, {}) == "it does not wait for its parts sub__a"


# ── properties ────────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def blueprints(draw: st.DrawFn) -> Blueprint:
    """Of up to five steps that use each other, a parameter, conditions and fallbacks."""
    count = draw(st.integers(1, 5))
    steps: list[Step] = []
    stand_ins: set[str] = set()
    for number in range(count):
        earlier = [each.id for each in steps if each.id not in stand_ins]
        value: Any = draw(st.sampled_from([1, {"$ref": "params.x"}, *({"$ref": f"steps.{each}.output.value"} for each in earlier)]))
        when = draw(st.sampled_from([None, "params.x != 3", *(f"steps.{each}.status == 'succeeded'" for each in earlier)]))
        after = draw(st.sampled_from([(), *((each,) for each in earlier)]))
        steps.append(
            step(f"s{number}", value, when=when, depends_on=after, on_failure=draw(st.sampled_from(["replan", "continue", "fail"])))
        )
    if count > 1 and draw(st.booleans()):
        spare = step("spare", 2)
        first = steps[0].model_copy(update={"on_failure": "step:spare"})
        steps = [first, spare, *steps[1:]]
        stand_ins.add("spare")
    return blueprint(*steps, params={"x": Param(type="integer")}, answer={"last": {"$ref": f"steps.{steps[-1].id}.output"}})


RULES = Rules(tools=REGISTRY.specs, policy=Policy.allow_all(), limits=Limits())


def errors(plan: Plan) -> list[str]:
    return [str(issue) for issue in compile_plan(plan, RULES, RunId("x")).errors]


@given(
    inner=blueprints(), outer=st.sampled_from(["replan", "continue", "fail", "ask"]), when=st.sampled_from([None, "steps.first.output.ok"])
)
@settings(max_examples=150, deadline=None)
def test_a_blueprint_that_runs_by_itself_runs_nested(inner: Blueprint, outer: str, when: str | None) -> None:
    alone = Plan(goal=Goal(text="g", params={"x": 3}), steps=inner.steps, answer=inner.answer)
    if errors(alone):
        return  # a step that stands in may be waited for in a circle
    plan = laid(inner, before=(step("first"),), args={"x": {"$ref": "steps.first.output.value"}}, on_failure=outer, when=when)
    assert errors(plan) == []
    flow = Dataflow.of(plan)
    assert all(flow.needs["sub"] >= {each.id} for each in plan.steps if each.part_of == "sub")
    assert len(flow.rank) == len(plan.steps)  # nothing goes round
