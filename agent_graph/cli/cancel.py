"""``agent-graph cancel``: end runs for good. Does not load LangGraph."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from agent_graph.cancellation import WAIT
from agent_graph.cancellation import cancel as cancel_run
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli.drive import login_name
from agent_graph.cli.exits import BUSY, SUCCEEDED
from agent_graph.cli.options import AsJson, By, StorePath
from agent_graph.cli.outcome import say_open_effects
from agent_graph.cli.output import Out
from agent_graph.cli.takeover import owner_to_end
from agent_graph.errors import RunBusy, RunFinished, UsageError
from agent_graph.identity import RunId
from agent_graph.ports import Store, SystemClock
from agent_graph.runs import read_run
from agent_graph.state import Run


def cancel(
    context: typer.Context,
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN", help="Runs, each by the beginning of its id.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every run that has not ended.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.0, help="How long to wait for runs that are driven elsewhere.")
    ] = WAIT,
    takeover: Annotated[
        bool,
        typer.Option(
            "--takeover", help="Kill the process that drives the run first, with every other run that it drives; for one that hangs."
        ),
    ] = False,
    by: By = None,
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """End runs for good; they cannot be resumed. What was done stays done.

    A run that another process drives begins no effect any more from now on. Its calls in flight end and are recorded, then it ends. What
    was begun and has no known outcome is listed, to be looked up in the system that was called.

    \b
      agent-graph cancel 3f2a
      agent-graph cancel --all --wait 60
      agent-graph cancel 3f2a --takeover            its process hangs

    Exit: 0 all of them have ended, 2 wrong usage, 4 some are still driven; that they are to end stays on record.
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    if everything == bool(runs):
        raise UsageError("say which runs, or --all" if not runs else "--all means every run; leave the others out")
    with SqliteStore(store, must_exist=True) as opened:
        ids = list(dict.fromkeys(opened.runs.find(run) for run in runs)) if runs else unfinished(opened)
        return end(out, opened, ids, wait, by or login_name(), takeover=takeover)


def unfinished(store: Store) -> list[RunId]:
    return [record.id for status in ("running", "paused") for record in store.runs.recent(status, limit=1_000_000)]


def end(out: Out, store: Store, ids: Sequence[RunId], wait: float, by: str | None, *, takeover: bool) -> int:
    """Say it to all of them first, then wait for those that are driven. Raises what is wrong with a single one."""
    clock, until = SystemClock(), time.monotonic() + wait
    busy: dict[RunId, RunBusy] = {}
    for run_id in ids:
        try:
            cancel_run(store, clock, run_id, by, 0.0, owner_to_end(out, store, run_id) if takeover else None)
        except RunFinished:
            if len(ids) == 1:
                raise
        except RunBusy as error:
            busy[run_id] = error
    for run_id in list(busy):
        try:
            cancel_run(store, clock, run_id, by, max(0.0, until - time.monotonic()))
        except RunFinished:
            pass
        except RunBusy as error:
            busy[run_id] = error
            continue
        del busy[run_id]
    if busy and len(ids) == 1:
        raise busy[ids[0]]
    ended = [read_run(store, run_id) for run_id in ids]
    if out.json:
        documents = [run.model_dump(mode="json") for run in ended]
        out.document(documents[0] if len(ids) == 1 else documents)
    elif not ended:
        out.say("no run is under way")
    else:
        for run in ended:
            say(out, run, busy.get(RunId(run.id)))
    return BUSY if busy else SUCCEEDED


def say(out: Out, run: Run, busy: RunBusy | None) -> None:
    if busy is not None:
        out.text(busy, "yellow")
    elif run.status != "cancelled":
        out.say(f"run {run.id} had ended before: {run.status}")
    else:
        done = sum(result.status == "succeeded" for result in run.results.values())
        out.say(f"run {run.id} is cancelled; the {done} step{'s' if done != 1 else ''} that it finished stay done")
        say_open_effects(out, run)
