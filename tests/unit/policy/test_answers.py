"""Which value an answer stands for, and which text is no answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.identity import Digest
from agent_graph.plan import Step
from agent_graph.policy.answers import WrongAnswer, answer_schema, check_ask, choices_of, text_of, value_in
from agent_graph.verdicts import Request


def question(**more: Any) -> Request:
    return Request(id="r", run_id="run", kind="question", digest=Digest("d"), reason="", asked=0.0, question="Which?", **more)


@pytest.mark.parametrize(
    ("text", "asked", "value"),
    [
        ("anything", {}, "anything"),
        ("yes", {}, "yes"),
        ("b", {"choices": ("a", "b")}, "b"),
        (" EU-West ", {"choices": ("eu-west", "us-east")}, "eu-west"),
        ("eu-west-2", {"proposed": "eu-west-1"}, "eu-west-2"),
        ("300", {"proposed": 250}, 300),
        ("250", {"proposed": 250}, 250),
        ("true", {"proposed": False}, True),
        ('["x"]', {"proposed": ["a"]}, ["x"]),
        ("yes", {"proposed": "no"}, "yes"),
        ("7", {"expects": {"type": "integer"}}, 7),
        ("7", {"expects": {"type": "string"}}, "7"),
        ("2", {"expects": {"enum": [1, 2]}}, 2),
        ("2", {"expects": {"enum": ["2", 2]}}, "2"),
        ("null", {"expects": {"type": ["integer", "null"]}}, None),
    ],
)
def test_an_answer_stands_for_a_value(text: str, asked: dict[str, Any], value: Any) -> None:
    read = value_in(text, question(**asked))
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "asked", "said"),
    [
        ("  ", {}, "empty"),
        ("c", {"choices": ("a", "b")}, "choose one of: a, b"),
        ("A", {"choices": ("a", "A ")}, "choose one of"),
        ("much", {"proposed": 250}, "give a number, as JSON, such as 250"),
        ("NaN", {"proposed": 250}, "give a number"),
        ("true", {"proposed": 250}, "does not fit"),
        ("1 2", {"proposed": 250}, "give a number"),
        ("yes", {"proposed": "eu-west-1"}, "approve takes 'eu-west-1'"),
        ("yes", {"proposed": True}, "give a boolean"),
        ("7.5", {"expects": {"type": "integer"}}, "does not fit"),
        ("xx", {"expects": {"type": "string", "pattern": "^[a-z]$"}}, "does not fit"),
        ("3", {"expects": {"enum": [1, 2]}}, "does not fit"),
        ("[" * 100_000, {"proposed": [1]}, "is no answer"),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(text: str, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongAnswer, match=said):
        value_in(text, question(**asked))


_SCALARS = st.text(min_size=1).filter(str.strip) | st.integers() | st.booleans()
_VALUES = st.recursive(
    _SCALARS | st.floats(allow_nan=False, allow_infinity=False), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(_VALUES)
def test_the_proposed_value_as_it_is_shown_is_always_an_answer(value: Any) -> None:
    assert value_in(text_of(value), question(proposed=json.loads(json.dumps(value)))) == value


@given(st.lists(_SCALARS, min_size=1, max_size=8, unique_by=text_of))
def test_each_choice_is_an_answer_and_is_found_again(values: list[Any]) -> None:
    found = choices_of(values)
    asked = question(choices=tuple(found))
    assert [found[value_in(text_of(value), asked)] for value in values] == values


@pytest.mark.parametrize("given", ["a", [], [["a"]], [None], ["a", "a"], [1, "1"], ["  "], list(range(101))])
def test_what_is_no_list_of_choices_is_refused(given: Any) -> None:
    with pytest.raises(WrongAnswer, match="choices: "):
        choices_of(given)


REF = {"$ref": "steps.a.output"}


@pytest.mark.parametrize(
    ("args", "more", "said"),
    [
        ({"x": 1}, {}, "takes no arguments but choices and value; it has x"),
        ({"choices": "a"}, {}, "a list"),
        ({"choices": ["a"], "value": "b"}, {}, "not among the choices"),
        ({"value": None}, {}, "null"),
        ({"value": "x"}, {"expected_output": {"type": "integer"}}, "does not match expected_output"),
    ],
)
def test_what_is_wrong_with_an_ask_step_is_found_before_it_asks(args: dict[str, Any], more: dict[str, Any], said: str) -> None:
    ((found, fix),) = check_ask(Step(id="q", ask="Which?", args=args, **more))
    assert said in found
    assert fix


@pytest.mark.parametrize(
    "args", [{}, {"choices": REF}, {"choices": ["a", REF]}, {"value": REF}, {"choices": REF, "value": "x"}, {"choices": [1, 2], "value": 2}]
)
def test_what_is_known_only_later_is_looked_at_later(args: dict[str, Any]) -> None:
    assert list(check_ask(Step(id="q", ask="Which?", args=args))) == []


@pytest.mark.parametrize(
    ("args", "schema"),
    [
        ({}, {"type": "string"}),
        ({"choices": ["a", "b"]}, {"type": "string"}),
        ({"choices": [1, "b"]}, {"type": ["number", "string"]}),
        ({"choices": REF}, None),
        ({"value": 3}, {"type": "number"}),
        ({"value": {"x": REF}}, None),
    ],
)
def test_what_an_answer_will_be_is_known_where_it_can_be(args: dict[str, Any], schema: Any) -> None:
    assert answer_schema(Step(id="q", ask="Which?", args=args)) == schema
