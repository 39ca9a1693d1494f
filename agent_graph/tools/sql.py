"""SQL over SQLite: a planner may write any statement, so what one can do is bounded here, not trusted.

``query_sqlite`` reads any file that it is given. ``sql_tools`` is for one database: its statements are also read by a second parser, tables
can be named, queries run in a process that can be killed, and changes are tools of their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from agent_graph.errors import InvalidToolError
from agent_graph.ports import Clock, Isolation, SystemClock
from agent_graph.tools.sql_connection import BUSY_S, MAX_VALUE, quoted, reading
from agent_graph.tools.sql_rows import MAX_BYTES, MAX_CELL, Params, Rows, fetched
from agent_graph.tools.sql_statement import check_query
from agent_graph.tools.sql_writing import RECEIPTS, changing_tools
from agent_graph.tools.tool import Tool, tool

__all__ = ["MAX_BYTES", "MAX_CELL", "MAX_VALUE", "RECEIPTS", "Rows", "query_sqlite", "quoted", "reading", "sql_tools"]

MOST_TABLES = 200
MOST_COLUMNS = 2_000
"""Of one description."""

_NAMED = "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
_COLUMNS = 'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) WHERE hidden <> 1'


class Column(TypedDict):
    name: str
    type: str
    not_null: bool
    primary_key: bool


class Table(TypedDict):
    name: str
    kind: str
    columns: list[Column]


class Tables(TypedDict):
    tables: list[Table]
    left_out: int
    """Tables that are there, may be read, and are not given here."""


@tool(risk="read_only", timeout=70)
def query_sqlite(
    database: Annotated[str, Field(description="Path of a SQLite file.")],
    query: Annotated[str, Field(description="One SELECT statement (WITH, VALUES and EXPLAIN work too). Use ? or :name for values.")],
    params: Annotated[
        list[str | int | float | None] | dict[str, str | int | float | None] | None,
        Field(description="Values for ? (a list) or :name (an object)."),
    ] = None,
    max_rows: Annotated[
        int, Field(ge=1, le=5_000, description="At most so many rows are returned; `truncated` says if there are more.")
    ] = 200,
    timeout_s: Annotated[float, Field(gt=0, le=60, description="Seconds after which the query is given up.")] = 10.0,
) -> Rows:
    """Run one read-only SQL query on a SQLite file and return its rows as objects by column name.

    Nothing can be changed: writing, ATTACH and PRAGMAs that set something are refused. Aggregate in SQL rather than fetching many rows.
    To see what is there: SELECT name, sql FROM sqlite_master, or SELECT * FROM pragma_table_info('table').
    """
    with reading(Path(database), timeout_s=timeout_s) as connection:
        return queried(connection, database, query, params, max_rows)


def queried(connection: sqlite3.Connection, shown: object, query: str, params: Any, max_rows: int) -> Rows:
    try:
        cursor = connection.execute(query, params if params is not None else ())
    except (sqlite3.ProgrammingError, sqlite3.Warning) as error:
        if "one statement" in str(error):
            raise ValueError(f"{shown}: the query holds more than one statement; give exactly one SELECT") from None
        raise ValueError(f"{shown}: the params do not fit the query: {error}") from None
    if cursor.description is None:
        raise ValueError(f"{shown}: the query returns no rows; write one SELECT")
    rows = fetched(cursor, max_rows)
    cursor.close()
    return rows


def sql_tools(
    database: str | Path,
    *,
    tables: Sequence[str] | None = None,
    writable: Sequence[str] = (),
    max_changes: int = 100,
    timeout_s: float = 10.0,
    prefix: str = "",
    isolation: Isolation = "process",
    clock: Clock | None = None,
) -> list[Tool]:
    """``query_sql`` and ``describe_tables`` for one SQLite file; with ``writable`` also ``execute_sql`` (INSERT, UPDATE) and ``delete_sql``.

    ``database``: its path is made absolute here, and the file must be there when a tool is called. ``tables``: those that may be read, views
    by their own name and with all that is behind them; None: all. ``writable``: those that may be changed, and read; what triggers and
    foreign keys read or change counts as well. ``max_changes``: rows that one statement changes at most, else nothing is. ``timeout_s``:
    seconds after which a statement is interrupted. ``isolation="process"`` ends even what SQLite cannot interrupt; ``"thread"`` saves the
    0.1 s that a worker takes to start. ``prefix``: put before the names of the tools, for a second database.

    A change writes a receipt into the table ``agent_graph_receipts`` of the same file, which is made at the first one.

    Raises InvalidToolError when the options cannot work.
    """
    if isinstance(tables, str) or isinstance(writable, str):
        raise InvalidToolError("sql_tools: tables and writable are lists of names, as in tables=['orders']")
    if max_changes < 1 or not 0 < timeout_s <= 3_600:
        raise InvalidToolError("sql_tools: max_changes is at least 1, and timeout_s above 0 and at most 3600 seconds")
    allowed, changeable = (
        None if tables is None else frozenset(each.lower() for each in tables),
        frozenset(each.lower() for each in writable),
    )
    for name in changeable:
        if name == RECEIPTS or name.startswith("sqlite_"):
            raise InvalidToolError(f"sql_tools: {name} is not for statements to change")
    path = Path(database).expanduser().absolute()
    found = [
        _query_tool(path, allowed, changeable, timeout_s, prefix, isolation),
        _describing_tool(path, allowed, changeable, timeout_s, prefix),
    ]
    if changeable:
        found += changing_tools(
            path,
            tables=allowed,
            writable=changeable,
            max_changes=max_changes,
            timeout_s=timeout_s,
            prefix=prefix,
            isolation=isolation,
            clock=clock or SystemClock(),
        )
    return found


def _query_tool(
    path: Path, allowed: frozenset[str] | None, changeable: frozenset[str], timeout_s: float, prefix: str, isolation: Isolation
) -> Tool:
    readable = None if allowed is None else allowed | changeable

    @tool(name=f"{prefix}query_sql", risk="read_only", timeout=timeout_s + BUSY_S, isolation=isolation)
    def query_sql(
        query: Annotated[str, Field(description="One SELECT, WITH … SELECT or VALUES. Use ? or :name for values.")],
        params: Annotated[Params, Field(description="Values for ? (a list) or :name (an object).")] = None,
        max_rows: Annotated[
            int, Field(ge=1, le=5_000, description="At most so many rows are returned; `notes` say how many more there are.")
        ] = 200,
    ) -> Rows:
        """Run one read-only query on the database and return its rows as objects by column name. Nothing can be changed.

        describe_tables says what there is. Aggregate in SQL rather than fetching many rows.
        """
        try:
            check_query(query, readable)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        with reading(path, timeout_s=timeout_s, tables=readable) as connection:
            return queried(connection, path, query, params, max_rows)

    return query_sql


def _describing_tool(path: Path, allowed: frozenset[str] | None, changeable: frozenset[str], timeout_s: float, prefix: str) -> Tool:
    @tool(name=f"{prefix}describe_tables", risk="read_only")
    def describe_tables() -> Tables:
        """The tables and views of the database that may be read, with their columns."""
        with reading(path, timeout_s=timeout_s) as connection:  # these statements are ours
            names = [
                (name, kind)
                for name, kind in connection.execute(_NAMED)
                if name != RECEIPTS and (allowed is None or name.lower() in allowed | changeable)
            ]
            found: list[Table] = []
            columns = 0
            for name, kind in names[:MOST_TABLES]:
                rows = connection.execute(_COLUMNS, [name]).fetchall()
                columns += len(rows)
                if columns > MOST_COLUMNS:
                    break
                found.append(
                    {
                        "name": name,
                        "kind": kind,
                        "columns": [
                            {"name": each[0], "type": each[1], "not_null": bool(each[2]), "primary_key": bool(each[3])} for each in rows
                        ],
                    }
                )
        return {"tables": found, "left_out": len(names) - len(found)}

    return describe_tables
