"""Making a call and giving it up: threads, event loops and worker processes, each with a deadline.

A thread cannot be killed. A sync call that overruns is left behind in its thread, and another worker goes on with its step.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any

from agent_graph.errors import NotDone, StoreError
from agent_graph.execution.context import RunContext
from agent_graph.execution.judging import Judging
from agent_graph.execution.normalise import UNREADABLE, Kept, is_awaited, is_lazy, is_plain
from agent_graph.execution.outcome import Prepared, Raised, Reply, Returned, TimedOut
from agent_graph.identity import EffectKey
from agent_graph.threads import run_coroutine, start
from agent_graph.tools.tool import ToolContext

CANCEL_GRACE = 1.0
"""Seconds that an async call has to end after it was cancelled."""


class Abandoned(BaseException):
    """The call was given up at its deadline; whoever made it has nothing more to do."""


@dataclass(slots=True, eq=False)
class _Running:
    """A call that is being made."""

    prepared: Prepared
    until: float
    """Monotonic."""
    abandoned: bool = False
    returned: bool = False
    """The tool is done; what it returned is being read."""


@dataclass(frozen=True, slots=True)
class _Awaited:
    """What a sync tool gave that must be awaited."""

    value: Any


class Calls:
    """Of one visit of ``execute``. ``changed`` is of the scheduler's ``lock``, and told of whatever it waits for."""

    def __init__(self, run: RunContext, judging: Judging, lock: threading.RLock, changed: threading.Condition) -> None:
        self._run = run
        self._judging = judging
        self._changed = changed
        self._lock = lock
        self._running: set[_Running] = set()
        self._left_behind: set[_Running] = set()
        self.looked_at_next = 0.0
        """When the scheduler wakes by itself, monotonic."""

    def make(self, prepared: Prepared, context: ToolContext, *, waits: bool = False) -> Reply:
        """``waits``: the caller stays with the call to its deadline, instead of leaving what comes then to another worker."""
        self._run.store.flush()  # an outcome before the next call, so that a dependent never runs on what is not on disk
        tool, spec = prepared.tool, prepared.tool.spec
        if not self._run.slots.alone(spec, prepared.timeout):
            return Raised(NotDone(f"a call of {tool.name} that was given up is still running; the next one was not made"))
        args = copied(prepared.args)  # ours stay as they were approved
        if spec.isolation == "process":
            seconds = max(0.0, prepared.until - self._run.clock.monotonic())
            return self._run.workers.call(tool, context, args, seconds, self._run.rules.limits.max_output_bytes, self._run.redaction)
        if tool.is_async:
            return self._await(prepared, lambda: tool.call(context, args))
        if waits:
            return self._stay_with(prepared, context, args)
        running = _Running(prepared, self._run.clock.monotonic() + prepared.timeout)
        with self._lock:
            self._running.add(running)
            if running.until < self.looked_at_next:
                self._changed.notify_all()  # the coordinator would wake after this call's deadline
        reply: Reply
        try:
            value = tool.call(context, args)
            if is_awaited(value):
                reply = self._await(prepared, lambda: value)
            else:
                running.returned = not is_lazy(value)
                reply = Returned(self._judging.received(prepared, value))
        except BaseException as error:  # SystemExit and the like of a tool are its failure, not ours
            reply = Raised(error)
        with self._lock:
            self._running.discard(running)
            if not running.abandoned:
                return reply
        self._late(running, "an answer" if isinstance(reply, Returned) else "an error")
        raise Abandoned

    def _await(self, prepared: Prepared, made: Callable[[], Any]) -> Reply:
        """An async call, on the caller's loop or ours; cancelled at its deadline, and left behind when it does not mind."""
        begun, over = [], Future[None]()

        async def call() -> Any:
            begun.append(True)
            try:
                value = made()
                if isinstance(value, AsyncIterator):
                    return await self._judging.received_async(prepared, value)
                return await value
            finally:
                over.set_result(None)

        reply = self._wait_for(prepared, run_coroutine(call(), self._run.loop))
        if isinstance(reply, Returned):
            return self._read(prepared, reply.value)
        if isinstance(reply, Raised):
            return reply
        try:
            over.result(CANCEL_GRACE)
        except FutureTimeout:
            if begun:  # else the loop was busy all the time, and passes over what was cancelled before it began
                running = _Running(prepared, 0.0, abandoned=True)
                with self._lock:
                    self._leave(running)
                over.add_done_callback(lambda _: start(self._late, running, "the end"))
                return TimedOut(still_running=True)
        return TimedOut(still_running=False)

    def _stay_with(self, prepared: Prepared, context: ToolContext, args: dict[str, Any]) -> Reply:
        """A sync call on a thread of its own. It may be left behind there like any other; its caller goes on with what came."""
        running = _Running(prepared, 0.0, abandoned=True)

        def answer() -> Kept | _Awaited:
            value = prepared.tool.call(context, args)
            if is_awaited(value):
                return _Awaited(value)
            running.returned = not is_lazy(value)
            return self._judging.received(prepared, value)

        made = start(answer)
        reply = self._wait_for(prepared, made)
        if isinstance(reply, Returned) and isinstance(reply.value, _Awaited):
            awaited = reply.value.value
            return self._await(prepared, lambda: awaited)
        if isinstance(reply, TimedOut):
            with self._lock:
                self._leave(running)
            made.add_done_callback(lambda call: start(self._late, running, "an answer" if call.exception() is None else "an error"))
            return Returned(UNREADABLE) if running.returned else reply
        return reply

    def _read(self, prepared: Prepared, value: Any) -> Reply:
        """What an async call returned. The value's own code may run, so it is given no more time than a call."""
        if isinstance(value, Kept) or is_plain(value, self._run.rules.limits.max_output_bytes):
            return Returned(value)
        read = self._wait_for(prepared, start(self._judging.received, prepared, value))
        return Returned(UNREADABLE) if isinstance(read, TimedOut) and not is_lazy(value) else read

    def _wait_for(self, prepared: Prepared, future: Future[Any]) -> Reply:
        until = time.monotonic() + prepared.timeout
        while True:
            try:
                return Returned(future.result(timeout=max(0.0, min(until - time.monotonic(), 1.0))))
            except FutureTimeout as error:
                if future.done() and not future.cancelled():
                    return Raised(error)  # the tool's own
                if time.monotonic() >= until:
                    future.cancel()
                    return TimedOut(still_running=True)
            except BaseException as error:
                return Raised(error)

    def is_over(self, prepared: Prepared) -> bool:
        """Wait, at most one call's time, until this very call, which was given up, is over."""
        with self._lock:
            return self._changed.wait_for(lambda: all(each.prepared is not prepared for each in self._left_behind), prepared.timeout)

    # ── what the scheduler asks; it holds the lock ────────────────────────────────────────────────────────────────────

    def given_up(self) -> list[tuple[Prepared, Reply]]:
        """Leave behind what is over its deadline, and say what its step goes on with."""
        now = self._run.clock.monotonic()
        late = [each for each in self._running if each.until <= now]
        for running in late:
            running.abandoned = True
            self._running.discard(running)
            self._leave(running)
        return [(each.prepared, Returned(UNREADABLE) if each.returned else TimedOut(still_running=True)) for each in late]

    def first_deadline(self, else_at: float) -> float:
        return min((each.until for each in self._running), default=else_at)

    def runs_on(self, key: EffectKey) -> bool:
        """Whether a call of the effect that was left behind still runs."""
        return any(each.prepared.key == key for each in self._left_behind)

    def _leave(self, running: _Running) -> None:
        self._left_behind.add(running)
        self._run.slots.left_behind(running.prepared.tool.spec)

    def _late(self, running: _Running, what: str) -> None:
        """A call that was left behind has ended."""
        prepared = running.prepared
        self._run.slots.came_back(prepared.tool.spec)
        with contextlib.suppress(StoreError):  # the drive may be over, and its store closed
            with self._lock:
                self._left_behind.discard(running)
                self._changed.notify_all()
                self._run.store.ledger.came_back(prepared.key)
            self._judging.note(prepared.step.id, f"{what} came after the deadline; the step had been settled without it")


def copied(value: Any) -> Any:
    """A copy of a JSON value; ``copy.deepcopy`` takes six times as long."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value
