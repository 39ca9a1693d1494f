"""What the models of a run were asked, as a short table: by role and model, and in all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent_graph.state import Run
from agent_graph.trace.amounts import seconds
from agent_graph.visible import clipped, columns

HEAD = ("role", "model", "requests", "read", "cached", "written", "reasoning", "time", "money")
COUNTS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "seconds", "money", "unpriced")

MOST_MODEL = 32
"""Columns of a model's name."""


def usage_lines(run: Run) -> Iterator[str]:
    """Nothing while no model was asked."""
    sums: dict[tuple[str, str], dict[str, float]] = {}
    for entry in run.usage_entries:
        _add(sums.setdefault((str(entry["role"]), str(entry["model"])), {}), entry)
    if not sums:
        return
    rows = [(role, clipped(model, MOST_MODEL), *_counts(used)) for (role, model), used in sums.items()]
    if len(rows) > 1:
        total: dict[str, float] = {}
        for used in sums.values():
            _add(total, used)
        rows.append(("all", "", *_counts(total)))
    widths = [max(columns(row[at]) for row in (HEAD, *rows)) for at in range(len(HEAD))]
    for row in (HEAD, *rows):
        named, counted = row[:2], row[2:]
        cells = [_padded(cell, widths[at]) for at, cell in enumerate(named)]
        cells += [cell.rjust(widths[at]) for at, cell in enumerate(counted, 2)]
        yield f"  {'  '.join(cells)}".rstrip()
    if any(used.get("unpriced") for used in sums.values()):
        yield "  money: what is known of it; + stands where the price of a request is not known"


def _add(into: dict[str, float], entry: Mapping[str, Any]) -> None:
    for name in COUNTS:
        into[name] = into.get(name, 0) + (entry.get(name) or 0)


def _counts(used: Mapping[str, float]) -> tuple[str, ...]:
    tokens = (f"{int(used[name]):,}" for name in ("requests", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"))
    return (*tokens, seconds(used["seconds"]), _money(used))


def _money(used: Mapping[str, float]) -> str:
    unknown = used["unpriced"]
    if unknown and not used["money"]:
        return "?"
    return f"{used['money']:.4f}" + ("+" if unknown else "")


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))
