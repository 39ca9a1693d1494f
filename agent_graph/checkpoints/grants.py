"""Standing grants: a person's yes to calls that are still to come. Revoked ones stay on record."""

from __future__ import annotations

import sqlite3

from agent_graph.checkpoints.database import Database, reads_row
from agent_graph.checkpoints.tampered import OF_NO_RUN, changed
from agent_graph.errors import UsageError
from agent_graph.ports import Clock
from agent_graph.verdicts import Grant


class Grants:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def add(self, grant: Grant) -> Grant:
        self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO grants (id, content, by, created, expires) VALUES (?, ?, ?, ?, ?)",
                (grant.id, grant.model_dump_json(exclude_defaults=True), grant.by, grant.created, grant.expires),
            )
        )
        return grant

    def standing(self, tool: str | None = None) -> list[Grant]:
        """Those that may be used now, the oldest first."""
        rows = self._database.sealed_rows(
            "grants",
            "SELECT * FROM grants WHERE revoked IS NULL AND (expires IS NULL OR expires > ?) ORDER BY created, id",
            (self._clock.now(),),
        )
        return [grant for grant in map(_grant, rows) if tool in (None, grant.tool)]

    def all(self) -> list[Grant]:
        return [_grant(row) for row in self._database.sealed_rows("grants", "SELECT * FROM grants ORDER BY created, id")]

    def revoke(self, prefix: str, by: str | None = None) -> Grant:
        """From now on it covers nothing. Raises UsageError when there is no such grant, or it was revoked before."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> sqlite3.Row:
            rows = connection.execute("SELECT * FROM grants WHERE substr(id, 1, ?) = ?", (len(prefix), prefix)).fetchall()
            if len(rows) != 1 or not prefix:
                which = "more than one grant starts with" if rows else "there is no grant"
                raise UsageError(f"{which} {prefix!r}; list them with: agent-graph grants")
            if rows[0]["revoked"] is not None:
                raise UsageError(f"grant {rows[0]['id']} was revoked before, by {rows[0]['revoked_by'] or 'somebody unnamed'}")
            connection.execute("UPDATE grants SET revoked = ?, revoked_by = ? WHERE id = ?", (now, by, rows[0]["id"]))
            found: sqlite3.Row = connection.execute("SELECT * FROM grants WHERE id = ?", (rows[0]["id"],)).fetchone()
            return found

        return _grant(self._database.write(work))


@reads_row("grants")
def _grant(row: sqlite3.Row) -> Grant:
    grant = Grant.model_validate_json(row["content"])
    if (grant.id, grant.by, grant.created, grant.expires) != (row["id"], row["by"], row["created"], row["expires"]):
        raise changed("grants", row["id"], OF_NO_RUN, "it does not say what was granted")
    return grant.model_copy(update={"revoked": row["revoked"], "revoked_by": row["revoked_by"]})
