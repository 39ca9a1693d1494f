"""All commands together. Each is imported when it is called or asked for its help, so that the program itself starts at once."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import agent_graph

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Start a run, or list what can be run."),
    "resume": ("resume", "Answer what waits, or go on after a crash."),
    "revise": ("revise", "Change what a run that waits is to do."),
    "runs": ("listing", "List runs."),
    "show": ("look", "Show a run: steps, what waits, answer."),
    "trace": ("look", "Everything that happened in a run."),
    "draw": ("look", "A plan, blueprint or run as a Mermaid flowchart."),
    "validate": ("validate", "Everything that is wrong with a plan or blueprint."),
    "cancel": ("cancel", "End runs for good."),
    "undo": ("undo", "Take back what a run did, each call after a yes."),
    "doctor": ("doctor", "Whether a store is well, and what to do."),
    "purge": ("purge", "Remove runs that have ended."),
    "studio": ("studio_command", "LangGraph's own server and Studio, on a store."),
    "policy": ("policy", "Try a policy out, or see which rule decided."),
    "grants": ("grants", "Standing grants: a yes to calls that are still to come."),
    "demo": ("demo", "A real incident, from the question to the ticket."),
}
"""By name: the module of ``agent_graph.cli`` that holds the function, and what the list of commands says."""

LOOKS = frozenset({"runs", "show", "trace", "draw", "doctor", "purge"})
"""Commands that load no code of a user's."""

_SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,  # plain help reads the same everywhere
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        home, short_help = COMMANDS[cmd_name]
        found = getattr(import_module(f"agent_graph.cli.{home}"), cmd_name)
        if isinstance(found, typer.Typer):  # a command with commands of its own
            found.info.name, found.info.context_settings = cmd_name, _SETTINGS["context_settings"]
            return typer.main.get_command(found)
        one = typer.Typer(**_SETTINGS)
        one.command(cmd_name, short_help=short_help)(found)
        return typer.main.get_command(one)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """From the table; click would import every command to ask it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in COMMANDS.items()])


app = typer.Typer(cls=Commands, **_SETTINGS)


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
