"""Reading a time series from a CSV file or a SQLite table, and saying what was wrong with it.

Metrics from the field have gaps, duplicates, unsorted rows and unreadable values. A finding is only as good as what was read, so whatever
was dropped, merged or sorted is counted and travels with the series.
"""

from __future__ import annotations

import math
import re
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from typing_extensions import TypedDict

from agent_graph.tools.columns import MAX_SAMPLES, Columns, number_in, read_columns, time_in

GAP = 1.5
"""A step of more than so many usual steps is a gap."""

_BUNDLED = Path(__file__).parents[1] / "examples" / "data"


class Quality(TypedDict):
    """What reading the series met. ``notes`` says in words all that is not zero."""

    rows: int
    unreadable_times: int
    unreadable_values: int
    """Empty, not a number, NaN, infinite, or beyond 1e200."""
    duplicates: int
    """Rows that shared their time with another one; the median of such rows became one sample."""
    unsorted: int
    """Rows that came before their predecessor in time; the series was sorted."""
    gaps: int
    """Steps of more than 1.5 usual ones."""
    longest_gap_s: float
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Samples in order of time, one per time. A sample stands for the time from itself to the next one, for ``step`` seconds at most."""

    source: str
    """As the caller wrote it: what the series is called everywhere, since it is the one name that cannot be mistaken."""
    times: Sequence[float]
    """Seconds since the epoch, UTC, strictly rising."""
    values: Sequence[float]
    step: float
    """The usual (median) time between two samples, in seconds."""
    zone: tzinfo
    """Of times that were written without one, and of the clock that "the same hours" are read from."""
    quality: Quality

    @property
    def ends(self) -> float:
        """Until when the last sample stands."""
        return self.times[-1] + self.step

    def mean(self, start: float, until: float) -> tuple[float, int, float] | None:
        """Mean over [start, until), number of samples, and seconds covered by them; None when no sample stands for any of it.

        Each sample counts for the part of its interval that lies inside, so series need not share their instants, and a window that is
        narrower than the sampling interval still reads the sample whose interval it lies in.
        """
        first = max(0, bisect_right(self.times, start) - 1)
        weighted: list[float] = []
        covered: list[float] = []
        for index in range(first, bisect_left(self.times, until)):
            begins = self.times[index]
            over = begins + self.step
            if index + 1 < len(self.times):
                over = min(over, self.times[index + 1])
            inside = min(over, until) - max(begins, start)
            if inside > 0:
                weighted.append(inside * self.values[index])
                covered.append(inside)
        total = math.fsum(covered)
        return (math.fsum(weighted) / total, len(covered), total) if total > 0 else None

    def iso(self, at: float) -> str:
        return datetime.fromtimestamp(at, self.zone).isoformat()


# ── sources ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def bundled(name: str) -> Path | None:
    """The bundled example file of this name, with or without ``.csv``; None when there is none."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.csv)?", name):
        return None
    path = _BUNDLED / f"{name.removesuffix('.csv')}.csv"
    return path if path.is_file() else None


def all_bundled() -> list[str]:
    """Names of the bundled example series."""
    return sorted(path.stem for path in _BUNDLED.glob("*.csv"))


def zone_of(timezone: str) -> tzinfo:
    """Raises ValueError for what is not an IANA name."""
    try:
        return UTC if timezone.upper() in ("UTC", "Z") else ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"timezone {timezone!r} is not known; use an IANA name such as UTC or Europe/Berlin") from None


def read_series(source: str, *, time_column: str | None = None, value_column: str | None = None, timezone: str = "UTC") -> Series:
    """The series of ``file.csv``, ``file.csv::value_column``, ``file.db::table`` or ``file.db::table::value_column``.

    A bare name without such a file is looked up in the bundled examples. Columns are found by name (timestamp, time, …; value, …) or, of
    two columns, as the other one. Times are ISO 8601, or epoch seconds, milliseconds, micro- or nanoseconds (told by their magnitude);
    ``timezone`` is that of times written without one, where the clock repeats an hour the first is meant. Raises ValueError.
    """
    zone = zone_of(timezone)
    file, *rest = source.split("::")
    path = Path(file).expanduser()
    if not path.is_file():
        example = bundled(file)
        if example is None:
            raise ValueError(
                f"{file}: there is no such file in {Path.cwd()}, and no bundled series of that name; give the path of a CSV file, FILE.db::TABLE, "
                f"or one of {', '.join(all_bundled())}"
            )
        path = example
    key = (source, _state(path), time_column, value_column, timezone)
    known = _CACHE.get(key)
    if known is None:
        known = _clean(read_columns(path, rest, time_column, value_column), source=source, zone=zone)
        _CACHE.put(key, known)
    return known


def _state(path: Path) -> tuple[Any, ...]:
    """What changes when the file does. A SQLite file in WAL mode changes beside itself."""
    found: list[Any] = [str(path.resolve())]
    for one in (path, path.with_name(path.name + "-wal")):
        try:
            state = one.stat()
        except OSError:
            continue
        found += [state.st_mtime_ns, state.st_size]
    return tuple(found)


class _Cache:
    """The last few series, since each tool of an investigation reads the same ones again."""

    def __init__(self, most: int, samples: int) -> None:
        self._most = most
        self._samples = samples
        self._held: OrderedDict[tuple[Any, ...], Series] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...]) -> Series | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: tuple[Any, ...], series: Series) -> None:
        with self._lock:
            self._held[key] = series
            while self._held and (len(self._held) > self._most or sum(len(each.times) for each in self._held.values()) > self._samples):
                self._held.popitem(last=False)


_CACHE = _Cache(most=64, samples=2 * MAX_SAMPLES)

# ── rows to samples ───────────────────────────────────────────────────────────────────────────────────────────────────


def instant(text: str, zone: tzinfo) -> float:
    """A time that a caller wrote, as seconds since the epoch. Raises ValueError."""
    found = time_in(text, zone)
    if found is None:
        raise ValueError(f"{text!r} is not a time; write ISO 8601, for example 2014-04-15T16:54:00+00:00")
    return found


def _clean(columns: Columns, *, source: str, zone: tzinfo) -> Series:
    pairs: list[tuple[float, float]] = []
    bad_times: list[str] = []
    bad_values: list[str] = []
    rows = unsorted = 0
    for raw_time, raw_value in columns.rows:
        rows += 1
        if rows > MAX_SAMPLES:
            raise ValueError(f"{columns.where}: more than {MAX_SAMPLES:,} rows; aggregate it first, for example to one row a minute")
        at, value = time_in(raw_time, zone), number_in(raw_value)
        if at is None:
            bad_times.append(str(raw_time))
        elif value is None:
            bad_values.append(str(raw_value))
        else:
            unsorted += bool(pairs) and at < pairs[-1][0]
            pairs.append((at, value))
    if not pairs:
        seen = f"; seen as time: {bad_times[0]!r}" if bad_times else f"; seen as value: {bad_values[0]!r}" if bad_values else ""
        raise ValueError(
            f"{columns.where}: none of {rows} rows has a readable time in {columns.time!r} and a number in {columns.value!r}{seen}; "
            "write times as ISO 8601 or epoch, or name other columns with time_column and value_column"
        )
    times, values = array("d"), array("d")
    repeated: Counter[float] = Counter()
    for at, group in groupby(sorted(pairs), key=itemgetter(0)):
        same = [value for _, value in group]
        times.append(at)
        values.append(median(same))
        if len(same) > 1:
            repeated[at] = len(same)
    steps = [after - before for before, after in pairwise(times)]
    step = median(steps) if steps else 0.0
    gaps = [(length, at) for length, at in zip(steps, times, strict=False) if length > GAP * step]
    longest, before = max(gaps, default=(0.0, 0.0))

    def iso(at: float) -> str:
        return datetime.fromtimestamp(at, zone).isoformat()

    def notes() -> Iterator[str]:
        yield from columns.notes
        if bad_times:
            yield f"{_count(len(bad_times), 'row')} without a readable time left out, for example {bad_times[0][:40]!r}"
        if bad_values:
            yield f"{_count(len(bad_values), 'row')} without a number left out, for example {bad_values[0][:40]!r}"
        if repeated:
            most, count = repeated.most_common(1)[0]
            yield f"{_count(repeated.total(), 'row')} shared a time with another one (most: {count} at {iso(most)}); the median of each was kept"
        if unsorted:
            yield f"{_count(unsorted, 'row')} out of order; sorted by time"
        if gaps:
            yield f"{_count(len(gaps), 'gap')}, the longest of {duration(longest)} after {iso(before)} (usual step {duration(step)})"

    quality: Quality = {
        "rows": rows,
        "unreadable_times": len(bad_times),
        "unreadable_values": len(bad_values),
        "duplicates": repeated.total(),
        "unsorted": unsorted,
        "gaps": len(gaps),
        "longest_gap_s": longest,
        "notes": list(notes()),
    }
    return Series(source=source, times=times, values=values, step=step, zone=zone, quality=quality)


def duration(seconds: float) -> str:
    """``39000`` as ``10 h 50 min``: the two largest units that are not zero."""
    total = round(seconds)
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts = []
    for unit, size in units:
        count, total = divmod(total, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or f"{seconds:g} s"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
