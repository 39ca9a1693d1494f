"""Looking at all runs: ``runs``. It does not load LangGraph."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, get_args

import typer
from rich.text import Text

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli.exits import SUCCEEDED
from agent_graph.cli.options import AsJson, StorePath
from agent_graph.cli.output import STYLES, Out
from agent_graph.cli.program import command
from agent_graph.errors import UsageError
from agent_graph.runs import read_run
from agent_graph.state import RunStatus
from agent_graph.trace.amounts import when
from agent_graph.visible import visible


def runs(
    context: typer.Context,
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS", help="Only these: running, paused, interrupted, succeeded, failed, cancelled."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """List runs, newest first. With --json: an array of runs without their results.

    \b
      agent-graph runs --status paused
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    if status is not None and status not in get_args(RunStatus):
        raise UsageError(f"--status {status!r} is none of: {', '.join(get_args(RunStatus))}")
    with SqliteStore(store, must_exist=True) as opened:
        records = opened.runs.recent(limit=1_000_000)
        every = (read_run(opened, record.id, results=False, plan=out.json) for record in records)
        found = list(islice((run for run in every if status in (None, run.status)), limit))
        short = shortest(record.id for record in records)
    if out.json:
        out.document([run.model_dump(mode="json") for run in found])
        return SUCCEEDED
    if not found:
        out.say(f"no runs{f' that are {status}' if status else ''} in {store}; start one with: {command('run')}")
    for run in found:
        waiting = f"{len(run.requests)} waiting" if run.requests else ""
        line = Text(f"{run.id[:short]}  ")
        line.append(f"{run.status:<11}", style=STYLES[run.status])
        line.append(f"  {when(run.created)}  {waiting:<10}  {visible(run.goal.text)}")
        if out.terminal:
            line.truncate(out.console.width, overflow="ellipsis")
        out.console.print(line, soft_wrap=True)
    if status is None and len(records) > len(found):
        out.say(f"… and {len(records) - len(found)} older; see them with --limit", "dim")
    return SUCCEEDED


def shortest(ids: object) -> int:
    """How many characters tell all of them apart: at least eight."""
    known = [str(one) for one in ids]  # type: ignore[attr-defined]
    for length in range(8, 36):
        if len({one[:length] for one in known}) == len(known):
            return length
    return 36
