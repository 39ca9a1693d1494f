"""What an agent step and its model have said so far: the step goes on from there, in any process."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from agent_graph.checkpoints.database import Database, reads_row
from agent_graph.checkpoints.leases import check_fence
from agent_graph.identity import RunId
from agent_graph.records import Lease


class Conversations:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, lease: Lease, key: str, number: int, messages: Sequence[dict[str, Any]]) -> None:
        """Put messages on record, all of them or none. ``number``: of the first, counted from 0. One that is there already stays as it is.
        Raises LeaseLost."""
        rows = [(lease.run_id, key, at, json.dumps(message, ensure_ascii=False)) for at, message in enumerate(messages, number)]

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.executemany(
                "INSERT INTO conversations (run_id, key, number, message) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", rows
            )

        self._database.write(work)

    def of(self, run_id: RunId, key: str) -> list[dict[str, Any]]:
        """In the order in which they came."""
        rows = self._database.sealed_rows(
            "conversations", "SELECT * FROM conversations WHERE run_id = ? AND key = ? ORDER BY number", (run_id, key)
        )
        return [_message(row) for row in rows]


@reads_row("conversations")
def _message(row: sqlite3.Row) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(row["message"])
    return message
