"""What a judge has said: it is asked once about the same evidence, however often the run is resumed."""

from __future__ import annotations

import sqlite3

from agent_graph.checkpoints.database import Database, reads_row
from agent_graph.checkpoints.leases import check_fence
from agent_graph.identity import RunId
from agent_graph.records import Lease
from agent_graph.verdicts import Judgement


class Judgements:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, lease: Lease, key: str, judgement: Judgement) -> None:
        """The first one stands. Raises LeaseLost."""

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.execute(
                "INSERT INTO judgements (run_id, key, judgement) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (lease.run_id, key, judgement.model_dump_json(exclude_defaults=True)),
            )

        self._database.write(work)

    def get(self, run_id: RunId, key: str) -> Judgement | None:
        row = self._database.sealed_row("judgements", "SELECT * FROM judgements WHERE run_id = ? AND key = ?", (run_id, key))
        return None if row is None else _judgement(row)


@reads_row("judgements")
def _judgement(row: sqlite3.Row) -> Judgement:
    return Judgement.model_validate_json(row["judgement"])
