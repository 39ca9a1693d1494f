"""What a nested plan may still use: a call of one of its parts is refused before it is made when its worst case would overrun the step's budget.

It counts everything inside, the calls of its agents and of plans nested in it too, over all plan versions, and counts on from what is on record.
Seconds are those of its calls, added up; money is that of its calls and of its models together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent_graph.execution.results import Results
from agent_graph.identity import RunId
from agent_graph.plan import Plan, Step, StepBudget
from agent_graph.policy.spending import price_of
from agent_graph.ports import Store, ToolSpec


@dataclass(slots=True)
class _Used:
    calls: int = 0
    seconds: float = 0.0
    """With what calls in flight may take."""
    money: float = 0.0
    """Of calls."""


class PartBudgets:
    """Of one visit. Workers ask it side by side."""

    def __init__(self, plan: Plan, results: Results, store: Store, run_id: RunId, tools: Mapping[str, ToolSpec]) -> None:
        self._plan = plan
        self._budgets = {step.id: step.budget for step in plan.steps if step.blueprint is not None and step.budget is not None}
        self._store = store
        self._run_id = run_id
        self._lock = threading.Lock()
        self._used = {whole: self._so_far(whole, results, tools) for whole in self._budgets}

    def take(self, step: Step, spec: ToolSpec, args: Mapping[str, Any], timeout: float, *, first: bool) -> str:
        """Count a call that is about to be made, at its worst. Why it may not be made; empty when it may, and is counted then."""
        wholes = list(self._around(step.id))
        if not wholes:
            return ""
        price = price_of(spec, args)
        with self._lock:
            for whole in wholes:
                why = self._over(whole, spec, price, timeout, first=first)
                if why:
                    return why
            for whole in wholes:
                used = self._used[whole]
                used.calls += 1 if first else 0
                used.seconds += timeout
                used.money += price or 0.0
        return ""

    def done(self, step: Step, spec: ToolSpec, args: Mapping[str, Any], timeout: float, seconds: float, *, nothing: bool) -> None:
        """A call has taken so long. ``nothing``: it certainly did nothing, and cost nothing."""
        with self._lock:
            for whole in self._around(step.id):
                self._used[whole].seconds += min(seconds, timeout) - timeout
                self._used[whole].money -= (price_of(spec, args) or 0.0) if nothing else 0.0

    def of_models(self, step_id: str) -> Iterator[tuple[str, StepBudget, frozenset[str]]]:
        """What bounds a request of a part to a model: whose bound it is, how much of it calls leave, and the steps whose requests count."""
        for whole in self._around(step_id):
            budget = self._budgets[whole]
            with self._lock:
                spent = self._used[whole].money
            left = None if budget.max_money is None else max(0.0, budget.max_money - spent)
            yield f"the nested plan of step {whole}", budget.model_copy(update={"max_money": left}), self._members(whole)

    def _over(self, whole: str, spec: ToolSpec, price: float | None, timeout: float, *, first: bool) -> str:
        budget, used = self._budgets[whole], self._used[whole]
        if budget.max_money is not None and price is None:
            return f"the nested plan of step {whole} may spend {budget.max_money:g}, and what {spec.name} costs is not known"
        models = self._money_of_models(whole) if budget.max_money is not None else 0.0
        for what, limit, so_far, wanted in (
            ("calls", budget.max_calls, used.calls, 1 if first else 0),
            ("seconds", budget.max_seconds, used.seconds, timeout),
            ("money", budget.max_money, used.money + models, price or 0.0),
        ):
            if limit is not None and so_far + wanted > limit:
                left = max(0.0, limit - so_far)
                return f"{spec.name} may take {wanted:g} {what}, and {left:.3g} of {limit:g} are left to the nested plan of step {whole}"
        return ""

    def _around(self, step_id: str) -> Iterator[str]:
        """The budgeted nested plans that a step, or a call of an agent, is part of."""
        at = self._plan.by_id.get(step_id.partition(".")[0])
        for _ in range(len(self._plan.steps)):
            at = self._plan.by_id.get(at.part_of or "") if at is not None else None
            if at is None:
                return
            if at.id in self._budgets:
                yield at.id

    def _members(self, whole: str) -> frozenset[str]:
        """Ids of what is inside, in this version or an earlier one."""
        known = {entry.step_id for entry in self._store.usage.entries(self._run_id)} | self._plan.by_id.keys()
        return frozenset(each for each in known if self._is_inside(each, whole))

    def _is_inside(self, step_id: str, whole: str) -> bool:
        """A part's id begins with its whole's; what came to it by a replan says so itself."""
        return step_id.startswith(f"{whole}__") or whole in self._around(step_id)

    def _money_of_models(self, whole: str) -> float:
        return sum(entry.used.money for entry in self._store.usage.entries(self._run_id) if self._is_inside(entry.step_id, whole))

    def _so_far(self, whole: str, results: Results, tools: Mapping[str, ToolSpec]) -> _Used:
        used = _Used()
        for step_id, standing in self._store.ledger.standings(self._run_id).items():
            if not self._is_inside(step_id, whole):
                continue
            effect = self._store.ledger.effect(standing.key)
            spec = tools.get(effect.tool) if effect is not None and effect.tool is not None else None
            if effect is None or spec is None or effect.attempt == 0:
                continue
            used.calls += 1
            if standing.state != "failed":
                used.money += price_of(spec, effect.args) or 0.0
            result = results.result(step_id)
            ended = result.finished if result is not None and result.finished is not None else effect.deadline
            used.seconds += max(0.0, (ended or 0.0) - (effect.started or ended or 0.0))
        return used


def part_budgets(plan: Plan, results: Results, store: Store, run_id: RunId, tools: Mapping[str, ToolSpec]) -> PartBudgets | None:
    """None where no nested plan of the plan is bounded."""
    if not any(step.blueprint is not None and step.budget is not None for step in plan.steps):
        return None
    return PartBudgets(plan, results, store, run_id, tools)
