"""A plan while it is written: each step is told once it is whole, however the text is cut, and nothing that is not a step."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.events import Drafted, Event, Token
from agent_graph.models.drafting import StepsInText, drafts


def reply(*steps: dict[str, Any], **more: Any) -> str:
    return json.dumps({"reply": {"kind": "plan", "reason": 'say "steps": [{}]', **more, "steps": list(steps), "answer": None}})


LOOK = {"id": "look", "description": "find the host", "tool": "read", "args": {"steps": [{"id": "not a step"}]}}
ASK = {"id": "ask", "description": 'which? \\ "one" {', "ask": "which one?", "depends_on": ["look"]}


def found(text: str) -> list[str]:
    return [step["id"] for step in StepsInText().feed(text)]


def told(*events: Event) -> list[Event]:
    seen: list[Event] = []
    tell = drafts(seen.append, "r")
    assert tell is not None
    for event in events:
        tell(event)
    return seen


def words(text: str, *, role: str = "planner", begins: bool = False) -> Token:
    return Token(run_id="r", at=1.0, role=role, text=text, begins=begins)


def test_each_step_is_told_once_it_is_whole() -> None:
    text = reply(LOOK, ASK)
    reader, came = StepsInText(), {}
    for place, character in enumerate(text):
        for step in reader.feed(character):
            came[step["id"]] = text[: place + 1]
    assert list(came) == ["look", "ask"]
    assert came["look"].endswith("}]}}"), "not before its last bracket"
    assert '"ask"' not in came["look"]


def test_a_step_is_shown_with_its_kind_tool_and_description() -> None:
    assert list(StepsInText().feed(reply(LOOK, ASK))) == [
        {"id": "look", "kind": "tool", "tool": "read", "description": "find the host"},
        {"id": "ask", "kind": "ask", "tool": None, "description": 'which? \\ "one" {'},
    ]


def test_what_a_step_does_may_stand_in_a_part_of_its_own() -> None:
    """As the plan schema has it."""
    step = {"id": "look", "description": "d", "do": {"kind": "tool", "tool": "read", "args": {}}}
    other = {"id": "who", "description": "", "do": {"kind": "ask", "ask": "who?"}}
    assert list(StepsInText().feed(reply(step, other))) == [
        {"id": "look", "kind": "tool", "tool": "read", "description": "d"},
        {"id": "who", "kind": "ask", "tool": None, "description": ""},
    ]


@given(st.lists(st.integers(min_value=0, max_value=len(reply(LOOK, ASK)))))
def test_however_the_text_is_cut_the_same_steps_are_found(cuts: list[int]) -> None:
    text, reader, last, ids = reply(LOOK, ASK), StepsInText(), 0, []
    for cut in [*sorted(cuts), len(text)]:
        ids += [step["id"] for step in reader.feed(text[last:cut])]
        last = cut
    assert ids == ["look", "ask"]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("steps"), inner, max_size=3),
    max_leaves=12,
)


@given(
    st.lists(st.dictionaries(st.text(), _VALUES, max_size=4), max_size=4), st.dictionaries(st.text(), st.text() | st.integers(), max_size=3)
)
def test_whatever_a_step_holds_as_many_are_found_as_there_are(steps: list[dict[str, Any]], beside: dict[str, Any]) -> None:
    document = {"reply": {**beside, "steps": steps}}
    assert len(list(StepsInText().feed(json.dumps(document)))) == len(steps)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('Here it is:\n```json\n{"steps": [{"id": "a"}]}\n```\n{"steps": [{"id": "later"}]}', ["a"]),
        ('{"reply": {"steps": [{"id": "a"}, 3, {"id": "b"', ["a"]),
        ('{"steps": {"id": "no list"}, "other": [{"id": "no steps"}]}', []),
        ('{"list": [{"steps": [{"id": "inside of a list"}]}]}', []),
        ('no JSON at all ] } "', []),
        ('{"steps": [{"id": "a" "b"}, {"id": "c"}]}', ["c"]),
    ],
)
def test_only_what_stands_in_the_list_of_steps_is_one(text: str, ids: list[str]) -> None:
    assert found(text) == ids


def test_a_step_of_endless_length_is_not_kept() -> None:
    assert found('{"steps": [{"id": "' + "x" * 300_000 + '"}, {"id": "b"}]}') == ["b"]


def test_the_words_go_on_and_the_steps_come_beside_them() -> None:
    text = reply(LOOK)
    seen = told(words(text, begins=True))
    assert [type(event) for event in seen] == [Token, Drafted]


def test_a_second_reply_begins_the_draft_anew() -> None:
    cut_off = reply(LOOK, ASK)[:-80]
    seen = told(words(cut_off, begins=True), words(reply(ASK, LOOK), begins=True))
    assert [(event.number, event.step["id"]) for event in seen if isinstance(event, Drafted)] == [(1, "look"), (1, "ask"), (2, "look")]


def test_the_words_of_another_role_are_no_plan() -> None:
    assert not any(isinstance(event, Drafted) for event in told(words(reply(LOOK), role="summarizer")))


def test_where_nobody_watches_nothing_is_read() -> None:
    assert drafts(None, "r") is None
