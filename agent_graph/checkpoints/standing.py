"""How the runs of a store stand, for ``health``: what waits, what was begun and never ended, who drives, what was changed.

Only columns of the first schema are relied on, so that a store of any version can be looked at.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent_graph.checkpoints.changes import changes
from agent_graph.checkpoints.findings import Finding
from agent_graph.checkpoints.keys import Keys
from agent_graph.checkpoints.owners import alive
from agent_graph.plan import Plan
from agent_graph.records import Owner
from agent_graph.state import FINISHED

RESTORE = "nothing of it will run: restore the store from a copy, or start another run"

SETTLED: dict[str | None, str] = {
    "rerun": "resume the run: it is called again, which does no harm",
    "idempotent": "resume the run: it is called again, which does no harm",
    "keyed": "resume the run: it is sent again with the same key, so that the receiver does it once",
    "probeable": "resume the run: the tool's probe asks the system whether it happened",
    "blind": "look it up in the system that was called, then say what happened: resume with --landed or --absent",
}
"""What becomes of an effect whose outcome is not known, by its recovery class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Driven:
    """A run, and the process that holds its lease, if one does."""

    row: sqlite3.Row
    owner: Owner | None
    lives: bool

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def finished(self) -> bool:
        return self.row["status"] in FINISHED


def findings_of_runs(connection: sqlite3.Connection, now: float, version: int, keys: Keys) -> Iterator[Finding]:
    """Newest run first. A part that is damaged is said, and does not hide the others."""

    def _changes(connection: sqlite3.Connection, now: float) -> Iterator[Finding]:
        return changes(connection, version, keys)

    looks: list[Callable[[sqlite3.Connection, float], Iterator[Finding]]] = [
        *(_drives, _effects, _requests, _plans, _changes, _rows, _checkpoints),
    ]
    for look in looks:
        try:
            yield from look(connection, now)
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError) as error:
            what = f"the {look.__name__.strip('_')} of the runs cannot be read: {type(error).__name__}: {str(error)[:200]}"
            yield Finding(severity="broken", code="unreadable_part", what=what, do="restore the store from a copy")


def _runs(connection: sqlite3.Connection, now: float) -> Iterator[_Driven]:
    rows = connection.execute(
        """SELECT runs.*, leases.owner AS owner, leases.expires AS expires FROM runs LEFT JOIN leases ON leases.run_id = runs.id
           ORDER BY runs.created DESC, runs.rowid DESC"""
    )
    for row in rows.fetchall():
        owner = Owner(**json.loads(row["owner"])) if row["owner"] else None
        yield _Driven(row=row, owner=owner, lives=owner is not None and alive(owner, row["expires"], now))


def _undriven(connection: sqlite3.Connection, now: float) -> dict[str, _Driven]:
    return {run.id: run for run in _runs(connection, now) if not run.lives}


# ── who drives ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _drives(connection: sqlite3.Connection, now: float) -> Iterator[Finding]:
    waiting = {
        row["run_id"]
        for row in connection.execute(
            "SELECT run_id FROM approvals WHERE decided IS NULL AND closed IS NULL AND (expires IS NULL OR expires > ?)", (now,)
        )
    }
    for run in _runs(connection, now):
        if run.lives:
            yield Finding(
                severity="note",
                code="driven",
                run_id=run.id,
                what=f"run {run.id} is being driven by {run.owner}",
                do="nothing",
                about={"owner": str(run.owner)},
            )
            continue
        if run.owner is not None:
            yield Finding(
                severity="note",
                code="lease_orphaned",
                run_id=run.id,
                what=f"run {run.id} was being driven by {run.owner}, which is gone",
                do="nothing; whoever drives the run next takes its place",
                about={"owner": str(run.owner)},
            )
        if not run.finished and not (run.row["status"] == "paused" and run.id in waiting):
            yield from _interrupted(run)


def _interrupted(run: _Driven) -> Iterator[Finding]:
    if "cancel_asked" in run.row.keys() and run.row["cancel_asked"] is not None:  # noqa: SIM118  # a row is no dict
        yield Finding(
            severity="attention",
            code="cancel_unfinished",
            run_id=run.id,
            what=f"run {run.id} was to be cancelled, and its driver died before that was done",
            do="cancel it again",
            command=("cancel", run.id),
        )
        return
    yield Finding(
        severity="attention",
        code="run_interrupted",
        run_id=run.id,
        what=f"run {run.id} has not ended, and nobody drives it since {_when(run.row['updated'])}",
        do="go on with it, or cancel it; finished steps are not run again",
        command=("resume", run.id),
    )


# ── what was begun ────────────────────────────────────────────────────────────────────────────────────────────────────


def _effects(connection: sqlite3.Connection, now: float) -> Iterator[Finding]:
    runs = _undriven(connection, now)
    for row in connection.execute("SELECT * FROM effects WHERE state IN ('intent', 'in_doubt') ORDER BY started DESC").fetchall():
        run = runs.get(row["run_id"])
        if run is None:
            continue
        sent = json.loads(row["args"] or "{}")
        shown = json.dumps(sent, ensure_ascii=False)
        yield Finding(
            severity="note" if run.finished else "attention",
            code="effect_open",
            run_id=run.id,
            what=f"effect {row['step_id']}: {row['tool']} of run {run.id} was begun at {_when(row['started'])} (attempt {row['attempt']}), and its "
            f"outcome is not known; sent was {shown[:300]}{'…' if len(shown) > 300 else ''} with key {row['key']}",
            do=f"look it up in the system that was called; the run has ended ({run.row['status']}), so that nothing repeats it"
            if run.finished
            else f"it is {row['recovery']}: {SETTLED.get(row['recovery'], SETTLED['blind'])}",
            command=() if run.finished else ("resume", run.id),
            about={
                "step_id": row["step_id"],
                "tool": row["tool"],
                "args": sent,
                "key": row["key"],
                "recovery": row["recovery"],
                "risk": row["risk"],
                "attempt": row["attempt"],
                "started": row["started"],
                "deadline": row["deadline"],
            },
        )


# ── what waits ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _requests(connection: sqlite3.Connection, now: float) -> Iterator[Finding]:
    runs = {run.id: run for run in _runs(connection, now)}
    for row in connection.execute("SELECT * FROM approvals WHERE decided IS NULL AND closed IS NULL ORDER BY asked DESC").fetchall():
        run = runs.get(row["run_id"])
        if run is None or run.finished:
            continue
        where = f"step {row['step_id']} of run {run.id}" if row["step_id"] else f"run {run.id}"
        about = {"request_id": row["id"], "kind": row["kind"], "asked": row["asked"], "expires": row["expires"]}
        if row["expires"] is not None and row["expires"] <= now:
            yield Finding(
                severity="attention",
                code="request_expired",
                run_id=run.id,
                what=f"request {row['id']} ({row['kind']}) for {where} has expired at {_when(row['expires'])}",
                do="resume the run: what still has to be asked is asked anew",
                command=("resume", run.id),
                about=about,
            )
        else:
            yield Finding(
                severity="note",
                code="request_waits",
                run_id=run.id,
                what=f"request {row['id']} ({row['kind']}) for {where} waits for a person since {_when(row['asked'])}",
                do="look at it and answer",
                command=("show", run.id),
                about=about,
            )


# ── what was changed ──────────────────────────────────────────────────────────────────────────────────────────────────


def _plans(connection: sqlite3.Connection, now: float) -> Iterator[Finding]:
    for row in connection.execute("SELECT run_id, version, digest, plan FROM plans ORDER BY created DESC").fetchall():
        try:
            whole = Plan.model_validate_json(row["plan"]).digest == row["digest"]
        except ValueError:
            whole = False
        if not whole:
            yield Finding(
                severity="attention",
                code="plan_changed",
                run_id=row["run_id"],
                what=f"plan version {row['version']} of run {row['run_id']} was changed in the store: its digest does not match",
                do=RESTORE,
                about={"version": row["version"]},
            )


_JSON_COLUMNS = {
    "runs": ("id", ("goal", "metadata", "answer", "observation", "error")),
    "effects": ("run_id", ("args", "output", "error", "evidence", "provenance")),
    "approvals": ("run_id", ("request", "decision")),
    "events": ("run_id", ("data",)),
}


def _rows(connection: sqlite3.Connection, now: float) -> Iterator[Finding]:
    for table, (run_column, columns) in _JSON_COLUMNS.items():
        unreadable = " OR ".join(f"NOT json_valid(COALESCE({column}, 'null'))" for column in columns)
        for row in connection.execute(
            f"SELECT {run_column} AS run_id, COUNT(*) AS n FROM {table} WHERE {unreadable} GROUP BY 1"
        ).fetchall():
            yield Finding(
                severity="attention",
                code="row_damaged",
                run_id=row["run_id"],
                what=f"{row['n']} row{'s' if row['n'] != 1 else ''} of {table} of run {row['run_id']} cannot be read",
                do="restore the store from a copy",
                about={"table": table, "rows": row["n"]},
            )


def _checkpoints(connection: sqlite3.Connection, now: float) -> Iterator[Finding]:
    """The newest checkpoint of each run that has not ended: from it LangGraph would go on."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'checkpoints'").fetchone() is None:
        return
    for run in _runs(connection, now):
        if run.finished:
            continue
        row = connection.execute(
            "SELECT type, checkpoint FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ? ORDER BY checkpoint_id DESC LIMIT 1",
            (run.row["thread_id"], run.row["checkpoint_ns"]),
        ).fetchone()
        if row is not None and (why := _unreadable(row["type"], row["checkpoint"])):
            yield Finding(
                severity="attention",
                code="checkpoint_damaged",
                run_id=run.id,
                what=f"the newest LangGraph checkpoint of run {run.id} cannot be read ({why})",
                do="drop the run's checkpoints and resume it: it goes on from the ledger, which is not touched by that",
                command=("purge", run.id, "--checkpoints"),
            )


def _unreadable(kind: Any, content: Any) -> str:
    """Why a checkpoint cannot be read; empty when it can. Nothing in it is made into an object."""
    import ormsgpack  # LangGraph's saver brings it

    if kind != "msgpack":
        return f"its type is {kind}"
    try:
        held = ormsgpack.unpackb(content, ext_hook=lambda *_: None, option=ormsgpack.OPT_NON_STR_KEYS)
    except (ValueError, TypeError) as error:
        return str(error)[:100]
    return "" if isinstance(held, dict) and isinstance(held.get("channel_values"), dict) else "it is not a checkpoint"


def _when(at: float | None) -> str:
    return "an unknown time" if at is None else datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")
