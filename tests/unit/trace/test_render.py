"""Values and events as lines: complete, exact, and never mistaken for a line of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
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
from agent_graph.trace.amounts import seconds
from agent_graph.trace.render import event_line, value_lines
from agent_graph.visible import visible

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


@pytest.mark.parametrize(("value", "said"), [(0.004, "0.00 s"), (3.44, "3.4 s"), (125, "2 min 05 s"), (3720, "1 h 02 min")])
def test_times_are_short(value: float, said: str) -> None:
    assert seconds(value) == said
