"""What a run may still use: a call or a request to a model is refused before it is made when its worst case would overrun."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from agent_graph.identity import RunId
from agent_graph.policy.limits import Limits
from agent_graph.policy.spending import Spent, price_of
from agent_graph.ports import Clock, Store, ToolSpec

ROUNDING = 1e-9
"""Of money: what is worked out as just affordable must not fail by the last digit of a sum."""


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

    # What models cost counts with it; only money is shared.

    def money_left(self) -> float:
        """Of what the run may spend; without end when that is not bounded."""
        return float("inf") if self._limits.max_money is None else self._limits.max_money - self._money

    def take_money(self, worst: float) -> bool:
        """Hold back what a request to a model may cost; False, and nothing is, when that is not left."""
        with self._lock:
            if worst > self.money_left() + ROUNDING:
                return False
            self._money += worst
            return True

    def settle_money(self, held: float, spent: float) -> None:
        """A request that ``held`` back so much has cost so much."""
        with self._lock:
            self._money += spent - held

    def give_back(self, spec: ToolSpec, args: Mapping[str, Any]) -> None:
        """A call certainly did nothing: it cost nothing."""
        with self._lock:
            self._money -= price_of(spec, args) or 0.0
