"""What is usual, told so that the incident in the data does not hide itself: medians, and deviations from medians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean, median
from typing import Literal

from typing_extensions import TypedDict

from agent_graph.tools.series import Series

MIN_DAYS = 3
"""Fewer other days say nothing about what is usual at an hour."""
NOISE = 1e-12
"""A deviation below this part of the centre is rounding, not deviation."""

METHOD_DAYS = (
    "mean over the window against the means over the same clock hours of up to {days} days before and after: robust z of the mean "
    "(Iglewicz and Hoaglin 1993) beyond {threshold:g} = moved; at least {least} other days with half of the window covered are needed"
)


class Comparison(TypedDict):
    series: str
    verdict: Literal["moved", "not moved", "cannot say"]
    why: str
    direction: Literal["up", "down", "level"]
    mean: float | None
    usual: float | None
    """Median of the same hours' means on the other days."""
    spread: float | None
    """Median absolute deviation of these means."""
    z: float | None
    """Null also where the other days do not differ at all and this one does."""
    ratio: float | None
    """mean / usual, where both are above 0."""
    samples: int
    days: int
    """Other days that were compared with."""


@dataclass(frozen=True, slots=True)
class Usual:
    """A centre and what one standard deviation would be if the values were normal, both deaf to a minority of outliers."""

    centre: float
    mad: float
    scale: float
    """MAD / 0.6745; where MAD is 0, 1.253314 × the mean absolute deviation; 0 when all values are equal."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Usual:
        centre = median(values)
        deviations = [abs(value - centre) for value in values]
        mad = median(deviations)
        if mad > NOISE * abs(centre):
            return cls(centre, mad, mad / 0.6745)
        return cls(centre, 0.0, 1.253314 * fmean(deviations) if max(deviations) > NOISE * abs(centre) else 0.0)

    def z(self, value: float) -> float | None:
        """Deviations from the centre; None for a value that differs from values that do not differ at all."""
        away = value - self.centre
        if abs(away) <= NOISE * max(abs(self.centre), abs(value)):
            return 0.0
        return away / self.scale if self.scale else None


def short(value: float) -> float:
    """Six significant digits: all that a reader needs, and the same text on each machine."""
    return float(f"{value:.6g}") + 0.0


def short_z(value: float) -> float:
    return short(round(value, 3))


def compare(series: Series, start: float, until: float, *, threshold: float, days: int) -> Comparison:
    """The window's mean against the same clock hours of other days (local days of the series' zone, so that a change to summer time keeps the hour)."""
    length = until - start
    local = datetime.fromtimestamp(start, series.zone)
    means: list[float] = []
    for shift in range(-days, days + 1):
        other = (local + timedelta(days=shift)).timestamp()
        if other + length <= start or other >= until:  # a window longer than a day must not be compared with itself
            mean = series.mean(other, other + length)
            if mean is not None and mean[2] >= length / 2:
                means.append(mean[0])
    here = series.mean(start, until)
    if here is None or here[2] < length / 2:
        return _cannot_say(series, "less than half of the window has samples", len(means))
    if len(means) < MIN_DAYS:
        return _cannot_say(series, f"only {len(means)} other day{'' if len(means) == 1 else 's'} with samples at these hours", len(means))
    usual = Usual.of(means)
    z = usual.z(here[0])
    moved = z is None or abs(z) > threshold
    why = "the other days do not differ, this one does" if z is None else f"z {z:+,.1f} is {'beyond' if moved else 'within'} {threshold:g}"
    return {
        "series": series.source,
        "verdict": "moved" if moved else "not moved",
        "why": why,
        "direction": "level" if z == 0 else "up" if here[0] > usual.centre else "down",
        "mean": short(here[0]),
        "usual": short(usual.centre),
        "spread": short(usual.mad),
        "z": None if z is None else short_z(z),
        "ratio": short(here[0] / usual.centre) if here[0] > 0 and usual.centre > 0 else None,
        "samples": here[1],
        "days": len(means),
    }


def _cannot_say(series: Series, why: str, days: int) -> Comparison:
    return {
        "series": series.source,
        "verdict": "cannot say",
        "why": why,
        "direction": "level",
        "mean": None,
        "usual": None,
        "spread": None,
        "z": None,
        "ratio": None,
        "samples": 0,
        "days": days,
    }
