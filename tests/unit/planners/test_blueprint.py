"""Blueprints and plans made in code: parameters are checked all at once, and neither can make another plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph.errors import InvalidDocument, UsageError
from agent_graph.plan import Blueprint, Goal, Plan, Step
from agent_graph.planners.blueprint import BlueprintPlanner, StaticPlanner, check_params, parse_param
from agent_graph.planners.choose import as_planner
from agent_graph.ports import GiveUp, Planner, PlanningContext, ReplanningContext
from agent_graph.testing import ScriptedPlanner

PLAN = Plan(goal="tell them", steps=(Step(id="a", tool="look"),))


def blueprint(**params: dict[str, Any]) -> Blueprint:
    return Blueprint.model_validate(
        {
            "name": "tell",
            "goal": "tell them",
            "constraints": ["be kind"],
            "params": params,
            "steps": [{"id": "a", "tool": "look"}],
            "success_criteria": ["steps.a.status == 'succeeded'"],
            "stop_when": "steps.a.output == 1",
            "answer": {"$ref": "steps.a.output"},
            "mode": "iterative",
        }
    )


ALL = blueprint(
    text={"description": "whom to tell"},
    number={"type": "number", "minimum": 0, "default": 1.5},
    whole={"type": "integer", "default": 3},
    flag={"type": "boolean", "default": False},
    list={"type": "array", "items": {"type": "string"}, "optional": True},
    numbers={"type": "array", "items": {"type": "number"}, "optional": True},
    object={"type": "object", "optional": True},
    choice={"enum": ["a", "b"], "optional": True},
    code={"pattern": "^[A-Z]+$", "optional": True},
)


# ── parameters ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_left_out_gets_its_default_or_null() -> None:
    assert check_params(ALL, {"text": "ann"}) == {
        "text": "ann",
        "number": 1.5,
        "whole": 3,
        "flag": False,
        "list": None,
        "numbers": None,
        "object": None,
        "choice": None,
        "code": None,
    }


def test_every_problem_is_told_at_once_with_what_there_is() -> None:
    with pytest.raises(UsageError) as caught:
        check_params(ALL, {"number": -1, "whole": "x", "list": [1], "choice": "c", "code": "a1", "colour": "red"})
    head, *problems = str(caught.value).splitlines()
    assert head == (
        "blueprint 'tell' cannot run with these parameters (it has: text, number?, whole?, flag?, list?, numbers?, object?, choice?, code?):"
    )
    assert [each.strip().split(":")[0].split(" is")[0] for each in problems] == [
        "choice",
        "code",
        "list",
        "number",
        "text",
        "there",
        "whole",
    ]
    assert "text is missing: a string — whom to tell" in problems[4]
    assert "there is no parameter colour" in problems[5]
    assert "a whole number" in problems[6]


@pytest.mark.parametrize(
    "declared",
    [{"pattern": "["}, {"type": "array", "items": {"type": "nothing"}}, {"type": "array", "items": {"$ref": "https://example.org/s"}}],
    ids=str,
)
def test_a_parameter_that_is_declared_wrongly_is_the_blueprints_fault(declared: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="blueprint 'tell' declares parameter x wrongly"):
        check_params(blueprint(x=declared), {"x": "a"})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "5", "5"),
        ("text", "", ""),
        ("text", "null", "null"),
        ("number", "2", 2),
        ("number", "-2.5e3", -2500.0),
        ("whole", "7", 7),
        ("flag", "true", True),
        ("list", "a, b,,c", ["a", "b", "c"]),
        ("list", "1,2", ["1", "2"]),
        ("list", ' ["a,b", "c"]', ["a,b", "c"]),
        ("list", "", []),
        ("numbers", "1, 2.5", [1, 2.5]),
        ("numbers", "[1, 2]", [1, 2]),
        ("object", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_a_parameter_given_as_text_becomes_what_it_is_declared_to_be(name: str, text: str, value: Any) -> None:
    found = parse_param(ALL, name, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("number", "many", "'many' is not a number"),
        ("number", "NaN", "'NaN' is not a number"),
        ("number", "1e999", "'1e999' is not a number"),
        ("number", "1" * 5000, "is not a number"),
        ("whole", "1.", "is not a whole number"),
        ("flag", "yes", "'yes' is not true or false"),
        ("numbers", "1,b", "'b' is not a list"),
        ("list", '["a"', "is not a list"),
        ("object", "a=1", "is not a JSON object"),
        ("colour", "red", "has no parameter 'colour'; it has: text, number"),
    ],
)
def test_a_text_that_is_not_what_is_declared_is_refused(name: str, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_param(ALL, name, text)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


# ── the planner ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_goal_is_completed_with_defaults_and_constraints() -> None:
    goal = BlueprintPlanner(blueprint(who={}, n={"type": "integer", "default": 1})).complete(
        Goal(text="x", params={"who": "ann"}, constraints=("soon",))
    )
    assert (goal.text, goal.params, goal.constraints) == ("x", {"who": "ann", "n": 1}, ("soon", "be kind"))


def test_the_plan_is_what_the_file_says_for_this_goal() -> None:
    goal = Goal(text="other", params={"who": "ann"})
    made = BlueprintPlanner(blueprint()).plan(PlanningContext(goal=goal, tools={}))
    assert isinstance(made, Plan)
    assert made.goal == goal
    assert (made.steps, made.mode, made.stop_when) == (PLAN.steps, "iterative", "steps.a.output == 1")
    assert (made.answer, made.success_criteria) == ({"$ref": "steps.a.output"}, ("steps.a.status == 'succeeded'",))


@pytest.mark.parametrize("planner", [BlueprintPlanner(blueprint()), StaticPlanner(PLAN)], ids=["blueprint", "static"])
def test_a_fixed_plan_cannot_be_replanned(planner: Planner) -> None:
    said = planner.replan(ReplanningContext(goal=PLAN.goal, tools={}, plan=PLAN))
    assert isinstance(said, GiveUp)
    assert "fixed" in said.reason
    assert planner.can_replan is False


# ── naming a planner ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_planner_may_be_named_in_each_way(tmp_path: Path) -> None:
    path = tmp_path / "tell.yaml"
    path.write_text("name: tell\ngoal: g\nsteps:\n  - {id: a, tool: look}\n")
    scripted = ScriptedPlanner()
    assert as_planner(scripted) is scripted
    assert isinstance(as_planner(PLAN), StaticPlanner)
    assert [as_planner(each).name for each in (blueprint(), path, str(path))] == ["blueprint:tell"] * 3


@pytest.mark.parametrize("thing", [5, None, object(), {"goal": "x"}, ScriptedPlanner], ids=["5", "None", "object", "dict", "a class"])
def test_what_is_no_planner_is_told_what_would_be_one(thing: Any) -> None:
    with pytest.raises(UsageError, match="is not a planner: give an object with plan"):
        as_planner(thing)


def test_a_blueprint_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="no such file"):
        as_planner(tmp_path / "nowhere.yaml")
