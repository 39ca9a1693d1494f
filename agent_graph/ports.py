"""The seams: what a planner, a clock, a tool and a store look like from above."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import JsonValue

from agent_graph.identity import Digest, EffectKey, RequestId, RunId
from agent_graph.plan import Blueprint, Goal, Granularity, Mode, Plan, Recovery, Risk, StepBudget
from agent_graph.records import (
    ApprovalRecord,
    Effect,
    EffectState,
    Intent,
    Lease,
    Owner,
    PlanRecord,
    PolicyRecord,
    RunRecord,
    Spending,
    Standing,
    Usage,
    UsageEntry,
)
from agent_graph.state import StoredStatus
from agent_graph.verdicts import (
    Call,
    Decision,
    Diagnosis,
    Failure,
    Grant,
    Issue,
    Judgement,
    LandedEffect,
    Observation,
    Report,
    Request,
    StepResult,
    Undo,
)

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

    from agent_graph.events import Event


class Clock(Protocol):
    """Time is asked for, so that a test can set it."""

    def now(self) -> float:
        """Seconds since the epoch, UTC. May jump; used for what people read and for approvals that expire."""
        ...

    def monotonic(self) -> float:
        """Seconds that only rise; used for deadlines within one process."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


Isolation = Literal["thread", "process"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """What planners and checks may know of a tool: everything but how to call it."""

    name: str
    description: str
    args_schema: dict[str, Any]
    """JSON Schema of the arguments, an object."""
    output_schema: dict[str, Any] | None
    """JSON Schema of the output; None where it is not known."""
    risk: Risk
    recovery: Recovery
    scopes: tuple[str, ...] = ()
    """Permissions that a call needs."""
    trusted_output: bool = False
    """Whether what it returns is trusted as far as its arguments are."""
    sensitive: tuple[str, ...] = ()
    """Arguments, and places in the output (``output``, ``output.iban``), that hold what is not for everybody."""
    outbound: bool = False
    """Whether a call carries its arguments out of the house."""
    price: float | str | None = 0.0
    """Money that one call costs at most, or the argument that says so; None: not known."""
    unsafe: str = ""
    """Why a person is asked before each call, whatever the policy allows: a shell without its sandbox, say. Empty: nobody has to be."""
    timeout: float = 60.0
    """Seconds that one call may take, unless its step says otherwise."""
    settle: float = 0.0
    """Seconds after the deadline during which a begun effect may still land; a probe's ``Absent`` counts only after them."""
    parallel: bool | int = False
    """Whether calls that change something may overlap, or how many of them. Reads may, up to the number."""
    rate: float | None = None
    """Calls per second at most."""
    isolation: Isolation = "thread"
    """Where a sync call is made. A worker process can be killed at the deadline, a thread cannot."""
    digest: str = ""
    """Of name, schemas, risk and recovery: an approval is bound to it."""
    ttl: float | None = None
    """Of a read: seconds for which what it gave is given again to the same arguments, without a call. None: never."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """By argument, the kind of fact that it takes; for the chain planner."""
    gives: Mapping[str, str] = field(default_factory=dict)
    """By kind of fact that it gives, the JMESPath of it in the output, empty for the whole; for the chain planner."""
    cost: float = 1.0
    """What a call costs a plan of the chain planner, beside the other tools."""

    @property
    def changes(self) -> bool:
        """Whether a call can change something."""
        return self.risk != "read_only"

    @property
    def at_once(self) -> int | None:
        """How many calls may be made side by side; None: any number."""
        if self.parallel is True:
            return None
        return self.parallel or (1 if self.changes else None)


# ── the store; tests/contracts/test_store.py is its contract ──────────────────────────────────────────────────────────


class RunStore(Protocol):
    def create(
        self,
        run_id: RunId,
        goal: Goal,
        *,
        thread_id: str,
        checkpoint_ns: str = "",
        planner: str = "",
        policy: str = "",
        metadata: dict[str, Any] | None = None,
        plan: Plan | None = None,
    ) -> RunRecord: ...
    def get(self, run_id: str) -> RunRecord: ...
    def find(self, prefix: str) -> RunId: ...
    def current(self, thread_id: str, checkpoint_ns: str = "") -> RunRecord | None: ...
    def of_thread(self, thread_id: str, checkpoint_ns: str = "") -> list[RunRecord]: ...
    def recent(self, status: StoredStatus | None = None, limit: int = 100) -> list[RunRecord]: ...
    def with_metadata(self, key: str, value: str) -> list[RunRecord]: ...
    def set_status(self, lease: Lease, status: StoredStatus, observation: Observation | None = None) -> None: ...
    def blame(self, lease: Lease, error: Diagnosis) -> None: ...
    def finish(self, lease: Lease, status: StoredStatus, *, answer: Any = None, error: Diagnosis | None = None) -> None: ...
    def ask_cancel(self, run_id: RunId, by: str | None = None) -> RunRecord: ...
    def revise(self, lease: Lease, goal: Goal, closed: Sequence[str] = ()) -> None: ...
    def add_plan(self, lease: Lease, plan: Plan, lineage: Mapping[str, Any] | None = None) -> None: ...
    def judge_plan(self, lease: Lease, version: int, report: Report) -> None: ...
    def plan(self, run_id: RunId, version: int | None = None) -> PlanRecord | None: ...
    def plans(self, run_id: RunId) -> list[PlanRecord]: ...


class LedgerStore(Protocol):
    def begin(self, lease: Lease, intent: Intent, approval: RequestId | None) -> int: ...
    def finish(
        self,
        lease: Lease,
        key: EffectKey,
        state: EffectState,
        result: StepResult,
        *,
        tool: str | None = None,
        args: dict[str, Any] | None = None,
        risk: str | None = None,
        durable: bool,
        left: Owner | None = None,
        undo: Undo | None = None,
        judged: str | None = None,
    ) -> None: ...
    def came_back(self, key: EffectKey) -> None: ...
    def landed(self, run_id: RunId) -> list[LandedEffect]: ...
    def landed_calls(self, run_id: RunId) -> list[tuple[str, dict[str, Any], str, int]]: ...
    def spending(self, run_id: RunId) -> list[Spending]: ...
    def calls_of(self, run_id: RunId, tools: Sequence[str]) -> list[tuple[str, dict[str, Any]]]: ...
    def judged(self, run_id: RunId, step_id: str) -> str | None: ...
    def not_done(self, lease: Lease, key: EffectKey, failure: Failure) -> None: ...
    def reopen(self, lease: Lease, key: EffectKey) -> None: ...
    def standings(self, run_id: RunId) -> dict[str, Standing]: ...
    def effect(self, key: EffectKey) -> Effect | None: ...
    def open_effects(self, run_id: RunId) -> list[Effect]: ...
    def result(self, key: EffectKey) -> StepResult | None: ...
    def results(self, run_id: RunId) -> Mapping[str, StepResult]: ...


class ApprovalStore(Protocol):
    def ask(self, lease: Lease, request: Request) -> Request: ...
    def open(self, run_id: RunId) -> list[Request]: ...
    def waiting(self) -> dict[RunId, int]: ...
    def get(self, request_id: str) -> ApprovalRecord | None: ...
    def close(self, lease: Lease, request_ids: list[str]) -> None: ...
    def decide(self, run_id: RunId, decisions: Mapping[str, Decision], by: str | None = None) -> None: ...
    def decided(self, run_id: RunId) -> list[ApprovalRecord]: ...
    def handle(
        self,
        lease: Lease,
        request_id: str,
        *,
        grants: tuple[Call, ...] = (),
        approved_plan: Digest | None = None,
        expires: float | None = None,
    ) -> None: ...
    def grant(self, run_id: RunId, digest: Digest) -> RequestId | None: ...
    def decision(self, run_id: RunId, digest: Digest, kind: str) -> ApprovalRecord | None: ...
    def answers(self, run_id: RunId) -> dict[str, str]: ...
    def rejections(self, run_id: RunId, plan_version: int) -> list[ApprovalRecord]: ...
    def questions(self, run_id: RunId) -> int: ...
    def again(self, lease: Lease, request_id: str, problem: str) -> None: ...
    def void(self, lease: Lease, request_id: str) -> None: ...


class LeaseStore(Protocol):
    def acquire(self, run_id: RunId, owner: Owner) -> Lease: ...
    def renew(self, lease: Lease) -> None: ...
    def release(self, lease: Lease) -> None: ...
    def holder(self, run_id: RunId) -> Owner | None: ...
    def check(self, lease: Lease) -> None: ...
    def driven_by(self, owner: Owner) -> list[RunId]: ...
    def evict(self, run_id: RunId, seen: Owner) -> bool: ...


class EventStore(Protocol):
    def add(self, event: Event) -> None: ...
    def of(self, run_id: RunId) -> list[Event]: ...
    def worked(self, run_id: RunId) -> float: ...


class PolicyStore(Protocol):
    def note(self, digest: Digest, text: str) -> int: ...
    def get(self, number: int) -> PolicyRecord | None: ...
    def find(self, digest: str) -> PolicyRecord | None: ...


class GrantStore(Protocol):
    def add(self, grant: Grant) -> Grant: ...
    def standing(self, tool: str | None = None) -> list[Grant]: ...
    def all(self) -> list[Grant]: ...
    def revoke(self, prefix: str, by: str | None = None) -> Grant: ...


class UsageStore(Protocol):
    def add(self, lease: Lease, role: str, used: Usage, *, model: str = "", step_id: str = "", plan_version: int = 0) -> None: ...
    def of(self, run_id: RunId) -> dict[str, Usage]: ...
    def entries(self, run_id: RunId) -> list[UsageEntry]: ...


class ConversationStore(Protocol):
    def add(self, lease: Lease, key: str, number: int, messages: Sequence[dict[str, Any]]) -> None: ...
    def of(self, run_id: RunId, key: str) -> list[dict[str, Any]]: ...


class JudgementStore(Protocol):
    def put(self, lease: Lease, key: str, judgement: Judgement) -> None: ...
    def get(self, run_id: RunId, key: str) -> Judgement | None: ...


class Store(Protocol):
    """Everything of a run that must survive. ``checkpoints/store.py`` keeps it in one SQLite file."""

    @property
    def path(self) -> str: ...
    @property
    def runs(self) -> RunStore: ...
    @property
    def ledger(self) -> LedgerStore: ...
    @property
    def approvals(self) -> ApprovalStore: ...
    @property
    def leases(self) -> LeaseStore: ...
    @property
    def events(self) -> EventStore: ...
    @property
    def policies(self) -> PolicyStore: ...
    @property
    def grants(self) -> GrantStore: ...
    @property
    def usage(self) -> UsageStore: ...
    @property
    def conversations(self) -> ConversationStore: ...
    @property
    def judgements(self) -> JudgementStore: ...
    def checkpointer(self) -> BaseCheckpointSaver[str]: ...
    def flush(self) -> None:
        """Commit what ``ledger.finish`` and ``events.add`` have queued; raises when one of them was refused."""
        ...

    def purge(self, run_ids: Sequence[RunId]) -> None:
        """Remove runs that have ended with all that is theirs, all of them or none. Raises UsageError naming what is in the way."""
        ...

    def drop_checkpoints(self, lease: Lease) -> None:
        """Drop LangGraph's checkpoints of a run, which goes on from the ledger then."""
        ...

    def reclaim(self) -> None:
        """Give space back to the disk. Raises StoreError when that cannot be done now."""
        ...

    def size(self) -> int:
        """Bytes on the disk; 0 for a store in memory."""
        ...

    def close(self) -> None: ...


# ── planning ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Question:
    """The planner needs to know something before it can plan."""

    text: str
    choices: tuple[str, ...] = ()
    proposed: JsonValue = None
    """A value that the person may confirm."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The goal needs no plan: this is the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """There is no way on, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one role's model, or one specialist, may use in a run, as its configuration says; the run's limits hold beside it."""

    max_requests: int | None = None
    max_tokens: int | None = None
    max_money: float | None = None
    max_reply_tokens: int | None = None
    """Of one reply."""
    specialist: str = ""
    """Counted over what this specialist was asked; empty: over all that the role was."""


UNBOUND = Bounds()


class Meter(Protocol):
    """Counts what models are asked, by role; within the limits of the run."""

    def ask(
        self, role: str, model: str, input_bytes: int, step_id: str | None = None, *, own: Bounds = UNBOUND, step: StepBudget | None = None
    ) -> int | None:
        """Before a request: how many tokens its reply may have; None: any number. ``count`` must follow. ``step``: what ``step_id`` may use.

        Raises BudgetExceeded.
        """
        ...

    def count(self, role: str, model: str, used: Usage, step_id: str | None = None) -> None:
        """After it. ``used`` without its money, which is worked out here. Credited to the role, the step and the plan version."""
        ...

    def note(self, message: str, step_id: str | None = None, *, first_of: tuple[str, str] | None = None) -> None:
        """Put something worth knowing into the run's trace. ``first_of``: only before this role's first request to this model."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningContext:
    """All that a planner is given."""

    goal: Goal
    tools: Mapping[str, ToolSpec]
    answers: Mapping[str, str] = field(default_factory=dict)
    """What people answered to earlier questions, by the question's text."""
    meter: Meter | None = None
    """A planner that asks a model asks this first. None: nothing is counted."""
    tell: Callable[[Event], None] | None = None
    """Streams an event: words of the model, the plan as far as it is made. None: nobody watches."""
    run_id: str = ""
    mode: Mode = "single_shot"
    granularity: Granularity = "auto"
    blueprints: Mapping[str, Blueprint] = field(default_factory=dict)
    """Nested plans that a step may name."""
    executor: bool = False
    """Whether there is a model for ``model`` and ``agent`` steps."""
    specialists: Mapping[str, str] = field(default_factory=dict)
    """Named executors that a step may be given to, and what each is good at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplanningContext(PlanningContext):
    plan: Plan
    """The version that is to be revised."""
    results: Mapping[str, StepResult] = field(default_factory=dict)
    """What has ended, by step. Steps that succeeded or were skipped by their condition are frozen."""
    issues: Sequence[Issue] = ()
    """What ``validate`` found, when that is the reason."""
    reason: str = ""
    replans_left: int = 0
    approvals: Mapping[str, str] = field(default_factory=dict)
    """By step, how its approval stands: ``waits``, ``approved``, ``rejected: <why>``."""
    attempts: Sequence[Attempt] = ()
    """Earlier versions, and why each was given up; the oldest first."""
    extending: bool = False
    """True: nothing went wrong; the next step of an iterative plan is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A plan version that was given up."""

    version: int
    reason: str
    """Why it was given up."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """By step that failed in it, its call and the error."""


@runtime_checkable
class Planner(Protocol):
    """Decides intent. It never calls a tool and never chooses an edge of the graph.

    A class that derives from this one needs ``name`` and ``plan``; what it leaves out is as written here. A planner whose proposals do not hang
    on values of the run (outputs, errors, parameters) says so with ``reads_values = False``: what it proposes is not taken for what they said.
    """

    name: str
    """Recorded as ``created_by`` of its plans."""
    can_replan: bool = False
    """False: ``replan`` is never asked, and a run that would need it ends with the reason."""

    def complete(self, goal: Goal) -> Goal:
        """The goal as it is recorded: parameters checked and defaults filled in. Raises UsageError."""
        return goal

    def plan(self, context: PlanningContext) -> Plan | Question | Answer: ...

    def replan(self, context: ReplanningContext) -> Plan | Question | GiveUp:
        return GiveUp(f"{self.name} makes no second plan")
