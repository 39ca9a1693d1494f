"""A chain of N reads: references, an argument schema and one CEL criterion each, 200 B outputs. Against LangGraph's loop, and DBOS."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from . import dbos_chain, langgraph_loops
from .chains import agent_at, chain, warm
from .costs import Cost, cost
from .measure import Bench, Ratio, in_child, turns
from .table import NOTHING, Found, Line, cells

What = Literal["cpu", "wall", "disk", "memory"]

CPU_REACH = {"sync": 0.15, "async": 0.3}
CURVES = {"sync": "agent-graph, sync tools", "async": "agent-graph, async tools", "LangGraph": "LangGraph loop"}
DISK_REACH, MEMORY_REACH = 1200, 6000
"""Bytes per step."""


def chain_costs(folder: str, tool_name: str, sizes: list[int]) -> list[Cost]:
    warm(Path(folder), tool_name)
    return [_chain_cost(Path(folder) / f"ours-{steps}.db", tool_name, steps) for steps in sizes]


def _chain_cost(path: Path, tool_name: str, steps: int) -> Cost:
    agent, _ = agent_at(path)

    def begin() -> Any:
        plan = chain(steps, tool_name)

        def run() -> Any:
            made = agent.run(plan=plan)
            assert (made.status, made.answer) == ("succeeded", steps - 1), made.error
            return made, plan

        return run

    return cost(steps, path, begin, agent.close)


def rows(bench: Bench) -> Found:
    groups = [[10, 100], [1000]] if bench.quick else [[10, 100], [1000], [5000]]
    sizes = [steps for group in groups for steps in group]
    systems: dict[str, Callable[[str, list[int]], list[Cost]]] = {
        "sync": lambda folder, group: in_child(chain_costs, folder, "look", group),
        "async": lambda folder, group: in_child(chain_costs, folder, "look_async", group),
        "LangGraph": lambda folder, group: in_child(langgraph_loops.chain_costs, folder, group),
        "DBOS": lambda folder, group: in_child(dbos_chain.chain_costs, folder, group),
    }
    most = {"LangGraph": 1000, "DBOS": 100 if bench.quick else 1000}
    if not dbos_chain.INSTALLED:
        del systems["DBOS"]

    def measure(system: str, group: list[int]) -> list[Cost]:
        if group[-1] > most.get(system, 5000):
            return []
        bench.say(f"reads, {system}, N = {group}")
        with TemporaryDirectory(dir=bench.folder) as folder:
            return systems[system](folder, group)

    took = turns(bench.passes, {f"{system} {group}": functools.partial(measure, system, group) for group in groups for system in systems})
    found = Costs(sizes, {system: [each for group in groups for made in took[f"{system} {group}"] for each in made] for system in systems})
    lines = [line for kind in ("sync", "async") for line in _lines(found, kind)]
    return Found(lines, _notes(found), {name: found.curve(system) for system, name in CURVES.items()})


@dataclass(frozen=True, slots=True)
class Costs:
    """What all passes of all systems cost."""

    sizes: list[int]
    of: dict[str, list[Cost]]

    @property
    def peers(self) -> list[str]:
        return [system for system in ("LangGraph", "DBOS") if system in self.of]

    def values(self, system: str, steps: int, what: What) -> list[float]:
        return [each[what] for each in self.of[system] if each["steps"] == steps]

    def median(self, system: str, steps: int, what: What) -> float | None:
        """None: it was not run with so many steps."""
        found = self.values(system, steps, what)
        return statistics.median(found) if found else None

    def ratio(self, kind: str, steps: int, what: What) -> Ratio | None:
        """Over LangGraph's."""
        theirs = self.values("LangGraph", steps, what)
        return Ratio.of(self.values(kind, steps, what), theirs) if theirs else None

    def curve(self, system: str) -> dict[int, float]:
        return {steps: cost for steps in self.sizes if (cost := self.median(system, steps, "cpu")) is not None}

    def said(self, system: str, what: What, at: list[int]) -> str:
        return cells([self.median(system, steps, what) for steps in at])

    def said_of_peers(self, what: What, at: list[int]) -> str:
        return "; ".join(
            f"{peer} {self.said(peer, what, at)}" for peer in self.peers if any(self.values(peer, steps, what) for steps in at)
        )


def _lines(found: Costs, kind: str) -> Iterator[Line]:
    sizes, large = found.sizes, [steps for steps in found.sizes if steps >= 1000]
    timed: tuple[tuple[What, str], ...] = (("cpu", "CPU"), ("wall", "wall"))
    for what, unit in timed:
        ratios = [found.ratio(kind, steps, what) for steps in sizes]
        at_1000 = found.ratio(kind, 1000, what) if what == "cpu" else None
        yield Line(
            measured=f"reads, {kind} tools: {unit} µs per step, N = {' / '.join(map(str, sizes))}",
            ours=found.said(kind, what, sizes),
            against=found.said_of_peers(what, sizes),
            ratio=f"{cells([None if each is None else each.median for each in ratios], '.2f')} × LangGraph",
            reach=f"N = 1000: ≤ {CPU_REACH[kind]:g}" if at_1000 is not None else NOTHING,
            reached=at_1000.median <= CPU_REACH[kind] if at_1000 is not None else None,
        )
    if 5000 in sizes:
        flat = Ratio.of(found.values(kind, 5000, "cpu"), found.values(kind, 100, "cpu"))
        yield Line(
            measured=f"reads, {kind} tools: CPU µs per step, N = 5000",
            ours=found.said(kind, "cpu", [5000]),
            against=f"itself at N = 100: {found.said(kind, 'cpu', [100])}",
            ratio=str(flat),
            reach="≤ 1",
            reached=flat.median <= 1,
        )
    sized: tuple[tuple[What, str, int], ...] = (("disk", "on disk", DISK_REACH), ("memory", "of memory", MEMORY_REACH))
    for what, where, reach in sized:
        got = found.median(kind, 1000, what)
        yield Line(
            measured=f"reads, {kind} tools: bytes {where} per step, N = {' / '.join(map(str, large))}",
            ours=found.said(kind, what, large),
            against=found.said_of_peers(what, large),
            reach=f"N = 1000: ≤ {reach}",
            reached=got is not None and got <= reach,
        )


def _notes(found: Costs) -> list[str]:
    per_step = found.median("LangGraph", 1000, "disk") or 0.0
    notes = [
        "DBOS runs at its defaults: a rollback journal, flushed at each commit, so that its wall time is the disk's."
        if "DBOS" in found.of
        else "DBOS is not installed, so its figures are missing: it comes with the extra `bench`."
    ]
    if 5000 in found.sizes:
        notes.append(
            "LangGraph's loop is not run with 5000 steps: its saver stores the list of results whole in each checkpoint, "
            f"{per_step / 1000:.0f} KB for each of 1000 steps, which would be about {25 * per_step * 1000 / 1e9:.1f} GB in all."
        )
    return notes
