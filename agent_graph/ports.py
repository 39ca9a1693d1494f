"""The seams: what a planner, a clock, a tool and a store look like from above."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from agent_graph.identity import Digest
from agent_graph.plan import Goal, Plan, Recovery, Risk
from agent_graph.verdicts import Issue, StepResult


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
    timeout: float = 60.0
    """Seconds that one call may take, unless its step says otherwise."""
    settle: float = 0.0
    """Seconds after the deadline during which a begun effect may still land; a probe's ``Absent`` counts only after them."""
    parallel: bool = False
    """Whether calls that change something may overlap. Reads always may."""
    digest: Digest = Digest("")
    """Of name, schemas, risk and recovery: an approval is bound to it."""

    @property
    def changes(self) -> bool:
        """Whether a call can change something."""
        return self.risk != "read_only"


# ── planning ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Question:
    """The planner needs to know something before it can plan."""

    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The goal needs no plan: this is the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """There is no way on, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningContext:
    """All that a planner is given."""

    goal: Goal
    tools: Mapping[str, ToolSpec]
    answers: Mapping[str, str] = field(default_factory=dict)
    """What people answered to earlier questions, by the question's text."""


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


@runtime_checkable
class Planner(Protocol):
    """Decides intent. It never calls a tool and never chooses an edge of the graph."""

    name: str
    """Recorded as ``created_by`` of its plans."""
    can_replan: bool
    """False: ``replan`` is never asked, and a run that would need it ends with the reason."""

    def plan(self, context: PlanningContext) -> Plan | Question | Answer: ...

    def replan(self, context: ReplanningContext) -> Plan | Question | GiveUp: ...
