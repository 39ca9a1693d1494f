"""The card says what a decision is bound to, and nothing inside it can pass for a line of the card."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from agent_graph.cli.card import card, how_to_answer, title
from agent_graph.cli.output import folded
from agent_graph.identity import Digest
from agent_graph.plan import Goal, Plan, Step
from agent_graph.state import Run
from agent_graph.verdicts import Call, Request

DIGEST = Digest("d" * 64)


def request(**more: Any) -> Request:
    return Request(
        **{"id": "12345678-aaaa", "run_id": "run", "kind": "step", "digest": DIGEST, "reason": "it is money", "asked": 1.0} | more
    )


def run(*requests: Request) -> Run:
    plan = Plan(goal="g", steps=(Step(id="p", tool="pay", description="pay Ann"),))
    return Run(id="run", thread_id="run", status="paused", goal=Goal(text="g"), plan=plan, requests=requests, created=0, updated=1)


def text(of: Request, more: int = 0) -> str:
    return "\n".join(line for line, _ in card(run(of), of, more))


def test_a_call_is_shown_with_all_that_it_is_bound_to() -> None:
    args = {"to": "ann", "cents": 100}
    shown = text(request(step_id="p", tool="pay", args=args, risk="money", recovery="blind", idempotency_key="k1"), more=2)
    for fact in ("pay Ann", "it is money", "risk      money", "pay  (blind)", '  to: "ann"', "  cents: 100", DIGEST, "k1", "2 more wait "):
        assert fact in shown


def test_a_plan_is_shown_with_the_calls_that_a_yes_covers() -> None:
    call = Call(step_id="p", tool="pay", args={"to": "ann"}, risk="money", digest=DIGEST)
    shown = text(request(kind="plan", calls=(call,), plan_version=1, risk="money"))
    assert "a yes covers the plan and 1 call, once each" in shown
    assert 'call      pay  in step p  (money)\n    to: "ann"' in shown
    assert "    p  pay  pay Ann" in shown


@pytest.mark.parametrize(
    ("of", "asks", "answers"),
    [
        (request(step_id="p", tool="pay", args={}), "May this call be made?", ["--approve", "--edit FILE", "--reject REASON"]),
        (request(kind="plan"), "May this plan run?", ["--approve", "--edit FILE", "--reject REASON"]),
        (request(kind="question", question="Which?", choices=("a", "b")), "A question", ["--answer a"]),
        (request(kind="question", question="Again?", step_id="p", tool="pay"), "Try it again?", ["--approve", "--reject REASON"]),
        (request(kind="in_doubt", step_id="p", tool="pay", args={}), "Did this happen?", ["--landed", "--absent"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_says_what_is_asked_and_how_it_is_answered(of: Request, asks: str, answers: list[str]) -> None:
    assert title(of) == asks
    commands = how_to_answer(run(of), ".agent-graph/runs.db")
    assert [answer for answer in answers if not any(answer in command for command in commands)] == []
    assert not any("--request" in command for command in commands)
    assert all("--request 12345678" in command for command in how_to_answer(run(of, of), "x") if not command.startswith("  #"))


def test_a_long_text_does_not_pass_for_a_line_of_the_card() -> None:
    forged = "x" * 60 + " " * 40 + "risk      read_only"
    shown = request(step_id="p", tool="pay", args={"text": forged}, risk="money")
    lines = [part for line, _ in card(run(shown), shown, 0) for part in folded(line, 60)]
    assert [line for line in lines if line.startswith("risk")] == ["risk      money"]


@given(
    st.text(st.characters(exclude_categories=("C", "Z", "M")), max_size=300),
    st.integers(20, 100),
    st.sampled_from(["", "  ", "    │ ", "why       "]),
)
def test_a_folded_line_fits_and_loses_nothing(said: str, width: int, before: str) -> None:
    first, *rest = folded(before + said, width)
    assert all(cell_len(line) <= width for line in (first, *rest))
    assert all("┆ " in line[: width // 2 + 2] for line in rest)
    assert first + "".join(line.partition("┆ ")[2] for line in rest) == before + said
