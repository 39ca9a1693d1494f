"""What one rule of a policy says: which calls it is about, when it holds, and what it wants of them."""

from __future__ import annotations

import fnmatch
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import StringConstraints, field_validator, model_validator

from agent_graph.identity import digest
from agent_graph.plan import Model, Risk
from agent_graph.policy.expressions import ExpressionError, check_expression
from agent_graph.ports import ToolSpec

Word = Literal["allow", "ask", "deny"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Hour = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Label = Literal["untrusted", "sensitive"]


def fits(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name is among patterns with ``*``; no pattern at all means any name."""
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class Match(Model):
    """The calls with one of these tools and one of these risks; what is left out does not matter."""

    tools: tuple[str, ...] = ()
    """Names, or patterns with ``*``."""
    risks: tuple[Risk, ...] = ()

    def matches(self, spec: ToolSpec) -> bool:
        return fits(spec.name, self.tools) and (not self.risks or spec.risk in self.risks)

    def __str__(self) -> str:
        said = [*([" or ".join(self.tools)] if self.tools else []), *([f"risk {' or '.join(self.risks)}"] if self.risks else [])]
        return ", ".join(said) or "any tool"


class Time(Model):
    """A part of the week, in the time of a place."""

    days: tuple[Day, ...] = ()
    """Any day, unless given."""
    since: Hour = "00:00"
    until: Hour = "24:00"
    """The first minute that is no longer meant; before ``since``, it is that of the next day."""
    zone: str = "UTC"
    """As in ``Europe/Berlin``."""

    @field_validator("until", mode="wrap")
    @classmethod
    def _end_of_day(cls, given: Any, check: Any) -> Any:
        return given if given == "24:00" else check(given)

    @field_validator("zone")
    @classmethod
    def _known(cls, given: str) -> str:
        try:
            ZoneInfo(given)
        except (KeyError, OSError, ValueError):
            raise ValueError(f"{given!r} is no time zone; write one as in Europe/Berlin") from None
        return given

    def holds(self, now: float) -> bool:
        """``now`` in seconds since the epoch, UTC."""
        here = datetime.fromtimestamp(now, ZoneInfo(self.zone))
        clock, day = here.strftime("%H:%M"), here.weekday()
        if self.since < self.until:
            return self.since <= clock < self.until and self._is(day)
        return (clock >= self.since and self._is(day)) or (clock < self.until and self._is(day - 1))

    def _is(self, day: int) -> bool:
        return not self.days or DAYS[day % 7] in self.days


class Rule(Match):
    """``verdict`` for the calls that match all that is given."""

    verdict: Word
    name: str = ""
    """By which it is told apart; made from its content unless given."""
    scopes: tuple[str, ...] = ()
    """Tools that need one of these, or of these patterns."""
    principals: tuple[str, ...] = ()
    """For whom the run acts: names, or patterns with ``*``. A run for nobody has the name ''."""
    when: str | None = None
    """CEL over ``call`` (``tool``, ``risk``, ``args``, ``step``), ``principal`` (``name``, ``scopes``) and ``now`` (a UTC timestamp)."""
    time: Time | None = None
    reason: str = ""
    """Shown to the person who is asked, and to the planner that is refused."""

    @field_validator("when")
    @classmethod
    def _is_cel(cls, given: str | None) -> str | None:
        if given is not None:
            try:
                check_expression(given)
            except ExpressionError as error:
                raise ValueError(str(error)) from None
        return given

    def matches(self, spec: ToolSpec) -> bool:
        """As far as the tool tells; ``judge`` looks at the rest."""
        return super().matches(spec) and (not self.scopes or any(fits(scope, self.scopes) for scope in spec.scopes))

    @cached_property
    def mark(self) -> str:
        return self.name or f"{self.verdict}-{digest(self.model_dump(mode='json', exclude_defaults=True))[:8]}"


def _within(place: str, patterns: tuple[str, ...]) -> bool:
    """Whether a place in a call is one of these, or lies in one of them."""
    return any(fnmatch.fnmatchcase(place, pattern) or place.startswith((f"{pattern}.", f"{pattern}[")) for pattern in patterns)


class FlowRule(Model):
    """What is done about a value of a label that reaches a call. Most restrictive of those that match; where none does, the built-in answer:
    a person is asked when an untrusted value reaches a call that can change something, or a sensitive one a call that goes out."""

    verdict: Word
    label: Label
    tools: tuple[str, ...] = ()
    """The tools that are called: names, or patterns with ``*``."""
    risks: tuple[Risk, ...] = ()
    into: tuple[str, ...] = ()
    """Where it arrives: ``args.text`` (and whatever is in it), ``when``, or patterns with ``*``. ``the plan``: a planner had read it before it
    wrote the step; a rule that allows must name it."""
    sources: tuple[str, ...] = ()
    """Where it came from: names of tools, ``params.<name>``, or patterns with ``*``."""
    name: str = ""
    reason: str = ""

    def matches(self, label: Label, spec: ToolSpec, into: str, source: str) -> bool:
        return (
            self.label == label
            and fits(spec.name, self.tools)
            and (not self.risks or spec.risk in self.risks)
            and (_within(into, self.into) if self.into else into != "the plan" or self.verdict != "allow")
            and fits(source, self.sources)
        )

    @cached_property
    def mark(self) -> str:
        return self.name or f"flow-{digest(self.model_dump(mode='json', exclude_defaults=True))[:8]}"


class OrderRule(Match):
    """In which order things are done, for the calls that match."""

    after: Match | None = None
    """A step of this kind must have succeeded before."""
    followed_by: Match | None = None
    """A step of this kind must come after it, and wait for it: a write is followed by a read that verifies it."""
    name: str = ""
    reason: str = ""

    @model_validator(mode="after")
    def _says_something(self) -> OrderRule:
        if self.after is None and self.followed_by is None:
            raise ValueError("an order rule says what a call comes after, what follows it (followed_by), or both")
        return self

    def __str__(self) -> str:
        return self.name or self.reason or f"order of {super().__str__()}"


class ApproverRule(Match):
    """Who may say yes to the calls that match."""

    by: tuple[str, ...]
    """Names, or patterns with ``*``, as the host application knows people."""


class Principal(Model):
    """Somebody for whom runs act."""

    scopes: tuple[str, ...] = ()
    """What they may, or patterns with ``*``."""
