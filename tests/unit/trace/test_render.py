"""Values and events as lines: complete, exact, and never mistaken for a line of ours."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_graph.events import (
    Decided,
    Done,
    IssueFound,
    Note,
    Observed,
    PlanMade,
    Replanned,
    RunStarted,
    StepFinished,
    StepStarted,
    Waiting,
)
from agent_graph.identity import sha256
from agent_graph.trace.amounts import seconds
from agent_graph.trace.render import Bound, LeftOut, Remark, argument_lines, event_line, text_lines, value_lines
from agent_graph.visible import visible, visible_lines

ABOUT: dict[str, Any] = {"run_id": "r", "at": 12.5}


def test_arguments_are_shown_as_they_are() -> None:
    value = {"to": "ann", "n": 3, "empty": {}, "list": [1, {"a": None}], "text": "one\ntool: fake\n  two"}
    assert list(value_lines(value, "  ")) == [
        '  to: "ann"',
        "  n: 3",
        "  empty: {}",
        '  list: [1, {"a": null}]',
        "  text: (3 lines)",
        "    │ one",
        "    │ tool: fake",
        "    │   two",
    ]


def test_a_long_structure_is_opened_up() -> None:
    value = {"outer": {"name": "x" * 40, "values": ["y" * 60, "z\nz"]}}
    assert list(value_lines(value)) == [
        "outer:",
        f'  name: "{"x" * 40}"',
        "  values:",
        f'    - "{"y" * 60}"',
        "    - (2 lines)",
        "      │ z",
        "      │ z",
    ]


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_nothing_of_a_value_is_left_out_or_gets_a_line_of_its_own_making(value: Any) -> None:
    lines = list(value_lines(value))
    assert all("\n" not in line and "\x1b" not in line for line in lines)
    shown = "\n".join(lines)
    for text in _texts(value):
        assert visible(json.dumps(text, ensure_ascii=False))[1:-1] in shown or "\n" in text


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in inner for text in _texts(item)]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (RunStarted(**ABOUT, goal="why\x1b?"), "+2.50  planning   run_started                      started: why\\x1b?"),
        (
            PlanMade(**ABOUT, version=1, digest="d" * 64, steps=[{"id": "a"}], created_by="me"),
            "planning   plan_made                        version 1 by me, 1 step, digest dddddddddddd",
        ),
        (
            Replanned(**ABOUT, version=2, digest="d" * 64, steps=[], created_by="me", reason="it failed", kept=["a"]),
            "replanned                        version 2 by me, 0 steps, 1 kept: it failed",
        ),
        (IssueFound(**ABOUT, code="cycle", severity="error", message="round", fix="cut"), "error [cycle] round — cut"),
        (StepStarted(**ABOUT, step_id="a", plan_version=1, tool="look"), "step_started   a                 look"),
        (
            StepFinished(
                **ABOUT, step_id="a", plan_version=1, status="failed", attempts=2, seconds=61, error={"code": "x", "message": "no\n"}
            ),
            "failed, attempt 2 in 1 min 01 s: [x] no\\n",
        ),
        (Observed(**ABOUT, next="replan", why="a failed", deviations=[{"step_id": "a", "message": "no"}]), "next replan: a failed; a: no"),
        (Waiting(**ABOUT, request={"kind": "step", "id": "12345678-9", "reason": "money"}), "step 12345678: money"),
        (Decided(**ABOUT, request_id="q", step_id="a", decision={"type": "reject", "reason": "no", "by": "bo"}), "reject by bo: no"),
        (Note(**ABOUT, message="late"), "late"),
        (Done(**ABOUT, status="failed", error={"code": "x", "message": "no"}), "failed: [x] no"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_each_event_is_one_line(event: Any, line: str) -> None:
    said = event_line(event, since=10.0)
    assert said.endswith(line), said
    assert "\n" not in said


ODD = "p\u0430ypal.com"
TOLD = f"“{ODD}” is not “paypal.com”: ‹\u0430› is U+0430 CYRILLIC SMALL LETTER A"


@pytest.mark.parametrize(
    "event",
    [
        RunStarted(**ABOUT, goal=f"pay {ODD}"),
        IssueFound(**ABOUT, code="unknown_tool", severity="error", message=f"there is no tool {ODD!r}"),
        Waiting(**ABOUT, request={"kind": "question", "id": "1", "question": f"To {ODD}?"}),
        Note(**ABOUT, message=ODD),
    ],
    ids=lambda event: event.kind,
)
def test_a_line_of_a_trace_tells_which_letters_are_not_what_they_seem(event: Any) -> None:
    assert TOLD in event_line(event, since=10.0)


def test_a_look_alike_is_told_below_the_value_in_which_it_stands() -> None:
    assert list(value_lines({"to": [{"mail": f"ann@{ODD}"}], "t\u043e": 1})) == [
        "to:",
        "  -",
        f'    mail: "ann@{ODD}"',
        f"      ! {TOLD}; the host is xn--pypal-4ve.com",
        "t\u043e: 1",
        "  ! the name “t\u043e” is not “to”: ‹\u043e› is U+043E CYRILLIC SMALL LETTER O",
    ]


def test_a_russian_answer_of_several_lines_has_no_look_alikes() -> None:
    assert not any("!" in line for line in value_lines({"a": {"b": "Итог:\nрос\nоса"}, "c": ["хор\nрот"]}))


BOUND = Bound(everything="show it", characters=90, lines=6, entries=12, arguments=40)


@example("\n" * 6)
@example("a" * 60 + "\n" * 6)
@given(st.text(st.sampled_from("ab\n \u202e\u0430"), max_size=400))
def test_a_bounded_text_is_its_beginning_its_end_and_the_number_of_what_is_between(text: str) -> None:
    lines = list(text_lines(text, BOUND))
    left_out = [line for line in lines if isinstance(line, LeftOut)]
    if len(text) <= BOUND.characters and text.count("\n") < BOUND.lines:
        assert lines == visible_lines(text)
        return
    (said,) = left_out
    hidden = int(said.split()[1].replace(",", ""))
    at = lines.index(said)
    begin, end = "\n".join(lines[:at]), "\n".join(line for line in lines[at + 1 :] if not isinstance(line, Remark))
    shown = len(begin.replace("\\u202e", "\u202e")) + len(end.replace("\\u202e", "\u202e"))
    assert shown + hidden == len(text)
    assert sha256(text) in said
    assert "show it" in said


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(st.integers() | st.text(max_size=200), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner)),
        max_size=8,
    )
)
def test_bounded_arguments_are_bounded_and_say_when_something_is_left_out(args: dict[str, Any]) -> None:
    short, whole = (
        list(argument_lines(args, "", BOUND)),
        list(argument_lines(args, "", Bound(everything="x", characters=10**6, lines=10**6, entries=10**6, arguments=10**6))),
    )
    assert len([line for line in short if not isinstance(line, Remark)]) <= BOUND.arguments
    assert any(isinstance(line, LeftOut) for line in short) or short == whole


def test_a_deep_and_wide_value_is_shown_in_no_time() -> None:
    value: Any = "x" * 1_000
    for _ in range(60):
        value = [value, {"a": value}] if len(str(value)) < 200_000 else [value]
    began = time.monotonic()
    assert len(list(argument_lines({"v": value}, "", Bound(everything="x")))) < 200
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("value", "said"), [(0.004, "0.00 s"), (3.44, "3.4 s"), (125, "2 min 05 s"), (3720, "1 h 02 min")])
def test_times_are_short(value: float, said: str) -> None:
    assert seconds(value) == said
