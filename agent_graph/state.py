"""The graph's state, which is small and plain JSON, and ``Run``, which is what people are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import JsonValue, ValidatorFunctionWrapHandler, WrapSerializer, WrapValidator
from typing_extensions import TypedDict  # typing.TypedDict leaves Studio's schemas empty on Python 3.11

from agent_graph.display import run_html
from agent_graph.lookalikes import told
from agent_graph.plan import Goal, Model, Plan, Risk
from agent_graph.verdicts import Diagnosis, LandedEffect, Observation, OpenEffect, Request, StepResult

StoredStatus = Literal["running", "paused", "succeeded", "failed", "cancelled"]
RunStatus = Literal["running", "paused", "interrupted", "succeeded", "failed", "cancelled"]
"""``interrupted`` is derived: running, but nobody drives it."""

FINISHED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


class State(TypedDict, total=False):
    """What LangGraph checkpoints. A projection: nodes take their facts from the ledger."""

    goal: Any
    """A text, or a ``Goal`` as plain JSON."""
    params: dict[str, Any]
    messages: list[Any]
    """The conversation; ``graph.py`` gives it LangGraph's reducer."""
    taken: str
    """Id of the message whose goal was taken."""
    run_id: str
    next: str
    """Where the node that wrote it wants to go; read by the conditional edge after it."""
    why: str
    asking: str
    """Id of the request that ``approve`` shows."""
    drive: str
    """Id of the drive of LangGraph's server that came this far; empty under other runners."""
    status: str
    answer: Any


class Update(TypedDict, total=False):
    """What a node changed."""

    goal: None
    """Taken: the run has it now, and its parameters; the next goal on the thread brings its own."""
    params: dict[str, Any]
    taken: str
    messages: list[Any]
    run_id: str
    next: str
    why: str
    asking: str
    drive: str
    status: str
    answer: Any


def _as_it_is(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """What the store gave was valid when it was written, and is parsed when somebody looks at it."""
    return given if isinstance(given, Mapping) and not isinstance(given, dict) else validate(given)


Results = Annotated[Mapping[str, StepResult], WrapValidator(_as_it_is), WrapSerializer(lambda results, serialize: serialize(dict(results)))]


class Run(Model):
    """One run as it stands in the ledger: what is wanted, what was done, what waits, what came of it."""

    id: str
    thread_id: str
    status: RunStatus
    goal: Goal
    plan: Plan | None = None
    risk: Risk | None = None
    """The highest risk of the plan's steps, computed from the tools."""
    requests: tuple[Request, ...] = ()
    """What waits for a person, oldest first."""
    results: Results = {}
    """The newest result of each step, by its id."""
    open_effects: tuple[OpenEffect, ...] = ()
    """What was begun and has no known outcome. Of a run that ended: look these up in the systems that were called."""
    landed: tuple[LandedEffect, ...] = ()
    """Of a run that failed or was cancelled: the effects that happened all the same, the last one first, and what would take each back."""
    observation: Observation | None = None
    answer: JsonValue = None
    error: Diagnosis | None = None
    usage: dict[str, JsonValue] = {}
    """By role; empty while no model was asked."""
    usage_entries: tuple[dict[str, JsonValue], ...] = ()
    """The same by ``role``, ``model``, ``step_id`` (empty: for no step) and ``plan_version``; each count adds up to that of ``usage``."""
    owner: str | None = None
    """Who drives it now."""
    cancel_asked: float | None = None
    """Since when it is to end, in seconds since the epoch, UTC; no effect begins after that."""
    cancel_by: str | None = None
    created: float
    updated: float

    @property
    def diagnosis(self) -> Diagnosis | None:
        return self.error

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    def __str__(self) -> str:
        parts = [f"run {self.id}: {self.status}"]
        if self.plan is not None and self.results:
            parts.append(f"{sum(step_id in self.plan.by_id for step_id in self.results)} of {len(self.plan.steps)} steps have a result")
        if self.requests:
            parts.append(f"{len(self.requests)} waiting for a person")
        if self.error is not None:
            parts.append(self.error.message)
        return told(", ".join(parts))

    def __repr__(self) -> str:
        return f"<{self}>"

    def _repr_html_(self) -> str:
        """For notebooks."""
        return run_html(self)
