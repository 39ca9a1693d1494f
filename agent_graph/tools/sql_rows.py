"""Rows of SQLite as JSON: bounded in rows, bytes and length of a value, and what was left out is said."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from contextlib import suppress
from typing import Any

from pydantic import JsonValue
from typing_extensions import TypedDict

MAX_BYTES = 128 * 1024
"""Of the rows as JSON; half of what one step's output may hold."""
MAX_CELL = 4_000
"""Characters of one text value."""
MAX_COUNTED = 100_000
COUNTING_S = 1.0
"""Rows and seconds for which what is left out is counted."""


Params = list[str | int | float | None] | dict[str, str | int | float | None] | None


class Rows(TypedDict):
    columns: list[str]
    rows: list[dict[str, JsonValue]]
    row_count: int
    """Rows that are given here."""
    truncated: bool
    """True: the query has more rows than are given here."""
    notes: list[str]
    """What was cut off, renamed or written differently."""


def fetched(cursor: sqlite3.Cursor, max_rows: int) -> Rows:
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
            notes.append(f"cut off after {len(rows)} rows ({limit}): there are {_more(cursor)} more; narrow or aggregate the query")
            break
        rows.append(row)
    return {"columns": columns, "rows": rows, "row_count": len(rows), "truncated": truncated, "notes": list(dict.fromkeys(notes))}


def _more(cursor: sqlite3.Cursor) -> str:
    """How many rows are left, the one in hand included; counting them must not cost more than the query did."""
    left, until = 1, time.monotonic() + COUNTING_S
    try:
        for _ in cursor:
            left += 1
            if left >= MAX_COUNTED or time.monotonic() > until:
                return f"at least {left:,}"
    except sqlite3.Error:
        return f"at least {left:,}"  # its time is over, and what is here is good
    return f"{left:,}"


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
