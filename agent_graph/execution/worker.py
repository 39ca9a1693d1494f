"""The other side of ``isolation``: what is run in a worker process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import importlib.util
import inspect
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_graph.errors import NotDone
from agent_graph.execution.normalise import Kept, receive, receive_async
from agent_graph.execution.outcome import describe
from agent_graph.redaction import Redaction
from agent_graph.tools.tool import Tool, ToolContext, tool


@dataclass(frozen=True, slots=True)
class ByName:
    """A tool that its module holds. ``file`` tells two modules of one name apart, and finds one that is on no path."""

    module: str
    path: str
    file: str | None


@dataclass(frozen=True, slots=True)
class ByValue:
    """A tool of a script, a notebook or a function: made again from what it was made from."""

    name: str
    thing: Any
    args_schema: Any
    definite: tuple[type[BaseException], ...]


@dataclass(frozen=True, slots=True)
class Came:
    """What is kept of an answer, or an exception in words."""

    kept: Kept | None = None
    error: str | None = None
    definite: bool = False


def begin(parent: int) -> None:
    """The first thing in a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal; who stops is decided in the parent
    threading.Thread(target=_end_with_parent, args=(parent,), name="agent-graph orphan watch", daemon=True).start()


def carry_out(packed: bytes, context: ToolContext, args: dict[str, Any], seconds: float, most: int, redaction: Redaction) -> Came:
    """The call. It does not outlive its deadline, even when nobody is left to kill it."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + 1.0)  # the kernel ends it, whatever the tool is doing
    try:
        try:
            made = _found(packed)
        except Exception as error:
            return Came(error=f"it was not called; the worker process cannot load it: {describe(error, redaction)}", definite=True)
        try:
            value = made.call(context, args)
            if inspect.iscoroutine(value):
                value = asyncio.run(_awaited(value))
            if isinstance(value, AsyncIterator):
                kept = asyncio.run(receive_async(value, most, redaction, to_the_end=made.spec.changes))
            else:
                kept = receive(value, made.dump, most, redaction, to_the_end=made.spec.changes)
        except BaseException as error:
            return Came(error=describe(error, redaction), definite=isinstance(error, (NotDone, *made.definite)))
        return Came(kept=kept)
    finally:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


async def _awaited(coroutine: Any) -> Any:
    return await coroutine


@functools.lru_cache(maxsize=64)
def _found(packed: bytes) -> Tool:
    sent = pickle.loads(packed)  # noqa: S301  # our own parent's
    if isinstance(sent, ByValue):
        made: Tool = tool(sent.thing, name=sent.name, args_schema=sent.args_schema, definite=sent.definite)
        return made
    assert isinstance(sent, ByName)  # noqa: S101
    found: Any = _module(sent)
    for part in sent.path.split("."):
        found = getattr(found, part)
    assert isinstance(found, Tool)  # noqa: S101  # the parent has looked
    return found


def _module(sent: ByName) -> Any:
    with contextlib.suppress(ModuleNotFoundError):
        module = importlib.import_module(sent.module)
        if sent.file is None or getattr(module, "__file__", None) == sent.file:
            return module
    spec = importlib.util.spec_from_file_location(sent.module, Path(sent.file or ""))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"there is no module {sent.module!r} on the worker's path")
    module = importlib.util.module_from_spec(spec)
    sys.modules[sent.module] = module
    spec.loader.exec_module(module)
    return module


def _end_with_parent(parent: int) -> None:
    """Nobody would record what a call does whose driver was killed; until it is settled, it must not go on for long."""
    import psutil

    if sys.platform == "linux":
        # At once: whoever resumes the run may ask what happened a moment after the kill.
        with contextlib.suppress(OSError):
            driver = os.pidfd_open(parent)
            if os.getppid() == parent:
                select.select([driver], [], [])
    while os.getppid() == parent:
        time.sleep(0.02)
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            child.kill()
    os._exit(1)
