"""Which window a kill has hit, told from outside: by the rows of our store, read from a copy, and by the world's own log."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from .case import Case, Window
from .world import Line

SETTLED = ("succeeded", "failed", "blocked", "skipped")


@dataclass(frozen=True, slots=True)
class Row:
    state: str
    status: str | None
    fence: int
    finished: float | None
    keys: int
    """How many rows the step has; its arguments never change here, so more than one is a defect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    rows: dict[str, Row]
    fence: int = 0
    status: str = ""
    waiting: int = 0
    decided: int = 0
    checkpoint: float = 0.0
    """When LangGraph's newest checkpoint was made, in seconds since the epoch."""


def look(store: Path) -> Seen:
    """Never at the file itself: whoever opens it last might tidy it up, and the next process must find it as the kill has left it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy.db")
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{store}{suffix}", f"{copy}{suffix}")
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            connection.row_factory = sqlite3.Row
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
            if "leases" not in tables:
                return Seen(rows={})
            return _read(connection, checkpoints="checkpoints" in tables)


def _read(connection: sqlite3.Connection, *, checkpoints: bool) -> Seen:
    """Each store here holds one run."""
    rows: dict[str, Row] = {}
    for row in connection.execute("SELECT * FROM effects ORDER BY fence"):
        before = rows.get(row["step_id"])
        rows[row["step_id"]] = Row(row["state"], row["status"], row["fence"], row["finished"], 1 + (before.keys if before else 0))
    run = connection.execute("SELECT status FROM runs").fetchone()
    lease = connection.execute("SELECT fence FROM leases").fetchone()
    waiting, decided = connection.execute(
        """SELECT COUNT(*) FILTER (WHERE decided IS NULL), COUNT(*) FILTER (WHERE decided IS NOT NULL AND handled IS NULL)
           FROM approvals WHERE closed IS NULL"""
    ).fetchone()
    newest = connection.execute("SELECT MAX(checkpoint_id) FROM checkpoints").fetchone()[0] if checkpoints else None
    return Seen(
        rows=rows,
        fence=lease["fence"] if lease else 0,
        status=run["status"] if run else "",
        waiting=waiting,
        decided=decided,
        checkpoint=_time_of(newest) if newest else 0.0,
    )


def _time_of(checkpoint_id: str) -> float:
    """The time in a UUID of version 6: hundreds of nanoseconds since October 1582."""
    number = uuid.UUID(checkpoint_id).int
    ticks = (number >> 80 << 12) | (number >> 64 & 0xFFF)
    return (ticks - 0x01B21DD213814000) / 1e7


def classify(case: Case, seen: Seen, lines: list[Line], drive: int) -> tuple[Window, dict[str, Window]]:
    """The kill's window, the most dangerous first when several steps were under way, and the window of each of those."""
    cut = {step: window for step in case.steps if (window := _of_step(seen, lines, drive, step)) is not None}
    for worst in (
        "4 in the call, after the effect",
        "5 call over, outcome not written",
        "3 in the call, before the effect",
        "2 intent written, not called",
        "settling an earlier cut",
    ):
        if worst in cut.values():
            return worst, cut
    return _between(case, seen), cut


def _of_step(seen: Seen, lines: list[Line], drive: int, step: str) -> Window | None:
    row = seen.rows.get(step)
    if row is not None and (row.status in SETTLED or row.state not in ("intent", "in_doubt")):
        return None
    marks = [line.mark for line in lines if line.drive == drive and line.step == step and line.mark in ("enter", "effect", "leave")]
    match marks[-1] if marks else None:
        case "leave":
            return "5 call over, outcome not written"
        case "effect":
            return "4 in the call, after the effect"
        case "enter":
            return "3 in the call, before the effect"
        case _ if row is None or row.state == "in_doubt":
            return None
        case _:
            return "2 intent written, not called" if row.fence == seen.fence else "settling an earlier cut"


def _between(case: Case, seen: Seen) -> Window:
    if seen.decided:
        return "decided, not acted on"
    if seen.waiting:
        return "waiting at a gate"
    ended = [row.finished for row in seen.rows.values() if row.status in SETTLED and row.finished and row.fence == seen.fence]
    settled = sum(row.status in SETTLED for row in seen.rows.values()) == len(case.steps)
    if seen.status in ("succeeded", "failed", "cancelled") or (settled and not ended):
        return "8 after the checkpoint"
    if not ended:
        return "1 before the intent"
    if seen.checkpoint > max(ended):
        return "8 after the checkpoint"
    return "7 all written, before the checkpoint" if settled else "6 outcome written, more to do"
