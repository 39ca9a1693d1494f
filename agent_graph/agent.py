"""``AgentGraph``: run a goal, answer what waits, go on in another process, look at what came of it."""

from __future__ import annotations

import contextlib
import inspect
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from agent_graph.cancellation import WAIT, cancel, end_if_asked
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.purge import choose
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.decisions import Decisions, address, check
from agent_graph.deps import Deps, environment
from agent_graph.driver import Driver
from agent_graph.errors import InvalidDecision, InvalidPlan, NotAnApprover, RunFinished, UsageError
from agent_graph.events import Event, Note
from agent_graph.execution.history import before_edit, revision_of
from agent_graph.execution.results import Results, check_tools
from agent_graph.graph import Graph, build_graph
from agent_graph.identity import RunId, new_id
from agent_graph.models.clients import Clients
from agent_graph.models.roles import Models
from agent_graph.nodes.edits import check_call_edit, check_edit, edited_plan
from agent_graph.nodes.plan import plan_made
from agent_graph.plan import Blueprint, Goal, Granularity, Mode, Plan
from agent_graph.planners.blueprint import BlueprintPlanner, StaticPlanner
from agent_graph.planners.chain import ChainPlanner
from agent_graph.planners.choose import planner_with
from agent_graph.policy.approvers import may_not_approve
from agent_graph.policy.compiler import Rules, SoFar, compile_plan
from agent_graph.policy.limits import Limits
from agent_graph.policy.nesting import lay_out
from agent_graph.policy.permission import Scopes
from agent_graph.policy.rules import Policy
from agent_graph.policy.standing import make_grant
from agent_graph.ports import Clock, Planner, PlanningContext, Store, SystemClock
from agent_graph.records import Owner, RunRecord
from agent_graph.redaction import Redaction
from agent_graph.revising import revise
from agent_graph.revision import Revision
from agent_graph.runs import read_run
from agent_graph.state import Run, RunStatus
from agent_graph.threads import on_own_thread
from agent_graph.tools.registry import ToolRegistry
from agent_graph.undo import UNDOES, undo_plan
from agent_graph.verdicts import Decision, Edit, Grant, Request

OnWaiting = Callable[[Run], Any]

HOOK_ATTEMPTS = 3
"""How many senseless answers in a row an ``on_waiting`` hook may give before its run is left paused."""


class AgentGraph:
    """
    ``tools``: functions, ``@tool``s, LangChain tools. ``planner``: a planner, a ``Plan``, a ``Blueprint`` or the path of one, a chat model,
    or the spec of one (``openai:MODEL``); it may be left out when ``models`` has a planner, or when each run brings its ``plan``. ``store``: a path or a store; everything of a run is in it. ``on_waiting``: called with a paused
    run, it may return a decision, or None to leave the run paused (under ``arun`` it may be a coroutine function). ``secrets``: values, or values by
    name, that are kept out of everything that is written down, beside those in the environment's variables for keys, tokens and passwords.
    ``principals``: what each principal may (scopes by name, or a function from name to scopes), asked at each call; in place of the policy's.
    ``models``: the model of each role, as ``Models``, a mapping by role or the path of a YAML file (docs/models.md). ``mode``: how much is planned
    before anything runs, ``granularity``: how fine (docs/modes.md). ``blueprints``: nested plans that steps may name, objects or paths.

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
        secrets: Iterable[str] | Mapping[str, str] = (),
        principals: Scopes | Mapping[str, Iterable[str]] | None = None,
        models: Models | Mapping[str, Any] | str | Path | None = None,
        mode: Mode | None = None,
        granularity: Granularity = "auto",
        blueprints: Iterable[Blueprint | str | Path] = (),
    ) -> None:
        self.clock = clock or SystemClock()
        registry = tools if isinstance(tools, ToolRegistry) else ToolRegistry(tools)
        self.tools = registry
        self.policy = policy if isinstance(policy, Policy) else Policy.load(policy) if policy is not None else Policy.default()
        if not isinstance(limits, Limits | None):
            raise UsageError(f"limits={limits!r} is not Limits(…): write limits=Limits(max_steps=3)")
        self.limits = limits or Limits()
        clients = Clients(Models.of(models) if models is not None else Models())
        self.planner = planner_with(planner, clients, mode, granularity)
        self.store: Store = SqliteStore(store, clock=self.clock) if isinstance(store, str | Path) else store
        self.on_waiting = on_waiting
        nested = _blueprints(blueprints)
        self.deps = Deps(
            planner=self.planner or _NoPlanner(),
            tools=registry,
            rules=Rules(
                tools=registry.specs,
                policy=self.policy,
                limits=self.limits,
                scopes=_scopes(principals),
                blueprints=nested,
                models=clients.models,
            ),
            store=self.store,
            clock=self.clock,
            redaction=Redaction.of(environment() | clients.keys(os.environ), secrets),
            models=clients,
            blueprints=nested,
            mode=mode,
            granularity=granularity,
        )
        self._driver = Driver(self.deps, lambda: self.graph)

    @cached_property
    def graph(self) -> Graph:
        """The compiled LangGraph graph on this agent's store, for ``invoke``, ``stream`` and everything else that LangGraph does."""
        return build_graph(self.deps, self.store.checkpointer())

    def close(self) -> None:
        """End the worker processes, and close the store's files."""
        self.deps.workers.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── starting ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(
        self,
        goal: str | Goal | Plan | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        run_id: str | None = None,
        principal: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Run:
        """Drive a new run until it has ended or waits for a person.

        ``goal`` may also be a ``Plan``. Raises InvalidPlan (with all issues, and before a run exists) when a plan that was handed in, or a blueprint's, cannot run;
        UsageError for parameters that do not fit; KeyboardInterrupt after Ctrl-C and Interrupted after ``stop``, with the run left resumable.
        """
        return self._to_the_end(self._create(goal, params, plan, run_id, principal, metadata))

    async def arun(
        self,
        goal: str | Goal | Plan | None = None,
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
        goal: str | Goal | Plan | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        run_id: str | None = None,
        principal: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Iterator[Event]:
        """As ``run``, event by event; each carries the ``run_id``. Leaving the loop early stops the run, which can be resumed."""
        return self._driver.drive(self._create(goal, params, plan, run_id, principal, metadata))

    def astream(
        self,
        goal: str | Goal | Plan | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        run_id: str | None = None,
        principal: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> AsyncIterator[Event]:
        """As ``stream``, for async callers."""
        return self._adrive(self._create, goal, params, plan, run_id, principal, metadata)

    # ── going on ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def resume(self, run: str | Run, decision: Decisions = None, *, by: str | None = None, takeover: bool | Owner = False) -> Run:
        """Go on with a run: with decisions about what waits, or without one after its process died.

        A bare decision is taken when exactly one request waits, or, for the ``Run`` that was shown, for all that it showed. ``by`` names
        who decided. The decision is on disk before the run goes on, in this process or any other.

        ``takeover``: when another process of this machine drives the run, for example one that hangs, kill that process first, with every
        other run that it drives. An ``Owner`` (``agent.store.leases.holder(run_id)``): only if it is still that one.

        Raises UnknownRun, RunFinished, NothingPending, AmbiguousDecision (naming the ids), InvalidDecision, DecisionConflict, and RunBusy
        when another process drives the run (a decision is recorded all the same, and that process finds it), or cannot be taken over from;
        Interrupted after ``stop``, and LeaseLost when another process takes the run over.
        """
        return self._to_the_end(self._decide(run, decision, by, takeover))

    async def aresume(self, run: str | Run, decision: Decisions = None, *, by: str | None = None, takeover: bool | Owner = False) -> Run:
        """As ``resume``, for async callers."""
        run_id = await on_own_thread(self._decide, run, decision, by, takeover)
        return await self._to_the_end_async(run_id)

    def stream_resume(
        self, run: str | Run, decision: Decisions = None, *, by: str | None = None, takeover: bool | Owner = False
    ) -> Iterator[Event]:
        """As ``resume``, event by event."""
        return self._driver.drive(self._decide(run, decision, by, takeover))

    def astream_resume(
        self, run: str | Run, decision: Decisions = None, *, by: str | None = None, takeover: bool | Owner = False
    ) -> AsyncIterator[Event]:
        """As ``aresume``, event by event."""
        return self._adrive(self._decide, run, decision, by, takeover)

    def revise(
        self,
        run: str | Run,
        *,
        goal: str | Goal | None = None,
        constraints: Iterable[str] | None = None,
        params: Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> Run:
        """Change what a run that waits, or was interrupted, is to do, and go on: what has landed stays, the rest is planned anew.

        ``goal``: another text, or a ``Goal`` (its criteria count, too). ``constraints`` take the place of the earlier ones; ``params`` are laid
        over the run's. What waited for a decision is withdrawn, but for what is in doubt; a yes that was given still covers exactly its call.

        Raises UsageError when the planner cannot make another plan, or nothing would be changed; UnknownRun, RunFinished, and RunBusy while
        somebody drives the run. Nothing is changed then.
        """
        return self._to_the_end(self._revise(run, goal, constraints, params, by))

    async def arevise(
        self,
        run: str | Run,
        *,
        goal: str | Goal | None = None,
        constraints: Iterable[str] | None = None,
        params: Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> Run:
        """As ``revise``, for async callers."""
        return await self._to_the_end_async(await on_own_thread(self._revise, run, goal, constraints, params, by))

    def stream_revise(
        self,
        run: str | Run,
        *,
        goal: str | Goal | None = None,
        constraints: Iterable[str] | None = None,
        params: Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> Iterator[Event]:
        """As ``revise``, event by event."""
        return self._driver.drive(self._revise(run, goal, constraints, params, by))

    def astream_revise(
        self,
        run: str | Run,
        *,
        goal: str | Goal | None = None,
        constraints: Iterable[str] | None = None,
        params: Mapping[str, Any] | None = None,
        by: str | None = None,
    ) -> AsyncIterator[Event]:
        """As ``arevise``, event by event."""
        return self._adrive(self._revise, run, goal, constraints, params, by)

    # ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def cancel(self, run_id: str, *, by: str | None = None, wait: float = WAIT, takeover: bool | Owner = False) -> Run:
        """End a run for good; it cannot be resumed. What was done stays done, and ``open_effects`` says what has no known outcome.

        A run that another process or thread drives begins no effect any more; its driver lets the calls in flight end, records them and
        ends it, which is waited for ``wait`` seconds. ``takeover`` as for ``resume``. Cancelling again waits again. Where the run came to
        another end meanwhile, that one is returned.

        Raises UnknownRun, RunFinished, and RunBusy when the run is still driven after the wait; that it is to end stays on record.
        """
        found = self.store.runs.find(run_id)
        seen = self._seen(found, takeover)
        return read_run(self.store, cancel(self.store, self.clock, found, by, wait, seen).id)

    def undo(self, run_id: str, *, principal: str | None = None) -> Run:
        """Take back what a run that ended did: a new run of the ``undo`` calls of its tools, the last effect first, each after a yes.

        ``get(run_id).landed`` lists the effects of a failed or cancelled run and what would take each back. Raises UsageError when there is
        nothing to take back, or another run is at it.
        """
        found = self.store.runs.find(run_id)
        return self.run(plan=undo_plan(self.store, found), principal=principal, metadata={UNDOES: found})

    async def acancel(self, run_id: str, *, by: str | None = None, wait: float = WAIT, takeover: bool | Owner = False) -> Run:
        """As ``cancel``, for async callers: a run whose tools are on this very loop could not end while it is blocked."""
        return await on_own_thread(lambda: self.cancel(run_id, by=by, wait=wait, takeover=takeover))

    def stop(self, wait: float = 0.0) -> tuple[str, ...]:
        """Stop whatever this agent drives in this process, between calls, and begin nothing more: for a server that is shut down.

        Calls in flight end and are recorded. Whoever waits in ``run``, ``resume``, a stream or ``graph.invoke`` gets Interrupted, and any
        process can resume those runs. May be called from any thread and from a signal handler; a stopped agent stays stopped. Returns the
        runs that were still under way after ``wait`` seconds.
        """
        self.deps.stops.stop()
        until = time.monotonic() + wait
        while self.deps.stops.left() and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.02, left))
        return self.deps.stops.left()

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, run_id: str) -> Run:
        """The run as it stands. The beginning of an id is enough. Raises UnknownRun."""
        found = self.store.runs.find(run_id)
        end_if_asked(self.store, self.clock, found)  # the driver that was to end it died
        return read_run(self.store, found)

    def runs(self, status: RunStatus | None = None, limit: int = 100) -> list[Run]:
        """Runs, newest first, without their results."""
        found = (read_run(self.store, record.id, results=False) for record in self.store.runs.recent(limit=limit))
        return [run for run in found if status is None or run.status == status]

    def trace(self, run_id: str) -> list[Event]:
        """Everything that was recorded of the run, oldest first. A step's start is streamed and not kept; its result has it."""
        return self.store.events.of(self.store.runs.find(run_id))

    def revision(self, run_id: str, version: int | None = None) -> Revision:
        """What a plan version, the newest where none is named, changed of the one that it took the place of. Raises UsageError for the first."""
        return revision_of(self.store, self.store.runs.find(run_id), version)[0]

    def validate(self, plan: Plan) -> None:
        """Raises InvalidPlan with everything that is wrong with the plan."""
        self._check(plan)

    def _check(self, plan: Plan, run_id: RunId | None = None) -> None:
        """Raises InvalidPlan. For a run that is about to be made, the report is kept for its first ``validate``."""
        plan = lay_out(plan, self.deps.blueprints)
        report = compile_plan(plan, self.deps.rules, run_id or RunId("preview"), SoFar(now=self.clock.now()))
        if not report.valid:
            raise InvalidPlan(report.errors)
        if run_id is not None:
            self.deps.checked[run_id] = (plan, report)

    def purge(self, *run_ids: str, finished: bool = False, older_than: float | None = None) -> list[str]:
        """Remove runs that have ended, wholly: those named, or all (that ended at least ``older_than`` seconds ago). Returns their ids.

        The space goes back to the disk. Raises UsageError, naming each run that has not ended; nothing is removed then.
        """
        if bool(run_ids) == (finished or older_than is not None):
            raise UsageError("say which runs: purge(run_id, …), purge(finished=True) or purge(older_than=seconds)")
        before = None if older_than is None else self.clock.now() - older_than
        chosen = [record.id for record in choose(self.store, named=run_ids, finished=not run_ids, updated_before=before)]
        if chosen:
            self.store.purge(chosen)
            self.store.reclaim()
        return list(chosen)

    # ── standing grants ───────────────────────────────────────────────────────────────────────────────────────────────

    def grant(
        self,
        tool: str,
        args: Mapping[str, Any] | None = None,
        *,
        when: str | None = None,
        principals: Iterable[str] = (),
        until: float | None = None,
        by: str | None = None,
        reason: str = "",
    ) -> Grant:
        """Say yes beforehand to calls of a tool: with exactly these arguments, or those for which ``when`` (CEL over ``call.args``) holds.

        ``until``: seconds since the epoch, UTC. It answers where the policy's rules ask; never for a denial, for a value from outside, or for a
        step that was proposed after one had been read. It is void when the tool changes, and can be revoked. Raises UsageError, and
        NotAnApprover for somebody who may not say yes to such a call.
        """
        return make_grant(
            self.store.grants, self.tools.specs, self.policy, self.clock.now(), tool, args, when, tuple(principals), until, by, reason
        )

    def grants(self) -> list[Grant]:
        """Those that may be used now, oldest first."""
        return self.store.grants.standing()

    def revoke(self, grant_id: str, *, by: str | None = None) -> Grant:
        """End a standing grant; it stays on record. Raises UsageError when there is none, or it was revoked before."""
        return self.store.grants.revoke(grant_id, by)

    # ── how it is done ────────────────────────────────────────────────────────────────────────────────────────────────

    def _create(
        self,
        goal: str | Goal | Plan | None,
        params: Mapping[str, Any] | None,
        plan: Plan | None,
        run_id: str | None,
        principal: str | None,
        metadata: dict[str, Any] | None,
    ) -> RunId:
        """Check all that can be checked, then put the run on record."""
        if isinstance(goal, Plan):
            goal, plan = None, goal
        planner = self.deps.planner if plan is None else StaticPlanner(plan)
        wanted = _goal(goal, plan, planner)
        wanted = wanted.model_copy(update={"params": {**wanted.params, **(params or {})}, "principal": principal or wanted.principal})
        wanted = planner.complete(wanted)
        new = RunId(run_id or new_id())
        # A plan that came with the run is its version 1 from the start, so that any process can go on with it.
        first = plan.model_copy(update={"goal": wanted, "version": 1, "parent": None}) if plan is not None else None
        first = None if first is None else lay_out(first, self.deps.blueprints)
        made = first or (
            planner.plan(PlanningContext(goal=wanted, tools=self.tools.specs))
            if isinstance(planner, BlueprintPlanner | StaticPlanner | ChainPlanner)
            else None
        )
        if isinstance(made, Plan) and not planner.can_replan:
            self._check(first or made.model_copy(update={"goal": wanted, "version": 1, "parent": None}), new)
        self.store.runs.create(new, wanted, thread_id=new, planner=planner.name, policy=self.policy.name, metadata=metadata, plan=first)
        if first is not None:
            self.deps.planners[new] = planner
            self.store.events.add(plan_made(first, new, self.clock.now(), watched=False))
            self.store.flush()
        return new

    def _record(self, run: str | Run) -> RunRecord:
        run_id = run.id if isinstance(run, Run) else self.store.runs.find(run)
        return self.store.runs.get(run_id)

    def _decide(self, run: str | Run, decision: Decisions, by: str | None, takeover: bool | Owner = False) -> RunId:
        """Record decisions, before anything wakes. All or none."""
        record = self._record(run)
        seen = self._seen(record.id, takeover)
        self._refuse_ended(record)
        current = self.store.runs.plan(record.id)
        if current is not None and current.verdict == "valid":
            check_tools(record.id, current.plan, self.tools.specs.keys(), lambda: Results(self.store, record.id, current.plan))
        decisions = {}
        if decision is not None:
            waiting = self.store.approvals.open(record.id)
            decisions = address(record.id, decision, waiting, run.requests if isinstance(run, Run) else None)
            decisions, edits = check(decisions, waiting)
            for edit, request in edits:
                self._try_edit(record, edit, request)
            self._refuse_approver(record, decisions, waiting, by)
        if seen is not None and self.store.leases.evict(record.id, seen):
            self.store.events.add(Note(run_id=record.id, at=self.clock.now(), message=f"taken over from {seen}, which was killed"))
        if decision is not None:
            self.store.approvals.decide(record.id, decisions, by)
        return record.id

    async def _adrive(self, begin: Callable[..., RunId], *given: Any) -> AsyncIterator[Event]:
        """The events of the run that ``begin`` starts, or lets go on."""
        run_id = await on_own_thread(begin, *given)
        async with contextlib.aclosing(self._driver.adrive(run_id)) as events:
            async for event in events:
                yield event

    def _revise(
        self,
        run: str | Run,
        goal: str | Goal | None,
        constraints: Iterable[str] | None,
        params: Mapping[str, Any] | None,
        by: str | None,
    ) -> RunId:
        record = self._record(run)
        self._refuse_ended(record)
        revise(self.store, self.clock, self.deps.planner_of(record.id), record, goal, constraints, params, by)
        return record.id

    def _seen(self, run_id: RunId, takeover: bool | Owner) -> Owner | None:
        """Who is to be ended first, if anybody drives the run."""
        return takeover if isinstance(takeover, Owner) else self.store.leases.holder(run_id) if takeover else None

    def _refuse_ended(self, record: RunRecord) -> None:
        if record.cancel_asked is not None and not record.finished:
            if not end_if_asked(self.store, self.clock, record.id):
                raise RunFinished(
                    f"run {record.id} was cancelled by {record.cancel_by or 'somebody'} and ends after the calls in flight; "
                    f"there is nothing to resume. Look at it with: agent-graph show {record.id}"
                )
            record = self.store.runs.get(record.id)
        if record.finished:
            raise RunFinished(
                f"run {record.id} has ended ({record.status}); there is nothing to resume. Look at it with: agent-graph show {record.id}"
            )

    def _try_edit(self, record: RunRecord, edit: Edit, request: Request) -> None:
        current = self.store.runs.plan(record.id)
        if current is None:
            raise InvalidDecision("there is no plan to edit yet")
        if request.part_of is not None:
            check_call_edit(edit, request, self.deps.rules, record.id, record.goal.principal, self.clock.now())
            return
        made = edited_plan(current.plan, edit, request, current.plan.version + 1, self.deps.blueprints)
        so_far = before_edit(self.store, record.id, current, made, self.deps.rules, self.clock.now())
        check_edit(made, self.deps.rules, record.id, so_far)

    def _refuse_approver(self, record: RunRecord, decisions: Mapping[str, Decision], waiting: Sequence[Request], by: str | None) -> None:
        """Raises NotAnApprover."""
        asked = {request.id: request for request in waiting}
        for request_id, decision in decisions.items():
            if request_id in asked and decision.type in ("approve", "edit", "resolve"):
                refused = may_not_approve(self.policy, asked[request_id], decision.by or by, record.goal.principal)
                if refused:
                    raise NotAnApprover(f"request {request_id}: {refused}; it still waits")

    # ── to the end, or to a gate that nobody answers ──────────────────────────────────────────────────────────────────

    def _to_the_end(self, run_id: RunId) -> Run:
        hook = _Hook(self)
        while True:
            self._driver.to_the_end(run_id)
            run = read_run(self.store, run_id)
            while hook.wants(run):
                decision = hook.ask(run)
                if inspect.isawaitable(decision):
                    raise UsageError("on_waiting is a coroutine function; use arun and aresume with it")
                if hook.takes(run, decision):
                    break
            else:
                return run

    async def _to_the_end_async(self, run_id: RunId) -> Run:
        hook = _Hook(self)
        while True:
            await self._driver.ato_the_end(run_id)
            run = await on_own_thread(read_run, self.store, run_id)
            while hook.wants(run):
                decision = hook.ask(run)
                if inspect.isawaitable(decision):
                    decision = await decision
                if await on_own_thread(hook.takes, run, decision):
                    break
            else:
                return run


class _Hook:
    """``on_waiting`` during one call of ``run`` or ``resume``: it is asked until it declines, or has given too many senseless answers."""

    def __init__(self, agent: AgentGraph) -> None:
        self._agent = agent
        self._left = HOOK_ATTEMPTS

    def wants(self, run: Run) -> bool:
        return run.status == "paused" and self._agent.on_waiting is not None and self._left > 0

    def ask(self, run: Run) -> Any:
        assert self._agent.on_waiting is not None  # noqa: S101  # wants() has looked
        return self._agent.on_waiting(run)

    def takes(self, run: Run, decision: Any) -> bool:
        """Record the decision. False: there was none, or it made no sense."""
        if decision is None:
            self._left = 0
            return False
        try:
            self._agent._decide(run, decision, None)
        except InvalidDecision:
            self._left -= 1
            return False
        return True


class _NoPlanner:
    name = "none"
    can_replan = False

    def complete(self, goal: Goal) -> Goal:
        raise UsageError("this agent has no planner: give AgentGraph(planner=…), or run(plan=…)")

    def plan(self, context: PlanningContext) -> Any:
        raise UsageError("this agent has no planner")

    replan = plan


def _scopes(given: Scopes | Mapping[str, Iterable[str]] | None) -> Scopes | None:
    if isinstance(given, Mapping):
        return lambda name: given.get(name, ())
    return given


def _blueprints(given: Iterable[Blueprint | str | Path]) -> dict[str, Blueprint]:
    """By name. Raises UsageError for a name that two of them have, InvalidDocument for a file that is none."""
    found: dict[str, Blueprint] = {}
    if isinstance(given, str | Path | Blueprint) or not isinstance(given, Iterable):
        raise UsageError(f"blueprints={given!r} is no list: write blueprints=[…], with blueprints or paths of them")
    for each in given:
        blueprint = each if isinstance(each, Blueprint) else BlueprintPlanner(each).blueprint
        if blueprint.name in found and found[blueprint.name] != blueprint:
            raise UsageError(f"two blueprints are called {blueprint.name!r}; give each a name of its own")
        found[blueprint.name] = blueprint
    return found


def _goal(goal: str | Goal | None, plan: Plan | None, planner: Planner) -> Goal:
    """What is wanted: as it is said, else as the plan or the blueprint has it."""
    if plan is not None:
        return plan.goal if goal is None else plan.goal.model_copy(update={"text": goal}) if isinstance(goal, str) else goal
    if goal is not None:
        return Goal.of(goal)
    if isinstance(planner, BlueprintPlanner):
        return Goal(text=planner.blueprint.goal)
    raise UsageError("say what is wanted: run(goal, …)")
