"""What it takes to go on with a paused run in a new process, imports apart: it must not depend on how much was done before."""

from __future__ import annotations

import functools
import shutil
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

from agent_graph import AgentGraph, Approve

from .chains import LIMITS, TOOLS, agent_at, chain, warm
from .measure import Bench, Ratio, in_child, spending, turns
from .table import NOTHING, Found, Line

SIZES = (10, 100, 1000)
REACH = 1.2


class Took(TypedDict):
    """Milliseconds."""

    wall: float
    cpu: float


def pause(folder: str, steps: int) -> str:
    """Run to a gate before the last step but one. Gives the run's id."""
    agent, _ = agent_at(Path(folder) / f"paused-{steps}.db")
    with agent:
        run = agent.run(plan=chain(steps, "look", gate=steps - 2))
        assert (run.status, len(run.results)) == ("paused", steps - 2), run
    return run.id


def resume(folder: str, store: str, run_id: str) -> Took:
    """From the opening of the store to the end of the run. A gate elsewhere was answered before, so that all is loaded."""
    home = Path(folder)
    warm(home)
    agent, _ = agent_at(home / "warm-gate.db")
    with agent:
        paused = agent.run(plan=chain(3, "look", gate=1))
        assert agent.resume(paused, Approve()).status == "succeeded"
    with spending() as spent:
        agent = AgentGraph(tools=TOOLS, store=store, limits=LIMITS)
        run = agent.resume(run_id, Approve())
    assert run.status == "succeeded", run.error
    agent.close()
    return {"wall": spent.wall * 1e3, "cpu": spent.cpu * 1e3}


def rows(bench: Bench) -> Found:
    with TemporaryDirectory(dir=bench.folder) as folder:
        paused = {steps: in_child(pause, folder, steps) for steps in SIZES}

        def measure(steps: int) -> Took:
            bench.say(f"resume, N = {steps}")
            with TemporaryDirectory(dir=folder) as place:
                copy = shutil.copy(Path(folder) / f"paused-{steps}.db", place)
                return in_child(resume, place, str(copy), paused[steps])

        took = turns(bench.passes, {str(steps): functools.partial(measure, steps) for steps in SIZES})
    found = Found()
    for steps in SIZES:
        wall = [each["wall"] for each in took[str(steps)]]
        ratio = Ratio.of(wall, [each["wall"] for each in took["10"]])
        found.lines.append(
            Line(
                measured=f"resume of a paused run in a new process: ms, N = {steps}",
                ours=f"{statistics.median(wall):.1f}, CPU {statistics.median(each['cpu'] for each in took[str(steps)]):.1f}",
                against=NOTHING if steps == 10 else f"itself at N = 10: {statistics.median(each['wall'] for each in took['10']):.1f}",
                ratio=NOTHING if steps == 10 else str(ratio),
                reach=f"≤ {REACH}" if steps == 1000 else NOTHING,
                reached=ratio.median <= REACH if steps == 1000 else None,
            )
        )
    return found
