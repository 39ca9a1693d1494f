"""What models are asked in a run, counted before and after each request: by role, model, step and plan version.

A request is refused before it is made when its worst case would overrun a bound. What requests under way may still use is held back for
them, so that threads which ask side by side do not overrun it together; one that fits only when they use less waits for them.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from agent_graph.errors import BudgetExceeded
from agent_graph.events import Event, Note
from agent_graph.execution.budget import Budget
from agent_graph.execution.part_budget import PartBudgets
from agent_graph.models.prices import published
from agent_graph.models.roles import AS
from agent_graph.plan import StepBudget
from agent_graph.policy.limits import Limits, RoleLimits
from agent_graph.ports import UNBOUND, Bounds, Clock, Store
from agent_graph.records import Lease, Usage, UsageEntry

LEAST_REPLY = 256
"""Tokens that must be left for what a model writes; with fewer it is not asked."""
ENOUGH = 4_096
"""Tokens for a reply with which a request goes ahead beside others that are under way, instead of waiting for what they leave."""
LOST = 1_800.0
"""Seconds after which a request that was never counted holds nothing back any more: whoever made it is gone."""
MAKERS = ("planner", "replanner")
"""Roles whose requests make the next plan version, and are credited to that one."""


Among = Callable[[str, str, str], bool]
"""Of role, model and step: whether what they use counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bound:
    """One bound that holds for a request."""

    whose: str
    among: Among
    limit: float
    money: bool = False
    of_all: bool = False
    """Whether calls of tools count too, as they do for the money of a run."""

    def __str__(self) -> str:
        return f"{f'money {self.limit:g}' if self.money else f'{self.limit:g} tokens'} of {self.whose}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    """A request that was let through and is not counted yet, at its worst."""

    role: str
    model: str
    step_id: str
    tokens: int
    money: float
    since: float


class Meter:
    """Of one run's models: what whoever asks one tells before and after each request. Threads may ask side by side.

    ``plan_version``: that which is in force. ``budget``: the drive's, with which money is shared. ``emit``: for who watches.
    """

    def __init__(
        self,
        store: Store,
        lease: Lease,
        limits: Limits,
        plan_version: int = 0,
        *,
        budget: Budget,
        clock: Clock,
        emit: Callable[[Event], None] | None = None,
        parts: PartBudgets | None = None,
    ) -> None:
        self._version = plan_version
        self._store = store
        self._lease = lease
        self._limits = limits
        self._clock = clock
        self._emit = emit
        self._budget = budget
        self._parts = parts
        self._turn = threading.Condition()
        self._under_way: list[_UnderWay] = []
        self._begun: set[tuple[str, str]] = set()
        """Roles, and the models that each is known to have asked."""
        self._said: set[str] = set()

    # ── before a request ──────────────────────────────────────────────────────────────────────────────────────────────

    def ask(
        self, role: str, model: str, input_bytes: int, step_id: str | None = None, *, own: Bounds = UNBOUND, step: StepBudget | None = None
    ) -> int | None:
        """How many tokens the reply may have; None: any number. No token is shorter than a byte, so that is what the input counts at worst.

        ``own``: of the role's model; ``step``: of the step. The tightest of these and of the run's limits counts. Raises BudgetExceeded.
        """
        requests, bounds = list(self._request_bounds(role, own)), list(self._bounds(role, step_id or "", own, step))
        if not requests and not bounds:
            return None
        if any(bound.money for bound in bounds) and self._cost(model, Usage(input_tokens=1)) is None:
            raise BudgetExceeded(
                f"money is bounded, and the price of {model} is not known: give Limits(prices={{{model!r}: Price(…)}}), or install the "
                "prices that providers publish: pip install 'agent-graph[prices]'"
            )
        with self._turn:
            while True:
                entries = self._store.usage.entries(self._lease.run_id)
                for whose, among, limit in requests:
                    made = sum(entry.used.requests for entry in entries if among(entry.role, entry.model, entry.step_id))
                    made += sum(among(each.role, each.model, each.step_id) for each in self._under_way)
                    if made >= limit:
                        raise BudgetExceeded(f"{whose} has made {made} of {limit} requests")
                if not bounds:
                    self._under_way.append(self._held(role, model, step_id, 0, 0))
                    return None
                bound, room, alone = min(
                    ((bound, *self._rooms(bound, model, input_bytes, entries)) for bound in bounds), key=lambda each: each[1]
                )
                if alone < LEAST_REPLY:
                    raise BudgetExceeded(
                        f"role {role} may read {input_bytes} tokens in its next request and needs {LEAST_REPLY} for the reply; "
                        f"that is not left of {bound}"
                    )
                most = int(min(room, own.max_reply_tokens or room))
                if room >= min(own.max_reply_tokens or ENOUGH, ENOUGH, alone):
                    held = self._held(role, model, step_id, input_bytes, most)
                    if self._budget.take_money(held.money):
                        self._under_way.append(held)
                        return most
                self._turn.wait(1.0)
                self._forget_lost()

    def _request_bounds(self, role: str, own: Bounds) -> Iterator[tuple[str, Among, int]]:
        limits = self._limits.roles.get(role, RoleLimits())
        if limits.max_requests is not None:
            yield f"role {role}", _of_role(role), limits.max_requests
        if own.max_requests is not None:
            yield *_whose(role, own), own.max_requests

    def _bounds(self, role: str, step_id: str, own: Bounds, step: StepBudget | None) -> Iterator[_Bound]:
        mine = self._limits.roles.get(role, RoleLimits())
        each: tuple[tuple[str, Among, Limits | RoleLimits | Bounds | StepBudget | None], ...] = (
            ("the run", lambda *_: True, self._limits),
            (f"role {role}", _of_role(role), mine),
            (*_whose(role, own), own),
            (f"step {step_id}", lambda _role, _model, of: of == step_id, step),
            *((whose, _of_steps(inside), left) for whose, left, inside in (self._parts.of_models(step_id) if self._parts else ())),
        )
        for whose, among, given in each:
            if given is not None and given.max_tokens is not None:
                yield _Bound(whose=whose, among=among, limit=given.max_tokens)
            if given is not None and given.max_money is not None:
                yield _Bound(whose=whose, among=among, limit=given.max_money, money=True, of_all=given is self._limits)

    def _rooms(self, bound: _Bound, model: str, input_bytes: int, entries: list[UsageEntry]) -> tuple[float, float]:
        """Tokens that the bound leaves for a reply: beside the requests under way, at their worst, and if these used nothing."""
        used = [entry.used for entry in entries if bound.among(entry.role, entry.model, entry.step_id)]
        others = [each for each in self._under_way if bound.among(each.role, each.model, each.step_id)]
        if not bound.money:
            alone = bound.limit - sum(each.input_tokens + each.output_tokens for each in used) - input_bytes
            return alone - sum(each.tokens for each in others), alone
        held = sum(each.money for each in others)
        left = self._budget.money_left() + held if bound.of_all else bound.limit - sum(each.money for each in used)
        left -= self._cost(model, Usage(input_tokens=input_bytes)) or 0.0
        price = (self._worst(model, input_bytes, 1_000) - self._worst(model, input_bytes, 0)) / 1_000
        return _bought(left - held, price), _bought(left, price)

    def _held(self, role: str, model: str, step_id: str | None, input_bytes: int, most: int) -> _UnderWay:
        money = self._worst(model, input_bytes, most)
        return _UnderWay(
            role=role, model=model, step_id=step_id or "", tokens=input_bytes + most, money=money, since=self._clock.monotonic()
        )

    def _forget_lost(self) -> None:
        until = self._clock.monotonic() - LOST
        self._under_way = [each for each in self._under_way if each.since > until]

    # ── after it ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def count(self, role: str, model: str, used: Usage, step_id: str | None = None) -> None:
        """Put what was used on record, with its price."""
        cost = self._cost(model, used) if not used.unpriced else None
        something = bool(used.input_tokens or used.output_tokens)  # a request that was turned away costs nothing
        unpriced = used.unpriced or (used.requests if cost is None and something else 0)
        priced = replace(used, money=cost or 0.0, unpriced=unpriced)
        version = self._version + 1 if role in MAKERS else self._version
        try:
            self._store.usage.add(self._lease, role, priced, model=model, step_id=step_id or "", plan_version=version)
        finally:
            with self._turn:
                asked = next(
                    (each for each in self._under_way if (each.role, each.model, each.step_id) == (role, model, step_id or "")), None
                )
                if asked is not None:
                    self._under_way.remove(asked)
                self._begun.add((role, model))
                self._budget.settle_money(asked.money if asked is not None else 0.0, priced.money)
                self._turn.notify_all()

    def note(self, message: str, step_id: str | None = None, *, first_of: tuple[str, str] | None = None) -> None:
        """Put something worth knowing into the run's trace. ``first_of``: only before this role's first request to this model."""
        run_id = self._lease.run_id
        with self._turn:
            if first_of is not None and (message in self._said or self._begun_with(first_of)):
                return
            self._said.add(message)
            event = Note(run_id=run_id, at=self._clock.now(), step_id=step_id, message=message)
            self._store.events.add(event)
        if self._emit is not None:
            self._emit(event)

    def _begun_with(self, pair: tuple[str, str]) -> bool:
        if pair not in self._begun:
            self._begun |= {(entry.role, entry.model) for entry in self._store.usage.entries(self._lease.run_id)}
        return pair in self._begun

    # ── money ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _cost(self, model: str, used: Usage) -> float | None:
        """By the run's prices, else by those that providers publish; None where it is not known."""
        name = model.partition(AS)[0]
        prices = self._limits.prices
        price = prices.get(name) or next((price for pattern, price in prices.items() if fnmatch.fnmatchcase(name, pattern)), None)
        return price.of(used) if price is not None else published(name, used)

    def _worst(self, model: str, input_bytes: int, most: int) -> float:
        return self._cost(model, Usage(input_tokens=input_bytes, output_tokens=most)) or 0.0


def _of_role(role: str) -> Among:
    return lambda its, _model, _step: its == role


def _of_steps(inside: frozenset[str]) -> Among:
    return lambda _role, _model, step_id: step_id in inside


def _whose(role: str, own: Bounds) -> tuple[str, Among]:
    """Whose ``own`` are, and what counts for them."""
    if not own.specialist:
        return f"role {role}", _of_role(role)
    ending = AS + own.specialist
    return f"specialist {own.specialist}", lambda its, model, _step: its == role and model.endswith(ending)


def _bought(money: float, price: float) -> float:
    """Tokens that it pays for."""
    return money / price if price else float("inf") if money >= 0 else -1.0
