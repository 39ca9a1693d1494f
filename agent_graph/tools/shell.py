"""``shell``: a program with its arguments, never a line for a shell, in a sandbox where there is one.

The allow-list says which programs a plan may name. What they can do is bounded by the sandbox, not by the list: ``find``, ``git`` or ``tar``
run other programs when their arguments say so. So without a working sandbox a person is asked before each call, whatever the rules allow.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.plan import Recovery, Risk
from agent_graph.tools.deadline import seconds_left
from agent_graph.tools.named import checked_names, redaction_of, values_of
from agent_graph.tools.place import HIDDEN, Place, place_of
from agent_graph.tools.program import run_program
from agent_graph.tools.sandbox import PROGRAMS, Bounds, Confinement, confined
from agent_graph.tools.tool import Tool, ToolContext, tool

MAX_BYTES = 64 * 1024
"""Of each of the two outputs; together half of what one step's output may hold."""
MAX_ARGUMENTS = 100_000
"""Characters of all arguments together; the system takes 128 KiB for one."""
SECONDS = 30.0
GRACE_S = 10.0
"""Seconds after a program's time in which it is ended; a call is given up after them."""
_SAID = 600


class Ran(TypedDict):
    exit_code: int | None
    stdout: str
    stderr: str
    left_out: int
    """Bytes that are missing in the middle of the outputs."""
    notes: list[str]


class ProgramFailed(RuntimeError):
    """A program ended with an exit code that stands for failure, or was ended. What it had done by then, it has done."""


def shell_tool(
    commands: Sequence[str] | Literal["any"],
    *,
    name: str = "shell",
    cwd: str | Path | None = None,
    writable: bool = False,
    readable: Sequence[str | Path] = (),
    hidden: Sequence[str] = HIDDEN,
    env_from: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
    ok_codes: Sequence[int] | None = (0,),
    bounds: Bounds | None = None,
    seconds: float = SECONDS,
    max_bytes: int = MAX_BYTES,
    risk: Risk = "write",
    recovery: Recovery | None = None,
    scopes: Sequence[str] = (),
    sandboxed: bool | None = None,
) -> Tool:
    """
    ``commands``: programs by name (``"ls"``), or with the arguments that must come first (``"git log"``); ``"any"``: whatever is installed.
    ``cwd`` is the folder that they work in, ``readable`` what they may see beside it; ``writable``: they may change ``cwd``. In it, ``hidden``
    folders are not seen: the store of the runs, for one. ``env_from`` names the variables of ``environment`` that they are given; their
    environment is empty else. ``ok_codes``: exit codes that are no failure; None: every one is told as data. ``seconds``, ``max_bytes`` (of each
    of the two outputs) and ``bounds`` bound one call. ``sandboxed``: True: refuse to be made where there is no sandbox; False: use none.

    ``risk="read_only"`` holds only in the sandbox and without ``writable``; elsewhere the tool is a write. Raises InvalidToolError.
    """
    allowed = _allowed(name, commands)
    place = place_of(name, cwd, readable, hidden, writable=writable)
    confinement = confined(name, "a program", place, sandboxed)
    if risk == "read_only" and writable:
        raise InvalidToolError(f"tool {name}: risk='read_only' and writable=True contradict each other; leave one out")
    if risk == "read_only" and not confinement.harmless:
        risk = "write"  # nothing holds it to reading
    names = checked_names(name, env_from)
    within = bounds or Bounds()
    if seconds <= 0 or max_bytes < 1:
        raise InvalidToolError(f"tool {name}: seconds and max_bytes must be above 0")

    def shell(
        context: ToolContext,
        argv: Annotated[
            list[Annotated[str, Field(max_length=MAX_ARGUMENTS)]],
            Field(min_length=1, max_length=1_000, description='The program and its arguments, one by one: ["ls", "-l"].'),
        ],
    ) -> Ran:
        program = _program(name, argv, allowed, confinement)
        values = values_of(name, names, environment)
        redaction = redaction_of(name, values, environment)
        finished = run_program(
            [program, *argv[1:]],
            confinement=confinement,
            bounds=within,
            environment=values,
            seconds=seconds_left(context.deadline, seconds),
            max_bytes=max_bytes,
        )
        stdout, missing = finished.stdout.text(redaction)
        stderr, more = finished.stderr.text(redaction)
        if finished.code is None or (ok_codes is not None and finished.code not in ok_codes):
            raise failure(f"{argv[0]} {finished.how}", stderr.strip() or stdout.strip(), confinement)
        notes = [] if ok_codes is not None and finished.code == 0 else [f"{argv[0]} {finished.how}"]
        notes += [f"processes that it left behind and that were ended: {finished.left}"] if finished.left else []
        return {"exit_code": finished.code, "stdout": stdout, "stderr": stderr, "left_out": missing + more, "notes": notes}

    return tool(
        shell,
        name=name,
        description=_description(allowed, place, confinement),
        risk=risk,
        recovery=None if risk == "read_only" else recovery,
        scopes=tuple(scopes),
        outbound=bool(confinement.unsafe),
        unsafe=confinement.unsafe,
        timeout=seconds + GRACE_S,
    )


def failure(what: str, said: str, confinement: Confinement) -> Exception:
    """Where nothing could be changed, it is certain that nothing was."""
    shown = said if len(said) <= _SAID else f"… {said[-_SAID:]}"
    message = f"{what}; it said: {shown}" if shown else what
    return NotDone(message) if confinement.harmless else ProgramFailed(message)


def _allowed(name: str, commands: Sequence[str] | Literal["any"]) -> tuple[tuple[str, ...], ...] | None:
    """The beginnings that a command may have; None: any."""
    if commands == "any":
        return None
    if isinstance(commands, str) or not commands:
        raise InvalidToolError(f"tool {name}: commands is a list of programs, as in ['ls', 'git log'], or \"any\"")
    beginnings = tuple(tuple(each.split()) for each in commands)
    if not all(beginnings):
        raise InvalidToolError(f"tool {name}: commands holds an empty text; name a program")
    for program in {each[0] for each in beginnings}:
        if "/" in program:
            raise InvalidToolError(f"tool {name}: name the program {program!r} without its folder; it is looked up in {PROGRAMS}")
    return beginnings


def _program(name: str, argv: Sequence[str], allowed: tuple[tuple[str, ...], ...] | None, confinement: Confinement) -> str:
    """Where the program is. Raises NotDone: nothing was started."""
    if any("\0" in each for each in argv) or sum(map(len, argv)) > MAX_ARGUMENTS:
        raise NotDone(f"{name}: the arguments hold a NUL, or more than {MAX_ARGUMENTS:,} characters; nothing was started")
    if "/" in argv[0] or not argv[0].strip():
        raise NotDone(f"{name}: give the program {argv[0]!r} by its name only; nothing was started")
    if allowed is not None and not any(tuple(argv[: len(each)]) == each for each in allowed):
        shown = ", ".join(" ".join(each) for each in allowed)
        raise NotDone(f"{name}: {' '.join(argv[:3])!r} is not among the commands that may be run ({shown}); nothing was started")
    program = shutil.which(argv[0], path=PROGRAMS)
    if program is None:
        raise NotDone(f"{name}: there is no program {argv[0]!r} in {PROGRAMS}; nothing was started")
    return program


def _description(allowed: tuple[tuple[str, ...], ...] | None, place: Place, confinement: Confinement) -> str:
    which = "any program that is installed" if allowed is None else ", ".join(" ".join(each) for each in allowed)
    where = "in an empty folder" if place.folder is None else "in the work folder" + (", which they may change" if place.writable else "")
    shut = "" if confinement.unsafe else " They have no network, see no other files, and what they write elsewhere is gone afterwards."
    return (
        f"Run a program with its arguments and return exit code and output. It may be: {which}. Programs run {where}.{shut} "
        "There is no shell: no pipes, no variables, no globs, no input."
    )
