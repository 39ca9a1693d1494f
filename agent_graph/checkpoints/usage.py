"""What the models of a run were asked, by role."""

from __future__ import annotations

import sqlite3

from agent_graph.checkpoints.database import Database
from agent_graph.checkpoints.leases import check_fence
from agent_graph.identity import RunId
from agent_graph.records import Lease, Usage


class Usages:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, lease: Lease, role: str, used: Usage) -> None:
        """Add to what the role has used. Raises LeaseLost."""

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.execute(
                """INSERT INTO usage (run_id, role, requests, input_tokens, output_tokens, money, unpriced) VALUES (?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT (run_id, role) DO UPDATE SET requests = requests + excluded.requests,
                       input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
                       money = money + excluded.money, unpriced = unpriced + excluded.unpriced""",
                (lease.run_id, role, used.requests, used.input_tokens, used.output_tokens, used.money, used.unpriced),
            )

        self._database.write(work)

    def of(self, run_id: RunId) -> dict[str, Usage]:
        rows = self._database.sealed_rows("usage", "SELECT * FROM usage WHERE run_id = ? ORDER BY role", (run_id,))
        return {
            row["role"]: Usage(
                requests=row["requests"],
                input_tokens=row["input_tokens"],
                output_tokens=row["output_tokens"],
                money=row["money"],
                unpriced=row["unpriced"],
            )
            for row in rows
        }
