"""``validate``: compiling a plan against tools, policy and limits, before anything runs."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

from agent_graph import Plan
from agent_graph.cli import inputs
from agent_graph.identity import RunId
from agent_graph.policy.compiler import Rules, compile_plan

from .chains import LIMITS, agent_at, chain
from .measure import Bench, in_child, spending
from .table import NOTHING, Found, Line

REACH = {50: 5.0, 1000: 60.0}
"""Milliseconds."""


class Took(TypedDict):
    """Milliseconds."""

    validate: float
    """``AgentGraph.validate`` of a plan that this process has not seen before."""
    again: float
    """The same plan once more, which caches may know."""
    compile: float
    """The compiler alone, as the command line calls it, on a plan not seen before."""
    read: float
    """Reading the file and building the plan, which the command line does first."""


def validate(folder: str, steps: int) -> Took:
    home = Path(folder)
    agent, _ = agent_at(home / "runs.db")
    agent.validate(chain(3, "look"))
    file = home / "plan.json"
    file.write_text(json.dumps(chain(steps, "look").document()), encoding="utf-8")

    def fresh(from_number: int) -> Plan:
        """Equal in shape, but no text of a criterion was met before."""
        text = chain(steps, "look").model_dump_json().replace("output.n == ", f"output.n == {from_number} + ")
        return Plan.model_validate_json(text)

    plan, other = fresh(1), fresh(2)
    with agent:
        with spending() as first:
            agent.validate(plan)
        with spending() as second:
            agent.validate(plan)
        with spending() as compiled:
            report = compile_plan(other, Rules(tools=agent.tools.specs, policy=agent.policy, limits=LIMITS), RunId("preview"))
        assert report.valid
    with spending() as read:
        inputs.plan_of(inputs.read_plan_or_blueprint(str(file)))
    return {"validate": first.wall * 1e3, "again": second.wall * 1e3, "compile": compiled.wall * 1e3, "read": read.wall * 1e3}


def rows(bench: Bench) -> Found:
    found = Found()
    for steps, reach in REACH.items():
        bench.say(f"validate, {steps} steps")
        took: list[Took] = []
        for _ in range(bench.passes):
            with TemporaryDirectory(dir=bench.folder) as folder:
                took.append(in_child(validate, folder, steps))
        first, again, compiled, read = (statistics.median(each[what] for each in took) for what in ("validate", "again", "compile", "read"))
        found.lines.append(
            Line(
                measured=f"validate, {steps} steps: ms, a plan not seen before",
                ours=f"{first:.1f}; compiler alone {compiled:.1f}; again {again:.1f}",
                against=NOTHING,
                reach=f"≤ {reach:g}",
                reached=max(first, compiled) <= reach,
            )
        )
        found.notes.append(
            f"`agent-graph validate FILE` reads {steps} steps of JSON and builds the plan in {read:.0f} ms before it compiles them."
        )
    return found
