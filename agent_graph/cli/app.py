"""All commands together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

import agent_graph
from agent_graph.cli.cancel import cancel
from agent_graph.cli.demo import demo
from agent_graph.cli.doctor import doctor
from agent_graph.cli.look import draw, runs, show, trace
from agent_graph.cli.purge import purge
from agent_graph.cli.resume import resume
from agent_graph.cli.run import run
from agent_graph.cli.studio_command import studio
from agent_graph.cli.undo import undo
from agent_graph.cli.validate import validate

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help reads the same everywhere
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def program(context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Plan, ask, execute, resume: agents that change real systems.

    A plan is validated, approved and executed step by step. A run that stops anywhere goes on later, in another process, and does
    nothing twice.

    \b
      agent-graph demo                        the whole way, on real data
      agent-graph run                         what can be run
      agent-graph runs --status paused        what waits for a person
      agent-graph resume 3f2a --approve       answer, from any process

    Errors go to stderr; with --json they are the document: {"error": {"type", "message", "exit_code"}}. AGENT_GRAPH_DEBUG=1 adds where
    an error came from.
    """  # noqa: D301
    if version:
        typer.echo(agent_graph.__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


COMMANDS: list[tuple[Callable[..., int], str]] = [
    (run, "Start a run, or list what can be run."),
    (resume, "Answer what waits, or go on after a crash."),
    (runs, "List runs."),
    (show, "Show a run: steps, what waits, answer."),
    (trace, "Everything that happened in a run."),
    (draw, "A plan, blueprint or run as a Mermaid flowchart."),
    (validate, "Everything that is wrong with a plan or blueprint."),
    (cancel, "End runs for good."),
    (undo, "Take back what a run did, each call after a yes."),
    (doctor, "Whether a store is well, and what to do."),
    (purge, "Remove runs that have ended."),
    (studio, "LangGraph's own server and Studio, on a store."),
    (demo, "A real incident, from the question to the ticket."),
]

for function, short_help in COMMANDS:
    app.command(function.__name__, short_help=short_help)(function)
