"""Whole processes that only look: they must not wait for LangGraph to load."""

from __future__ import annotations

import functools
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .chains import agent_at, chain
from .loaded import loads_langgraph
from .measure import Bench, Ratio, in_child, process, turns
from .table import Found, Line

REACH = 0.25


def make_run(folder: str) -> str:
    """A store with a run of a usual size."""
    agent, _ = agent_at(Path(folder) / "runs.db")
    with agent:
        return agent.run(plan=chain(20, "look")).id


def rows(bench: Bench) -> Found:
    program = str(Path(sys.executable).with_name("agent-graph"))
    passes = max(3, 2 * bench.passes)
    with TemporaryDirectory(dir=bench.folder) as folder:
        run_id = in_child(make_run, folder)
        place = ["--store", str(Path(folder) / "runs.db")]
        words = {"agent-graph --help": ["--help"], "agent-graph show RUN": ["show", run_id, *place], "agent-graph runs": ["runs", *place]}
        commands = {name: [program, *said] for name, said in words.items()}
        commands["import agent_graph"] = [sys.executable, "-c", "import agent_graph"]
        commands["python -c pass"] = [sys.executable, "-c", "pass"]
        commands["import langgraph.graph"] = [sys.executable, "-c", "import langgraph.graph"]
        bench.say(f"starting, {len(commands)} programs, {passes} times each")
        for command in commands.values():
            process(command, Path(folder))  # the first finds cold files
        took = turns(passes, {name: functools.partial(process, command, Path(folder)) for name, command in commands.items()})
        loaded = {name: in_child(loads_langgraph, words.get(name, [])) for name in (*words, "import agent_graph")}

    def wall(name: str) -> list[float]:
        return [each.wall * 1e3 for each in took[name]]

    def said(name: str) -> str:
        return f"{statistics.median(wall(name)):.0f}, CPU {statistics.median(each.cpu for each in took[name]) * 1e3:.0f}"

    found = Found()
    for name, heavy in loaded.items():
        ratio = Ratio.of(wall(name), wall("import langgraph.graph"))
        found.lines.append(
            Line(
                measured=f"{name}: ms, whole process",
                ours=f"{said(name)}; LangGraph {'LOADED' if heavy else 'not loaded'}",
                against=f"import langgraph.graph {said('import langgraph.graph')}; python -c pass {said('python -c pass')}",
                ratio=str(ratio),
                reach=f"not loaded, ≤ {REACH}",
                reached=not heavy and ratio.median <= REACH,
            )
        )
    return found
