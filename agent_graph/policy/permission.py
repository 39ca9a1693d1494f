"""Whether one call may be made: scopes, rules, where its values come from, who proposed it. Before the run and again at the call.

Each has its say, and the most restrictive counts. A standing grant answers for the rules alone: it says nothing about values from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent_graph.models.roles import Models
from agent_graph.plan import Blueprint, Step
from agent_graph.policy.limits import Limits
from agent_graph.policy.lineage import FIRST, Origin
from agent_graph.policy.matching import fits
from agent_graph.policy.provenance import judge_flow
from agent_graph.policy.rules import Policy
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Ask, Deny, Source, Verdict

Scopes = Callable[[str], Iterable[str]]
"""From a principal's name to what they may; patterns with ``*`` are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a plan and its calls are held against."""

    tools: Mapping[str, ToolSpec]
    policy: Policy
    limits: Limits
    scopes: Scopes | None = None
    """Of the host application; None: as the policy's ``principals`` say."""
    blueprints: Mapping[str, Blueprint] = field(default_factory=dict)
    """Nested plans that a step may name."""
    models: Models = field(default_factory=Models)
    """Who carries out ``model`` and ``agent`` steps."""

    def scopes_of(self, principal: str | None) -> tuple[str, ...]:
        """What the principal may now. A run for nobody may nothing that needs a scope."""
        if principal is None:
            return ()
        if self.scopes is not None:
            return tuple(self.scopes(principal))
        known = self.policy.principals.get(principal)
        return known.scopes if known is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a call is judged by, beside its tool."""

    args: Mapping[str, Any] | None
    """None: not known yet, so that this is a look ahead."""
    principal: str | None = None
    now: float | None = None
    """Seconds since the epoch, UTC."""
    flows: Iterable[tuple[Source, str]] = ()
    """Values from outside, and sensitive ones, that reach it; each with where it came into the run: a tool's name, or ``params.<name>``."""
    origin: Origin = FIRST
    repeats: str | None = None
    """The step of an earlier plan version whose effect, now landed, was this very call."""
    unpriced: bool = False
    """Money is bounded, and what the call costs is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    verdict: Verdict
    code: str = ""
    """Of a denial, from the list in docs/issues.md."""
    sources: tuple[Source, ...] = ()
    """What a person must know of the values."""
    standing: bool = False
    """Whether a standing grant may answer the question."""
    said: dict[str, str] = field(default_factory=dict)
    """By code of a warning, what it says."""


def is_plain(step: Step, spec: ToolSpec, rules: Rules) -> bool:
    """Whether only the rules have a say about a call: it changes nothing, goes nowhere, needs no scope, and nobody marked it. Most are so."""
    return not (spec.changes or spec.outbound or spec.scopes or spec.unsafe or rules.policy.flows) and (
        step.approval == "auto" and rules.limits.max_money is None
    )


def permit(step: Step, spec: ToolSpec, rules: Rules, seen: Circumstances) -> Permission:
    scopes = rules.scopes_of(seen.principal) if spec.scopes or rules.policy.rules else ()
    missing = [scope for scope in spec.scopes if not (scopes and fits(scope, scopes))]
    if missing:
        whose = f"{seen.principal!r} does not have" if seen.principal is not None else "a run that acts for nobody does not have"
        return Permission(verdict=Deny(f"{spec.name} needs the scope {', '.join(missing)}, which {whose}", "scopes"), code="missing_scope")
    ruled = rules.policy.judge(spec, seen.args, step=step.id, principal=seen.principal, scopes=scopes, now=seen.now)
    if isinstance(ruled, Deny):
        return Permission(verdict=ruled, code="denied_by_policy")
    sources: list[Source] = []
    asks: list[Ask] = []
    said: dict[str, list[str]] = {}
    for source, origin in (*seen.flows, *((source, _origin(source)) for source in seen.origin.read)):
        judged = judge_flow(rules.policy, spec, source, origin)
        code = f"{source.label}_flow"
        if isinstance(judged, Deny):
            return Permission(verdict=judged, code=code, sources=(source,))
        if isinstance(judged, Ask):
            sources.append(source)
            said.setdefault(code, []).append(source.path)
            asks.append(judged)
    if asks:
        asks = [Ask(_about(sources), asks[0].rule)]
    if seen.repeats is not None:
        asks.append(Ask(f"it would do again what step {seen.repeats} has done: the same tool with the same arguments", "repeats an effect"))
        said["repeats_effect"] = [seen.repeats]
    if spec.unsafe:
        asks.append(Ask(spec.unsafe, "unsafe tool"))
    if seen.unpriced:
        asks.append(Ask(f"money is bounded, and what {spec.name} costs is not known", "unknown price"))
    if step.approval == "required":
        asks.append(Ask(f"step {step.id} requires approval", "approval: required"))
    found = {code: ", ".join(dict.fromkeys(each)) for code, each in said.items()}
    # Whoever is asked, for whatever reason, is told what the planner had read.
    sources += [source for source in (*seen.origin.read, *seen.origin.around) if source not in sources]
    if isinstance(ruled, Ask):
        every = [ruled, *asks]
        verdict = Ask(
            "; ".join(dict.fromkeys(ask.reason for ask in every)), "; ".join(dict.fromkeys(ask.rule for ask in every if ask.rule))
        )
        return Permission(verdict=verdict, sources=tuple(sources), standing=not asks, said=found)
    if asks:
        verdict = Ask("; ".join(dict.fromkeys(ask.reason for ask in asks)), "; ".join(dict.fromkeys(ask.rule for ask in asks)))
        return Permission(verdict=verdict, sources=tuple(sources), said=found)
    return Permission(verdict=ruled, said=found)


def _origin(source: Source) -> str:
    """Of what a planner had read: the tool that brought it."""
    return source.path.partition(" → ")[0]


MOST_TOLD = 3


def _about(sources: list[Source]) -> str:
    """One sentence; the card shows each source by itself."""
    told = [f"{source.label} {source.what} reaches {source.into}" for source in sources]
    told = list(dict.fromkeys(told))
    more = len(told) - MOST_TOLD
    return "; ".join(told[:MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")
