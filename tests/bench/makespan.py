"""How long layered graphs of steps take, over what no schedule beats; ours with durable writes, and LangGraph's waves on the same graphs."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

from agent_graph import Plan, Step, ToolContext, tool

from .chains import LIMITS, POLICY, agent_at, warm
from .dags import Dag, layered
from .langgraph_loops import wave_makespan
from .measure import Bench, in_child, spending
from .table import Found, Line

ANY = 256
"""More side by side than any of these graphs has ready."""
SHAPES: tuple[tuple[int, int | None], ...] = ((50, None), (200, None), (50, 8), (200, 8))
"""Steps, and how many at a time."""
REACH, WORST_REACH, LIMITED_REACH = 1.03, 1.06, 1.10


class Times(TypedDict):
    """Over the lower bound."""

    ours: float
    between: float
    """From the first call's begin to the last one's end: without starting and ending the run."""
    waves: float


def _plan(dag: Dag) -> Plan:
    return Plan(
        goal="Work through the graph",
        steps=tuple(
            Step(id=f"s{n}", tool="work", args={"n": n, "seconds": seconds}, depends_on=tuple(f"s{need}" for need in needs))
            for n, (needs, seconds) in enumerate(zip(dag.needs, dag.seconds, strict=True))
        ),
    )


def _our_makespan(dag: Dag, path: Path, limit: int | None) -> tuple[float, float]:
    """Seconds of the whole ``run``, and from the first call to the last."""
    marks: list[float] = []

    @tool(risk="write", recovery="keyed", parallel=True)
    def work(ctx: ToolContext, n: int, seconds: float) -> int:
        """Take a while."""
        marks.append(time.perf_counter())
        time.sleep(seconds)
        marks.append(time.perf_counter())
        return n

    agent, _ = agent_at(path, tools=[work], policy=POLICY, limits=LIMITS.model_copy(update={"max_parallel": limit or ANY}))
    plan = _plan(dag)
    with agent:
        with spending() as spent:
            run = agent.run(plan=plan)
        assert run.status == "succeeded", run.error
    return spent.wall, max(marks) - min(marks)


def take_turns(folder: str, steps: int, limit: int | None, seeds: list[int]) -> list[Times]:
    home = Path(folder)
    warm(home)
    wave_makespan(layered(5, 0), home / "warm-waves.db", limit)
    times: list[Times] = []
    for seed in seeds:
        dag = layered(steps, seed)
        bound = dag.lower_bound(limit)
        whole, between = _our_makespan(dag, home / f"ours-{seed}.db", limit)
        waves = wave_makespan(dag, home / f"waves-{seed}.db", limit)
        times.append({"ours": whole / bound, "between": between / bound, "waves": waves / bound})
    return times


def rows(bench: Bench) -> Found:
    found = Found()
    for steps, limit in SHAPES[:4:3] if bench.quick else SHAPES:
        seeds = [1] if bench.quick else [1, 2, 3, 4, 5]
        at_once = "unbounded" if limit is None else f"{limit} at a time"
        bench.say(f"makespan, {steps} steps, {at_once}")
        with TemporaryDirectory(dir=bench.folder) as folder:
            times = in_child(take_turns, folder, steps, limit, seeds)
        ours, between, waves = ([each["ours"] for each in times], [each["between"] for each in times], [each["waves"] for each in times])
        median, worst = statistics.median(ours), max(ours)
        found.lines.append(
            Line(
                measured=f"makespan of {steps} durable writes, {at_once}, over the lower bound",
                ours=f"{median:.3f}, worst {worst:.3f}; from first to last call {statistics.median(between):.3f}",
                against=f"LangGraph Send waves {statistics.median(waves):.2f}, worst {max(waves):.2f}",
                ratio=f"{median / statistics.median(waves):.2f}",
                reach=f"≤ {REACH}, worst ≤ {WORST_REACH}" if limit is None else f"≤ {LIMITED_REACH:.2f}",
                reached=median <= REACH and worst <= WORST_REACH if limit is None else median <= LIMITED_REACH,
            )
        )
    return found
