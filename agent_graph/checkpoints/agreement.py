"""Whether a row agrees with itself. What it is bound to is computed anew wherever it is relied on, so that an edit of one part does not pass.

This needs no key, and finds an edit of some columns. Whoever edits all of them alike is found by the seals only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from agent_graph.checkpoints.database import reads_row
from agent_graph.checkpoints.tampered import changed
from agent_graph.checkpoints.texts import value_of
from agent_graph.identity import RunId, StepId, canonical, effect_key
from agent_graph.verdicts import Decision, Request

# ── effects ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@reads_row("effects")
def sent(row: sqlite3.Row) -> dict[str, Any]:
    """The arguments of an effect that was begun. They are sent again after a crash, so they must still give the row's key."""
    args: dict[str, Any] = value_of(row["args"]) or {}
    if row["recovery"] is not None and row["key"] != effect_key(RunId(row["run_id"]), StepId(row["step_id"]), row["tool"] or "", args):
        raise changed("effects", row["key"], row["run_id"], "its step, tool and arguments no longer give its key")
    return args


# ── approvals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def _decision() -> TypeAdapter[Decision]:
    return TypeAdapter(Decision)


_TWICE = ("id", "run_id", "kind", "digest", "step_id", "plan_version", "asked", "expires")
"""What stands in the columns of a request and in its JSON."""


@reads_row("approvals")
def request_in(row: sqlite3.Row) -> Request:
    request = Request.model_validate_json(row["request"])
    for column in _TWICE:
        if row[column] != getattr(request, column):
            raise changed("approvals", row["id"], row["run_id"], f"its {column} is not that of what was asked")
    if row["granted_by"] is None and request.idempotency_key is not None:
        _hold_against_its_key(row, request)
    return request


def _hold_against_its_key(row: sqlite3.Row, request: Request) -> None:
    """What a person is shown of a call is the call that is meant."""
    key = effect_key(RunId(request.run_id), StepId(request.step_id or ""), request.tool or "", request.args or {})
    if key != request.idempotency_key:
        raise changed("approvals", row["id"], row["run_id"], "the step, tool and arguments that it shows no longer give its key")


@reads_row("approvals")
def decision_in(row: sqlite3.Row) -> Decision | None:
    decision = _decision().validate_json(row["decision"]) if row["decision"] else None
    said = None if decision is None else decision.type
    if row["verdict"] != said or (row["decided"] is None) != (decision is None):
        raise changed("approvals", row["id"], row["run_id"], f"its verdict is {row['verdict']}, and the decision on record is {said}")
    if decision is not None and decision.by is not None and decision.by != row["by"]:
        raise changed("approvals", row["id"], row["run_id"], f"it says {row['by']} decided, and the decision on record is of {decision.by}")
    return decision


def refuse_other_call(row: sqlite3.Row, tool: str, args: Mapping[str, Any]) -> None:
    """Raises where a yes was given to another call than the one that it is found by."""
    request = request_in(row)
    decision_in(row)
    if request.tool != tool or canonical(request.args or {}) != canonical(dict(args)):
        raise changed("approvals", row["id"], row["run_id"], "a person was shown another call than the one that its digest is of")
