"""Driving a run's graph on a thread of its own, for callers in plain scripts and in event loops alike.

The caller's thread or loop only waits for events, so that Ctrl-C and cancellation reach it at once: it asks the drive to stop, and the
calls in flight are recorded before it lets go.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from typing import Any

from langgraph.types import Command

from agent_graph.checkpoints.leases import new_owner
from agent_graph.deps import DRIVE, Deps, Drive
from agent_graph.errors import UsageError
from agent_graph.events import Event, RunStarted
from agent_graph.graph import Graph
from agent_graph.identity import RunId
from agent_graph.nodes.gate import RECORDED
from agent_graph.nodes.plan import plan_made
from agent_graph.records import RunRecord
from agent_graph.threads import start

RECURSION_LIMIT = 10_000
"""Supersteps of one drive. Our own bounds end a run long before."""


class Driver:
    """``graph`` is asked for at the first drive, since compiling it loads LangGraph."""

    def __init__(self, deps: Deps, graph: Callable[[], Graph]) -> None:
        self._deps = deps
        self._graph = graph

    def drive(self, run_id: RunId) -> Iterator[Event]:
        """The events of one drive. Raises what the drive raised, RunBusy first of all."""
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        stop = threading.Event()
        work = start(self._go, run_id, events.put, None, stop)
        work.add_done_callback(lambda _: events.put(None))
        try:
            while (event := _next(events)) is not None:
                yield event
        except BaseException:
            stop.set()
            _wait(work)
            raise
        _raise_failure(work)

    def to_the_end(self, run_id: RunId) -> None:
        """As ``drive``, for who wants no events: each would cost a change of thread."""
        stop = threading.Event()
        work = start(self._go, run_id, None, None, stop)
        try:
            _wait(work)
        except BaseException:
            stop.set()
            _wait(work)
            raise
        _raise_failure(work)

    async def ato_the_end(self, run_id: RunId) -> None:
        """As ``adrive``, for who wants no events."""
        stop = threading.Event()
        work = start(self._go, run_id, None, asyncio.get_running_loop(), stop)
        try:
            await _over(work)
        except BaseException:
            stop.set()
            await _drained(work)
            raise
        _raise_failure(work)

    async def adrive(self, run_id: RunId) -> AsyncGenerator[Event]:
        """As ``drive``; async tools run on the caller's loop."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        stop = threading.Event()

        def put(event: Event | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed under us
                loop.call_soon_threadsafe(events.put_nowait, event)

        work = start(self._go, run_id, put, loop, stop)
        work.add_done_callback(lambda _: put(None))
        try:
            while (event := await events.get()) is not None:
                yield event
        except BaseException:
            stop.set()
            await _drained(work)
            raise
        _raise_failure(work)

    def _go(
        self, run_id: RunId, emit: Callable[[Event], None] | None, loop: asyncio.AbstractEventLoop | None, stop: threading.Event
    ) -> None:
        """One drive of the graph. The lease is held from here to its end."""
        store = self._deps.store
        record = store.runs.get(run_id)
        if record.checkpoint_ns:
            raise UsageError(
                f"run {run_id} is part of a larger graph; decisions are on record, and that graph goes on with: "
                f"graph.invoke(Command(resume=…), {{'configurable': {{'thread_id': {record.thread_id!r}}}}})"
            )
        with self._deps.stops.until_stopped(run_id, stop):
            drive = Drive(lease=store.leases.acquire(run_id, new_owner()), emit=emit, loop=loop, stop=stop)
            self._deps.drives[drive.id] = drive
            try:
                self._invoke(drive, record)
            finally:
                self._deps.drives.pop(drive.id, None)
                store.leases.release(drive.lease)

    def _invoke(self, drive: Drive, record: RunRecord) -> None:
        store, graph = self._deps.store, self._graph()
        config: Any = {"configurable": {"thread_id": record.thread_id, DRIVE: drive.id}, "recursion_limit": RECURSION_LIMIT}
        before = graph.get_state(config)
        pending = before.interrupts
        # Not "there is a plan": one may have come with the run.
        resumed = before.created_at is not None
        begun = RunStarted(run_id=record.id, at=self._deps.clock.now(), goal=record.goal.text, resumed=resumed)
        store.events.add(begun)
        if drive.emit is not None:
            drive.emit(begun)
            current = drive.known.current(store, record.id)
            if current is not None:
                drive.emit(plan_made(current.plan, record.id, begun.at))  # whoever watches from here on needs the plan, too
        # Without a pending interrupt the graph is entered anew: its first nodes find in the ledger what is done and pass over it.
        value: Any = (
            Command(resume={pending[0].id: {RECORDED: True}})
            if pending and store.approvals.decided(record.id)
            else {"run_id": record.id}  # no goal: at its first checkpoint, replayed after the end, that would be a new one
        )
        graph.invoke(value, config, durability="sync")


async def _over(work: Future[Any]) -> None:
    """Until the work is done, whatever came of it."""
    waiter = asyncio.wrap_future(work)
    await asyncio.wait([waiter])
    waiter.exception()  # else asyncio complains that nobody looked at it


async def _drained(work: Future[Any]) -> None:
    """Until the calls in flight are recorded, however often the caller is cancelled meanwhile."""
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await _over(work)


def _next(events: queue.SimpleQueue[Event | None]) -> Event | None:
    while True:
        try:
            return events.get(timeout=0.5)  # on Windows a wait without end is deaf to Ctrl-C
        except queue.Empty:
            continue


def _wait(work: Future[Any]) -> None:
    """Until the calls in flight are recorded. A second Ctrl-C gives up waiting; what was in flight is settled at the next resume."""
    finished = threading.Event()
    work.add_done_callback(lambda _: finished.set())
    while not finished.wait(0.5):
        pass


def _raise_failure(work: Future[Any]) -> None:
    error = work.exception()
    if error is not None:
        raise error
