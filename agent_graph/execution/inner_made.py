"""The calls that an ``agent`` step has made, over all of its conversations, as the ledger has them."""

from __future__ import annotations

from typing import NamedTuple

from agent_graph.execution.results import Results
from agent_graph.ports import LedgerStore


class Made(NamedTuple):
    """A call that was made or answered."""

    id: str
    tool: str
    succeeded: bool
    happened: bool
    """Whether it did what it does, whatever was thought of its answer."""


def tools_called(ledger: LedgerStore, results: Results, step_id: str) -> dict[str, str]:
    """By id, the tool of each call on record."""
    standings = ((call_id, results.standing(call_id)) for call_id in results.calls_of(step_id))
    rows = ((call_id, ledger.effect(at.key)) for call_id, at in standings if at is not None)
    return {call_id: row.tool for call_id, row in rows if row is not None}


def calls_made(results: Results, step_id: str, called: dict[str, str]) -> list[Made]:
    """In their order. ``called``: by id, its tool."""
    standings = ((call_id, results.standing(call_id)) for call_id in results.calls_of(step_id))
    return [
        Made(call_id, called.get(call_id, ""), at.status == "succeeded", at.state == "done")
        for call_id, at in standings
        if at is not None and at.state != "skipped"
    ]
