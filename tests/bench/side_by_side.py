"""Many runs in one process: what a step costs then, and what a run holds while it waits for a person."""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypedDict

from agent_graph import AgentGraph, Approve, Run, ToolContext, tool

from .chains import TOOLS, Seen, agent_at, chain, release, seen, warm
from .measure import Bench, Ratio, in_child, percentile, resident, spending, turns
from .table import NOTHING, Found, Line

STEPS, GATE = 10, 5


class Took(TypedDict):
    per_core: float
    """Steps per second of processor time; starting the runs, their gates and their ends included."""
    overhead: float
    """Milliseconds between the end of one step's call and the begin of the next one's, in the same run: 95 of 100 are not above."""


async def _to_the_gates(agent: AgentGraph, at_once: int) -> list[Run]:
    paused = await asyncio.gather(*(agent.arun(plan=chain(STEPS, "look_async", gate=GATE)) for _ in range(at_once)))
    assert {run.status for run in paused} == {"paused"}
    return paused


async def _to_the_ends(agent: AgentGraph, paused: list[Run]) -> None:
    ended = await asyncio.gather(*(agent.aresume(run, Approve()) for run in paused))
    assert {run.status for run in ended} == {"succeeded"}


def side_by_side(folder: str, at_once: int, rounds: int) -> Took:
    """``rounds`` times: so many runs at once, to their gates and on to their ends."""
    home = Path(folder)
    warm(home, "look_async")
    marks: dict[str, list[tuple[int, float, float]]] = {}

    @tool(risk="read_only")
    async def look_async(ctx: ToolContext, n: int, after: str) -> Seen:
        """Read something, and note when."""
        began = time.perf_counter()
        made = seen(n)
        marks.setdefault(ctx.run_id, []).append((n, began, time.perf_counter()))
        return made

    cpu = 0.0
    agent, _ = agent_at(home / "runs.db", tools=[look_async, release])
    with agent:
        for _ in range(rounds):
            with spending() as first:
                paused = asyncio.run(_to_the_gates(agent, at_once))
            with spending() as second:
                asyncio.run(_to_the_ends(agent, paused))
            cpu += first.cpu + second.cpu
    gaps = [
        begin - end
        for calls in marks.values()
        for (one, _, end), (other, begin, _) in itertools.pairwise(sorted(calls))
        if other == one + 1  # not over the gate, where a person was waited for
    ]
    return {"per_core": at_once * rounds * STEPS / cpu, "overhead": percentile(gaps, 0.95) * 1e3}


def held_at_gates(folder: str, at_once: int) -> list[float]:
    """Bytes by which the process grows for each run that waits: of the first so many, and of as many more, whose driving is paid for."""
    home = Path(folder)
    warm(home, "look_async")
    agent, _ = agent_at(home / "runs.db", tools=TOOLS)
    kept, grown = [], []
    with agent:
        for _ in range(2):
            gc.collect()
            before = resident()
            kept.append(asyncio.run(_to_the_gates(agent, at_once)))
            gc.collect()
            grown.append((resident() - before) / at_once)
    return grown


def rows(bench: Bench) -> Found:
    many = 50 if bench.quick else 200

    def measure(at_once: int, rounds: int) -> Took:
        bench.say(f"side by side, {at_once} at once, {rounds} times")
        with TemporaryDirectory(dir=bench.folder) as folder:
            return in_child(side_by_side, folder, at_once, rounds)

    took = turns(bench.passes, {"many": lambda: measure(many, 1), "one": lambda: measure(1, 20)})
    with TemporaryDirectory(dir=bench.folder) as folder:
        first, more = in_child(held_at_gates, folder, many)

    def line(what: Literal["per_core", "overhead"], unit: str, form: str) -> Line:
        ours, alone = ([each[what] for each in took[name]] for name in ("many", "one"))
        return Line(
            measured=f"{many} runs of {STEPS} steps and a gate at once: {unit}",
            ours=format(statistics.median(ours), form),
            against=f"one run {format(statistics.median(alone), form)}",
            ratio=str(Ratio.of(ours, alone)),
        )

    return Found(
        [
            line("per_core", "steps per second and core", ".0f"),
            line("overhead", "p95 of a step's own overhead, ms", ".2f"),
            Line(
                measured=f"{many} runs at a gate: bytes of memory per run",
                ours=f"{more:.0f}; with what driving the first {many} at once took {first:.0f}",
                against=NOTHING,
            ),
        ],
        [
            "A step's own overhead is the time between two calls of one run. With many runs at once it is mostly waiting for the others' turns."
        ],
    )
