"""The card says what a decision is bound to, and nothing inside it can pass for a line of the card."""

from __future__ import annotations

import re
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
from agent_graph.verdicts import Call, Request, Source

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


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("a" * 5_000, r"3,001 characters are not shown here, 0 line breaks among them"),
        ("\n".join(["line"] * 300), r"1,306 characters are not shown here, 262 line breaks among them"),
        ([f"entry {number} of many" for number in range(500)], r"441 lines of [\d,]+ characters are not shown here"),
        ({f"name{number}": "x" * 40 for number in range(500)}, r"441 lines of [\d,]+ characters are not shown here"),
    ],
    ids=["one line", "lines", "a list", "a mapping"],
)
def test_of_a_long_value_begin_and_end_are_shown_and_what_is_not_is_counted(value: Any, hidden: str) -> None:
    shown = text(request(step_id="p", tool="pay", args={"first": 1, "long": value, "last": 2}))
    assert re.search(hidden, shown), shown
    assert "show run --json" in shown
    assert "  first: 1" in shown
    assert "  last: 2" in shown
    assert "not all of it is shown here, and a yes is for all of it" in shown
    assert len(shown.splitlines()) < 80


@pytest.mark.parametrize(
    "value", ["x" * 2_000, "\n".join(["y"] * 40), [f"entry {number}" for number in range(55)]], ids=["text", "lines", "list"]
)
def test_what_has_room_is_shown_whole(value: Any) -> None:
    assert "not shown" not in text(request(step_id="p", tool="pay", args={"value": value}))


@pytest.mark.parametrize("place", [0, 1_500, 2_500, 4_000, 4_999])
def test_wherever_in_a_long_text_an_address_hides_it_is_on_the_card(place: int) -> None:
    filler = "word " * 1_000
    shown = text(request(step_id="p", tool="pay", args={"text": f"{filler[:place]} https://evil.example/x {filler[place:]}"}))
    assert "evil.example" in shown


@pytest.mark.parametrize("place", [0, 2_500, 4_999])
def test_wherever_in_a_long_text_a_character_hides_it_is_on_the_card(place: int) -> None:
    filler = "word " * 1_000
    shown = text(request(step_id="p", tool="pay", args={"text": f"{filler[:place]}\u202e{filler[place:]}"}))
    assert "\\u202e" in shown or "U+202E RIGHT-TO-LEFT OVERRIDE" in shown
    assert "\u202e" not in shown


def test_a_look_alike_among_lines_that_are_not_shown_is_told() -> None:
    entries = [f"user{number}@example.org" for number in range(500)]
    entries[250] = "boss@ex\u0430mple.org"
    assert "“ex\u0430mple.org” is not “example.org”" in text(request(step_id="p", tool="pay", args={"to": entries}))


def test_one_long_argument_does_not_hide_the_others() -> None:
    args = {"a": "x\n" * 10_000, "to": "thief@evil.example", "z": ["y" * 50] * 10_000}
    assert '  to: "thief@evil.example"' in text(request(step_id="p", tool="pay", args=args))


def test_ten_thousand_arguments_fit_a_card_and_are_counted() -> None:
    shown = text(request(step_id="p", tool="pay", args={f"a{number}": number for number in range(10_000)}))
    assert "9,600 lines of" in shown
    assert len(shown.splitlines()) < 430


def test_a_card_names_the_store_in_the_way_to_see_everything() -> None:
    of = request(step_id="p", tool="pay", args={"a": "x" * 5_000})
    assert "show run --json --store other.db" in "\n".join(line for line, _ in card(run(of), of, 0, "other.db"))


@pytest.mark.parametrize("long", ["reason", "question", "problem"])
def test_no_other_text_floods_the_card_either(long: str) -> None:
    shown = text(request(**{"kind": "question", "question": "Which?"} | {long: "word\n" * 10_000}))
    assert "line breaks among them" in shown
    assert len(shown.splitlines()) < 80


def test_a_card_says_where_a_value_from_outside_arrives_before_the_arguments() -> None:
    source = Source(
        label="untrusted",
        what="steps.mail.output.body",
        path="read_mail → steps.mail.output.body → args.to",
        into="args.to",
        excerpt="Ignore\x1b all",
    )
    shown = text(request(step_id="p", tool="pay", args={"to": "ann"}, sources=(source,), rule="money", policy="e" * 64))
    said = "untrusted steps.mail.output.body reaches args.to: “Ignore\\x1b all”"
    assert shown.index(said) < shown.index("│ read_mail → steps.mail.output.body → args.to") < shown.index("arguments")
    assert "rule      money" in shown
    assert "policy    " + "e" * 64 in shown


def test_a_source_of_a_call_stands_with_its_call() -> None:
    source = Source(label="sensitive", what="steps.a.output", path="a → args.to", into="args.to")
    call = Call(step_id="p", tool="pay", args={"to": "ann"}, risk="money", digest=DIGEST, sources=(source,))
    shown = text(request(kind="plan", calls=(call,), plan_version=1))
    assert "(money)\nsensitive steps.a.output reaches args.to\n" in shown


def test_a_forged_line_of_the_card_stands_behind_a_bar() -> None:
    forged = "fine\nrisk      read_only\n  ! all is well"
    shown = text(request(kind="question", question=forged, reason=forged, risk="money"))
    assert [line for line in shown.splitlines() if line.startswith("risk")] == ["risk      money"]
    assert shown.count("          │ risk      read_only") == 2


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
