"""Money, and a policy that lets none of it out: what the tests of "deny money" have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_graph import AgentGraph, Plan, Policy, Rule, Run, Undo, tool
from agent_graph.tools.tool import Tool

WHY = "no money leaves this house"

MILD = Policy(name="mild", rules=(Rule(verdict="allow", risks=("read_only", "write")), Rule(verdict="ask", risks=("money",))))
"""Payments ask."""

DENY = Policy(
    name="closed",
    rules=(
        Rule(verdict="allow", risks=("read_only", "write")),
        Rule(verdict="allow", tools=("transfer", "*")),
        Rule(verdict="allow", risks=("money",), when="call.tool == 'transfer'", name="transfers"),
        Rule(verdict="deny", risks=("money",), reason=WHY),
    ),
)
"""Rules that allow the very same call change nothing."""


class Till:
    """Payments are lines of a file, so that a process that is killed has made them all the same."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "payments.log"
        self.noted: list[str] = []

    @property
    def paid(self) -> list[str]:
        return self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []

    @property
    def tools(self) -> list[Tool]:
        @tool(risk="read_only", trusted_output=True)
        def whom() -> str:
            """Who is to be paid."""
            return "ann"

        @tool(risk="read_only", trusted_output=True)
        def fail() -> str:
            """Fails."""
            raise OSError("not there")

        @tool(risk="money", recovery="keyed", price="amount")
        def transfer(to: str, amount: int) -> str:
            """Pay."""
            with self.file.open("a", encoding="utf-8") as log:
                log.write(f"{to} {amount}\n")
            return "paid"

        @tool(risk="write", recovery="idempotent", undo=lambda args, output: Undo(tool="transfer", args={"to": "bob", "amount": 1}))
        def note(text: str) -> str:
            """Write something down; taking it back costs something."""
            self.noted.append(text)
            return text

        return [whom, fail, transfer, note]


PAY: dict[str, Any] = {"id": "pay", "tool": "transfer", "args": {"to": "ann", "amount": 10}}
PAY_LATER: dict[str, Any] = {"id": "pay", "tool": "transfer", "args": {"to": {"$ref": "steps.who.output"}, "amount": 10}}
WHO: dict[str, Any] = {"id": "who", "tool": "whom"}
NOTE: dict[str, Any] = {"id": "note", "tool": "note", "args": {"text": "done"}}


def plan(*steps: dict[str, Any], **more: Any) -> Plan:
    return Plan.model_validate({"goal": "settle the bill", "steps": steps, **more})


def said(go_on: Callable[[], Run], agent: AgentGraph) -> str:
    """Why a run came to its end, or what was raised instead."""
    try:
        run = go_on()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    while run.status == "paused" and run.requests and run.requests[0].kind == "in_doubt":
        return run.requests[0].reason
    return run.error.message if run.error is not None else run.status
