"""What a step comes to, and what a call's reply may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent_graph.identity import EffectKey, RequestId
from agent_graph.plan import Step
from agent_graph.records import EffectState, Owner
from agent_graph.tools.tool import Tool
from agent_graph.verdicts import Provenance, Request, StepResult, Undo


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The step has ended, or is in doubt."""

    key: EffectKey
    state: EffectState
    result: StepResult
    tool: str | None = None
    args: dict[str, Any] | None = None
    risk: str | None = None
    durable: bool = False
    request: Request | None = None
    """What a person is asked, when the step is in doubt."""
    left: Owner | None = None
    """The process in which a call that was given up still runs."""
    undo: Undo | None = None
    """What would take the effect back."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The step cannot go on without this."""

    request: Request


@dataclass(frozen=True, slots=True)
class NothingHappened:
    """The effect was begun and certainly did not happen: its step is looked at anew, as the newest plan has it."""


@dataclass(frozen=True, slots=True)
class Returned:
    value: Any
    plain: bool = False
    """Whether it is plain JSON already: a worker process has made it so."""
    problem: str | None = None
    """In which way it is not what the tool declares."""
    note: str | None = None
    """What could not be kept of it."""


@dataclass(frozen=True, slots=True)
class Raised:
    error: BaseException


@dataclass(frozen=True, slots=True)
class TimedOut:
    seconds: float
    still_running: bool
    """A thread cannot be killed: the call was left behind and may still do something."""


Reply = Returned | Raised | TimedOut


@dataclass(slots=True, kw_only=True)
class Prepared:
    """A call that may be made: everything before the intent is done."""

    step: Step
    tool: Tool
    args: dict[str, Any]
    key: EffectKey
    timeout: float
    approval: RequestId | None
    provenance: Provenance
    attempt: int = 0
    started: float = 0.0
    deadline: float = 0.0
    """Seconds since the epoch, for the tool and the ledger."""
    until: float = 0.0
    """The same moment on the monotonic clock."""
    announced: bool = False

    @property
    def changes(self) -> bool:
        return self.tool.spec.changes


def describe(error: BaseException) -> str:
    """An exception as one line that can be written down, whatever its own text is."""
    try:
        text = str(error).strip() or "(no message)"
    except Exception:
        text = "(its message cannot be read)"
    return f"{type(error).__name__}: {text}"[:2000].encode("utf-8", "replace").decode()
