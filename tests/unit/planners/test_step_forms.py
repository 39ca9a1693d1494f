"""What a step may be, and what not, as it is offered: tools, questions, models, agents, blueprints; and back to what the model is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.models.replies import WrongReply
from agent_graph.plan import Blueprint, Goal, Interpretation, Param, Plan, Risk, Step
from agent_graph.planners.offer import Offer
from agent_graph.planners.plan_schema import PlanSchema, write_step, write_steps
from agent_graph.policy.nesting import lay_out
from agent_graph.ports import Question, ToolSpec

GOAL = Goal(text="try")


def spec(name: str, risk: Risk = "read_only") -> ToolSpec:
    schema = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"], "additionalProperties": False}
    return ToolSpec(name=name, description="", args_schema=schema, output_schema=None, risk=risk, recovery="rerun")


REPORT = Blueprint(
    name="report",
    goal="report on {host}",
    params={"host": Param(), "days": Param(type="integer", default=7)},
    steps=({"id": "look", "tool": "look", "args": {"at": "x"}},),
)
ALL = Offer(tools=(spec("look"), spec("send", "external_communication")), executor=True, blueprints=(REPORT,))


def read(offer: Offer, *steps: dict[str, Any], before: Plan | None = None, **more: Any) -> Plan:
    plan = PlanSchema(offer).read({"reply": {"kind": "plan", "steps": list(steps), **more}}, GOAL, before)
    assert isinstance(plan, Plan)
    return plan


def problem(offer: Offer, *steps: Any, before: Plan | None = None, **more: Any) -> str:
    with pytest.raises(WrongReply) as caught:
        read(offer, *steps, before=before, **more)
    return str(caught.value)


def kinds(offer: Offer) -> list[str]:
    plan = PlanSchema(offer).document["properties"]["reply"]["anyOf"][0]
    return [next(iter(kind["properties"])) for kind in plan["properties"]["steps"]["items"]["properties"]["do"]["anyOf"]]


WRITTEN: dict[str, tuple[dict[str, Any], Step]] = {
    "a tool": ({"tool": "look", "args": {"at": {"ref": "params.x"}}}, Step(id="a", tool="look", args={"at": {"$ref": "params.x"}})),
    "a question": ({"ask": "why?", "choices": [], "value": None}, Step(id="a", ask="why?")),
    "a choice": ({"ask": "which?", "choices": ["b", "c"], "value": None}, Step(id="a", ask="which?", args={"choices": ["b", "c"]})),
    "a value to confirm": (
        {"ask": "to whom?", "choices": [], "value": {"ref": "steps.b.output"}},
        Step(id="a", ask="to whom?", args={"value": {"$ref": "steps.b.output"}}),
    ),
    "a model": (
        {"model": "sum up", "inputs": [{"name": "text", "value": {"ref": "steps.b.output"}}, {"name": "tone", "value": "dry"}]},
        Step(id="a", model="sum up", args={"text": {"$ref": "steps.b.output"}, "tone": "dry"}),
    ),
    "an agent": (
        {"agent": "find out", "inputs": [], "allowed_tools": ["look"], "max_turns": 4},
        Step.model_validate({"id": "a", "agent": "find out", "allowed_tools": ["look"], "budget": {"max_turns": 4}}),
    ),
    "a blueprint": (
        {"blueprint": "report", "params": {"host": "a1", "days": None}},
        Step(id="a", blueprint="report", args={"host": "a1"}),
    ),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_each_kind_is_read(kind: str) -> None:
    do, step = WRITTEN[kind]
    assert read(ALL, {"id": "a", "do": do}).steps == (step,)
    assert read(ALL, {"id": "a", **do}).steps == (step,), "a model that is held to no schema may write it beside the id"


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_the_model_is_shown_of_a_step_it_may_write_again(kind: str) -> None:
    step = WRITTEN[kind][1].model_copy(update={"depends_on": ("z",), "when": "params.x > 1", "allow_empty": False})
    assert read(ALL, write_step(step)).steps == (step,)


def test_a_kind_is_offered_only_where_there_is_what_it_needs() -> None:
    assert kinds(Offer(tools=ALL.tools)) == ["tool", "tool", "ask"]
    assert kinds(ALL) == ["tool", "tool", "blueprint", "ask", "model", "agent"]
    assert kinds(Offer(executor=True)) == ["ask", "model"], "an agent without tools is a model"


@pytest.mark.parametrize(
    ("do", "says"),
    [
        ({"model": "think"}, "there are no model steps here; give one of tool, ask"),
        ({"agent": "do", "allowed_tools": ["look"]}, "there are no agent steps here"),
        ({"blueprint": "report"}, "there is no blueprint"),
        ({"tool": "look", "ask": "why?", "args": {"at": "x"}}, "has tool and ask; give exactly one"),
        ({}, "has none of them; give exactly one of tool, ask"),
    ],
)
def test_what_was_not_offered_is_refused(do: dict[str, Any], says: str) -> None:
    assert says in problem(Offer(tools=ALL.tools), {"id": "a", "do": do})


def test_a_specialist_is_one_that_there_is() -> None:
    offer = Offer(tools=ALL.tools, executor=True, specialists=(("lawyer", "reads contracts"),))
    do = {"model": "check", "inputs": [], "executor": "lawyer"}
    assert read(offer, {"id": "a", "do": do}).steps[0].executor == "lawyer"
    assert read(offer, {"id": "a", "do": {**do, "executor": None}}).steps[0].executor is None
    assert 'steps[0].do.executor: "poet" is not one of "lawyer" or null' in problem(offer, {"id": "a", "do": {**do, "executor": "poet"}})


def test_without_an_executor_a_specialist_must_be_named() -> None:
    offer = Offer(tools=ALL.tools, specialists=(("lawyer", "reads contracts"),))
    assert "executor" in problem(offer, {"id": "a", "do": {"model": "check", "inputs": [], "executor": None}})


@pytest.mark.parametrize(
    ("do", "says"),
    [
        ({"agent": "do", "allowed_tools": []}, "needs a tool at least"),
        ({"agent": "do", "allowed_tools": ["rm"]}, "steps[0].do.allowed_tools[0]"),
        ({"agent": "do", "allowed_tools": ["look"], "max_turns": 0}, "max_turns: 0 is less than 1"),
        ({"model": "m", "inputs": [{"name": "x", "value": "1"}, {"name": "x", "value": "2"}]}, 'two are called "x"'),
        ({"model": "m", "inputs": [], "shell": "rm"}, "shell"),
        ({"blueprint": "report", "params": {"host": 5, "days": None}}, "steps[0].do.params.host: 5 is not"),
        ({"tool": "look", "args": {"at": "x"}, "when": "true"}, "when"),
    ],
)
def test_what_is_wrong_inside_a_step_is_said_at_its_place(do: dict[str, Any], says: str) -> None:
    assert says in problem(ALL, {"id": "a", "do": do})


def test_what_stands_beside_do_is_refused() -> None:
    assert "shell" in problem(ALL, {"id": "a", "do": {"tool": "look", "args": {"at": "x"}}, "shell": "rm"})


def test_in_a_fine_plan_an_agent_is_offered_what_only_reads() -> None:
    fine = Offer(tools=ALL.tools, executor=True, fine=True)
    assert "steps[0].do.allowed_tools[0]" in problem(fine, {"id": "a", "do": {"agent": "do", "allowed_tools": ["send"]}})
    assert read(fine, {"id": "a", "do": {"agent": "do", "allowed_tools": ["look"]}}).granularity == "fine"


def test_an_agent_that_is_kept_keeps_its_other_bounds() -> None:
    was = Step.model_validate(
        {"id": "a", "agent": "do", "allowed_tools": ["look"], "budget": {"max_turns": 3, "max_money": 2.0}, "use_model": "openai:gpt-5"}
    )
    before = Plan(goal=GOAL, steps=(was,))
    assert read(ALL, write_step(was), before=before).steps == (was,)


def test_a_nested_plan_is_shown_as_its_step_which_may_be_written_again() -> None:
    outer = Step(id="weekly", blueprint="report", args={"host": "a1"}, depends_on=("first",))
    laid = lay_out(Plan(goal=GOAL, steps=(Step(id="first", tool="look", args={"at": "x"}), outer)), {"report": REPORT})
    assert [step.part_of for step in laid.steps] == [None, "weekly", None]
    shown = {step["id"]: step for step in write_steps(laid)}
    assert shown["weekly__look"]["part_of"] == "weekly"
    again = read(ALL, shown["first"], shown["weekly"], before=laid)
    assert lay_out(again, {"report": REPORT}).steps == laid.steps


def test_a_part_of_a_nested_plan_is_not_written_down_as_a_step() -> None:
    laid = lay_out(Plan(goal=GOAL, steps=(Step(id="weekly", blueprint="report", args={"host": "a1"}),)), {"report": REPORT})
    part = {"id": "weekly__look", "do": {"tool": "look", "args": {"at": "x"}}}
    assert problem(ALL, part, before=laid) == "step weekly__look is part of weekly and comes with it; leave it out"


def test_the_goal_is_interpreted_before_the_reply() -> None:
    document = PlanSchema(ALL).document
    assert list(document["properties"]) == ["interpretation", "reply"]
    said = {
        "interpretation": {"intent": "to try", "missing": ["where"]},
        "reply": {"kind": "plan", "steps": [{"id": "a", "ask": "where?"}]},
    }
    plan = PlanSchema(ALL).read(said, GOAL)
    assert isinstance(plan, Plan)
    assert plan.interpretation == Interpretation(intent="to try", missing=("where",))


@pytest.mark.parametrize("wrong", ["to try", {"intent": 5}, {"goal": "x"}, []])
def test_an_interpretation_of_another_shape_is_refused(wrong: Any) -> None:
    with pytest.raises(WrongReply, match="interpretation"):
        PlanSchema(ALL).read({"interpretation": wrong, "reply": {"kind": "answer", "text": "x"}}, GOAL)


def test_a_question_may_propose_a_value() -> None:
    said = {"kind": "question", "text": "to whom?", "choices": [], "proposed": "ann@example.com"}
    assert PlanSchema(ALL).read({"reply": said}, GOAL) == Question("to whom?", (), "ann@example.com")


def test_only_an_iterative_plan_may_be_open() -> None:
    step = {"id": "a", "do": {"tool": "look", "args": {"at": "x"}}}
    assert "open" in problem(ALL, step, open=True)
    plan = read(Offer(tools=ALL.tools, mode="iterative"), step, open=True)
    assert (plan.mode, plan.open) == ("iterative", True)


def test_a_hundred_tools_cost_the_schema_little_more_than_their_arguments() -> None:
    def size(count: int) -> int:
        return len(json.dumps(PlanSchema(Offer(tools=tuple(spec(f"tool_{number:03}") for number in range(count)))).document))

    assert (size(101) - size(1)) / 100 < 400


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["plan", "look", "report", "lawyer", "a", "{", "params.x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "do", "tool", "args", "at", "model", "agent", "inputs", "name", "value", "allowed_tools", "executor", "ref"]
            ),
            inner,
        )
    ),
    max_leaves=15,
)


@given(JUNK, JUNK, st.booleans())
def test_junk_is_refused_and_never_half_read(do: Any, interpretation: Any, is_open: bool) -> None:
    offer = replace(ALL, specialists=(("lawyer", "reads contracts"),), mode="iterative")
    reply = {"kind": "plan", "steps": [{"id": "a", "do": do}], "open": is_open}
    try:
        plan = PlanSchema(offer).read({"interpretation": interpretation, "reply": reply}, GOAL)
    except WrongReply:
        return
    assert isinstance(plan, Plan)
    assert [step.id for step in plan.steps] == ["a"]
