"""Words of the command line, and what they mean."""

from __future__ import annotations

from typing import Any

import pytest

from agent_graph.cli import with_optional_file
from agent_graph.cli.inputs import blueprint_params, looks_like_file, looks_like_name, plan_params, split_params
from agent_graph.cli.program import quoted
from agent_graph.errors import UsageError
from agent_graph.plan import Blueprint

BLUEPRINT = Blueprint.model_validate(
    {
        "name": "b",
        "goal": "g",
        "params": {"who": {}, "n": {"type": "integer", "default": 1}, "many": {"type": "array", "optional": True}},
        "steps": [{"id": "a", "tool": "x"}],
    }
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=3", 3),
        ("x=3.5", 3.5),
        ("x=true", True),
        ("x=null", None),
        ("x=", ""),
        ("x=a b", "a b"),
        ("x=a: b", "a: b"),
        ("x=- a", "- a"),
        ("x=[1, b]", [1, "b"]),
        ('x={"a": 1}', {"a": 1}),
        ("x=2024-01-01", "2024-01-01"),
        ("x=a=b", "a=b"),
        ("x=[unfinished", "[unfinished"),
    ],
)
def test_a_plans_parameter_is_a_scalar_or_json(text: str, value: Any) -> None:
    assert plan_params([text]) == {"x": value}


def test_a_blueprints_parameters_have_their_types_and_defaults() -> None:
    assert blueprint_params(BLUEPRINT, ["who=3", "many=a,b"]) == {"who": "3", "n": 1, "many": ["a", "b"]}


def test_all_that_is_wrong_with_parameters_is_said_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        blueprint_params(BLUEPRINT, ["n=x", "zzz=1"])
    said = str(refused.value)
    assert all(text in said for text in ("who is missing", "n: 'x' is not", "no parameter 'zzz'"))
    assert blueprint_params(BLUEPRINT, [], partly=True) == {"n": 1, "many": None}


@pytest.mark.parametrize("given", [["x"], ["=1"], ["x=1", "x=2"]])
def test_what_is_no_parameter_is_refused(given: list[str]) -> None:
    with pytest.raises(UsageError):
        split_params(given)


@pytest.mark.parametrize(
    ("text", "is_file", "is_name"),
    [
        ("a.yaml", True, False),
        ("dir/b.json", True, False),
        ("investigate-metric", False, True),
        ("Why?", False, False),
        ("read a.yaml", False, False),
    ],
)
def test_files_names_and_goals_are_told_apart(text: str, is_file: bool, is_name: bool) -> None:
    assert (looks_like_file(text), looks_like_name(text)) == (is_file, is_name)


def test_landed_may_stand_alone(tmp_path: Any) -> None:
    file = tmp_path / "out.json"
    file.write_text("1")
    assert with_optional_file(["resume", "r", "--landed"]) == ["resume", "r", "--landed="]
    assert with_optional_file(["resume", "--landed", "r"]) == ["resume", "--landed=", "r"]
    assert with_optional_file(["resume", "r", "--landed", str(file)]) == ["resume", "r", "--landed", str(file)]


@pytest.mark.parametrize(
    ("word", "shown"), [("plain", "plain"), ("a b", "'a b'"), ("host's CPU", '"host\'s CPU"'), ("$x's", "'$x'\"'\"'s'")]
)
def test_printed_commands_can_be_copied(word: str, shown: str) -> None:
    assert quoted(word) == shown
