"""``Plan`` and ``Run`` in a notebook: complete, escaped, and with nothing that an eye would not see."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph import Plan, Request, Run, Step, StepResult
from agent_graph.identity import Digest
from agent_graph.plan import Goal
from agent_graph.verdicts import Call, Diagnosis, Failure, Source

DIGEST = Digest("d" * 64)


class Page(HTMLParser):
    """What a browser would show: texts by cell, and the names of all elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self._inside = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside:
            self.rows[-1][-1] += data


def shown(thing: Plan | Run) -> Page:
    return Page(thing._repr_html_())


def a_plan(**more: Any) -> Plan:
    return Plan(
        goal="tell them",
        steps=(
            Step(id="look", tool="look_up", description="Find the address."),
            Step(id="send", tool="send", args={"to": {"$ref": "steps.look.output"}}, when="size(steps.look.output) > 0"),
            Step(id="who", ask="Who else?", depends_on=("look",)),
        ),
        **more,
    )


def a_request(**more: Any) -> Request:
    given = {
        "id": "r1",
        "run_id": "x",
        "kind": "step",
        "digest": DIGEST,
        "reason": "it writes",
        "asked": 0.0,
        "step_id": "send",
        "tool": "send",
    }
    return Request.model_validate(given | more)


def a_run(**more: Any) -> Run:
    given = {
        "id": "x",
        "thread_id": "x",
        "status": "paused",
        "goal": Goal(text="tell them"),
        "plan": a_plan(),
        "created": 0.0,
        "updated": 0.0,
    }
    return Run.model_validate(given | more)


def test_a_plan_shows_what_each_step_calls_and_waits_for() -> None:
    page = shown(a_plan())
    assert page.rows == [
        ["step", "calls", "description", "needs"],
        ["look", "look_up", "Find the address.", ""],
        ["send", "send", "when size(steps.look.output) > 0", "look"],
        ["who", "ask: Who else?", "", "look"],
    ]
    assert a_plan().digest in page.text


def test_a_revised_plan_says_by_whom_and_why() -> None:
    assert (
        "version 2, made by ann: the address was wrong" in shown(a_plan(version=2, created_by="ann", reason="the address was wrong")).text
    )


def test_a_run_shows_each_step_with_status_seconds_and_error() -> None:
    failure = Failure(code="tool_error", message="out of order")
    results = {
        "look": StepResult(step_id="look", status="succeeded", started=1.0, finished=3.5),
        "send": StepResult(step_id="send", status="failed", error=failure),
    }
    assert shown(a_run(status="failed", results=results)).rows[1:] == [
        ["look", "look_up", "succeeded", "2.50", ""],
        ["send", "send", "failed", "", "[tool_error] out of order"],
        ["who", "ask: Who else?", "", "", ""],
    ]


def test_a_failure_of_an_older_version_says_so() -> None:
    results = {"look": StepResult(step_id="look", status="failed", plan_version=1)}
    assert shown(a_run(plan=a_plan(version=2), results=results)).rows[1][2] == "failed (version 1)"


def test_a_request_shows_its_exact_arguments_and_what_a_yes_is_bound_to() -> None:
    page = shown(a_run(requests=(a_request(args={"to": "7", "count": 7, "text": "one\ntwo"}, risk="write", idempotency_key="k1"),)))
    assert page.rows[-4:] == [["argument", "value"], ["to", '"7"'], ["count", "7"], ["text", "2 lines\none\ntwo"]]
    for word in ("waits: step", "it writes", "k1", DIGEST):
        assert word in page.text
    assert page.rows[2][2] == "asks"


def test_a_request_for_a_plan_shows_each_call_that_a_yes_covers() -> None:
    other = Digest("e" * 64)
    calls = (
        Call(step_id="a", tool="send", args={"to": "ann"}, risk="write", digest=DIGEST),
        Call(step_id="b", tool="pay", args={}, risk="money", digest=other),
    )
    page = shown(a_run(requests=(a_request(kind="plan", step_id=None, tool=None, calls=calls),)))
    for word in ("call send, step a, risk write", '"ann"', DIGEST, "call pay, step b, risk money", "none", other):
        assert word in page.text


def test_a_question_shows_its_choices_and_what_was_wrong_with_the_last_answer() -> None:
    request = a_request(kind="question", step_id=None, tool=None, question="Whom?", choices=("ann", "bob"), problem="carl is no choice")
    page = shown(a_run(plan=None, requests=(request,)))
    for word in ("Whom?", "ann", "bob", "carl is no choice"):
        assert word in page.text


def test_an_answer_in_markdown_is_shown_as_it_is_written() -> None:
    page = shown(a_run(status="succeeded", answer={"report": "# Found\n\n- *one*", "ticket": "INC-0001"}))
    assert page.rows[-2:] == [["report", "3 lines\n# Found\n\n- *one*"], ["ticket", '"INC-0001"']]


def test_why_a_run_failed_is_shown() -> None:
    error = Diagnosis(code="rejected", cause="human", message="ann: not now", step_id="send")
    assert "error in step send [rejected] ann: not now" in shown(a_run(status="failed", error=error)).text


HOSTILE = "<script>alert(1)</script>\u202etxt.exe\u200b\x1b[2J&amp;\"'<img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    "thing",
    [
        a_plan(created_by=HOSTILE, reason=HOSTILE),
        Plan(goal=HOSTILE, steps=(Step(id="a", tool=HOSTILE, description=HOSTILE, when=HOSTILE), Step(id="b", ask=HOSTILE))),
        a_run(goal=Goal(text=HOSTILE), owner=HOSTILE),
        a_run(requests=(a_request(tool=HOSTILE, reason=HOSTILE, args={HOSTILE: HOSTILE, "b": HOSTILE + "\n", "c": [HOSTILE] * 3}),)),
        a_run(requests=(a_request(kind="question", question=HOSTILE, choices=(HOSTILE,), problem=HOSTILE, idempotency_key=HOSTILE),)),
        a_run(results={"look": StepResult(step_id="look", status="failed", error=Failure(code=HOSTILE, message=HOSTILE))}),
        a_run(answer={"a": HOSTILE, HOSTILE: [HOSTILE]}),
        a_run(answer=HOSTILE + "\n"),
        a_run(error=Diagnosis(code=HOSTILE, cause="tool", message=HOSTILE, step_id=HOSTILE)),
    ],
)
def test_text_from_outside_is_neither_markup_nor_unseen(thing: Plan | Run) -> None:
    html = thing._repr_html_()
    assert Page(html).elements <= {"div", "b", "i", "br", "code", "pre", "table", "thead", "tbody", "tr", "th", "td", "ol", "li"}
    assert "&lt;script&gt;" in html
    assert not {"\u202e", "\u200b", "\x1b"} & set(html)
    assert "\\u202e" in html


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_two_different_arguments_never_look_the_same(value: Any) -> None:
    other = [value] if not isinstance(value, str) else value + "\u200b"
    one, two = (shown(a_run(requests=(a_request(args={"value": each}),))).rows[-1][1] for each in (value, other))
    assert one != two


def test_a_line_break_at_either_end_is_not_lost() -> None:
    row = shown(a_run(requests=(a_request(args={"value": "\none\n"}),))).rows[-1]
    assert row == ["value", "3 lines\n\none\n"]  # a browser leaves out the first line break of a <pre>


@given(st.text())
def test_every_text_ends_up_printable(text: str) -> None:
    html = shown(a_run(requests=(a_request(args={"value": text + "\nend"}),))).rows[-1][1]
    assert all(each.isprintable() or each == "\n" or each.isspace() for each in html)


def test_dollar_signs_are_not_typeset() -> None:
    assert a_plan()._repr_html_().startswith('<div class="tex2jax_ignore mathjax_ignore">')


def test_a_look_alike_is_told_below_its_value() -> None:
    page = shown(a_run(requests=(a_request(args={"to": "ann@ex\u0430mple.org", "t\u043e": ["p\u0430ypal.com"], "много": "Оса\nи рот"}),)))
    assert "“ex\u0430mple.org” is not “example.org”: ‹\u0430› is U+0430 CYRILLIC SMALL LETTER A" in page.rows[-3][1]
    assert "U+043E CYRILLIC SMALL LETTER O" in page.rows[-2][0]
    assert "“p\u0430ypal.com” is not “paypal.com”" in page.rows[-2][1]
    assert page.rows[-1] == ["много", "2 lines\nОса\nи рот"]


def test_where_a_value_from_outside_arrives_is_shown_before_the_arguments() -> None:
    source = Source(label="untrusted", what="steps.mail.output", path="read_mail → args.to", into="args.to", excerpt=HOSTILE)
    page = shown(a_run(requests=(a_request(args={"to": "ann"}, sources=(source,), rule="money"),)))
    assert page.text.index("untrusted steps.mail.output reaches args.to: “<script>") < page.text.index('"ann"')
    assert "rule money" in page.text
    assert page.elements <= {"div", "b", "code", "table", "thead", "tbody", "tr", "th", "td"}
