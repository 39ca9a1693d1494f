"""Looking at one run: ``show``, ``trace``, ``draw``. None of them loads LangGraph, and each only what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli.checklist import Style, checklist_of, rows, summary
from agent_graph.cli.exits import SUCCEEDED
from agent_graph.cli.model_usage import usage_lines
from agent_graph.cli.options import AsJson, RunArgument, StorePath
from agent_graph.cli.outcome import say_answer, say_diagnosis, say_resumable, say_waiting
from agent_graph.cli.output import STYLES, Out
from agent_graph.errors import UsageError
from agent_graph.runs import read_run
from agent_graph.state import Run
from agent_graph.trace.amounts import seconds, when
from agent_graph.visible import visible


def show(context: typer.Context, run: RunArgument, store: StorePath = str(DEFAULT_PATH), as_json: AsJson = False) -> int:
    """Show one run: its steps, what waits and how to answer, its answer, or why it failed.

    \b
      agent-graph show 3f2a
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    with SqliteStore(store, must_exist=True) as opened:
        found = read_run(opened, opened.runs.find(run))
        checklist = checklist_of(opened, found)
    if out.json:
        out.document(found)
        return SUCCEEDED
    out.say(visible(found.goal.text), "bold")
    out.say(f"run {found.id}, {found.status}", STYLES[found.status])
    version = f", plan version {checklist.version} ({found.risk})" if checklist.version else ", no plan yet"
    out.say(f"started {when(found.created)}, last change after {seconds(found.updated - found.created)}{version}", "dim")
    for row in rows(checklist, Style(width=out.width, unicode=out.unicode)):
        out.console.print(row, soft_wrap=True)
    if checklist.items:
        out.say(f"  {summary(checklist)}", "dim")
    for number, line in enumerate(usage_lines(found)):
        out.say(line, "" if number else "dim")
    say_state(out, found, store)
    return SUCCEEDED


def say_state(out: Out, run: Run, store: str) -> None:
    if run.status != "paused":  # a card brings its own
        out.say()
    match run.status:
        case "succeeded":
            say_answer(out, run.answer)
        case "failed" | "cancelled":
            say_diagnosis(out, run, store)
        case "paused":
            say_waiting(out, run, store)
        case "interrupted":
            if run.requests:
                say_waiting(out, run, store)
            say_resumable(out, run.id, store)
        case "running":
            ends = f"; cancelled by {visible(run.cancel_by or 'somebody')}, it ends after the calls in flight" if run.cancel_asked else ""
            out.say(f"driven by {visible(run.owner)}{ends}")


def trace(context: typer.Context, run: RunArgument, store: StorePath = str(DEFAULT_PATH), as_json: AsJson = False) -> int:
    """Everything that happened in a run, a line each: seconds since its start, phase, kind, step, details.

    With --json: an array of events.
    """
    from agent_graph.events import Replanned
    from agent_graph.execution.history import revision_of
    from agent_graph.trace.render import event_line
    from agent_graph.trace.revised import revision_lines

    out = Out.of(context, as_json=as_json)
    with SqliteStore(store, must_exist=True) as opened:
        record = opened.runs.get(opened.runs.find(run))
        events = opened.events.of(record.id)
        changes = {
            event.version: list(revision_lines(*revision_of(opened, record.id, event.version)))
            for event in events
            if isinstance(event, Replanned) and not out.json
        }
    if out.json:
        out.document([event.document() for event in events])
        return SUCCEEDED
    for event in events:
        out.say(event_line(event, record.created))
        for line in changes.get(event.version, ()) if isinstance(event, Replanned) else ():
            out.say(f"{'':11}{line}", "dim")
    return SUCCEEDED


def draw(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="RUN|PLAN|BLUEPRINT", help="A run's id, a file, or a bundled blueprint.")],
    store: StorePath = str(DEFAULT_PATH),
) -> int:
    """Print a Mermaid flowchart of a plan or blueprint, or of a run with how its steps stand.

    \b
      agent-graph draw investigate-metric
      agent-graph draw 3f2a > run.mmd
    """  # noqa: D301
    from agent_graph import examples
    from agent_graph.cli import inputs
    from agent_graph.plan import Blueprint
    from agent_graph.policy.dataflow import Dataflow
    from agent_graph.trace.mermaid import flowchart

    out = Out.of(context)
    states = None
    if inputs.looks_like_file(what) or Path(what).is_file() or what in examples.blueprints():
        source = inputs.read_plan_or_blueprint(what)
        plan = inputs.plan_of(source) if isinstance(source, Blueprint) else source
    else:
        with SqliteStore(store, must_exist=True) as opened:
            run = read_run(opened, opened.runs.find(what))
            states = {step: item.standing for step, item in checklist_of(opened, run).items.items()}
        if run.plan is None:
            raise UsageError(f"run {run.id} has no plan yet, so there is nothing to draw")
        plan = run.plan
    for line in flowchart(plan, Dataflow.of(plan).needs, states).splitlines():
        out.say(line)
    return SUCCEEDED
