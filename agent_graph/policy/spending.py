"""What a run has used, what a plan needs at least and at worst, and whether that is within the limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent_graph.plan import Plan, Step
from agent_graph.policy.limits import Limits
from agent_graph.policy.params import with_params
from agent_graph.ports import ToolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """By a run so far."""

    calls: int = 0
    attempts: int = 0
    seconds: float = 0.0
    tokens: int = 0
    money: float = 0.0
    """What is known of it."""
    unpriced: int = 0
    """Calls and requests whose price is not known."""
    on: Mapping[str, str] = field(default_factory=dict)
    """By tool and role, in words."""

    def __str__(self) -> str:
        said = [f"{self.calls} call{_s(self.calls)} in {self.attempts} attempt{_s(self.attempts)}", f"{self.seconds:.3g} s"]
        said += [f"{self.tokens} tokens"] if self.tokens else []
        said += [f"money {self.money:g}"] if self.money else []
        said += [f"{self.unpriced} of unknown price"] if self.unpriced else []
        on = "; ".join(f"{name}: {what}" for name, what in self.on.items())
        return ", ".join(said) + (f" ({on})" if on else "")


def _s(number: int) -> str:
    return "" if number == 1 else "s"


def price_of(spec: ToolSpec, args: Mapping[str, Any] | None) -> float | None:
    """What one call costs at most; None when that is not known."""
    if not isinstance(spec.price, str):
        return spec.price
    said = (args or {}).get(spec.price)
    return float(said) if isinstance(said, int | float) and not isinstance(said, bool) and 0 <= said < float("inf") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one step asks of the budget."""

    step: Step
    spec: ToolSpec
    args: Mapping[str, Any] | None
    certain: bool
    """Whether it is called whatever comes: it has no condition and stands in for nothing."""


def needs_of(plan: Plan, steps: Iterable[Step], tools: Mapping[str, ToolSpec]) -> list[Need]:
    """Of those of the plan's steps that call a tool."""
    stand_ins = {step.fallback for step in plan.steps if step.fallback is not None}
    return [
        Need(
            step=step,
            spec=spec,
            args=None if step.reads else with_params(step, plan.goal.params),
            certain=step.when is None and step.id not in stand_ins and plan.stop_when is None,
        )
        for step in steps
        if (spec := tools.get(step.tool or "")) is not None
    ]


def overruns(needs: list[Need], limits: Limits, spent: Spent, width: int) -> Iterator[tuple[str, str]]:
    """What does not fit: ``("over_budget", …)`` when not even the least does, ``("may_overrun", …)`` when the worst case does not.

    ``width``: steps that may run side by side. The worst case of the time is every call at its limit, one after another where they must be.
    """
    least = [need for need in needs if need.certain]
    tries = sum(need.step.max_attempts for need in needs)
    prices = [(need, price_of(need.spec, need.args)) for need in needs]
    wants: list[tuple[str, float | None, float, float, float]] = [
        ("calls", limits.max_calls, spent.calls, len(least), len(needs)),
        ("attempts", limits.max_attempts, spent.attempts, len(least), tries),
        ("money", limits.max_money, spent.money, sum(p or 0.0 for n, p in prices if n.certain), sum(p or 0.0 for _, p in prices)),
    ]
    for what, limit, used, at_least, at_worst in wants:
        if limit is None:
            continue
        left = max(0.0, limit - used)
        said = f"{left:g} of {limit:g} {what} are left"
        if at_least > left:
            yield "over_budget", f"it needs at least {at_least:g} {what}, and {said}"
        elif at_worst > left:
            yield "may_overrun", f"it may need {at_worst:g} {what}, and {said}"
    if limits.max_seconds is not None and needs:
        longest = max(_worst_time(need) for need in needs)
        worst = max(longest, sum(_worst_time(need) for need in needs) / max(1, width))
        left = max(0.0, limits.max_seconds - spent.seconds)
        if min(need.step.timeout_s or need.spec.timeout for need in needs) > left:
            yield (
                "over_budget",
                f"no call of it fits into the {left:g} of {limits.max_seconds:g} seconds that are left, with its time limit",
            )
        elif worst > left:
            yield "may_overrun", f"it may take {worst:g} seconds, and {left:g} of {limits.max_seconds:g} are left"
    unknown = sorted({need.spec.name for need, price in prices if price is None})
    if limits.max_money is not None and unknown:
        yield (
            "unknown_price",
            f"money is bounded, and what {', '.join(unknown)} cost{'s' if len(unknown) == 1 else ''} is not known; a person is asked",
        )


def _worst_time(need: Need) -> float:
    return (need.step.timeout_s or need.spec.timeout) * need.step.max_attempts
