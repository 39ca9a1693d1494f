"""A connection to a SQLite file in which a statement can do what it was given leave to do, and nothing else.

The file is opened with ``mode=ro`` and ``query_only`` for reading. An authorizer is asked for everything that a statement wants while it is
compiled, what triggers, views and foreign keys want included. A progress handler ends what takes too long or fills the disk; limits of
SQLite itself bound values, columns and the text.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from agent_graph.tools.sql_functions import FUNCTIONS, TABLE_FUNCTIONS

BUSY_S = 5.0
MAX_VALUE = 1024 * 1024
"""Bytes of any text or blob that a statement handles, so that ``zeroblob(1e9)`` ends in an error and not in swap."""
MAX_COLUMNS = 256
"""A row holds that many values at most: with MAX_VALUE the memory that one row can take. A file with a wider table is allowed its own width."""
MAX_SQL = 50_000
"""Bytes of a statement."""
MAX_SPILL = 1024 * 1024 * 1024
"""Bytes that a statement may write to the disk while it sorts, where the system counts them (Linux)."""

_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_VALUE,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: MAX_SQL,
    sqlite3.SQLITE_LIMIT_COLUMN: MAX_COLUMNS,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 20,
}
_SAYING_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list", "data_version"}
_SCHEMA = {"sqlite_master", "sqlite_schema"}
_EXISTING = "SELECT lower(name) FROM sqlite_master UNION SELECT lower(name) FROM pragma_module_list"
_CHANGES = {sqlite3.SQLITE_INSERT: "INSERT", sqlite3.SQLITE_UPDATE: "UPDATE", sqlite3.SQLITE_DELETE: "DELETE"}


@dataclass(slots=True, kw_only=True)
class Leave:
    """What statements of one connection may do. The authorizer's fifth argument, the view or trigger that wants something, is never looked
    at: a ``WITH`` may carry the name of any view, and then stands there."""

    tables: frozenset[str] | None = None
    """Names in lower case; None: every table may be read."""
    writable: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    """INSERT, UPDATE, DELETE."""
    existing: frozenset[str] = frozenset()
    """Tables, views and modules of the file, in lower case: a name that is not among them is one that a WITH has made."""
    refused: list[str] = field(default_factory=list)
    """What was wanted and not allowed, in words."""

    def asked(self, action: int, first: str | None, second: str | None, database: str | None, _: str | None) -> int:
        if self._allows(action, (first or "").lower(), second or "", database):
            return sqlite3.SQLITE_OK
        self.refused.append(_wanted(action, first, second))
        return sqlite3.SQLITE_DENY

    def _allows(self, action: int, first: str, second: str, database: str | None) -> bool:
        if database not in (None, "main") and (self.tables is not None or action in _CHANGES):
            return False
        match action:
            case sqlite3.SQLITE_SELECT | sqlite3.SQLITE_RECURSIVE:
                return True
            case sqlite3.SQLITE_READ:
                return self._may_read(first, second)
            case sqlite3.SQLITE_FUNCTION:
                return second.lower() in FUNCTIONS
            case sqlite3.SQLITE_PRAGMA:
                # table_info('t') names a table, it sets nothing; the others of these take no value that sets something either.
                return self.tables is None and first in _SAYING_PRAGMAS
            case sqlite3.SQLITE_UPDATE if first in _SCHEMA:
                # A virtual table (FTS, json_each, pragma_table_info) describes itself by this; a statement that says it, SQLite refuses.
                return True
            case sqlite3.SQLITE_INSERT | sqlite3.SQLITE_UPDATE | sqlite3.SQLITE_DELETE:
                return _CHANGES[action] in self.changes and first in self.writable
            case _:
                return False

    def _may_read(self, table: str, column: str) -> bool:
        if self.tables is None or table in self.tables or table in self.writable or table in TABLE_FUNCTIONS:
            return True
        if table in _SCHEMA:
            return column == "ROWID"  # what describing a virtual table reads
        # A table of which no column is read, counted for example; or a WITH that refers to itself, of which nothing else is told.
        return column == "" and table not in self.existing and not table.startswith(("pragma_", "sqlite_"))


def _wanted(action: int, first: str | None, second: str | None) -> str:
    codes = ("ATTACH", "DETACH", "INSERT", "UPDATE", "DELETE", "READ", "PRAGMA", "TRANSACTION", "SAVEPOINT", "FUNCTION")
    names = {getattr(sqlite3, f"SQLITE_{code}"): code for code in codes}
    target = " ".join(part for part in (first, second) if part)
    return f"{names.get(action, 'change the database')}{f' ({target})' if target else ''}"


@contextmanager
def reading(database: Path, *, timeout_s: float, tables: frozenset[str] | None = None) -> Iterator[sqlite3.Connection]:
    """A connection that can only read, closed at the end; a statement is interrupted ``timeout_s`` seconds after the opening.

    Raises ValueError when the file is not there or is no SQLite database, when a statement wants more than reading, and when it takes
    too long: whatever SQLite says inside the block comes out as a ValueError that names the file.
    """
    if not database.is_file():
        raise ValueError(f"{database}: there is no such database file; give the path of a SQLite file")
    leave = Leave(tables=tables)
    try:
        with connected(database, "ro", timeout_s, leave) as connection:
            yield connection
    except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as error:
        raise ValueError(f"{database}: {explained(error, leave, timeout_s)}") from None


@contextmanager
def connected(database: Path, mode: str, timeout_s: float, leave: Leave) -> Iterator[sqlite3.Connection]:
    """Closed at the end, which rolls back what was not committed."""
    where = f"file://{quote(os.fsencode(database.absolute()))}?mode={mode}"
    connection = sqlite3.connect(where, uri=True, timeout=min(BUSY_S, timeout_s), isolation_level=None)
    try:
        connection.text_factory = _text
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        _read_schema(connection)
        for pragma in ("trusted_schema = OFF", "mmap_size = 0", "query_only = ON" if mode == "ro" else "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")
        if leave.tables is not None:
            leave.existing = frozenset(row[0] for row in connection.execute(_EXISTING))
        connection.set_authorizer(leave.asked)
        connection.set_progress_handler(_ends_after(timeout_s), 1_000)
        yield connection
    finally:
        connection.close()


def _read_schema(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.DatabaseError as error:
        if "too many columns" not in str(error):
            raise
        connection.setlimit(sqlite3.SQLITE_LIMIT_COLUMN, 2_000)  # SQLite's own
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE // 8)


def _ends_after(timeout_s: float) -> Callable[[], int]:
    until, spilled, before = time.monotonic() + timeout_s, _spilled, _spilled()
    return lambda: int(time.monotonic() > until or spilled() - before > MAX_SPILL)


if sys.platform == "linux":
    import resource

    def _spilled() -> int:
        """Bytes that this thread has written to a disk."""
        return resource.getrusage(resource.RUSAGE_THREAD).ru_oublock * 512
else:

    def _spilled() -> int:
        return 0


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def explained(error: Exception, leave: Leave, timeout_s: float) -> str:
    said = str(error)
    if leave.refused:
        if leave.changes:
            allowed = f"allowed are {', '.join(sorted(leave.changes))} on {', '.join(sorted(leave.writable))}"
            return f"this statement wants to {leave.refused[0]}; {allowed}, and what that brings about must be allowed as well"
        if leave.refused[0].startswith("READ"):
            return f"this statement wants to {leave.refused[0]}; the tables that may be read are {', '.join(sorted(leave.tables or ()))}"
        if leave.refused[0].startswith("FUNCTION"):
            return f"this statement wants to call a function that is not allowed: {leave.refused[0].removeprefix('FUNCTION ')}"
        return f"only reading is allowed, and this statement wants to {leave.refused[0]}; write one SELECT"
    if "interrupted" in said:
        return f"the query took longer than {timeout_s:g} s, or wrote more than {MAX_SPILL >> 30} GiB while sorting; narrow it with WHERE"
    if "too big" in said:
        return f"{said}: no value may have more than {MAX_VALUE:,} bytes; leave the column out, or ask for its length()"
    return said


def quoted(identifier: str) -> str:
    """The name of a table or column as SQL."""
    return '"' + identifier.replace('"', '""') + '"'
