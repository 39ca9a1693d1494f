"""Whether a store's schema is the one that the migrations make. A file can bring SQL of its own, which SQLite runs inside our transactions.

A trigger could say yes to each request that is written, and so could a column's default. Neither is ever run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache

from agent_graph.checkpoints.migrations import migrate
from agent_graph.errors import StoreUnreadable

Column = tuple[str, str, str, str | None, int, int]
"""Table, name, type, default, place in the primary key, and whether it is computed."""

_COLUMNS = """SELECT m.name, c.name, upper(c.type), c.dflt_value, c.pk, c.hidden FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c
    WHERE m.type = 'table' AND m.name NOT IN ('checkpoints', 'writes') ORDER BY m.name, c.cid"""


@cache
def _expected() -> dict[str, list[Column]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, "as it is made")
        return _columns(connection)


def _columns(connection: sqlite3.Connection) -> dict[str, list[Column]]:
    """By table."""
    found: dict[str, list[Column]] = {}
    for row in connection.execute(_COLUMNS):
        found.setdefault(row[0], []).append((row[0], row[1], row[2], row[3], row[4], row[5]))
    return found


def columns_of(table: str) -> tuple[str, ...]:
    """Names, in the order of the table."""
    return tuple(column[1] for column in _expected()[table])


def not_as_made(connection: sqlite3.Connection) -> list[str]:
    """What the schema has that no migration made, or made otherwise; for a store of the latest version. Tables of somebody else's are left out."""
    planted = connection.execute(
        "SELECT type, name, tbl_name FROM sqlite_schema WHERE type IN ('trigger', 'view') ORDER BY name"
    ).fetchall()
    found = _columns(connection)
    return [
        *(f"a {row[0]} {row[1]!r} on {row[2]}" for row in planted),
        *(f"another table {table}" for table, columns in _expected().items() if found.get(table) != columns),
    ]


def refuse_other_schema(connection: sqlite3.Connection, name: str) -> int:
    """Raises StoreUnreadable. Returns SQLite's number of the schema that was looked at, which changes with it."""
    number = schema_number(connection)
    wrong = not_as_made(connection)
    if wrong:
        raise StoreUnreadable(
            f"the schema of the store {name} was changed outside of agent-graph: it has {', '.join(wrong)[:300]}. A schema can make SQLite "
            "run what nobody approved, so the store is not used: restore it from a copy, or take out what was put in"
        )
    return number


def schema_number(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA schema_version").fetchone()[0])


def run_no_code_of(connection: sqlite3.Connection, ours: frozenset[str] = frozenset()) -> None:
    """Nothing that stands in the file's schema is run on this connection, whenever it was put there. ``ours``: triggers of this connection."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.set_authorizer(_authorizer(ours))


def _authorizer(ours: frozenset[str]) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    def judge(action: int, first: str | None, second: str | None, database: str | None, inside: str | None) -> int:
        """``inside``: the trigger or view by which a statement would do something that it does not say itself."""
        return sqlite3.SQLITE_OK if inside is None or inside in ours else sqlite3.SQLITE_DENY

    return judge
