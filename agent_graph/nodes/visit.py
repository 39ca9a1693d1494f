"""What a node is given: the run as it stands in the ledger, and the lease under which it may write.

A node takes its facts from here and never from the state, so that an older checkpoint, an injected update or a jump finds the run as it is.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from agent_graph.checkpoints.leases import DURATION, new_owner
from agent_graph.deps import DRIVE, Deps
from agent_graph.errors import BudgetExceeded, CancelAsked, Interrupted, RunBusy, StoreError, UsageError
from agent_graph.events import Event
from agent_graph.execution.budget import Budget, spent_so_far
from agent_graph.execution.context import RunContext
from agent_graph.execution.failures import failed_calls
from agent_graph.execution.history import could_run, in_force_before, lineage, replans_made
from agent_graph.execution.meter import Meter
from agent_graph.execution.outcome import words
from agent_graph.execution.part_budget import PartBudgets, part_budgets
from agent_graph.execution.results import Known, Results, check_tools, landed_calls
from agent_graph.identity import EffectKey, RunId, new_id
from agent_graph.models.speaking import spoken
from agent_graph.nodes.messages import goal_in
from agent_graph.plan import Goal, Plan, Step
from agent_graph.policy.compiler import SoFar
from agent_graph.policy.dataflow import Dataflow
from agent_graph.policy.lineage import Origin, write_lineage
from agent_graph.policy.repeating import Failed
from agent_graph.policy.spending import Spent
from agent_graph.ports import Planner
from agent_graph.records import Lease, PlanRecord, RunRecord
from agent_graph.state import State
from agent_graph.threads import start
from agent_graph.trace.diagnosis import diagnose
from agent_graph.verdicts import Report

LOOK = 1.0
"""Seconds between two looks for somebody who cancels the run."""


@dataclass(kw_only=True)
class Visit:
    deps: Deps
    record: RunRecord
    lease: Lease
    emit: Callable[[Event], None] | None
    """None: nobody watches."""
    loop: asyncio.AbstractEventLoop | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    known: Known = field(default_factory=Known)
    """Of the whole drive where there is one."""
    user: str | None = None
    """Who calls LangGraph's server, as its authentication says; None without one."""
    drive: str = ""
    """Id of the drive of LangGraph's server, which tells a drive that it repeats from a new one."""
    sent_again: bool = False
    """Whether the server repeats a drive that was cut off, and with it the answer that this drive had carried. It repeats what it had last
    written down as running, so the drive may have ended since, at the gate that waits now."""

    @property
    def run_id(self) -> RunId:
        return self.record.id

    @property
    def planner(self) -> Planner:
        return self.deps.planner_of(self.run_id)

    @property
    def over(self) -> bool:
        """Whether the run has ended, or is to: a reason is on record, or somebody cancelled it."""
        return self.record.finished or self.record.error is not None or self.record.cancel_asked is not None

    @property
    def revised(self) -> bool:
        """Whether a person changed the goal after the newest plan version was made: none of it runs any more."""
        return self.current is not None and self.current.plan.goal != self.record.goal

    @cached_property
    def current(self) -> PlanRecord | None:
        """The newest plan version."""
        return self.known.current(self.deps.store, self.run_id)

    @property
    def plan(self) -> Plan:
        """The newest version's plan. Only after it is known that there is one."""
        assert self.current is not None  # noqa: S101  # see above
        return self.current.plan

    @property
    def flow(self) -> Dataflow:
        return self.known.flow(self.deps.store, self.run_id, self.plan, every=bool(self.deps.rules.policy.order))

    @property
    def results(self) -> Results:
        return self.known.results(self.deps.store, self.run_id, self.plan)

    # What a node writes that later nodes of the drive read.

    def add_plan(self, plan: Plan, lineage: Mapping[str, Origin] | None = None) -> None:
        """Put a new version on record, with what had been read by whoever proposed its steps."""
        self.deps.store.runs.add_plan(self.lease, plan, write_lineage(lineage) if lineage else None)
        self.known.forget()

    def judge_plan(self, report: Report) -> None:
        """Put on record what validation found."""
        self.deps.store.runs.judge_plan(self.lease, self.plan.version, report)
        self.known.forget()

    def reopen(self, key: EffectKey) -> None:
        """Have a failed step tried again."""
        self.deps.store.ledger.reopen(self.lease, key)
        self.known.forget()

    def so_far(self) -> SoFar:
        """What the newest plan version is compiled with."""
        current, limits = self.current, self.deps.rules.limits
        return SoFar(
            frozen=self.frozen(),
            lineage=self.lineage,
            landed={} if current is None or current.plan.parent is None else landed_calls(self.deps.store, self.run_id),
            spent=self.spent() if limits.bounds_calls else Spent(),
            replans=self.replans_made() if current is not None and current.plan.parent is not None else 0,
            now=self.now(),
            failed=self.failed_calls(),
        )

    def failed_calls(self) -> dict[str, Failed]:
        """What a version of the planner's should not propose again. What a person wants is theirs to know."""
        if self.current is None or self.plan.parent is None or not self.plan.created_by.startswith(self.planner.name):
            return {}
        return failed_calls(self.deps.store, self.run_id, self.plan.version, self.plan.goal)

    @property
    def lineage(self) -> dict[str, Origin]:
        """Of the steps of the newest version that a replan brought."""
        return lineage(self.current)

    def spent(self) -> Spent:
        return spent_so_far(self.deps.store, self.run_id, self.deps.tools.specs)

    @property
    def budget(self) -> Budget:
        deps = self.deps
        return self.known.budget(lambda: Budget(deps.rules.limits, self.spent(), deps.clock))

    def meter(self, version: int | None = None) -> Meter:
        """For whoever asks a model, about the version in force unless another is named."""
        version = version if version is not None else 0 if self.current is None else self.plan.version
        deps, limits = self.deps, self.deps.rules.limits
        budget = self.budget if limits.bounds_calls else Budget(limits, Spent(), deps.clock)
        return Meter(deps.store, self.lease, limits, version, budget=budget, clock=deps.clock, emit=self.emit, parts=self.parts)

    @cached_property
    def parts(self) -> PartBudgets | None:
        """What the nested plans of the newest version may still use."""
        if self.current is None:
            return None
        return part_budgets(self.plan, self.results, self.deps.store, self.run_id, self.deps.tools.specs)

    def tell(self) -> Callable[[Event], None] | None:
        """Streams an event without keeping it, and the answer as its words; None: nobody watches."""
        return spoken(self.emit)

    def frozen(self) -> dict[str, Step]:
        """The steps that have ended for good, as they ran: in this version, and in the newest one before it of which anything could run.

        What a version in between wanted to make of them, which was refused, is nothing that the next one can build on; nor is what was read
        for parameters that are others now.
        """
        if self.current is None:
            return {}
        checked = self.current.verdict is not None
        here = self.results.frozen() if checked and could_run(self.current, self.results.versions()) else {}
        before = self.before
        found = here if before is None else here | Results(self.deps.store, self.run_id, before.plan, self.known.ran_with).frozen()
        gone = self.outdated() if found else frozenset()
        return {step_id: step for step_id, step in found.items() if step_id not in gone} if gone else found

    def outdated(self) -> frozenset[str]:
        """The steps that have ended for a goal with other parameters than the run has now, and are made again if they are wanted."""
        if self.current is None or (self.current.plan.parent is None and not self.revised):
            return frozenset()
        return self.results.outdated(self.record.goal)

    @cached_property
    def before(self) -> PlanRecord | None:
        """The version that the newest one takes the place of."""
        if self.current is None or self.current.plan.parent is None:
            return None
        return in_force_before(self.deps.store, self.run_id, self.current, self.results.versions())

    def context(self) -> RunContext:
        deps = self.deps
        return RunContext(
            run_id=self.run_id,
            plan=self.plan,
            flow=self.flow,
            results=self.results,
            lease=self.lease,
            store=deps.store,
            tools=deps.tools,
            rules=deps.rules,
            clock=deps.clock,
            emit=self.emit,
            slots=deps.slots,
            reads=deps.reads,
            workers=deps.workers,
            lineage=self.lineage,
            models=deps.models,
            meter=self.meter(),
            budget=self.budget if deps.rules.limits.bounds_calls else None,
            parts=self.parts,
            redaction=deps.redaction,
            loop=self.loop,
            stop=self.stop,
        )

    def think(self, ask: Callable[[], Any], who: str = "the planner") -> Any:
        """What a planner, or another model, answers. A model may take minutes: neither a stop nor a cancel waits for it, since thinking changes nothing."""
        thought = start(ask)
        monotonic = self.deps.clock.monotonic
        look_at, renew_at = monotonic() + LOOK, monotonic() + DURATION / 3
        while not thought.done():
            self._refuse_after_time(who)
            if self.stop.is_set():
                raise Interrupted(f"run {self.run_id} was stopped while {who} was thinking; resume it to go on")
            with contextlib.suppress(
                StoreError
            ):  # a store that is busy is looked at again; a lease that was lost is told by the next write
                if monotonic() >= look_at:
                    look_at = monotonic() + LOOK
                    self._refuse_after_cancel(who)
                if monotonic() >= renew_at:
                    renew_at = monotonic() + DURATION / 3
                    self.deps.store.leases.renew(self.lease)
            concurrent.futures.wait([thought], timeout=0.1)
        return thought.result()

    def _refuse_after_time(self, who: str) -> None:
        most = self.deps.rules.limits.max_seconds
        if most is not None and self.budget.seconds() > most:
            raise BudgetExceeded(f"{who} was still thinking when the {most:g} seconds of the run were over")

    def _refuse_after_cancel(self, who: str) -> None:
        if self.deps.store.runs.get(self.run_id).cancel_asked is not None:
            raise CancelAsked(f"run {self.run_id} was cancelled while {who} was thinking")

    def check_tools(self) -> None:
        """Raises UsageError when a step that is still to run needs a tool that this agent does not have, or a revised goal needs a planner. Nothing
        is changed by that."""
        if self.revised and not self.over and not self.planner.can_replan:
            raise UsageError(
                f"the goal of run {self.run_id} was revised after its plan was made, and this agent's planner ({self.planner.name}) makes no other; "
                "nothing was changed: resume it with an agent that has the run's planner"
            )
        if self.current is not None and self.current.verdict == "valid" and not self.over:
            check_tools(self.run_id, self.plan, self.deps.tools.specs.keys(), lambda: self.results)

    def now(self) -> float:
        return self.deps.clock.now()

    def trace(self, event: Event) -> None:
        """Stream the event and keep it."""
        if self.emit is not None:
            self.emit(event)
        self.deps.store.events.add(event)

    def blame(self, code: str, message: str, step_id: str | None = None) -> None:
        """Put on record why the run is going to end ``failed``."""
        self.deps.store.runs.blame(self.lease, diagnose(code, words(message, self.deps.redaction), step_id))

    def replans_made(self) -> int:
        return replans_made(self.deps.store.runs.plans(self.run_id), self.planner.name)

    def replans_left(self) -> int:
        """How many versions the planner may still make, whatever the reason."""
        return max(0, self.deps.rules.limits.max_replans - self.replans_made())

    def overspent(self, what: str, step_id: str | None = None) -> None:
        """Put on record that a limit ends the run, and what was spent on what."""
        self.blame("budget_exceeded", f"{what}. Spent: {self.spent()}", step_id)


@contextmanager
def entering(
    deps: Deps,
    state: State,
    config: Mapping[str, Any],
    emit: Callable[[Event], None] | None,
    loop: asyncio.AbstractEventLoop | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Visit]:
    """The run of this thread, under the drive's lease, or under one that ends with the node when a foreign runner drives the graph."""
    configurable = config.get("configurable", {})
    drive = deps.drives.get(configurable.get(DRIVE, ""))
    if drive is not None:
        deps.store.leases.check(drive.lease)
        record = deps.store.runs.get(drive.lease.run_id)
        visit = Visit(deps=deps, record=record, lease=drive.lease, emit=drive.emit, loop=drive.loop, stop=drive.stop, known=drive.known)
        visit.check_tools()
        try:
            yield visit
        finally:
            deps.store.flush()
        return
    told = config.get("metadata", {})
    drive_id = str(told.get("run_id", "")) if "run_attempt" in told else ""
    came_this_far = drive_id != "" and state.get("drive") == drive_id
    record = _find_or_make(
        deps, state, str(configurable.get("thread_id", "")), _namespace(configurable), _user(configurable), taken=came_this_far
    )
    stop = stop or threading.Event()
    with deps.stops.until_stopped(record.id, stop):
        lease = _lease(deps, record.id)
        try:
            visit = Visit(
                deps=deps,
                record=deps.store.runs.get(record.id),
                lease=lease,
                emit=emit,
                loop=loop,
                stop=stop,
                user=_user(configurable),
                drive=drive_id,
                sent_again=came_this_far or told.get("run_attempt", 1) != 1,
            )
            visit.check_tools()
            yield visit
        finally:
            deps.store.flush()
            deps.store.leases.release(lease)


def _lease(deps: Deps, run_id: RunId) -> Lease:
    """Between two nodes nobody holds the run: whoever cancels it then ends it, and is gone in a moment."""
    until = deps.clock.monotonic() + LOOK
    while True:
        try:
            return deps.store.leases.acquire(run_id, new_owner())
        except RunBusy:
            if deps.store.runs.get(run_id).cancel_asked is None or deps.clock.monotonic() >= until:
                raise
            time.sleep(0.01)


def _namespace(configurable: Mapping[str, Any]) -> str:
    """Where our graph stands in a larger one: the node that holds it, and the visit of that node. Empty at the root."""
    return str(configurable.get("checkpoint_ns", "")).rpartition("|")[0]


def _user(configurable: Mapping[str, Any]) -> str | None:
    """The server lets no client set this."""
    return str(configurable.get("langgraph_auth_user_id") or "") or None


def _find_or_make(deps: Deps, state: State, thread_id: str, namespace: str, user: str | None, *, taken: bool) -> RunRecord:
    """The thread's run. A thread holds one run after another: new input after the end of one begins the next.

    ``plan`` takes the goal out of the state, so that a goal that is there is new; unless the state is that of an older checkpoint and the run
    that it led to has been made since, or the server repeats a drive (``taken``) whose input was taken before.
    """
    if not thread_id:
        raise UsageError('the graph needs a thread: pass config={"configurable": {"thread_id": …}}')
    record = deps.store.runs.current(thread_id, namespace)
    given = goal_in(state)
    if record is not None and (not record.finished or given is None or taken):
        return record
    if given is None:
        raise UsageError(
            f"thread {thread_id!r} has no run in {deps.store.path}, and the input names no goal: invoke the graph with {{'goal': …}}"
        )
    goal = Goal.of(given)
    goal = goal.model_copy(update={"principal": user or deps.principal or goal.principal})
    goal = deps.planner.complete(goal.model_copy(update={"params": {**goal.params, **state.get("params", {})}}))
    if record is not None:
        since = itertools.takewhile(lambda run: run.id != state.get("run_id"), deps.store.runs.of_thread(thread_id, namespace))
        if any((run.goal.text, run.goal.params) == (goal.text, goal.params) for run in since):
            return record
    return deps.store.runs.create(
        RunId(new_id()), goal, thread_id=thread_id, checkpoint_ns=namespace, planner=deps.planner.name, policy=deps.rules.policy.name
    )
