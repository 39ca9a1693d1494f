"""What a run may still use: a call or a request to a model is refused before it is made when its worst case would overrun."""

from __future__ import annotations

import fnmatch
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent_graph.errors import BudgetExceeded
from agent_graph.events import Note
from agent_graph.identity import RunId
from agent_graph.plan import StepBudget
from agent_graph.policy.limits import Limits, Price, RoleLimits
from agent_graph.policy.spending import Spent, price_of
from agent_graph.ports import UNBOUND, Bounds, Clock, Store, ToolSpec
from agent_graph.records import Lease, Usage

LEAST_REPLY = 256
"""Tokens that must be left for what a model writes; with fewer it is not asked."""


def spent_so_far(store: Store, run_id: RunId, tools: Mapping[str, ToolSpec]) -> Spent:
    """From what is on record: a process that takes the run over counts on from there."""
    on: dict[str, str] = {}
    calls = attempts = tokens = unpriced = 0
    money = 0.0
    for each in store.ledger.spending(run_id):
        calls, attempts = calls + each.calls, attempts + each.attempts
        on[each.tool] = f"{each.calls} call{'' if each.calls == 1 else 's'} in {each.attempts}"
    costly = [name for name, spec in tools.items() if spec.price != 0.0]
    for tool, args in store.ledger.calls_of(run_id, costly) if costly else ():
        price = price_of(tools[tool], args)
        money, unpriced = money + (price or 0.0), unpriced + (price is None)
    for role, used in store.usage.of(run_id).items():
        tokens += used.input_tokens + used.output_tokens
        money, unpriced = money + used.money, unpriced + used.unpriced
        on[role] = f"{used.requests} request{'' if used.requests == 1 else 's'}, {used.input_tokens + used.output_tokens} tokens"
    return Spent(calls=calls, attempts=attempts, seconds=store.events.worked(run_id), tokens=tokens, money=money, unpriced=unpriced, on=on)


class Budget:
    """Of one drive. Workers ask it side by side."""

    def __init__(self, limits: Limits, spent: Spent, clock: Clock) -> None:
        self._limits = limits
        self._spent = spent
        self._clock = clock
        self._since = clock.monotonic()
        self._calls, self._attempts, self._money = spent.calls, spent.attempts, spent.money
        self._lock = threading.Lock()

    def seconds(self) -> float:
        """For which the run has been worked on."""
        return self._spent.seconds + self._clock.monotonic() - self._since

    def take(self, spec: ToolSpec, args: Mapping[str, Any], timeout: float, *, first: bool) -> str:
        """Count a call that is about to be made, at its worst. Why it may not be made; empty when it may, and is counted then."""
        limits, price = self._limits, price_of(spec, args)
        with self._lock:
            for what, limit, used, wanted in (
                ("calls", limits.max_calls, self._calls, 1 if first else 0),
                ("attempts", limits.max_attempts, self._attempts, 1),
                ("seconds", limits.max_seconds, self.seconds(), timeout),
                ("money", limits.max_money, self._money, price or 0.0),
            ):
                if limit is not None and used + wanted > limit:
                    return f"{spec.name} may take {wanted:g} {what}, and {max(0.0, limit - used):.3g} of {limit:g} are left"
            self._calls += 1 if first else 0
            self._attempts += 1
            self._money += price or 0.0
        return ""

    def give_back(self, spec: ToolSpec, args: Mapping[str, Any]) -> None:
        """A call certainly did nothing: it cost nothing."""
        with self._lock:
            self._money -= price_of(spec, args) or 0.0


class Meter:
    """Of one run's models: what a planner asks before, and tells after, each request."""

    def __init__(self, store: Store, lease: Lease, limits: Limits, tools: Mapping[str, ToolSpec], plan_version: int = 0) -> None:
        self._version = plan_version
        self._store = store
        self._lease = lease
        self._limits = limits
        self._tools = tools

    def ask(
        self, role: str, model: str, input_bytes: int, step_id: str | None = None, *, own: Bounds = UNBOUND, step: StepBudget | None = None
    ) -> int | None:
        """How many tokens the reply may have; None: any number. No token is shorter than a byte, so that is what the input counts at worst.

        Raises BudgetExceeded.
        """
        limits = self._limits
        if not limits.bounds_models:
            return None
        used = self._store.usage.of(self._lease.run_id)
        mine, own = used.get(role, Usage()), limits.roles.get(role, RoleLimits())  # type: ignore[assignment]
        if own.max_requests is not None and mine.requests >= own.max_requests:
            raise BudgetExceeded(f"role {role} has made {mine.requests} of {own.max_requests} requests")
        every = sum(each.input_tokens + each.output_tokens for each in used.values())
        rooms: list[tuple[str, float]] = [
            (f"{limit} tokens", limit - so_far - input_bytes)
            for limit, so_far in ((limits.max_tokens, every), (own.max_tokens, mine.input_tokens + mine.output_tokens))
            if limit is not None
        ]
        rooms += self._money_rooms(role, model, input_bytes, own, used)  # type: ignore[arg-type]
        if not rooms:
            return None
        limit, room = min(rooms, key=lambda each: each[1])
        if room < LEAST_REPLY:
            raise BudgetExceeded(
                f"role {role} may read {input_bytes} tokens in its next request and needs {LEAST_REPLY} for the reply; that is not left of {limit}"
            )
        return int(room)

    def _money_rooms(self, role: str, model: str, input_bytes: int, own: RoleLimits, used: Mapping[str, Usage]) -> list[tuple[str, float]]:
        """Money, as tokens of the reply that it pays for."""
        bounds = [
            (limit, spent)
            for limit, spent in (
                (self._limits.max_money, self._limits.max_money and spent_so_far(self._store, self._lease.run_id, self._tools).money),
                (own.max_money, used[role].money if role in used else 0.0),
            )
            if limit is not None
        ]
        if not bounds:
            return []
        price = self._price(model)
        if price is None:
            raise BudgetExceeded(f"money is bounded, and the price of {model} is not known: give Limits(prices={{{model!r}: Price(…)}})")
        rooms = []
        for limit, spent in bounds:
            left = limit - (spent or 0.0) - input_bytes * price.input / 1e6
            rooms.append((f"money {limit:g}", left / price.output * 1e6 if price.output else 1e12 if left >= 0 else -1.0))
        return rooms

    def note(self, message: str, step_id: str | None = None, *, first_of: str = "") -> None:
        """Put something worth knowing into the run's trace. ``first_of``: only before the first request of this role."""
        if first_of and first_of in self._store.usage.of(self._lease.run_id):
            return
        self._store.events.add(Note(run_id=self._lease.run_id, at=time.time(), step_id=step_id, message=message))

    def count(self, role: str, model: str, used: Usage, step_id: str | None = None) -> None:
        """Put what was used on record, with its price."""
        price = self._price(model)
        money = (used.input_tokens * price.input + used.output_tokens * price.output) / 1e6 if price is not None else 0.0
        priced = replace(used, money=money, unpriced=used.requests if price is None else 0)
        self._store.usage.add(self._lease, role, priced, model=model, step_id=step_id or "", plan_version=self._version)

    def _price(self, model: str) -> Price | None:
        exact = self._limits.prices.get(model)
        return exact or next((price for name, price in self._limits.prices.items() if fnmatch.fnmatchcase(model, name)), None)
