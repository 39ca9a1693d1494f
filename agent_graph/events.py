"""What happened in a run, as it happens: one set of types for the trace, ``stream``, the CLI and Studio."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self, cast

Phase = Literal["planning", "policy", "approval", "execution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """``at`` is seconds since the epoch, UTC."""

    kind: ClassVar[str] = ""
    phase: ClassVar[Phase] = "execution"
    run_id: str
    at: float

    def for_trace(self) -> Self:
        """As the trace keeps it."""
        return self

    def document(self) -> dict[str, Any]:
        """The event's own values, not copies of them."""
        return {"kind": self.kind, **{name: getattr(self, name) for name in _names(cast("Any", type(self)))}}


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    kind: ClassVar[str] = "run_started"
    phase: ClassVar[Phase] = "planning"
    goal: str
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade(Event):
    """A plan version came from the planner or a person; it is not validated yet."""

    kind: ClassVar[str] = "plan_made"
    phase: ClassVar[Phase] = "planning"
    version: int
    digest: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    """``{id, kind, tool, description, needs}`` in the plan's order, for those who watch. The trace does not repeat the plan."""
    count: int = 0
    """Of steps."""
    created_by: str = ""
    prompt: str = ""
    """Version of the prompt that it came from; empty where no model made it."""

    def for_trace(self) -> Self:
        return replace(self, steps=[], count=self.count or len(self.steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Replanned(PlanMade):
    kind: ClassVar[str] = "replanned"
    reason: str = ""
    kept: list[str] = field(default_factory=list)
    """Steps that had ended and stay as they are."""
    dropped: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    """By step, the fields that are not as they were; under ``""`` those of the plan itself."""
    added: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueFound(Event):
    kind: ClassVar[str] = "issue_found"
    phase: ClassVar[Phase] = "policy"
    code: str
    severity: str
    message: str
    step_id: str | None = None
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(Event):
    kind: ClassVar[str] = "step_started"
    step_id: str
    plan_version: int
    tool: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished(Event):
    kind: ClassVar[str] = "step_finished"
    step_id: str
    plan_version: int
    status: str
    attempts: int = 0
    seconds: float = 0.0
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed(Event):
    kind: ClassVar[str] = "observed"
    next: str
    why: str
    deviations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Event):
    """A person is asked. ``request`` is the whole ``Request``."""

    kind: ClassVar[str] = "waiting"
    phase: ClassVar[Phase] = "approval"
    request: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided(Event):
    kind: ClassVar[str] = "decided"
    phase: ClassVar[Phase] = "approval"
    request_id: str
    step_id: str | None
    decision: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised(Event):
    """A person changed what the run is to do."""

    kind: ClassVar[str] = "revised"
    phase: ClassVar[Phase] = "planning"
    by: str | None = None
    before: dict[str, Any]
    """Of the goal, what was changed: ``text``, ``params``, ``constraints``, ``success_criteria``."""
    after: dict[str, Any]
    closed: list[str] = field(default_factory=list)
    """Ids of the requests that waited, or were decided and not acted on: they were about the goal as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Event):
    """Something worth knowing that has no type of its own: a late result, an input that was not used."""

    kind: ClassVar[str] = "note"
    step_id: str | None = None
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Event):
    kind: ClassVar[str] = "done"
    status: str
    answer: Any = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token(Event):
    """Words of a model as they come. Streamed, and kept nowhere: what they amount to is."""

    kind: ClassVar[str] = "token"
    role: str
    """The words of ``summarizer``, and of an ``executor``, are for people; those of a ``planner`` are the JSON of a plan."""
    text: str
    step_id: str | None = None
    begins: bool = False
    """Whether a reply begins here. Words of this role and step that came before it, in this drive, were another's: one that could not be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted(Event):
    """A plan as far as its model has written it: one step more. Streamed, and kept nowhere; ``PlanMade`` has the whole."""

    kind: ClassVar[str] = "drafted"
    phase: ClassVar[Phase] = "planning"
    step: dict[str, Any]
    """``{id, kind, tool, description}``, as the model wrote it: nothing of it has been checked."""
    number: int = 1
    """Counted in one reply. At 1 a draft begins; what was drafted before it is not used."""


AnyEvent = (
    Token
    | Drafted
    | RunStarted
    | PlanMade
    | Replanned
    | IssueFound
    | StepStarted
    | StepFinished
    | Observed
    | Waiting
    | Decided
    | Revised
    | Note
    | Done
)

_TYPES: dict[str, type[Event]] = {
    kind.kind: kind
    for kind in (
        Token,
        Drafted,
        RunStarted,
        PlanMade,
        Replanned,
        IssueFound,
        StepStarted,
        StepFinished,
        Observed,
        Waiting,
        Decided,
        Revised,
        Note,
        Done,
    )
}


def read_event(document: dict[str, Any]) -> Event:
    """The event that ``document()`` wrote; a field that a newer version added is left out. Raises KeyError on an unknown kind."""
    kind = _TYPES[document["kind"]]
    known = {one.name for one in fields(kind)}
    return kind(**{key: value for key, value in document.items() if key in known})
