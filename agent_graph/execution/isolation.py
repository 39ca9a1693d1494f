"""Calls in a worker process, for tools that declare ``isolation="process"``: one that overruns is killed, with whatever it started.

The pool is Loky's, which, unlike multiprocessing and anyio, never runs the caller's script a second time in the worker, and takes tools of
scripts and notebooks too. One worker to an executor, so that killing one call ends no other.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import os
import pickle
import sys
import threading
import time
import types
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from agent_graph.errors import NotDone
from agent_graph.execution.outcome import Raised, Reply, Returned, TimedOut
from agent_graph.execution.worker import ByName, ByValue, Came, begin, carry_out
from agent_graph.redaction import NOTHING, Redaction
from agent_graph.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from loky.process_executor import ProcessPoolExecutor

MOST_IDLE = 4
"""Workers that are kept for the next call."""

_STARTING = 30.0
"""Seconds that a new worker may take to answer."""

_DYING = 5.0
"""Seconds that a killed process is waited for."""


class CallFailed(Exception):
    """Stands for the exception that a tool raised in its worker process; its text names that one."""

    def __str__(self) -> str:
        return str(self.args[0])


class WorkerDied(Exception):
    """The worker process ended in the middle of a call."""


@dataclass(frozen=True, slots=True)
class _Worker:
    executor: ProcessPoolExecutor
    pid: int

    @property
    def alive(self) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        return False

    def kill(self) -> bool:
        """Kill it and what it started. False: something is still there, since the kernel does not let it go."""
        doomed = []
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            process.suspend()  # it starts nothing more while its children are listed
            doomed = [process, *process.children(recursive=True)]
        for each in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.executor.shutdown(wait=False, kill_workers=True)
        return not psutil.wait_procs(doomed, timeout=_DYING)[1]


class Workers:
    """The worker processes of one agent; idle ones are used again."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._lock = threading.Lock()
        self._registered = False
        self._process = os.getpid()

    def call(
        self, tool: Tool, context: ToolContext, args: dict[str, Any], seconds: float, most: int, redaction: Redaction = NOTHING
    ) -> Reply:
        """Within ``seconds``, in which a new worker starts; at most ``most`` bytes of output are kept."""
        until = time.monotonic() + seconds
        try:
            sent = _packed(tool)
            worker = self._take()
        except Exception as error:
            return Raised(NotDone(f"{tool.name} was not called; it cannot be sent to a worker process: {error}"))
        try:
            future = worker.executor.submit(carry_out, sent, context, args, max(0.0, until - time.monotonic()), most, redaction)
            came: Came = future.result(max(0.0, until - time.monotonic()))
        except FutureTimeout:
            return TimedOut(still_running=not self._end(worker))
        except Exception:
            self._end(worker)
            return Raised(WorkerDied(f"its worker process {worker.pid} ended in the middle of the call"))
        except BaseException:
            self._end(worker)
            raise
        self._give_back(worker)
        if came.error is not None:
            return Raised(NotDone(came.error) if came.definite else CallFailed(came.error))
        return Returned(came.kept)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            workers, self._idle, self._busy = [*self._idle, *self._busy], [], set()
            if self._process != os.getpid():
                return
        for worker in workers:
            worker.kill()

    def _take(self) -> _Worker:
        worker = None
        with self._lock:
            if self._process != os.getpid():  # after a fork they are our parent's
                self._process, self._idle, self._busy, self._registered = os.getpid(), [], set(), False
            while worker is None and self._idle:
                found = self._idle.pop()
                worker = found if found.alive else None
        if worker is None:
            from loky.process_executor import ProcessPoolExecutor

            executor = ProcessPoolExecutor(max_workers=1, initializer=begin, initargs=(os.getpid(),))
            try:
                worker = _Worker(executor, executor.submit(os.getpid).result(_STARTING))
            except BaseException:
                executor.shutdown(wait=False, kill_workers=True)
                raise
            self._end_at_exit()
        with self._lock:
            self._busy.add(worker)
        return worker

    def _end_at_exit(self) -> None:
        """Loky's own exit function would wait for a call that is under way; ours, registered after it, runs before it."""
        with self._lock:
            registered, self._registered = self._registered, True
        if not registered:
            register = getattr(threading, "_register_atexit", atexit.register)  # what Loky and concurrent.futures use
            register(self.close)

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            surplus = len(self._idle) >= MOST_IDLE
            if not surplus:
                self._idle.append(worker)
        if surplus:
            worker.kill()

    def _end(self, worker: _Worker) -> bool:
        with self._lock:
            self._busy.discard(worker)
        return worker.kill()


def _packed(tool: Tool) -> bytes:
    """The tool as the worker can find it: by its name where its module holds it, else its function itself."""
    thing, args_schema = tool.made_from
    name, path = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    module = sys.modules.get(name or "")
    if name != "__main__" and module is not None and path is not None and "<locals>" not in path:
        found: Any = module
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is tool or (isinstance(found, Tool) and found.made_from[0] is thing):
            return pickle.dumps(ByName(str(name), path, getattr(module, "__file__", None)))
    import cloudpickle

    return bytes(cloudpickle.dumps(ByValue(tool.name, _annotated(thing), args_schema, tool.definite)))


def _annotated(thing: Any) -> Any:
    """The function with its annotations evaluated: those that are text name what does not travel with it."""
    if not inspect.isfunction(thing):
        return thing
    copy = types.FunctionType(thing.__code__, thing.__globals__, thing.__name__, thing.__defaults__, thing.__closure__)
    copy.__kwdefaults__, copy.__qualname__, copy.__doc__, copy.__module__ = (
        thing.__kwdefaults__,
        thing.__qualname__,
        thing.__doc__,
        thing.__module__,
    )
    copy.__annotations__ = inspect.get_annotations(thing, eval_str=True)
    return copy
