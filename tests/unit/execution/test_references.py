"""Data moves by references: each is followed, or says why it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from agent_graph.execution.references import MissingOutput, ReferenceError_, follow, resolve
from agent_graph.plan import Reference

OUTPUTS: dict[str, Any] = {"a": {"items": [{"n": 1}, {"n": "x"}], "text": "t", "none": None}, "b": [1, 2, 3]}
PARAMS = {"who": "ann", "nothing": None}


def output_of(step: str) -> Any:
    if step not in OUTPUTS:
        raise MissingOutput(f"step {step!r} has no output")
    return OUTPUTS[step]


def followed(text: str) -> Any:
    return follow(Reference.parse(text), output_of, PARAMS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("steps.b.output", [1, 2, 3]),
        ("steps.b.output[-1]", 3),
        ("steps.b.output[::2]", [1, 3]),
        ("steps.a.output.items[0].n", 1),
        ("steps.a.output.items[*].n", [1, "x"]),
        ("steps.a.output.length(items)", 2),
        ("steps.a.output.none", None),
        ("steps.a.output.missing.deeper", None),
        ("params.who", "ann"),
        ("params.nothing", None),
    ],
)
def test_a_reference_gives_what_it_points_to(text: str, value: Any) -> None:
    assert followed(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("params.whom", "no parameter 'whom'"),
        ("steps.a.output.x[[", "Expecting"),
        ("steps.b.output[::0]", "slice step cannot be zero"),
        ("steps.a.output.length(none)", "invalid type"),
        ("steps.a.output.nofunction(text)", "Unknown function"),
        ("steps.a.output.items[?n > `0`]", "not supported between"),
        ("steps.a.output.sort_by(items, &n)", "invalid type"),
    ],
)
def test_a_reference_that_cannot_be_followed_says_why(text: str, why: str) -> None:
    with pytest.raises(ReferenceError_, match=why) as caught:
        followed(text)
    assert not isinstance(caught.value, MissingOutput)


def test_a_missing_output_is_told_apart() -> None:
    with pytest.raises(MissingOutput, match="'c' has no output"):
        followed("steps.c.output.x")


def test_every_reference_in_a_value_is_replaced_and_the_rest_stays() -> None:
    value = {"x": {"$ref": "params.who"}, "y": [{"z": {"$ref": "steps.b.output[0]"}}, 5, "$ref"], "w": {}}
    assert resolve(value, output_of, PARAMS) == {"x": "ann", "y": [{"z": 1}, 5, "$ref"], "w": {}}


def test_the_arguments_as_a_whole_may_be_a_reference() -> None:
    assert resolve({"$ref": "steps.a.output.items[0]"}, output_of, PARAMS) == {"n": 1}


def test_what_a_reference_gives_is_not_resolved_again() -> None:
    params = {"injected": {"$ref": "steps.a.output.text"}}
    assert resolve({"x": {"$ref": "params.injected"}}, output_of, params) == {"x": {"$ref": "steps.a.output.text"}}


def test_a_value_without_references_is_not_changed_and_not_shared() -> None:
    value = {"x": [1, {"y": 2}]}
    made = resolve(value, output_of, PARAMS)
    made["x"][1]["y"] = 3
    assert value == {"x": [1, {"y": 2}]}
