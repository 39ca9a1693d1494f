"""How the steps of a plan are drawn: glyphs, colours, and which of many are shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from agent_graph.identity import RunId
from agent_graph.lookalikes import told
from agent_graph.ports import Store
from agent_graph.state import Run
from agent_graph.trace.amounts import seconds
from agent_graph.trace.checklist import Checklist, Item, Standing
from agent_graph.visible import clipped, columns, visible

MARKS: dict[Standing, tuple[str, str, str]] = {
    "waiting": ("·", ".", "dim"),
    "running": ("▶", ">", "bold blue"),
    "begun": ("?", "?", "yellow"),
    "asks": ("◆", "?", "bold yellow"),
    "in_doubt": ("?", "?", "bold yellow"),
    "succeeded": ("✓", "+", "green"),
    "failed": ("✗", "x", "bold red"),
    "blocked": ("✗", "x", "red"),
    "skipped": ("–", "-", "dim"),
}
"""By standing: glyph, the same in ASCII, style."""

SAYS: dict[Standing, str] = {
    "begun": "begun; what came of it is settled on resume",
    "asks": "waits for a person",
    "in_doubt": "did it happen? waits for a person",
    "blocked": "blocked",
    "skipped": "skipped",
}

WEIGHT: dict[Standing, int] = {"running": 0, "asks": 1, "in_doubt": 1, "begun": 1, "failed": 2, "blocked": 2}
"""What must be seen comes first when not all fits; then what ended last and what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    width: int
    unicode: bool = True
    most: int = 10_000
    """Lines that there is room for."""
    now: float | None = None
    """To say how long a step has been running."""


def rows(checklist: Checklist, style: Style) -> Iterator[Text]:
    """The steps in the plan's order; where some are left out, a line says how many and how they stand."""
    items = list(checklist.items.values())
    shown = window(items, style.most)
    ids = min(max((columns(_shown(item)) for item in shown), default=0), max(12, style.width // 3))
    whats = min(max((columns(visible(item.what)) for item in shown), default=0), max(12, style.width // 4))
    chosen, hidden, cut = {item.id for item in shown}, list[Item](), False
    for item in items:
        if item.id not in chosen:
            hidden.append(item)
            continue
        if hidden:
            yield _gap(hidden, style)
            hidden = []
        row, is_cut = _row(item, style, ids, whats)
        cut = cut or is_cut
        yield row
    if hidden:
        yield _gap(hidden, style)
    if cut:
        legend = Text("  …+12: cut off here, 12 characters more; all of it: agent-graph show RUN --json", style="dim", no_wrap=True)
        legend.truncate(style.width, overflow="ellipsis")
        yield legend


def window(items: list[Item], most: int) -> list[Item]:
    """At most ``most`` steps: those that run or need somebody, then what surrounds the place where the work is."""
    if len(items) <= most:
        return items
    room = max(1, most * 2 // 3)  # each gap takes a line, too
    busy = [index for index, item in enumerate(items) if item.standing in WEIGHT]
    busy.sort(key=lambda index: (WEIGHT[items[index].standing], -index))
    chosen = set(busy[:room])
    first_waiting = next((index for index, item in enumerate(items) if item.standing == "waiting"), len(items))
    distance = 0
    while len(chosen) < room and distance < len(items):
        for index in (first_waiting - 1 - distance, first_waiting + distance):
            if 0 <= index < len(items) and len(chosen) < room:
                chosen.add(index)
        distance += 1
    return [items[index] for index in sorted(chosen)]


def _row(item: Item, style: Style, ids: int, whats: int) -> tuple[Text, bool]:
    """The row, and whether something of it was cut off."""
    glyph, plain, color = MARKS[item.standing]
    row = Text(f"  {glyph if style.unicode else plain} ", style=color, no_wrap=True, overflow="crop")
    row.append(f"{_padded(_shown(item), ids)}  ", style="dim" if item.standing in ("waiting", "skipped") else "")
    row.append(f"{_padded(item.what, whats)}  ", style="dim")
    took = item.seconds
    if item.standing == "running" and style.now is not None and item.started is not None:
        took = max(0.0, style.now - item.started)
    ran = item.standing not in ("waiting", "skipped", "asks", "blocked")
    row.append(f"{seconds(took) if took is not None and ran else '':>9}  ", style=color)
    room = max(0, style.width - row.cell_len)
    said = SAYS.get(item.standing, "")
    if item.note:
        said = f"{said}: {item.note}" if said else item.note
    why = told(said or item.description)
    row.append(clipped(why, room), style="dim" if not said else color)
    cut = columns(why) > room or columns(_shown(item)) > ids or columns(visible(item.what)) > whats
    row.truncate(style.width, overflow="ellipsis")
    return row, cut


def _shown(item: Item) -> str:
    """Its id; a call of an agent stands below its step."""
    return f"{'  ' if item.part_of else ''}{visible(item.id)}"


def _padded(text: str, width: int) -> str:
    said = clipped(text, width)
    return said + " " * (width - columns(said))


def _gap(hidden: list[Item], style: Style) -> Text:
    counts: dict[str, int] = {}
    for item in hidden:
        counts[item.standing] = counts.get(item.standing, 0) + 1
    said = ", ".join(f"{number} {visible(standing)}" for standing, number in counts.items())
    gap = Text(f"  {'⋮' if style.unicode else ':'} {said}", style="dim", no_wrap=True)
    gap.truncate(style.width)
    return gap


_ORDER: tuple[Standing, ...] = ("succeeded", "failed", "blocked", "skipped", "running", "asks", "in_doubt", "begun", "waiting")


def summary(checklist: Checklist) -> str:
    """How many stand how: ``5 succeeded, 3 running side by side, 12 to go``."""
    counts = checklist.counts
    parts = []
    for standing in _ORDER:
        number = counts.get(standing, 0)
        if number:
            word = {"asks": "waiting for a person", "in_doubt": "in doubt", "waiting": "to go"}.get(standing, standing)
            parts.append(f"{number} {word}{' side by side' if standing == 'running' and number > 1 else ''}")
    return ", ".join(parts)


def checklist_of(store: Store, run: Run) -> Checklist:
    """The run's steps as the ledger has them."""
    return Checklist.of(run, begun=[effect.step_id for effect in store.ledger.open_effects(RunId(run.id))])
