"""What Python prints of requests, runs and errors obeys nothing and hides nothing."""

from __future__ import annotations

from typing import Any

import pytest

from agent_graph import InvalidPlan, Plan, Request, Run, UsageError
from agent_graph.identity import Digest, RunId
from agent_graph.plan import Goal
from agent_graph.policy.compiler import Rules, compile_plan
from agent_graph.policy.dataflow import Dataflow
from agent_graph.policy.limits import Limits
from agent_graph.policy.rules import Policy
from agent_graph.tools.registry import ToolRegistry
from agent_graph.tools.tool import tool
from agent_graph.trace.mermaid import flowchart
from agent_graph.verdicts import Diagnosis, Source

EVIL = "\x1b[31mred \u202egpj.exe\u200b p\u0430ypal.com " + "x" * 5_000


def request(**more: Any) -> Request:
    given = {"id": "r", "run_id": "run", "kind": "step", "digest": Digest("d" * 64), "reason": EVIL, "asked": 1.0, "tool": EVIL}
    return Request.model_validate(given | more)


THINGS = [
    request(args={"to": EVIL}),
    request(kind="question", question=EVIL, tool=None),
    Run(
        id="r", thread_id="t", status="failed", goal=Goal(text=EVIL), created=0.0, updated=0.0,
        error=Diagnosis(code="x", cause="tool", message=EVIL),
    ),
    Source(label="untrusted", what=EVIL, path=EVIL, into="args.to", excerpt=EVIL),
    UsageError(EVIL),
]  # fmt: skip


@pytest.mark.parametrize("show", [str, repr])
@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: type(thing).__name__)
def test_what_python_prints_obeys_nothing(thing: Any, show: Any) -> None:
    if show is str or isinstance(thing, Request | Run):
        assert not {"\x1b", "\u202e", "\u200b"} & set(show(thing))


def test_a_request_says_what_looks_alike_and_how_much_is_left_out() -> None:
    said = str(request(args={"to": "ann@ex\u0430mple.org", "text": "a" * 500}, reason="money", tool="send"))
    assert "U+0430 CYRILLIC SMALL LETTER A" in said
    assert "… (382 characters) …" in said


def test_an_error_keeps_its_lines() -> None:
    assert str(UsageError("one\n  two\x1b")) == "one\n  two\\x1b"


def test_an_unknown_tool_says_which_it_may_be_taken_for() -> None:
    registry = ToolRegistry([tool(lambda: None, name="pay", risk="read_only")])
    plan = Plan(goal="g", steps=[{"id": "a", "tool": "p\u0430y"}])
    report = compile_plan(plan, Rules(tools=registry.specs, policy=Policy.default(), limits=Limits()), RunId("r"))
    (issue,) = (issue for issue in report.issues if issue.code == "unknown_tool")
    assert "it looks like 'pay', but ‹\u0430› is U+0430 CYRILLIC SMALL LETTER A" in issue.message
    assert "U+0430" in str(InvalidPlan([issue]))


def test_a_drawing_says_how_much_of_a_question_is_left_out() -> None:
    plan = Plan(goal="g", steps=[{"id": "a", "ask": "word " * 100}])
    assert "…+445" in flowchart(plan, Dataflow.of(plan).needs)
