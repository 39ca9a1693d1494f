"""Metrics: when was a series unusual, was it so at these hours of other days too, and what else moved then?

Each tool takes the name of a series and reads it again, and returns findings, never samples: what goes into the ledger stays small.
All that is computed here is robust (medians and deviations from them), since the incident that is looked for is in the data itself.
Scaling a series changes no finding, and shifting it by whole days shifts them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field, with_config
from typing_extensions import TypedDict

from agent_graph.tools.robust import METHOD_DAYS, MIN_DAYS, Comparison, Usual, compare, short, short_z
from agent_graph.tools.series import Quality, Series, all_bundled, bundled, instant, read_series, zone_of
from agent_graph.tools.tool import tool

MIN_SAMPLES = 12
"""Fewer samples say nothing about what is usual."""
MAX_DETAILS = 300
"""Comparisons that one answer of ``which_moved`` spells out."""
METHOD = (
    "robust z = 0.6745 (x - median) / MAD over the whole series (B. Iglewicz, D. C. Hoaglin: How to Detect and Handle Outliers, ASQC, 1993); "
    "an outlier lies beyond {threshold:g}; outliers at most {join:g} min apart are one window"
)
METHOD_NO_MAD = "; MAD is 0 here (over half of the samples are equal), so z = (x - median) / (1.253314 x mean absolute deviation), 1.253314 = sqrt(pi/2)"

Source = Annotated[
    str,
    Field(
        description="A series: FILE.csv, FILE.csv::VALUE_COLUMN, FILE.db::TABLE or FILE.db::TABLE::VALUE_COLUMN (SQLite), or the name of a bundled one."
    ),
]
TimeColumn = Annotated[str | None, Field(description="Name of the time column; null finds it by its name.")]
ValueColumn = Annotated[str | None, Field(description="Name of the value column; null finds it by its name.")]
Timezone = Annotated[
    str, Field(description="IANA zone of times written without one, and of the clock that 'the same hours' are read from.")
]
Threshold = Annotated[float, Field(gt=0, description="Robust z beyond which something counts as unusual.")]
Days = Annotated[int, Field(ge=MIN_DAYS, le=366, description="Compare with at most so many days before and after.")]


@with_config(extra="ignore")  # the richer windows of find_outlier_windows are taken as they are
class Span(TypedDict):
    """A stretch of time, half-open: ``start`` is in it, ``until`` is not. ISO 8601."""

    start: str
    until: str


Spans = Annotated[list[Span], Field(max_length=20, description="Windows, for example `windows` of find_outlier_windows.")]


class Extreme(TypedDict):
    time: str
    value: float
    z: float


class Description(TypedDict):
    series: str
    samples: int
    start: str
    end: str
    """Time of the last sample."""
    timezone: str
    interval_s: float
    """The usual time between two samples, in seconds."""
    min: float
    max: float
    mean: float
    median: float
    mad: float
    """Median absolute deviation from the median, in the unit of the values."""
    largest: Extreme
    """The sample with the largest absolute robust z."""
    quality: Quality


class Fleet(TypedDict):
    sources: list[str]
    series: list[Description]
    notes: list[str]


class Window(TypedDict):
    start: str
    """Time of the first outlier."""
    end: str
    """Time of the last outlier."""
    until: str
    """When the last outlier's interval is over."""
    seconds: float
    """From start to until."""
    samples: int
    """Outliers in the window."""
    direction: Literal["up", "down", "both"]
    largest: Extreme
    mean: float
    """Of the outliers."""
    ongoing: bool
    """True: the series ends in this window."""


class Windows(TypedDict):
    series: str
    method: str
    threshold: float
    samples: int
    outliers: int
    median: float
    mad: float
    largest: Extreme
    windows: list[Window]
    """In order of time."""
    left_out: int
    """Windows beyond max_windows, the least of them by their largest z."""


class ComparedWindow(Comparison):
    start: str
    until: str


class ComparedWindows(TypedDict):
    series: str
    method: str
    windows: list[ComparedWindow]


class MovedWindow(TypedDict):
    start: str
    until: str
    moved: list[str]
    not_moved: list[str]
    cannot_say: list[str]
    series: list[Comparison]
    """The largest z first."""
    left_out: int
    """Series that are only named, since there are too many to spell out."""


class Moved(TypedDict):
    method: str
    windows: list[MovedWindow]


def _extreme(series: Series, usual: Usual, indices: Sequence[int] | range) -> Extreme:
    index = max(indices, key=lambda each: abs(usual.z(series.values[each]) or 0.0))
    value = series.values[index]
    return {"time": series.iso(series.times[index]), "value": short(value), "z": short_z(usual.z(value) or 0.0)}


# ── tools ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@tool(risk="read_only")
def describe_series(
    source: Source, time_column: TimeColumn = None, value_column: ValueColumn = None, timezone: Timezone = "UTC"
) -> Description:
    """Read one time series and say what it holds: span, sampling interval, typical values, its largest outlier, and the quality of the data
    (gaps, duplicates, unreadable rows). Start an investigation with it.
    """
    return _describe(read_series(source, time_column=time_column, value_column=value_column, timezone=timezone), timezone)


def _describe(series: Series, timezone: str) -> Description:
    usual = Usual.of(series.values)
    return {
        "series": series.source,
        "samples": len(series.values),
        "start": series.iso(series.times[0]),
        "end": series.iso(series.times[-1]),
        "timezone": timezone,
        "interval_s": series.step,
        "min": short(min(series.values)),
        "max": short(max(series.values)),
        "mean": short(fmean(series.values)),
        "median": short(usual.centre),
        "mad": short(usual.mad),
        "largest": _extreme(series, usual, range(len(series.values))),
        "quality": series.quality,
    }


@tool(risk="read_only")
def describe_fleet(
    source: Source,
    fleet: Annotated[
        list[str] | None,
        Field(max_length=50, description="The other series; null: the bundled ones of the same time if `source` is bundled, else none."),
    ] = None,
    time_column: TimeColumn = None,
    value_column: ValueColumn = None,
    timezone: Timezone = "UTC",
) -> Fleet:
    """Read the series that were recorded beside the one in question and describe each. `sources` of the output names them for which_moved."""

    def read(one: str) -> Series:
        return read_series(one, time_column=time_column, value_column=value_column, timezone=timezone)

    asked = read(source)
    notes: list[str] = []
    if fleet is None:
        own = source.removesuffix(".csv")
        others = [read(name) for name in all_bundled() if name != own] if bundled(source) and not Path(source).is_file() else []
        chosen = [one for one in others if _share_time(one, asked)]
    else:
        chosen = [read(name) for name in dict.fromkeys(fleet) if name != source]
        if source in fleet:
            notes.append(f"{source} is the series in question and was left out of its own fleet")
        notes += [f"{one.source} has no time in common with {source}" for one in chosen if not _share_time(one, asked)]
    return {"sources": [one.source for one in chosen], "series": [_describe(one, timezone) for one in chosen], "notes": notes}


def _share_time(one: Series, other: Series) -> bool:
    return one.times[0] < other.ends and other.times[0] < one.ends


@tool(risk="read_only")
def find_outlier_windows(
    source: Source,
    threshold: Threshold = 6.0,
    join_minutes: Annotated[float, Field(ge=0, description="Outliers at most so many minutes apart belong to one window.")] = 60.0,
    max_windows: Annotated[int, Field(ge=1, le=20, description="Return at most so many windows, the gravest.")] = 20,
    time_column: TimeColumn = None,
    value_column: ValueColumn = None,
    timezone: Timezone = "UTC",
) -> Windows:
    """Find when a series was unusual: samples whose robust z over the whole series lies beyond the threshold, joined into windows.

    Method: z = 0.6745 (x - median) / MAD, after Iglewicz and Hoaglin, How to Detect and Handle Outliers (ASQC, 1993). Where MAD is 0, the
    mean absolute deviation (times sqrt(pi/2)) takes its place; a constant series has no outliers. Each window says start, end, direction, its
    largest z and mean. Give `windows` to compare_with_other_days and which_moved.
    """
    series = read_series(source, time_column=time_column, value_column=value_column, timezone=timezone)
    if len(series.values) < MIN_SAMPLES:
        raise ValueError(f"{source}: {len(series.values)} samples are too few to say what is usual; at least {MIN_SAMPLES} are wanted")
    usual = Usual.of(series.values)
    outliers = [index for index, value in enumerate(series.values) if abs(usual.z(value) or 0.0) > threshold]
    groups: list[list[int]] = []
    for index in outliers:
        if groups and series.times[index] - series.times[groups[-1][-1]] <= 60 * join_minutes:
            groups[-1].append(index)
        else:
            groups.append([index])
    gravest = sorted(groups, key=lambda group: -max(abs(usual.z(series.values[index]) or 0.0) for index in group))[:max_windows]
    return {
        "series": source,
        "method": METHOD.format(threshold=threshold, join=join_minutes) + (METHOD_NO_MAD if usual.scale and not usual.mad else ""),
        "threshold": threshold,
        "samples": len(series.values),
        "outliers": len(outliers),
        "median": short(usual.centre),
        "mad": short(usual.mad),
        "largest": _extreme(series, usual, range(len(series.values))),
        "windows": [_window(series, usual, group) for group in sorted(gravest)],
        "left_out": len(groups) - len(gravest),
    }


def _window(series: Series, usual: Usual, group: list[int]) -> Window:
    values = [series.values[index] for index in group]
    above, below = any(value > usual.centre for value in values), any(value < usual.centre for value in values)
    last = group[-1]
    until = series.times[last] + series.step
    if last + 1 < len(series.times):
        until = min(until, series.times[last + 1])
    return {
        "start": series.iso(series.times[group[0]]),
        "end": series.iso(series.times[last]),
        "until": series.iso(until),
        "seconds": until - series.times[group[0]],
        "samples": len(group),
        "direction": "both" if above and below else "up" if above else "down",
        "largest": _extreme(series, usual, group),
        "mean": short(fmean(values)),
        "ongoing": last == len(series.times) - 1,
    }


@tool(risk="read_only")
def compare_with_other_days(
    source: Source,
    windows: Spans,
    threshold: Threshold = 6.0,
    days: Days = 28,
    time_column: TimeColumn = None,
    value_column: ValueColumn = None,
    timezone: Timezone = "UTC",
) -> ComparedWindows:
    """For each window, compare the series' mean with its means over the same clock hours of other days: is this unusual for the time of day,
    or does it happen daily? Gives their median, the spread (MAD), the robust z of the window's mean, the ratio and the number of days.
    """
    series = read_series(source, time_column=time_column, value_column=value_column, timezone=timezone)
    return {
        "series": source,
        "method": METHOD_DAYS.format(days=days, threshold=threshold, least=MIN_DAYS),
        "windows": [
            {
                **compare(series, *_bounds(window, timezone), threshold=threshold, days=days),
                "start": window["start"],
                "until": window["until"],
            }
            for window in windows
        ],
    }


@tool(risk="read_only")
def which_moved(
    sources: Annotated[list[str], Field(max_length=50, description="The other series, for example `sources` of describe_fleet.")],
    windows: Spans,
    threshold: Threshold = 6.0,
    days: Days = 28,
    time_column: TimeColumn = None,
    value_column: ValueColumn = None,
    timezone: Timezone = "UTC",
) -> Moved:
    """For each window, say which of the series moved and which did not, by each one's mean over the window against the same clock hours of
    other days. Series need not share their instants or intervals. Moving at the same time is a lead, not a cause.
    """
    read = [read_series(one, time_column=time_column, value_column=value_column, timezone=timezone) for one in dict.fromkeys(sources)]
    most = max(1, MAX_DETAILS // max(1, len(windows)))
    found: list[MovedWindow] = []
    for window in windows:
        compared = [compare(one, *_bounds(window, timezone), threshold=threshold, days=days) for one in read]
        compared.sort(key=_weight, reverse=True)
        found.append(
            {
                "start": window["start"],
                "until": window["until"],
                "moved": [one["series"] for one in compared if one["verdict"] == "moved"],
                "not_moved": [one["series"] for one in compared if one["verdict"] == "not moved"],
                "cannot_say": [one["series"] for one in compared if one["verdict"] == "cannot say"],
                "series": compared[:most],
                "left_out": len(compared[most:]),
            }
        )
    return {"method": METHOD_DAYS.format(days=days, threshold=threshold, least=MIN_DAYS), "windows": found}


def _weight(one: Comparison) -> float:
    if one["verdict"] == "cannot say":
        return -1.0
    return math.inf if one["z"] is None else abs(one["z"])


def _bounds(window: Span, timezone: str) -> tuple[float, float]:
    zone = zone_of(timezone)
    start, until = instant(window["start"], zone), instant(window["until"], zone)
    if until <= start:
        raise ValueError(f"the window from {window['start']} until {window['until']} holds no time; until must lie after start")
    return start, until
