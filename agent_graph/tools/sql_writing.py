"""Changes to a SQLite database, one statement at a time, each in a transaction that also writes its receipt.

The receipt is a row in a table of the same database, keyed by the effect. So after a crash, a timeout or a lost reply the database itself
says whether the statement landed, and what it would have returned; and the same effect cannot land twice.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from agent_graph.errors import NotDone
from agent_graph.plan import Risk
from agent_graph.ports import Clock, Isolation
from agent_graph.tools.sql_connection import BUSY_S, Leave, connected, explained
from agent_graph.tools.sql_rows import Params, fetched
from agent_graph.tools.sql_statement import check_change
from agent_graph.tools.tool import Tool, ToolContext, tool
from agent_graph.verdicts import Absent, Landed, Probed, Unknown

RECEIPTS = "agent_graph_receipts"
TIMEOUT_S = 30.0
SETTLE_S = BUSY_S + 1.0
"""A commit that began before the deadline waits for readers at most so long."""

_CREATE = f"""
CREATE TABLE IF NOT EXISTS {RECEIPTS} (
    idempotency_key TEXT PRIMARY KEY NOT NULL,
    tool TEXT NOT NULL,
    written_at TEXT NOT NULL,
    output TEXT NOT NULL
) WITHOUT ROWID"""
_INSERT = f"INSERT INTO {RECEIPTS} (idempotency_key, tool, written_at, output) VALUES (?, ?, ?, ?)"
_BY_KEY = f"SELECT output FROM {RECEIPTS} WHERE idempotency_key = ?"
_IS_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"


class Changed(TypedDict):
    changed: int
    """Rows, those included that triggers and foreign keys changed."""
    rows: list[dict[str, JsonValue]]
    """What RETURNING gave."""
    notes: list[str]


class Receipted(Exception):
    """The database holds a receipt of this effect already.

    Deliberately not ``NotDone``: the effect did happen. To the executor the error is ambiguous, so it asks the probe, which gives the output.
    """


def changing_tools(
    database: Path,
    *,
    tables: frozenset[str] | None,
    writable: frozenset[str],
    max_changes: int,
    timeout_s: float,
    prefix: str,
    isolation: Isolation,
    clock: Clock,
) -> list[Tool]:
    def probe(context: ToolContext, statement: str, params: Params = None) -> Probed:
        del statement, params  # the key stands for the call
        try:
            with connected(database, "rw", BUSY_S, Leave()) as connection:
                connection.set_authorizer(None)
                if connection.execute(_IS_THERE, [RECEIPTS]).fetchone() is None:
                    return Absent()
                row = connection.execute(_BY_KEY, [context.idempotency_key]).fetchone()
            return Absent() if row is None else Landed(json.loads(row[0]))
        except (sqlite3.Error, ValueError) as error:
            return Unknown(f"the receipts in {database} cannot be read: {error}")

    def change(name: str, kinds: frozenset[str], context: ToolContext, statement: str, params: Params) -> Changed:
        if not context.idempotency_key:
            raise NotDone(f"{name} needs an idempotency key, so that nothing is changed twice; the executor gives one")
        try:
            check_change(statement, kinds, tables, writable)
        except ValueError as error:
            raise NotDone(f"{database}: {error}. Nothing was changed") from None
        leave = Leave(tables=tables, writable=writable, changes=kinds)
        with _transaction(database, leave, timeout_s) as connection:
            connection.execute(_CREATE)
            if connection.execute(_BY_KEY, [context.idempotency_key]).fetchone() is not None:
                raise Receipted(f"{database} holds a receipt of {context.idempotency_key} already; ask the probe for it")
            output = _changed(connection, leave, database, statement, params, max_changes)
            now = clock.now()
            written_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
            connection.execute(_INSERT, [context.idempotency_key, name, written_at, json.dumps(output, ensure_ascii=False)])
            if context.deadline and now >= context.deadline:
                raise NotDone(f"{database}: the deadline passed before the commit; it was rolled back, nothing was changed")
        return output

    def declared(verb: Literal["execute_sql", "delete_sql"], risk: Risk, kinds: frozenset[str], description: str) -> Tool:
        name = f"{prefix}{verb}"

        def call(
            context: ToolContext,
            statement: Annotated[str, Field(description="One statement. Use ? or :name for values.")],
            params: Annotated[Params, Field(description="Values for ? (a list) or :name (an object).")] = None,
        ) -> Changed:
            return change(name, kinds, context, statement, params)

        may = f"Tables: {', '.join(sorted(writable))}. More than {max_changes} rows are refused as a whole."
        return tool(
            call,
            name=name,
            description=f"{description} {may}",
            risk=risk,
            probe=probe,
            settle=SETTLE_S,
            timeout=timeout_s + BUSY_S,
            isolation=isolation,
        )

    return [
        declared(
            "execute_sql", "write", frozenset({"INSERT", "UPDATE"}), "Run one INSERT or UPDATE on the database; RETURNING gives rows back."
        ),
        declared("delete_sql", "deletion", frozenset({"DELETE"}), "Run one DELETE on the database; RETURNING gives rows back."),
    ]


@contextmanager
def _transaction(database: Path, leave: Leave, timeout_s: float) -> Iterator[sqlite3.Connection]:
    """Committed at the end. Whatever fails before the commit has changed nothing, and is said so; what fails in it is for the probe."""
    if not database.is_file():
        raise NotDone(f"{database}: there is no such database file; nothing was changed")
    committing = False
    try:
        with connected(database, "rw", timeout_s, leave) as connection:
            connection.set_authorizer(None)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.set_progress_handler(None, 0)
            committing = True
            connection.execute("COMMIT")
    except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError, ValueError) as error:
        if committing:
            raise
        raise NotDone(f"{database}: {explained(error, leave, timeout_s)}. Nothing was changed") from None


def _changed(connection: sqlite3.Connection, leave: Leave, database: Path, statement: str, params: Params, most: int) -> Changed:
    before = connection.total_changes
    connection.set_authorizer(leave.asked)  # of the statement; what is ours was prepared without
    cursor = connection.execute(statement, params if params is not None else ())
    found = fetched(cursor, most) if cursor.description is not None else None
    cursor.close()  # only now are the rows counted
    connection.set_authorizer(None)
    changed = connection.total_changes - before
    if changed > most:
        raise NotDone(
            f"{database}: the statement changes {changed:,} rows, at most {most:,} are allowed; it was rolled back, nothing was changed"
        )
    return {"changed": changed, "rows": found["rows"] if found else [], "notes": found["notes"] if found else []}
