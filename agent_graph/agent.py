"""``AgentGraph``: run a goal, answer what waits, go on in another process, look at what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from langgraph.types import Command

from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.store import DEFAULT_PATH, SqliteStore
from agent_graph.deps import DRIVE, Deps, Drive
from agent_graph.errors import AmbiguousDecision, InvalidDecision, InvalidPlan, NothingPending, RunFinished, UsageError
from agent_graph.events import Event, RunStarted
from agent_graph.execution.results import Results
from agent_graph.graph import Graph, build_graph
from agent_graph.identity import RunId, new_id
from agent_graph.nodes.edits import check_edit, edited_plan
from agent_graph.nodes.gate import RECORDED, Unclear, fit
from agent_graph.nodes.plan import plan_made
from agent_graph.plan import Blueprint, Goal, Plan
from agent_graph.planners.blueprint import BlueprintPlanner, StaticPlanner
from agent_graph.planners.choose import as_planner
from agent_graph.policy.compiler import Rules, compile_plan
from agent_graph.policy.dataflow import Dataflow
from agent_graph.policy.limits import Limits
from agent_graph.policy.rules import Policy
from agent_graph.ports import Clock, Planner, PlanningContext, Store, SystemClock
from agent_graph.records import RunRecord
from agent_graph.runs import read_run
from agent_graph.state import Run, RunStatus
from agent_graph.threads import on_own_thread, start
from agent_graph.tools.registry import ToolRegistry
from agent_graph.trace.diagnosis import diagnose
from agent_graph.verdicts import Approve, Decision, Edit, Reject, Request, Resolve, Respond

AnyDecision = Approve | Edit | Reject | Respond | Resolve
Decisions = AnyDecision | Mapping[str, AnyDecision] | None
OnWaiting = Callable[[Run], Any]

HOOK_ATTEMPTS = 3
"""How many senseless answers in a row an ``on_waiting`` hook may give before its run is left paused."""

RECURSION_LIMIT = 10_000
"""Supersteps of one drive. Our own bounds end a run long before."""


class AgentGraph:
    """
    ``tools``: functions, ``@tool``s, LangChain tools. ``planner``: a planner, a ``Plan``, a ``Blueprint`` or the path of one; it may be left
    out when each run brings its ``plan``. ``store``: a path or a store; everything of a run is in it. ``on_waiting``: called with a paused
    run, it may return a decision, or None to leave the run paused (under ``arun`` it may be a coroutine function).

    Raises UsageError, InvalidDocument or StoreError for parts that cannot work.
    """

    def __init__(
        self,
        tools: Iterable[Any] = (),
        *,
        planner: Planner | Plan | Blueprint | str | Path | None = None,
        policy: Policy | str | Path | None = None,
        limits: Limits | None = None,
        store: Store | str | Path = DEFAULT_PATH,
        on_waiting: OnWaiting | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or SystemClock()
        registry = tools if isinstance(tools, ToolRegistry) else ToolRegistry(tools)
        self.tools = registry
        self.planner = as_planner(planner) if planner is not None else None
        self.policy = policy if isinstance(policy, Policy) else Policy.load(policy) if policy is not None else Policy.default()
        self.limits = limits or Limits()
        self.store: Store = SqliteStore(store, clock=self.clock) if isinstance(store, str | Path) else store
        self.on_waiting = on_waiting
        self.deps = Deps(
            planner=self.planner or _NoPlanner(),
            tools=registry,
            rules=Rules(tools=registry.specs, policy=self.policy, limits=self.limits),
            store=self.store,
            clock=self.clock,
        )

    @cached_property
    def graph(self) -> Graph:
        """The compiled LangGraph graph on this agent's store, for ``invoke``, ``stream`` and everything else that LangGraph does."""
        return build_graph(self.deps, self.store.checkpointer())

    def close(self) -> None:
        """Close the store's files."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── starting ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(
        self,
        goal: str | Goal | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        run_id: str | None = None,
        principal: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Run:
        """Drive a new run until it has ended or waits for a person.

        Raises InvalidPlan (with all issues, and before a run exists) when a plan that was handed in, or a blueprint's, cannot run;
        UsageError for parameters that do not fit; KeyboardInterrupt after Ctrl-C, with the run left resumable.
        """
        return self._to_the_end(self._create(goal, params, plan, run_id, principal, metadata))

    async def arun(
        self,
        goal: str | Goal | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        run_id: str | None = None,
        principal: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Run:
        """As ``run``, for async callers: async tools run on the caller's loop, everything else on threads of our own."""
        created = await on_own_thread(self._create, goal, params, plan, run_id, principal, metadata)
        return await self._to_the_end_async(created)

    def stream(
        self,
        goal: str | Goal | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        run_id: str | None = None,
        principal: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Iterator[Event]:
        """As ``run``, event by event; each carries the ``run_id``. Leaving the loop early stops the run, which can be resumed."""
        return self._drive(self._create(goal, params, plan, run_id, principal, metadata))

    async def astream(
        self,
        goal: str | Goal | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        run_id: str | None = None,
        principal: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> AsyncIterator[Event]:
        """As ``stream``, for async callers."""
        created = await on_own_thread(self._create, goal, params, plan, run_id, principal, metadata)
        async with contextlib.aclosing(self._adrive(created)) as events:
            async for event in events:
                yield event

    # ── going on ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def resume(self, run: str | Run, decision: Decisions = None, *, by: str | None = None) -> Run:
        """Go on with a run: with decisions about what waits, or without one after its process died.

        A bare decision is taken when exactly one request waits, or, for the ``Run`` that was shown, for all that it showed. ``by`` names
        who decided. The decision is on disk before the run goes on, in this process or any other.

        Raises UnknownRun, RunFinished, NothingPending, AmbiguousDecision (naming the ids), InvalidDecision, DecisionConflict, and RunBusy
        when another process drives the run (a decision is recorded all the same, and that process finds it).
        """
        return self._to_the_end(self._decide(run, decision, by))

    async def aresume(self, run: str | Run, decision: Decisions = None, *, by: str | None = None) -> Run:
        """As ``resume``, for async callers."""
        run_id = await on_own_thread(self._decide, run, decision, by)
        return await self._to_the_end_async(run_id)

    def stream_resume(self, run: str | Run, decision: Decisions = None, *, by: str | None = None) -> Iterator[Event]:
        """As ``resume``, event by event."""
        return self._drive(self._decide(run, decision, by))

    async def astream_resume(self, run: str | Run, decision: Decisions = None, *, by: str | None = None) -> AsyncIterator[Event]:
        """As ``aresume``, event by event."""
        run_id = await on_own_thread(self._decide, run, decision, by)
        async with contextlib.aclosing(self._adrive(run_id)) as events:
            async for event in events:
                yield event

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, run_id: str) -> Run:
        """The run as it stands. The beginning of an id is enough. Raises UnknownRun."""
        return read_run(self.store, self.store.runs.find(run_id))

    def runs(self, status: RunStatus | None = None, limit: int = 100) -> list[Run]:
        """Runs, newest first, without their results."""
        found = (read_run(self.store, record.id, results=False) for record in self.store.runs.recent(limit=limit))
        return [run for run in found if status is None or run.status == status]

    def cancel(self, run_id: str) -> Run:
        """End a run that nobody drives; it cannot be resumed. Raises RunFinished, or RunBusy naming who drives it."""
        record = self._record(run_id)
        if record.finished:
            raise RunFinished(f"run {record.id} has ended already: {record.status}")
        lease = self.store.leases.acquire(record.id, new_owner())
        try:
            self.store.runs.finish(lease, "cancelled", error=diagnose("cancelled", "the run was cancelled"))
        finally:
            self.store.leases.release(lease)
        return read_run(self.store, record.id)

    def validate(self, plan: Plan) -> None:
        """Raises InvalidPlan with everything that is wrong with the plan."""
        report = compile_plan(plan, self.deps.rules, RunId("preview"))
        if not report.valid:
            raise InvalidPlan(report.errors)

    # ── how it is done ────────────────────────────────────────────────────────────────────────────────────────────────

    def _create(
        self,
        goal: str | Goal | None,
        params: Mapping[str, Any] | None,
        plan: Plan | None,
        run_id: str | None,
        principal: str | None,
        metadata: dict[str, Any] | None,
    ) -> RunId:
        """Check all that can be checked, then put the run on record."""
        planner = self.deps.planner if plan is None else StaticPlanner(plan)
        wanted = _goal(goal, plan, planner)
        wanted = wanted.model_copy(update={"params": {**wanted.params, **(params or {})}, "principal": principal or wanted.principal})
        wanted = planner.complete(wanted)
        if isinstance(planner, BlueprintPlanner | StaticPlanner):
            made = planner.plan(PlanningContext(goal=wanted, tools=self.tools.specs))
            if isinstance(made, Plan):
                self.validate(made.model_copy(update={"goal": wanted}))
        new = RunId(run_id or new_id())
        self.store.runs.create(new, wanted, thread_id=new, planner=planner.name, policy=self.policy.name, metadata=metadata)
        if plan is not None:
            self._keep_plan(new, plan, wanted, planner)
        return new

    def _keep_plan(self, run_id: RunId, plan: Plan, goal: Goal, planner: Planner) -> None:
        """A plan that came with the run is its version 1 from the start, so that any process can go on with it."""
        self.deps.planners[run_id] = planner
        lease = self.store.leases.acquire(run_id, new_owner())
        try:
            made = Plan.model_validate(plan.model_copy(update={"goal": goal, "version": 1, "parent": None}).document())
            self.store.runs.add_plan(lease, made)
            self.store.events.add(plan_made(made, run_id, self.clock.now()))
            self.store.flush()
        finally:
            self.store.leases.release(lease)

    def _record(self, run: str | Run) -> RunRecord:
        run_id = run.id if isinstance(run, Run) else self.store.runs.find(run)
        return self.store.runs.get(run_id)

    def _decide(self, run: str | Run, decision: Decisions, by: str | None) -> RunId:
        """Record decisions, before anything wakes. All or none."""
        record = self._record(run)
        if record.finished:
            raise RunFinished(
                f"run {record.id} has ended ({record.status}); there is nothing to resume. Look at it with: agent-graph show {record.id}"
            )
        if decision is None:
            return record.id
        waiting = self.store.approvals.open(record.id)
        decisions = _address(record.id, decision, waiting, run.requests if isinstance(run, Run) else None)
        by_id = {request.id: request for request in waiting}
        for request_id, one in decisions.items():
            request = by_id.get(request_id)
            if request is None:
                continue  # the store says what became of it
            try:
                fit(one, request)
            except Unclear as error:
                raise InvalidDecision(f"request {request_id}: {error}") from None
            if isinstance(one, Edit):
                self._try_edit(record, one, request)
        self.store.approvals.decide(record.id, decisions, by)
        return record.id

    def _try_edit(self, record: RunRecord, edit: Edit, request: Request) -> None:
        current = self.store.runs.plan(record.id)
        if current is None:
            raise InvalidDecision("there is no plan to edit yet")
        frozen = Results(self.store, record.id, current.plan, Dataflow.of(current.plan)).frozen()
        check_edit(edited_plan(current.plan, edit, request, current.plan.version + 1), self.deps.rules, record.id, frozen)

    # ── driving ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, run_id: RunId, emit: Callable[[Event], None], loop: asyncio.AbstractEventLoop | None) -> Drive:
        record = self.store.runs.get(run_id)
        if record.checkpoint_ns:
            raise UsageError(
                f"run {run_id} is part of a larger graph; decisions are on record, and that graph goes on with: "
                f"graph.invoke(Command(resume=…), {{'configurable': {{'thread_id': {record.thread_id!r}}}}})"
            )
        lease = self.store.leases.acquire(run_id, new_owner())
        drive = Drive(lease=lease, emit=emit, loop=loop)
        self.deps.drives[drive.id] = drive
        return drive

    def _go(self, drive: Drive) -> None:
        """One drive of the graph, on a thread of its own. The lease is held to its end."""
        run_id = drive.lease.run_id
        try:
            config: Any = {
                "configurable": {"thread_id": self.store.runs.get(run_id).thread_id, DRIVE: drive.id},
                "recursion_limit": RECURSION_LIMIT,
            }
            pending = self.graph.get_state(config).interrupts
            self._announce(drive, resumed=bool(pending) or self.store.runs.plan(run_id) is not None)
            # Without a pending interrupt the graph is entered anew: its first nodes find in the ledger what is done and pass over it.
            value: Any = (
                Command(resume={pending[0].id: {RECORDED: True}})
                if pending and self.store.approvals.decided(run_id)
                else {"run_id": run_id, "goal": self.store.runs.get(run_id).goal.text}
            )
            self.graph.invoke(value, config, durability="sync")
        finally:
            self.deps.drives.pop(drive.id, None)
            self.store.leases.release(drive.lease)

    def _announce(self, drive: Drive, *, resumed: bool) -> None:
        run_id = drive.lease.run_id
        event = RunStarted(run_id=run_id, at=self.clock.now(), goal=self.store.runs.get(run_id).goal.text, resumed=resumed)
        drive.emit(event)
        self.store.events.add(event)
        current = self.store.runs.plan(run_id)
        if current is not None:
            drive.emit(plan_made(current.plan, run_id, event.at))  # whoever watches from here on needs the plan, too

    def _drive(self, run_id: RunId) -> Iterator[Event]:
        """Events of one drive. The graph runs on a thread of its own, so that Ctrl-C reaches this one at once."""
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        drive = self._begin(run_id, events.put, None)
        work = start(self._go, drive)
        work.add_done_callback(lambda _: events.put(None))
        try:
            while (event := _next(events)) is not None:
                yield event
        except BaseException:
            drive.stop.set()
            _wait(work)
            raise
        _raise_failure(work)

    async def _adrive(self, run_id: RunId) -> AsyncGenerator[Event]:
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | None] = asyncio.Queue()

        def put(event: Event | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed under us
                loop.call_soon_threadsafe(events.put_nowait, event)

        drive = await on_own_thread(self._begin, run_id, put, loop)
        work = start(self._go, drive)
        work.add_done_callback(lambda _: put(None))
        try:
            while (event := await events.get()) is not None:
                yield event
        except BaseException:
            drive.stop.set()
            while not work.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([asyncio.wrap_future(work)])
            raise
        _raise_failure(work)

    def _to_the_end(self, run_id: RunId) -> Run:
        """Drive, and let the hook answer while it has sensible answers."""
        senseless = 0
        while True:
            for _ in self._drive(run_id):
                pass
            run = read_run(self.store, run_id)
            while run.status == "paused" and self.on_waiting is not None:
                decision = self.on_waiting(run)
                if inspect.isawaitable(decision):
                    raise UsageError("on_waiting is a coroutine function; use arun and aresume with it")
                if decision is None:
                    return run
                try:
                    self._decide(run, decision, None)
                    break
                except InvalidDecision:
                    senseless += 1
                    if senseless == HOOK_ATTEMPTS:
                        return run
            else:
                return run

    async def _to_the_end_async(self, run_id: RunId) -> Run:
        senseless = 0
        while True:
            async with contextlib.aclosing(self._adrive(run_id)) as events:
                async for _ in events:
                    pass
            run = await on_own_thread(read_run, self.store, run_id)
            while run.status == "paused" and self.on_waiting is not None:
                decision = self.on_waiting(run)
                if inspect.isawaitable(decision):
                    decision = await decision
                if decision is None:
                    return run
                try:
                    await on_own_thread(self._decide, run, decision, None)
                    break
                except InvalidDecision:
                    senseless += 1
                    if senseless == HOOK_ATTEMPTS:
                        return run
            else:
                return run


class _NoPlanner:
    name = "none"
    can_replan = False

    def complete(self, goal: Goal) -> Goal:
        raise UsageError("this agent has no planner: give AgentGraph(planner=…), or run(plan=…)")

    def plan(self, context: PlanningContext) -> Any:
        raise UsageError("this agent has no planner")

    replan = plan


def _goal(goal: str | Goal | None, plan: Plan | None, planner: Planner) -> Goal:
    """What is wanted: as it is said, else as the plan or the blueprint has it."""
    if plan is not None:
        return plan.goal if goal is None else plan.goal.model_copy(update={"text": goal}) if isinstance(goal, str) else goal
    if goal is not None:
        return Goal.of(goal)
    if isinstance(planner, BlueprintPlanner):
        return Goal(text=planner.blueprint.goal)
    raise UsageError("say what is wanted: run(goal, …)")


def _address(run_id: RunId, decision: Decisions, waiting: list[Request], shown: tuple[Request, ...] | None) -> dict[str, Decision]:
    """Which decision is for which request."""
    if isinstance(decision, Mapping):
        return dict(decision)
    assert decision is not None  # noqa: S101  # the caller has looked
    if shown is not None:
        if not shown:
            raise NothingPending(f"nothing waited for a decision when run {run_id} was looked at")
        return {request.id: decision for request in shown}
    if not waiting:
        raise NothingPending(f"nothing of run {run_id} waits for a decision; resume it without one to go on")
    if len(waiting) > 1:
        listed = "\n".join(f"  {request}" for request in waiting)
        raise AmbiguousDecision(f"{len(waiting)} requests of run {run_id} wait; say which, as {{request_id: decision}}:\n{listed}")
    return {waiting[0].id: decision}


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
