"""What was measured, as a table that reads the same in a terminal and in the docs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
NOTHING = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    measured: str
    ours: str
    against: str = NOTHING
    ratio: str = NOTHING
    """Ours over the other; the median of the passes, with the smallest and the largest."""
    reach: str = NOTHING
    """What it is meant to reach."""
    reached: bool | None = None
    """None: nothing was to be reached, or it could not be told."""


@dataclass(slots=True)
class Found:
    """What one row of the issue came to."""

    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    curves: dict[str, dict[int, float]] = field(default_factory=dict)
    """For the plot: by system, CPU µs per step by the number of steps."""


def table(lines: Sequence[Line]) -> str:
    """Markdown, aligned."""
    said = {True: "yes", False: "NO", None: NOTHING}
    rows = [("measured", "ours", "against", "ratio", "reach", "reached")]
    rows += [(line.measured, line.ours, line.against, line.ratio, line.reach, said[line.reached]) for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    made = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    made.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(made)


def cells(values: Sequence[float | None], form: str = ".0f") -> str:
    """One figure for each N, as ``1870 / 380 / –``."""
    return " / ".join(NOTHING if value is None else format(value, form) for value in values)


def report(found: Sequence[Found], head: str) -> str:
    notes = [note for one in found for note in one.notes]
    parts = [head, table([line for one in found for line in one.lines])]
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def write_into(page: Path, text: str) -> None:
    """Replace what stands between the markers. Raises ValueError when they are not there."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: it stands between {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
