"""A plan that is made one step at a time, in processes that are killed around each of its versions: every step once, no replan used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, signal, sys
from pathlib import Path
from agent_graph import AgentGraph, Limits, Plan, Policy, Step, tool
from agent_graph.checkpoints.runs import Runs
from agent_graph.ports import ReplanningContext

HERE = Path(sys.argv[1])
RUN = "12345678-1234-4234-8234-123456789abc"


@tool(risk="write", recovery="blind")
def write(name: str) -> str:
    with open(HERE / "written", "a") as log:
        log.write(name + "\\n")
    return name


class OneByOne:
    name, can_replan, reads_values = "one by one", True, False

    def complete(self, goal):
        return goal

    def plan(self, context):
        done = len(context.results) if isinstance(context, ReplanningContext) else 0
        if isinstance(context, ReplanningContext) and not context.extending:
            raise AssertionError(f"nothing went wrong: {context.reason}")
        if done == 2:
            return Plan(goal=context.goal, answer="both")
        step = Step(id=f"s{done}", tool="write", args={"name": f"s{done}"})
        return Plan(goal=context.goal, steps=(step,), mode="iterative", open=True)

    replan = plan


def die_once(at):
    mark = HERE / at
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


add_plan = Runs.add_plan


def dies(self, lease, plan, lineage=None):
    die_once(f"before {plan.version}")
    add_plan(self, lease, plan, lineage)
    die_once(f"after {plan.version}")


Runs.add_plan = dies
with AgentGraph([write], planner=OneByOne(), policy=Policy.allow_all(), limits=Limits(max_replans=0), store=HERE / "runs.db") as agent:
    done = agent.resume(RUN) if agent.runs() else agent.run("write", run_id=RUN)
    print(done.status, done.answer, done.plan.version)
"""


def test_each_step_is_planned_on_and_done_once_whatever_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    killed = 0
    while (done := subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)).returncode:
        assert done.returncode == -9, done.stderr
        killed += 1
        assert killed <= 6
    assert (killed, done.stdout.split()) == (6, ["succeeded", "both", "3"])
    assert (tmp_path / "written").read_text(encoding="utf-8").split() == ["s0", "s1"]
