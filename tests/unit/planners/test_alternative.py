"""Another tool for a step that failed: the same facts, from facts at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent_graph import Limits, Plan, Policy, Step, tool
from agent_graph.identity import RunId
from agent_graph.plan import Goal
from agent_graph.planners.chain import alternative
from agent_graph.policy.compiler import Rules, compile_plan
from agent_graph.policy.matching import Rule
from agent_graph.tools.registry import ToolRegistry
from agent_graph.tools.tool import Tool
from agent_graph.verdicts import Failure, StepResult


def made(name: str, *needs: str, risk: Any = "read_only", **more: Any) -> Tool:
    schema = {"type": "object", "properties": {need: {"type": "string"} for need in needs}, "required": list(needs)}
    if risk != "read_only":
        more.setdefault("recovery", "idempotent")
    return tool(lambda ctx, **args: {}, name=name, args_schema=schema, risk=risk, **more)


def failed(step_id: str = "fetch", code: str = "tool_failed", *, retryable: bool = True, landed: bool = False) -> StepResult:
    return StepResult(step_id=step_id, status="failed", error=Failure(code=code, message="down", retryable=retryable), landed=landed)


def done(step_id: str) -> StepResult:
    return StepResult(step_id=step_id, status="succeeded", output={})


FETCH = Step(id="fetch", tool="weather_a", args={"city": {"$ref": "params.city"}}, success_criteria=("output.now.degrees > -90.0",))
USE = Step(id="use", tool="note", args={"text": {"$ref": "steps.fetch.output.now.degrees"}}, when="steps.fetch.output.now.degrees > 3.0")
PLAN = Plan(
    goal=Goal(text="weather", params={"city": "Bern"}),
    steps=(FETCH, USE),
    answer={"degrees": {"$ref": "steps.fetch.output.now.degrees"}},
    stop_when="steps.fetch.status == 'skipped'",
)
WEATHER_A = made("weather_a", "city", gives={"weather": "now"})
WEATHER_B = made("weather_b", "city", gives={"weather": "data[0].current"})
NOTE = made("note", "text")


def other(plan: Plan, *tools: Tool, results: dict[str, StepResult] | None = None, policy: Policy | None = None, **more: Any) -> Plan | None:
    registry = ToolRegistry(tools)
    rules = Rules(tools=registry.specs, policy=policy or Policy.allow_all(), limits=Limits())
    step = plan.by_id["fetch"]
    found = alternative(step, plan, registry.specs, {"fetch": failed()} if results is None else results, rules, **more)
    if found is not None:
        assert compile_plan(found, rules, RunId("x")).valid
    return found


def test_the_other_tool_takes_the_place_and_everything_reads_from_it() -> None:
    found = other(PLAN, WEATHER_A, WEATHER_B, NOTE)
    assert found is not None
    new, use = found.steps
    assert (new.id, new.tool, new.args) == ("fetch_2", "weather_b", {"city": {"$ref": "params.city"}})
    assert new.success_criteria == ("output.data[0].current.degrees > -90.0",)
    assert use.args == {"text": {"$ref": "steps.fetch_2.output.data[0].current.degrees"}}
    assert use.when == "steps.fetch_2.output.data[0].current.degrees > 3.0"
    assert found.answer == {"degrees": {"$ref": "steps.fetch_2.output.data[0].current.degrees"}}
    assert found.stop_when == "steps.fetch_2.status == 'skipped'"
    assert (found.version, found.parent, found.created_by) == (2, 1, "chain")
    assert found.reason == "weather_a failed in step fetch; weather_b gives weather too"


def test_a_literal_argument_of_the_failed_step_goes_along() -> None:
    plan = PLAN.model_copy(update={"steps": (FETCH.model_copy(update={"args": {"city": "Basel"}}), USE)})
    found = other(plan, WEATHER_A, WEATHER_B, NOTE)
    assert found is not None
    assert found.steps[0].args == {"city": "Basel"}


def test_what_the_other_tool_needs_besides_a_read_may_bring() -> None:
    by_place = made("by_place", "latitude", gives={"weather": ""})
    locate = made("locate", "city", gives={"latitude": "lat"})
    found = other(PLAN, WEATHER_A, by_place, locate, NOTE)
    assert found is not None
    assert [step.tool for step in found.steps] == ["locate", "by_place", "note"]
    assert found.steps[1].args == {"latitude": {"$ref": "steps.locate.output.lat"}}


def test_the_cheapest_of_several_is_taken() -> None:
    dear = made("dear", "city", gives={"weather": ""}, cost=4)
    found = other(PLAN, WEATHER_A, dear, WEATHER_B, NOTE)
    assert found is not None
    assert found.steps[0].tool == "weather_b"


def test_a_tool_that_failed_before_is_not_tried_again() -> None:
    assert other(PLAN, WEATHER_A, WEATHER_B, NOTE, tried={"weather_b"}) is None
    plan = PLAN.model_copy(update={"steps": (Step(id="first", tool="weather_b", args={"city": "x"}), FETCH, USE)})
    assert other(plan, WEATHER_A, WEATHER_B, NOTE, results={"fetch": failed(), "first": failed("first")}) is None


def test_a_graver_tool_is_no_alternative() -> None:
    assert other(PLAN, WEATHER_A, made("posts", "city", risk="write", gives={"weather": ""}), NOTE) is None


def test_a_tool_that_the_policy_denies_is_no_alternative() -> None:
    policy = Policy(rules=(Rule(verdict="allow"), Rule(verdict="deny", tools=("weather_b",))))
    assert other(PLAN, WEATHER_A, WEATHER_B, NOTE, policy=policy) is None


def test_a_tool_outside_of_what_the_step_allows_is_no_alternative() -> None:
    plan = PLAN.model_copy(update={"steps": (FETCH.model_copy(update={"allowed_tools": ("weather_a",)}), USE)})
    assert other(plan, WEATHER_A, WEATHER_B, NOTE) is None


def test_more_than_facts_of_the_output_cannot_be_found_elsewhere() -> None:
    plan = PLAN.model_copy(update={"answer": {"$ref": "steps.fetch.output.request_id"}})
    assert other(plan, WEATHER_A, WEATHER_B, NOTE) is None


def test_a_goal_that_names_the_step_keeps_it() -> None:
    goal = PLAN.goal.model_copy(update={"success_criteria": ("steps.fetch.output.now.degrees > 0.0",)})
    assert other(PLAN.model_copy(update={"goal": goal}), WEATHER_A, WEATHER_B, NOTE) is None


PAY_A = made("pay_a", "city", risk="write", gives=["receipt"])
PAY_B = made("pay_b", "city", risk="write", gives=["receipt"])
PAYMENT = Plan(goal=PLAN.goal, steps=(Step(id="fetch", tool="pay_a", args={"city": "Bern"}),), answer={"$ref": "steps.fetch.output"})


def test_tools_that_happen_to_give_things_of_one_name_do_not_stand_in_for_each_other() -> None:
    schema = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    user, company = (
        tool(called, args_schema=schema, risk="read_only", name=called.__name__.removeprefix("_")) for called in (_get_user, _get_company)
    )
    output = {"type": "object", "properties": {"name": {"type": "string"}}}
    tools = [replace(each, spec=replace(each.spec, output_schema=output)) for each in (user, company)]
    plan = Plan(goal=PLAN.goal, steps=(Step(id="fetch", tool="get_user", args={"id": "7"}),), answer={"$ref": "steps.fetch.output.name"})
    assert other(plan, *tools) is None
    said = [replace(each, spec=replace(each.spec, gives={"person": ""})) for each in tools]
    assert other(plan, said[0], tools[1]) is None
    assert other(plan, *said) is not None


def _get_user(ctx: Any, **args: Any) -> Any: ...
def _get_company(ctx: Any, **args: Any) -> Any: ...


def test_no_write_is_done_for_the_sake_of_another_tool() -> None:
    by_token = made("by_token", "token", risk="write", gives=["receipt"])
    make_token, read_token = (made(name, "city", risk=risk, gives=["token"]) for name, risk in (("make", "write"), ("read", "read_only")))
    assert other(PAYMENT, PAY_A, by_token, make_token) is None
    assert other(PAYMENT, PAY_A, by_token, read_token) is not None


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (failed(), True),
        (failed(retryable=False), False),  # nobody knows that it did not happen
        (failed(code="timeout"), False),
        (failed(code="criteria_unmet", landed=True), False),  # it happened: the other one would do it twice
        (failed(code="outcome_unknown"), False),
        (StepResult(step_id="fetch", status="in_doubt"), False),
        (StepResult(step_id="fetch", status="blocked", error=Failure(code="denied_by_policy", message="no")), False),
    ],
)
def test_what_changes_something_is_only_replaced_when_it_certainly_did_not_happen(result: StepResult, expected: bool) -> None:
    assert (other(PAYMENT, PAY_A, PAY_B, results={"fetch": result}) is not None) is expected


def test_a_finished_step_that_reads_the_failed_one_is_never_rewritten() -> None:
    late = Step(id="late", tool="note", args={"text": "x"}, when="steps.fetch.status == 'failed'")
    plan = PLAN.model_copy(update={"steps": (FETCH, late, USE)})
    assert other(plan, WEATHER_A, WEATHER_B, NOTE, results={"fetch": failed(), "late": done("late")}) is None


def test_what_waits_for_the_failed_step_waits_for_the_new_one() -> None:
    after = Step(id="after", tool="note", args={"text": "x"}, depends_on=("fetch",))
    before = Step(id="before", tool="weather_a", args={"city": "x"}, on_failure="step:fetch")
    plan = PLAN.model_copy(update={"steps": (before, FETCH, USE, after)})
    found = other(plan, WEATHER_A, WEATHER_B, NOTE)
    assert found is not None
    assert (found.by_id["after"].depends_on, found.by_id["before"].on_failure) == (("fetch_2",), "step:fetch_2")
