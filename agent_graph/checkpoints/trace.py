"""The run's trace, in order: a row per event, and the outcomes of the ledger, each of which is its own line."""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
from typing import TYPE_CHECKING, Any

from agent_graph.checkpoints.database import Database, reads_row
from agent_graph.checkpoints.texts import text_of, value_of
from agent_graph.identity import RunId

if TYPE_CHECKING:
    from agent_graph.events import Event

NEXT = """(SELECT MAX(COALESCE((SELECT MAX(seq) FROM events WHERE run_id = :run), 0),
                      COALESCE((SELECT MAX(seq) FROM effects WHERE run_id = :run), 0)) + 1)"""
"""The next place in the trace of the run ``:run``."""

_OUTCOME = """run_id, seq, finished AS at, 'step_finished' AS kind, plan_version, step_id, json_object(
    'status', status, 'attempts', attempt, 'seconds', finished - COALESCE(started, finished), 'error', json(error)) AS data"""


def keep_line(connection: sqlite3.Connection, key: str) -> None:
    """Before an outcome gives way to another: its line stays."""
    connection.execute(
        f"""INSERT INTO events (run_id, seq, at, phase, kind, plan_version, step_id, data)
            SELECT run_id, seq, at, 'execution', kind, plan_version, step_id, data
            FROM (SELECT {_OUTCOME} FROM effects WHERE key = ? AND seq IS NOT NULL AND status IS NOT NULL)""",
        (key,),
    )


class Events:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, event: Event) -> None:
        """Queue what the trace keeps of the event; it is committed with whatever is committed next."""
        document = event.for_trace().document()
        kind, at, run_id = document.pop("kind"), document.pop("at"), document.pop("run_id")
        version = document.pop("plan_version", None) or document.get("version")
        step = document.pop("step_id", None)
        data = _data(document)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                f"""INSERT INTO events (run_id, seq, at, phase, kind, plan_version, step_id, data)
                    VALUES (:run, {NEXT}, :at, :phase, :kind, :version, :step, :data)""",
                {"run": run_id, "at": at, "phase": event.phase, "kind": kind, "version": version, "step": step, "data": data},
            )

        self._database.defer(work, durable=False)

    def of(self, run_id: RunId) -> list[Event]:
        """Oldest first."""
        rows = self._database.rows(
            f"""SELECT run_id, seq, at, kind, plan_version, step_id, data FROM events WHERE run_id = :run
                UNION ALL SELECT {_OUTCOME} FROM effects WHERE run_id = :run AND seq IS NOT NULL AND status IS NOT NULL
                ORDER BY seq""",
            {"run": run_id},
        )
        return [_event(row) for row in rows]

    def worked(self, run_id: RunId) -> float:
        """Seconds in which the run was worked on: between the lines of its trace, less those in which it waited for somebody to go on with it."""
        rows = self._database.rows(
            """SELECT seq, at, kind FROM events WHERE run_id = :run
               UNION ALL SELECT seq, finished, 'step_finished' FROM effects WHERE run_id = :run AND seq IS NOT NULL AND finished IS NOT NULL
               ORDER BY seq""",
            {"run": run_id},
        )
        lines = [(row["at"], row["kind"]) for row in rows]
        return math.fsum(
            max(0.0, at - before) for (before, _), (at, kind) in itertools.pairwise(lines) if kind not in ("run_started", "decided")
        )


@reads_row("events")
def _event(row: sqlite3.Row) -> Event:
    from agent_graph.events import read_event

    return read_event(
        {
            "run_id": row["run_id"],
            "at": row["at"],
            "kind": row["kind"],
            "plan_version": row["plan_version"],
            "step_id": row["step_id"],
            **value_of(row["data"]),
        }
    )


def _data(document: dict[str, Any]) -> str:
    """No text, and no value, may cost the trace."""
    try:
        return text_of(document)
    except ValueError:
        return json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
