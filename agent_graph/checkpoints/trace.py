"""The run's trace: one row per event, in order."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from agent_graph.checkpoints.database import Database, reads_row
from agent_graph.checkpoints.texts import text_of, value_of
from agent_graph.events import Event, read_event
from agent_graph.identity import RunId


class Events:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, event: Event) -> None:
        """Queue the event; it is committed with whatever is committed next."""
        document = event.document()
        kind, at, run_id = document.pop("kind"), document.pop("at"), document.pop("run_id")
        version = document.pop("plan_version", None) or document.get("version")
        step = document.pop("step_id", None)
        data = _data(document)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                """INSERT INTO events (run_id, seq, at, phase, kind, plan_version, step_id, data)
                   VALUES (:run, (SELECT COALESCE(MAX(seq), 0) + 1 FROM events WHERE run_id = :run), :at, :phase, :kind, :version, :step, :data)""",
                {"run": run_id, "at": at, "phase": event.phase, "kind": kind, "version": version, "step": step, "data": data},
            )

        self._database.defer(work, durable=False)

    def of(self, run_id: RunId) -> list[Event]:
        """Oldest first."""
        rows = self._database.rows("SELECT * FROM events WHERE run_id = ? ORDER BY seq", (run_id,))
        return [_event(row) for row in rows]


@reads_row("events")
def _event(row: sqlite3.Row) -> Event:
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
