"""The command line. Looking at runs and plans loads no LangGraph; only the commands that drive a run do."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent_graph.cli.exits import BUSY, FAILED, INTERRUPTED, USAGE
from agent_graph.cli.output import Out, dumped, only_documents_on_stdout
from agent_graph.cli.program import NAME, command
from agent_graph.cli.signals import as_interrupt
from agent_graph.errors import (
    AgentGraphError,
    Interrupted,
    InvalidPlan,
    LeaseLost,
    RunBusy,
    StoreError,
    StoreTooNew,
    StoreUnreadable,
    UsageError,
)
from agent_graph.visible import visible_lines

DEBUG = "AGENT_GRAPH_DEBUG"


def main(argv: Sequence[str] | None = None) -> int:
    """The program: what is wrong is said on stderr (under ``--json`` in the document), and the exit code says which kind it was."""
    args = with_optional_file(list(sys.argv[1:] if argv is None else argv))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    out = Out(json="--json" in args)
    with as_interrupt():
        try:
            with only_documents_on_stdout(wanted=out.json):
                code = attempt(args, out)
            for document in out.documents:
                sys.stdout.write(dumped(document) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            return nobody_listens(out)
        return code


def attempt(args: list[str], out: Out) -> int:
    """One command, every error of it turned into a message and an exit code."""
    import typer

    from agent_graph.cli.app import LOOKS, app

    if LOOKS.intersection(args[:1]):
        # Pydantic would read the metadata of every installed package for plugins, and none of a user's models is used here.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        program = typer.main.get_command(app)
        # Not program.main(): it has its own ideas about Ctrl-C.
        with program.make_context(NAME, args, obj=out) as context:
            return int(program.invoke(context) or 0)
    except typer.Exit as stop:
        return stop.exit_code
    except KeyboardInterrupt:
        return fail(out, KeyboardInterrupt("interrupted"), INTERRUPTED, "interrupted")
    except BrokenPipeError:
        raise
    except AgentGraphError as error:
        return fail(out, error, exit_code(error), str(error), hint(error), *on_record(error, out))
    except Exception as error:
        if hasattr(error, "format_message"):  # click's and typer's own: a wrong option or argument
            return fail(out, error, USAGE, *usage(error))
        return fail(out, error, FAILED, f"{type(error).__name__}: {error}", *bug(out))


def exit_code(error: AgentGraphError) -> int:
    match error:
        case RunBusy() | LeaseLost():
            return BUSY
        case Interrupted():
            return INTERRUPTED
        case UsageError() | StoreUnreadable() | StoreTooNew():
            return USAGE
        case _:
            return FAILED


def hint(error: AgentGraphError) -> str:
    if isinstance(error, InvalidPlan) and any(issue.code == "unknown_tool" for issue in error.issues):
        return "tools are given with --tools MODULE[:NAME] or --tools FILE.py"
    return ""


def on_record(error: AgentGraphError, out: Out) -> list[str]:
    """A store that fails in the middle of a run ends the drive, not the run."""
    if out.run_id is None or not isinstance(error, StoreError) or isinstance(error, LeaseLost):
        return []
    return [
        f"run {out.run_id} stays as it is on record; when the store is well again: {command('resume', out.run_id, store=out.store)}",
        f"what is wrong with the store: {command('doctor', store=out.store)}",
    ]


def usage(error: Any) -> list[str]:
    """What is wrong with the options, and where it is said how they are."""
    context = getattr(error, "ctx", None)
    where = f"see: {context.command_path} --help" if context is not None else f"see: {NAME} --help"
    return [error.format_message(), where]


def bug(out: Out) -> list[str]:
    lines = ["this is a bug of agent-graph, or of what it was given" + ("" if os.environ.get(DEBUG) else f"; {DEBUG}=1 shows where")]
    if out.run_id is not None:
        lines.append(f"the run is on record: {command('show', out.run_id, store=out.store)}")
    return lines


def fail(out: Out, error: BaseException, code: int, *lines: str) -> int:
    """Say what is wrong."""
    if os.environ.get(DEBUG) and not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error)
    said = [line for text in lines if text for line in visible_lines(text)]
    if out.json:
        about: dict[str, Any] = {"type": type(error).__name__, "message": "\n".join(said), "exit_code": code}
        if isinstance(error, InvalidPlan):
            about["issues"] = [issue.model_dump(mode="json") for issue in error.issues]
        if out.run_id is not None:
            about["run_id"] = out.run_id
        out.documents[:] = [{"error": about}]
        return code
    first, *rest = said or [type(error).__name__]
    sys.stderr.write("\n".join([f"{NAME}: {first}", *rest]) + "\n")
    return code


def with_optional_file(args: list[str]) -> list[str]:
    """``--landed`` may stand alone; what follows it is its file only where there is such a file."""
    made: list[str] = []
    for index, word in enumerate(args):
        following = args[index + 1] if index + 1 < len(args) else ""
        made.append("--landed=" if word == "--landed" and not Path(following).is_file() else word)
    return made


def nobody_listens(out: Out) -> int:
    """Whoever read our output is gone (``| head``). A run was stopped by that, after the call in flight; a look was not."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if out.run_id is None:
        return 0
    sys.stderr.write(
        f"{NAME}: nobody reads the output any more, so the run was stopped; {command('resume', out.run_id, store=out.store)}\n"
    )
    return INTERRUPTED
