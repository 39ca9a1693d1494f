"""The policies under which calls were judged, each once: a row of the ledger names the one by its number."""

from __future__ import annotations

import sqlite3

from agent_graph.checkpoints.database import Database
from agent_graph.identity import Digest
from agent_graph.ports import Clock
from agent_graph.records import PolicyRecord


class Policies:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._numbers: dict[str, int] = {}

    def note(self, digest: Digest, text: str) -> int:
        """The number of the policy; it is put on record when it is new here. ``text``: as JSON."""
        number = self._numbers.get(digest)
        if number is not None:
            return number
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT INTO policies (digest, policy, seen) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (digest, text, now))
            return int(connection.execute("SELECT id FROM policies WHERE digest = ?", (digest,)).fetchone()["id"])

        number = self._numbers[digest] = self._database.write(work)
        return number

    def get(self, number: int) -> PolicyRecord | None:
        return _policy(self._database.sealed_row("policies", "SELECT * FROM policies WHERE id = ?", (number,)))

    def find(self, digest: str) -> PolicyRecord | None:
        return _policy(self._database.sealed_row("policies", "SELECT * FROM policies WHERE digest = ?", (digest,)))


def _policy(row: sqlite3.Row | None) -> PolicyRecord | None:
    return None if row is None else PolicyRecord(number=row["id"], digest=Digest(row["digest"]), text=row["policy"], seen=row["seen"])
