"""Rows as the store gives them: frozen, inside the process only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NewType

from agent_graph.errors import StoreUnreadable
from agent_graph.identity import Digest, EffectKey, RequestId, RunId
from agent_graph.plan import Goal, Plan, Recovery, Risk
from agent_graph.state import FINISHED, StoredStatus
from agent_graph.verdicts import Call, Decision, Diagnosis, Issue, Observation, Request, StepStatus

Fence = NewType("Fence", int)

EffectState = Literal["intent", "done", "failed", "in_doubt", "skipped"]
"""Of the effect, not of its step: a landed effect stays ``done`` although its step failed a criterion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who drives a run: verifiable on its own machine, so that a dead owner frees the run at once."""

    host: str
    """Name of the machine, its boot and its process namespace."""
    pid: int
    started: float
    """When the process started, in seconds since the machine did; tells a reused pid apart, whatever the clock is set to."""
    drive: str
    """Two drives in one process are two."""
    since: float = 0.0
    """When this drive began, counted like ``started``."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.split('/')[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    run_id: RunId
    owner: Owner
    fence: Fence


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    id: RunId
    thread_id: str
    checkpoint_ns: str
    goal: Goal
    status: StoredStatus
    plan_version: int
    """The newest version; 0 before there is one."""
    planner: str
    policy: str
    metadata: dict[str, Any]
    """What the caller wants to find again: the CLI keeps here how to make the same agent."""
    created: float
    updated: float
    answer: Any = None
    observed: str | None = None
    """The last observation as JSON: it names each step of the plan, and most who ask for a run do not want it."""
    error: Diagnosis | None = None
    cancel_asked: float | None = None
    """Since then no effect begins; whoever drives the run ends it."""
    cancel_by: str | None = None

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def observation(self) -> Observation | None:
        """Raises StoreUnreadable."""
        try:
            return Observation.model_validate_json(self.observed) if self.observed else None
        except ValueError as error:
            raise StoreUnreadable.of_row("runs", self.id, error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    plan: Plan
    digest: Digest
    verdict: Literal["valid", "invalid"] | None
    """None: not validated yet."""
    issues: tuple[Issue, ...] = ()
    risk: Risk | None = None
    calls: tuple[Call, ...] = ()
    """Calls with known arguments that need a person."""
    policy: str = ""
    """Digest of the policy that it was validated against."""
    lineage: dict[str, Any] = field(default_factory=dict)
    """As JSON; ``policy/lineage.py`` reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRecord:
    number: int
    digest: Digest
    text: str
    """As JSON."""
    seen: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of models: by one role, or by one role for one step."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Of the input, what the server had in its cache."""
    reasoning_tokens: int = 0
    """Of the output, what was thought and not said."""
    seconds: float = 0.0
    """Spent waiting for replies."""
    money: float = 0.0
    """What is known of it."""
    unpriced: int = 0
    """Requests whose price is not known."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.__dataclass_fields__})


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEntry:
    """What one model was asked by one role, for one step of one plan version."""

    role: str
    model: str
    step_id: str
    """Empty where it was for no step."""
    plan_version: int
    used: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """On the calls of one tool."""

    tool: str
    calls: int
    attempts: int


class Standing(NamedTuple):
    """How one step stands, without its output."""

    key: EffectKey
    step_id: str
    plan_version: int
    state: EffectState
    status: StepStatus | None
    """None while the outcome is open."""
    error_code: str | None = None
    label: int = 0
    """Of its output: 1 trusted, 2 something sensitive went into it; both add up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What is written before a call that can change something."""

    key: EffectKey
    step_id: str
    plan_version: int
    tool: str
    args: dict[str, Any]
    risk: Risk
    recovery: Recovery | None
    """None in the row of a read, which has no intent."""
    started: float
    deadline: float
    judged: str | None = None
    """What the policy said: verdict, number of the policy, and what decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect(Intent):
    """An effect's whole row, less its output."""

    state: EffectState
    status: StepStatus | None
    attempt: int
    approval_id: RequestId | None
    left: Owner | None = None
    """The process in which the call, given up at its deadline, still runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRecord:
    request: Request
    decision: Decision | None
    by: str | None
    decided: float | None
    consumed_by: str | None
    handled: bool
    """Whether ``approve`` has acted on the decision."""
