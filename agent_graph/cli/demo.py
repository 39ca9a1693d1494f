"""``agent-graph demo``: a real incident, from the question to the ticket; across two processes where nobody can be asked."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import typer

from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli.exits import FAILED, PAUSED, SUCCEEDED
from agent_graph.cli.output import Out
from agent_graph.cli.program import command
from agent_graph.cli.recipe import DESK
from agent_graph.errors import UnknownRun
from agent_graph.identity import new_id
from agent_graph.runs import read_run
from agent_graph.state import Run
from agent_graph.visible import visible

STORE = Path(".agent-graph/demo.db")
TICKETS = Path(".agent-graph/demo-tickets.db")
GOAL = "Why did the host's CPU collapse?"
WORDS = ["--planner", "investigate-metric", "-p", "series=ec2_cpu_utilization_825cc2"]


def demo(context: typer.Context) -> int:
    """Investigate a real incident: why did the CPU of a host collapse? No key, no network.

    A bundled blueprint looks at metrics that Amazon CloudWatch recorded, writes a report and opens a ticket on a ticket desk in a
    file, which is a write: a person is asked first. On a terminal that is you. Elsewhere one process stops at the gate and ends, and
    a second one approves and goes on.

    Each demo is a run of its own in .agent-graph/demo.db.
    """
    out = Out.of(context)
    before = tickets()
    run_id = new_id()
    words = ["run", GOAL, *WORDS, "--id", run_id, "--store", str(STORE)]
    environment = {**os.environ, DESK: str(TICKETS)}
    if before:
        out.say(
            f"{len(before)} ticket{'s' if len(before) != 1 else ''} of earlier demos on the desk; this is a new run, and opens its own.",
            "dim",
        )
    code = step(out, words, environment, "A" if not out.asks else "")
    if not out.asks and code == PAUSED:
        out.say()
        out.say("The process has ended; the run has not. A second one, which shares nothing with it but the file, says yes:")
        code = step(out, ["resume", run_id, "--approve", "--store", str(STORE)], environment, "B")
    if code != SUCCEEDED:
        return code
    return check(out, run_id, before)


def step(out: Out, words: list[str], environment: dict[str, str], name: str) -> int:
    """One real process of this program."""
    out.say()
    out.say(f"$ {command(*words)}", "bold")
    out.console.file.flush()
    process = subprocess.Popen([sys.executable, "-m", "agent_graph", *words], env=environment)  # noqa: S603  # ourselves
    code = wait(process)
    if name:
        out.say()
        out.say(f"process {name} ({process.pid}) ended with exit code {code}", "dim")
    return code


def wait(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C reaches the process as well as us: it stops cleanly, and we wait for that."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def check(out: Out, run_id: str, before: dict[str, str]) -> int:
    """Whether what the run says is what the desk holds: one ticket more, and that one."""
    run = finished(run_id)
    opened = {ticket: title for ticket, title in tickets().items() if ticket not in before}
    said = run.answer.get("ticket") if run is not None and isinstance(run.answer, dict) else None
    out.say()
    if len(opened) != 1 or said not in opened:
        out.say(
            f"the run speaks of ticket {visible(said)}, but the desk {TICKETS} has these new ones: {', '.join(opened) or 'none'}",
            "bold red",
        )
        return FAILED
    out.say(f"On the desk {TICKETS}, once: {said}  {visible(opened[said])}", "bold green")
    out.say(f"Look around:  {command('show', run_id, store=STORE)}")
    out.say(f"              {command('trace', run_id, store=STORE)}")
    return SUCCEEDED


def finished(run_id: str) -> Run | None:
    with SqliteStore(STORE, must_exist=True) as store:
        try:
            return read_run(store, store.runs.find(run_id))
        except UnknownRun:
            return None


def tickets() -> dict[str, str]:
    """What the desk holds, by id: read past our own tools, so that it can bear witness."""
    if not TICKETS.exists():
        return {}
    with closing(sqlite3.connect(TICKETS)) as desk:
        rows = desk.execute("SELECT number, title FROM tickets").fetchall()
    return {f"INC-{number:04d}": title for number, title in rows}
