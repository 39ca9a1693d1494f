"""What the models of a run were asked, by role, model, step and plan version."""

from __future__ import annotations

import sqlite3

from agent_graph.checkpoints.database import Database
from agent_graph.checkpoints.leases import check_fence
from agent_graph.identity import RunId
from agent_graph.records import Lease, Usage, UsageEntry

_COUNTED = tuple(Usage.__dataclass_fields__)
_BEFORE = ("requests", "input_tokens", "output_tokens", "money", "unpriced")
"""What schema 5 counted, by role alone."""


class Usages:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, lease: Lease, role: str, used: Usage, *, model: str = "", step_id: str = "", plan_version: int = 0) -> None:
        """Add to what the role's model has used for the step. Raises LeaseLost."""

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.execute(
                f"""INSERT INTO usage_entries (run_id, role, model, step_id, plan_version, {", ".join(_COUNTED)})
                    VALUES (?, ?, ?, ?, ?, {", ".join("?" for _ in _COUNTED)})
                    ON CONFLICT (run_id, role, model, step_id, plan_version)
                    DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in _COUNTED)}""",
                (lease.run_id, role, model, step_id, plan_version, *(getattr(used, name) for name in _COUNTED)),
            )

        self._database.write(work)

    def of(self, run_id: RunId) -> dict[str, Usage]:
        """By role: what its entries add up to."""
        found: dict[str, Usage] = {}
        for entry in self.entries(run_id):
            found[entry.role] = found.get(entry.role, Usage()) + entry.used
        return dict(sorted(found.items()))

    def entries(self, run_id: RunId) -> list[UsageEntry]:
        """By role, model, step and plan version, in this order. What schema 5 counted by role alone is of no model, step or version."""
        before = self._database.sealed_rows("usage", "SELECT * FROM usage WHERE run_id = ?", (run_id,))
        rows = self._database.sealed_rows(
            "usage_entries", "SELECT * FROM usage_entries WHERE run_id = ? ORDER BY role, model, step_id, plan_version", (run_id,)
        )
        return [
            UsageEntry(role=row["role"], model="", step_id="", plan_version=0, used=Usage(**{name: row[name] for name in _BEFORE}))
            for row in before
        ] + [
            UsageEntry(
                role=row["role"],
                model=row["model"],
                step_id=row["step_id"],
                plan_version=row["plan_version"],
                used=Usage(**{name: row[name] for name in _COUNTED}),
            )
            for row in rows
        ]
