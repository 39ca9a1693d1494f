"""Trying a policy out on a table of calls, before anybody relies on it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator

from agent_graph.plan import Model, Risk, Step
from agent_graph.policy.limits import Limits
from agent_graph.policy.matching import Label, Word
from agent_graph.policy.permission import Circumstances, Permission, Rules, permit
from agent_graph.policy.rules import Policy
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Allow, Ask, Source


class Reaches(Model):
    """A value that reaches the call."""

    label: Label = "untrusted"
    into: str
    """``args.to``, ``when``, or ``the plan``."""
    source: str = "somewhere"
    """The tool, or ``params.<name>``, that it came from."""


class Case(Model):
    """A call, and what the policy is to say of it."""

    call: str
    """The tool's name."""
    expect: Word
    rule: str | None = None
    """The rule that is to decide, by its name."""
    risk: Risk | None = None
    """Of the tool; needed where no tools are given."""
    args: dict[str, JsonValue] = {}
    needs: tuple[str, ...] | None = None
    """Scopes that the tool needs, where no tools are given."""
    principal: str | None = None
    time: str | None = None
    """When it is made, as in ``2026-11-21T22:30:00Z``; now, unless given."""
    reaches: tuple[Reaches, ...] = ()
    approval: Literal["auto", "required"] = "auto"
    why: str = ""
    """For people."""

    @field_validator("time")
    @classmethod
    def _is_a_time(cls, given: str | None) -> str | None:
        if given is not None and datetime.fromisoformat(given).tzinfo is None:
            raise ValueError("say in which zone the time is: 2026-11-21T22:30:00Z")
        return given


class Cases(Model):
    cases: tuple[Case, ...] = Field(min_length=1)


class Tried(Model):
    """What came of one case."""

    case: Case
    verdict: Word
    rule: str
    reason: str

    @property
    def as_expected(self) -> bool:
        return self.verdict == self.case.expect and self.case.rule in (None, self.rule)


def try_case(case: Case, policy: Policy, tools: Mapping[str, ToolSpec], now: float) -> Tried:
    """Raises ValueError for a call of a tool that is not known and has no risk."""
    spec = tools.get(case.call)
    if spec is None:
        if case.risk is None:
            raise ValueError(f"there is no tool {case.call!r} here: give it with --tools, or say its risk in the case")
        spec = _stand_in(case, case.risk)
    at = now if case.time is None else datetime.fromisoformat(case.time).timestamp()
    step = Step(id="case", tool=case.call, approval=case.approval)
    flows = [
        (Source(label=one.label, what=one.source, path=f"{one.source} → {one.into}", into=one.into), one.source) for one in case.reaches
    ]
    rules = Rules(tools={spec.name: spec}, policy=policy, limits=Limits())
    said = permit(step, spec, rules, Circumstances(args=case.args, principal=case.principal, now=at, flows=flows))
    return Tried(
        case=case, verdict=_word(said), rule=said.verdict.rule, reason="" if isinstance(said.verdict, Allow) else said.verdict.reason
    )


def _word(said: Permission) -> Word:
    return "allow" if isinstance(said.verdict, Allow) else "ask" if isinstance(said.verdict, Ask) else "deny"


def _stand_in(case: Case, risk: Risk) -> ToolSpec:
    schema: dict[str, Any] = {"type": "object"}
    return ToolSpec(
        name=case.call,
        description="",
        args_schema=schema,
        output_schema=None,
        risk=risk,
        recovery="rerun" if risk == "read_only" else "blind",
        scopes=case.needs or (),
        outbound=risk == "external_communication",
    )
