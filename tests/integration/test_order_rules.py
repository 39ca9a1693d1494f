"""An order rule at the call: what must come before must have succeeded, not only been planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Match, OrderRule, Plan, Policy, tool
from agent_graph.state import Run

sent: list[str] = []


@tool(risk="read_only")
def check(ok: bool) -> bool:
    """Checks the address."""
    if not ok:
        raise OSError("no such address")
    return ok


@tool(risk="external_communication", recovery="idempotent")
def send(to: str) -> str:
    """Sends a mail."""
    sent.append(to)
    return to


POLICY = Policy.allow_all().model_copy(update={"order": (OrderRule(tools=("send",), after=Match(tools=("check",)), name="check first"),)})


def run(store: Path, *steps: dict[str, Any]) -> Run:
    sent.clear()
    with AgentGraph([check, send], policy=POLICY, store=store) as agent:
        return agent.run(Plan.model_validate({"goal": "send it", "steps": steps}))


CHECK = {"id": "check", "tool": "check", "args": {"ok": True}}
SEND = {"id": "send", "tool": "send", "args": {"to": "ann"}, "depends_on": ["check"]}


def test_after_a_check_that_succeeded_it_runs(store_path: Path) -> None:
    assert run(store_path, CHECK, SEND).status == "succeeded"
    assert sent == ["ann"]


@pytest.mark.parametrize(
    "passed_over",
    [
        {**CHECK, "when": "params.size() > 0"},  # skipped
        {**CHECK, "args": {"ok": False}, "on_failure": "continue"},  # failed, and the plan goes on
    ],
    ids=["skipped", "failed"],
)
def test_a_check_that_did_not_succeed_has_checked_nothing(store_path: Path, passed_over: dict[str, Any]) -> None:
    came = run(store_path, passed_over, SEND)
    assert sent == []
    assert came.results["send"].error is not None
    assert (came.results["send"].status, came.results["send"].error.code) == ("blocked", "order_violated")
    assert came.error is not None
    assert came.error.cause == "policy"


def test_another_step_between_them_changes_nothing(store_path: Path) -> None:
    between = {"id": "between", "tool": "check", "args": {"ok": True}, "depends_on": ["check"]}
    assert (
        run(store_path, {**CHECK, "id": "first"}, {**between, "depends_on": ["first"]}, {**SEND, "depends_on": ["between"]}).status
        == "succeeded"
    )
