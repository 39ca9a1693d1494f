"""What a step comes to, and what a call's reply may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent_graph.identity import EffectKey, RequestId
from agent_graph.plan import Step
from agent_graph.records import EffectState, Owner
from agent_graph.redaction import OVERLAP, Redaction
from agent_graph.tools.tool import Tool
from agent_graph.verdicts import Provenance, Request, StepResult, Undo

MOST_WORDS = 2000
"""Characters of what a tool says of its failure."""


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
    judged: str | None = None
    """What the policy said of the call."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The step cannot go on without this."""

    request: Request


@dataclass(frozen=True, slots=True)
class Later:
    """What had been begun in the step is settled; it goes on when new calls may be made."""


@dataclass(frozen=True, slots=True)
class NothingHappened:
    """The effect was begun and certainly did not happen: its step is looked at anew, as the newest plan has it."""


@dataclass(frozen=True, slots=True)
class Returned:
    value: Any
    """As the tool gave it, or ``Kept`` of it."""


@dataclass(frozen=True, slots=True)
class Raised:
    error: BaseException


@dataclass(frozen=True, slots=True)
class TimedOut:
    still_running: bool
    """A thread cannot be killed: the call was left behind and may still do something."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The call was not made: it does not fit into what the run, or its nested plan, may still use."""

    why: str
    code: str = "budget_exceeded"


Reply = Returned | Raised | TimedOut | Refused


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
    judged: str | None = None
    oldest: float = float("inf")
    """Seconds: what was read longer ago may not stand for this call."""
    as_of: float | None = None
    """When what it was given was read, where an earlier call stands for it; in seconds since the epoch."""

    @property
    def changes(self) -> bool:
        return self.tool.spec.changes


def describe(error: BaseException, redaction: Redaction) -> str:
    """An exception as one text that can be written down, whatever its own text is."""
    try:
        text = str(error)
    except BaseException:
        text = "(its message cannot be read)"
    return words(f"{type(error).__name__[:100]}: {text.strip() or '(no message)'}", redaction)


def words(text: Any, redaction: Redaction) -> str:
    """A tool's own words, bounded and without secrets. One that the bound would cut in two is found before it is cut."""
    try:
        whole = str(text)
        said = whole[: MOST_WORDS + OVERLAP].encode("utf-8", "replace").decode()
    except BaseException:
        return "(its message cannot be read)"
    shown = redaction.text(said)
    if len(shown) <= MOST_WORDS:
        return shown
    kept = MOST_WORDS - len(f" … ({len(whole):,} more characters)")
    return f"{shown[:kept]} … ({len(whole) - kept:,} more characters)"
