"""The two columns of a series, from a CSV file or a SQLite table: which they are, and what a cell says."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from agent_graph.tools.sql import quoted, reading

MAX_SAMPLES = 1_000_000
"""Rows of one series; beyond that it should be aggregated where it is kept."""
MAX_BYTES = 256 * 1024 * 1024
"""Of a CSV file."""
LARGEST = 1e200
"""A value beyond it is taken for unreadable: its deviations could not be summed up."""
_TIME_NAMES = ("timestamp", "time", "datetime", "date", "ts", "@timestamp", "_time", "at", "epoch", "created_at")
_VALUE_NAMES = ("value", "val", "y", "_value", "metric_value")
_EARLIEST, _LATEST = datetime(1971, 1, 1, tzinfo=UTC).timestamp(), datetime(2200, 1, 1, tzinfo=UTC).timestamp()
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Raw rows of (time, value), and how the columns were chosen."""

    where: str
    time: str
    value: str
    rows: Iterable[tuple[Any, Any]]
    notes: list[str] = field(default_factory=list)


def read_columns(path: Path, rest: list[str], time_column: str | None, value_column: str | None) -> Columns:
    """Of ``FILE::a::b``, ``rest`` is what follows the file. Raises ValueError that says what, where, and what to do."""
    read = _from_database if _is_database(path) else _from_csv
    return read(path, rest, time_column, value_column)


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as opened:
            return opened.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None


def _from_csv(path: Path, rest: list[str], time_column: str | None, value_column: str | None) -> Columns:
    if len(rest) > 1:
        raise ValueError(f"{path}::{'::'.join(rest)}: too many parts between '::'; write FILE.csv::VALUE_COLUMN")
    value_column = rest[0] if rest else value_column
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(
                f"{path}: {path.stat().st_size:,} bytes; at most {MAX_BYTES:,} are read: aggregate it first, or load it into SQLite"
            )
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: this is neither UTF-8 text nor a SQLite file; save it as CSV in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if not text.strip():
        raise ValueError(f"{path}: the file is empty; a header line and rows of time and value are wanted")
    delimiter = max(",;\t|", key=text.lstrip().partition("\n")[0].count)
    try:
        table = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except csv.Error as error:
        raise ValueError(f"{path}: not readable as CSV: {error}") from None
    header, notes = [name.strip() for name in table[0]], []
    if any(time_in(cell, UTC) is not None for cell in header):
        header = [f"column{number}" for number in range(1, len(header) + 1)]
        notes.append(f"the first line is data, not a header; columns are called {', '.join(header)}")
    else:
        table = table[1:]
    time, value = _choose(str(path), header, time_column, value_column, first=table[0] if table else None)
    at, of = header.index(time), header.index(value)
    rows = ((row[at] if at < len(row) else "", row[of] if of < len(row) else "") for row in table)
    return Columns(where=str(path), time=time, value=value, rows=rows, notes=notes)


def _from_database(path: Path, rest: list[str], time_column: str | None, value_column: str | None) -> Columns:
    if len(rest) > 2:
        raise ValueError(f"{path}::{'::'.join(rest)}: too many parts between '::'; write FILE.db::TABLE::VALUE_COLUMN")
    table = rest[0] if rest else None
    value_column = rest[1] if len(rest) == 2 else value_column
    with reading(path, timeout_s=30) as connection:
        names = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")
        ]
        if table is None and len(names) == 1:
            table = names[0]
        if table is None or table not in names:
            missing = f"there is no table {table!r}" if table else "it has more than one table, or none"
            raise ValueError(f"{path}: {missing}; write {path.name}::TABLE with one of: {', '.join(names) or '(it has none)'}")
        header = [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", [table])]
        where = f"{path}::{table}"
        time, value = _choose(where, header, time_column, value_column, first=None)
        query = f"SELECT {quoted(time)}, {quoted(value)} FROM {quoted(table)} LIMIT ?"
        rows = connection.execute(query, [MAX_SAMPLES + 1]).fetchall()
    return Columns(where=where, time=time, value=value, rows=rows)


def _choose(where: str, header: list[str], time: str | None, value: str | None, *, first: list[str] | None) -> tuple[str, str]:
    """The two columns: as given, else by their usual names, else the only ones left."""
    for given, argument in ((time, "time_column"), (value, "value_column")):
        if given is not None and given not in header:
            raise ValueError(f"{where}: there is no column {given!r} ({argument}); there are {', '.join(header)}")
    lower = {name.lower(): name for name in reversed(header)}
    if time is None:
        named = [lower[name] for name in _TIME_NAMES if name in lower and lower[name] != value]
        if not named and first is not None:
            named = [name for name, cell in zip(header, first, strict=False) if name != value and time_in(cell, UTC) is not None][:1]
        if not named:
            raise ValueError(f"{where}: no column looks like a time; say which with time_column: {', '.join(header)}")
        time = named[0]
    if value is None:
        named = [lower[name] for name in _VALUE_NAMES if name in lower and lower[name] != time][:1] or [
            name for name in header if name != time
        ]
        if len(named) != 1:
            raise ValueError(
                f"{where}: which column holds the values? Say it with value_column, or FILE::COLUMN: {', '.join(named) or 'none is left'}"
            )
        value = named[0]
    return time, value


# ── cells ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def time_in(raw: Any, zone: tzinfo) -> float | None:
    """Seconds since the epoch; None for what is not a time between 1971 and 2200."""
    text = str(raw).strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        for unit in (1.0, 1e3, 1e6, 1e9):
            if _EARLIEST <= number / unit < _LATEST:
                return number / unit
    try:
        at = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC if text.endswith(" UTC") else zone)
    try:
        seconds = at.timestamp()
    except (OverflowError, ValueError):
        return None
    return seconds if _EARLIEST <= seconds < _LATEST else None


def number_in(raw: Any) -> float | None:
    try:
        number = float(raw)
    except (TypeError, ValueError):
        return None
    return number if abs(number) <= LARGEST else None  # false for NaN too
