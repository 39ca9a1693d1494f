"""Read-only SQL over SQLite: a planner may write any query, so what a query can do is bounded here, not trusted.

Four bounds: the file is opened with ``mode=ro``; an authorizer allows reading and nothing else (no ATTACH, no PRAGMA that sets, no
extension); a progress handler ends what takes too long; rows, bytes and cells are capped, and a cap that cut something off is said.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from agent_graph.tools.tool import tool

MAX_BYTES = 128 * 1024
"""Of the rows as JSON; half of what one step's output may hold."""
MAX_CELL = 4_000
"""Characters of one text value."""
MAX_VALUE = 16 * 1024 * 1024
"""Bytes of any text or blob inside SQLite, so that ``zeroblob(1e9)`` ends in an error and not in swap."""
BUSY_S = 5.0

_SAYING_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list", "data_version"}
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}


class Rows(TypedDict):
    columns: list[str]
    rows: list[dict[str, JsonValue]]
    row_count: int
    """Rows that are given here."""
    truncated: bool
    """True: the query has more rows than are given here."""
    notes: list[str]
    """What was cut off, renamed or written differently."""


@contextmanager
def reading(database: Path, *, timeout_s: float) -> Iterator[sqlite3.Connection]:
    """A connection that can only read, closed at the end; a statement is interrupted ``timeout_s`` seconds after the opening.

    Raises ValueError when the file is not there or is no SQLite database, when a statement wants more than reading, and when it takes
    too long: whatever SQLite says inside the block comes out as a ValueError that names the file.
    """
    if not database.is_file():
        raise ValueError(f"{database}: there is no such database file; give the path of a SQLite file")
    began = time.monotonic()
    refused: list[str] = []
    try:
        connection = sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=min(BUSY_S, timeout_s), isolation_level=None)
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
            connection.set_authorizer(lambda *action: _authorize(refused, *action))
            connection.set_progress_handler(lambda: int(time.monotonic() - began > timeout_s), 1_000)
            yield connection
        finally:
            connection.close()
    except (sqlite3.Error, sqlite3.Warning) as error:
        if refused:
            raise ValueError(f"{database}: only reading is allowed, and this statement wants to {refused[0]}; write one SELECT") from None
        if "interrupted" in str(error):
            raise ValueError(f"{database}: the query took longer than {timeout_s:g} s; narrow it with WHERE, or raise timeout_s") from None
        raise ValueError(f"{database}: {error}") from None


def _authorize(refused: list[str], action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action in _READING:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and second != "load_extension":
        return sqlite3.SQLITE_OK
    # A virtual table (FTS, json_each, pragma_table_info) describes itself to SQLite by this; a statement that says it, SQLite itself refuses.
    if action == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
        return sqlite3.SQLITE_OK
    # table_info('t') names a table, it sets nothing; the others of these take no value that sets something either.
    if action == sqlite3.SQLITE_PRAGMA and (first or "").lower() in _SAYING_PRAGMAS:
        return sqlite3.SQLITE_OK
    refused.append(_action(action, first, second))
    return sqlite3.SQLITE_DENY


def _action(action: int, first: str | None, second: str | None) -> str:
    codes = ("ATTACH", "DETACH", "INSERT", "UPDATE", "DELETE", "PRAGMA", "TRANSACTION", "FUNCTION")
    names = {getattr(sqlite3, f"SQLITE_{code}"): code for code in codes}
    target = " ".join(part for part in (first, second) if part)
    return f"{names.get(action, 'change the database')}{f' ({target})' if target else ''}"


def quoted(identifier: str) -> str:
    """The name of a table or column as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


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
        try:
            cursor = connection.execute(query, params if params is not None else ())
        except (sqlite3.ProgrammingError, sqlite3.Warning) as error:
            if "one statement" in str(error):
                raise ValueError(f"{database}: the query holds more than one statement; give exactly one SELECT") from None
            raise ValueError(f"{database}: the params do not fit the query: {error}") from None
        if cursor.description is None:
            raise ValueError(f"{database}: the query returns no rows; write one SELECT")
        notes: list[str] = []
        columns = _distinct([str(one[0]) for one in cursor.description], notes)
        rows: list[dict[str, JsonValue]] = []
        size = 0
        truncated = False
        for raw in cursor:
            row = {column: _cell(value, notes) for column, value in zip(columns, raw, strict=True)}
            size += len(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
            if len(rows) == max_rows or size > MAX_BYTES:
                truncated = True
                limit = f"max_rows = {max_rows}" if len(rows) == max_rows else f"{MAX_BYTES:,} bytes"
                notes.append(f"cut off after {len(rows)} rows ({limit}): there are more; narrow or aggregate the query")
                break
            rows.append(row)
        cursor.close()
    return {"columns": columns, "rows": rows, "row_count": len(rows), "truncated": truncated, "notes": list(dict.fromkeys(notes))}


def _distinct(names: list[str], notes: list[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        distinct, number = name, 2
        while distinct in found:
            distinct, number = f"{name}_{number}", number + 1
        if distinct != name:
            notes.append(f"a second column {name!r} is called {distinct!r} here")
        found.append(distinct)
    return found


def _cell(value: Any, notes: list[str]) -> JsonValue:
    """A SQLite value as JSON. SQLite knows blobs and infinities, JSON does not."""
    if isinstance(value, bytes):
        text = None
        with suppress(UnicodeDecodeError):
            text = value.decode()
        notes.append("blobs are given as text where they are UTF-8, else by their size")
        value = text if text is not None else f"<blob of {len(value)} bytes>"
    if isinstance(value, float) and not math.isfinite(value):
        notes.append("infinite numbers are given as text")
        return str(value)
    if isinstance(value, str) and len(value) > MAX_CELL:
        notes.append(f"texts of more than {MAX_CELL:,} characters are cut off")
        return f"{value[:MAX_CELL]}… ({len(value):,} characters)"
    return value  # type: ignore[no-any-return]  # int, float, str or None: all that is left in SQLite
