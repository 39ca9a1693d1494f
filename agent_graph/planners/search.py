"""The cheapest set of makers that leads from facts at hand to facts wanted, each maker paid once, however many use what it gives.

With shared makers this is a set-cover problem, so that no method is fast on every instance. A first solution is built from the least cost of
each fact by itself (Knuth's generalisation of Dijkstra's algorithm); then partial solutions are looked at, the most promising first (A*, with a
bound from below that never overestimates), until none can be cheaper, or so many were looked at that the first solution has to do.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

WORK = 12_000
"""Makers looked at, over all partial solutions: a quarter of a second at most."""

F = TypeVar("F", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Making(Generic[F]):
    needs: frozenset[F]
    gives: frozenset[F]
    cost: float


@dataclass(frozen=True, slots=True)
class Found:
    order: tuple[int, ...]
    """Makers by their number, each after those that it needs."""
    cost: float
    least: bool
    """Whether nothing cheaper exists; False: nothing cheaper was found in time."""


@dataclass(frozen=True, slots=True)
class Missing(Generic[F]):
    """What is wanted cannot be made."""

    wanted: tuple[F, ...]
    """Of what is wanted, what cannot be."""
    lacking: Mapping[F, tuple[int, ...]]
    """Facts that nothing gives, and the makers that would need them; for a wanted one that nothing gives, none."""


def cheapest(wanted: Sequence[F], known: frozenset[F], makings: Sequence[Making[F]]) -> Found | Missing[F]:
    """Deterministic: among equally cheap ones, the makers that were given first."""
    open_ = [fact for fact in dict.fromkeys(wanted) if fact not in known]
    if not open_:
        return Found((), 0.0, least=True)
    least = _least(known, makings)
    unmade = tuple(fact for fact in open_ if fact not in least.by_fact)
    if unmade:
        return Missing(unmade, _lacking(unmade, known, makings, least))
    first = _trimmed(_chosen(open_, known, makings, least), frozenset(open_), known, makings)
    return _Search(frozenset(open_), known, makings, least, first).run()


# ── the least cost of each fact by itself ─────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Least(Generic[F]):
    by_fact: dict[F, float]
    maker: dict[F, int]
    """By fact, the maker that it costs least with; none for what is known."""
    reached: set[int]
    """Makers whose needs can all be met."""


def _least(known: frozenset[F], makings: Sequence[Making[F]]) -> _Least[F]:
    users: dict[F, list[int]] = {}
    unmet = []
    for number, making in enumerate(makings):
        unmet.append(len(making.needs))
        for need in making.needs:
            users.setdefault(need, []).append(number)
    found: _Least[F] = _Least({}, {}, set())
    spent = [making.cost for making in makings]
    queue: list[tuple[float, int, int, F]] = []  # cost, maker, a running number against comparing facts, fact
    pushed = 0

    def offer(number: int) -> None:
        nonlocal pushed
        found.reached.add(number)
        for fact in makings[number].gives:
            if fact not in found.by_fact:
                pushed += 1
                heapq.heappush(queue, (spent[number], number, pushed, fact))

    for number, count in enumerate(unmet):
        if count == 0:
            offer(number)
    for fact in known:
        found.by_fact[fact] = 0.0
    arrived = list(known)
    while arrived or queue:
        if arrived:
            fact = arrived.pop()
        else:
            cost, number, _, fact = heapq.heappop(queue)
            if fact in found.by_fact:
                continue
            found.by_fact[fact], found.maker[fact] = cost, number
        for user in users.get(fact, ()):
            unmet[user] -= 1
            spent[user] += found.by_fact[fact]
            if unmet[user] == 0:
                offer(user)
    return found


def _chosen(wanted: Sequence[F], known: frozenset[F], makings: Sequence[Making[F]], least: _Least[F]) -> set[int]:
    """The makers by which each wanted fact costs least."""
    chosen: set[int] = set()
    left = list(wanted)
    while left:
        fact = left.pop()
        if fact not in known and (number := least.maker[fact]) not in chosen:
            chosen.add(number)
            left.extend(makings[number].needs)
    return chosen


def _trimmed(chosen: set[int], wanted: frozenset[F], known: frozenset[F], makings: Sequence[Making[F]]) -> set[int]:
    """Without those that the others make unnecessary, the dearest first."""
    for number in sorted(chosen, key=lambda each: (-makings[each].cost, -each)):
        without = chosen - {number}
        order, facts = _run(without, known, makings)
        if wanted <= facts and len(order) == len(without):
            chosen = without
    return chosen


def _run(chosen: set[int], known: frozenset[F], makings: Sequence[Making[F]]) -> tuple[list[int], set[F]]:
    """The makers of a set that can be used, in an order in which they can, and the facts that there are then."""
    facts, order, left = set(known), [], sorted(chosen)
    moved = True
    while moved and left:
        moved = False
        for number in list(left):
            if makings[number].needs <= facts:
                facts |= makings[number].gives
                order.append(number)
                left.remove(number)
                moved = True
    return order, facts


def _lacking(unmade: tuple[F, ...], known: frozenset[F], makings: Sequence[Making[F]], least: _Least[F]) -> dict[F, tuple[int, ...]]:
    givers: dict[F, list[int]] = {}
    for number, making in enumerate(makings):
        for fact in making.gives:
            givers.setdefault(fact, []).append(number)
    users: dict[F, list[int]] = {}
    seen, left = set(unmade), list(unmade)
    lacking: dict[F, tuple[int, ...]] = {}
    while left:
        fact = left.pop(0)
        makers = givers.get(fact, [])
        if not makers:
            lacking[fact] = ()
        for number in makers:
            for need in sorted(makings[number].needs - known, key=str):
                if need not in least.by_fact:
                    users.setdefault(need, []).append(number)
                    if need not in seen:
                        seen.add(need)
                        left.append(need)
    return {fact: tuple(users.get(fact, ())) for fact in lacking}


# ── the least cost of all of them together ────────────────────────────────────────────────────────────────────────────


class _Search(Generic[F]):
    def __init__(self, wanted: frozenset[F], known: frozenset[F], makings: Sequence[Making[F]], least: _Least[F], first: set[int]) -> None:
        self.wanted = wanted
        self.known = known
        self.makings = makings
        self.givers: dict[F, list[int]] = {}
        for number in self._relevant(least):
            for fact in makings[number].gives - known:
                self.givers.setdefault(fact, []).append(number)
        self.relevant = sorted({number for givers in self.givers.values() for number in givers})
        self.best = first
        self.best_cost = self.cost(first)

    def _relevant(self, least: _Least[F]) -> list[int]:
        """Makers that can be used and may serve what is wanted."""
        givers: dict[F, list[int]] = {}
        for number in sorted(least.reached):
            for fact in self.makings[number].gives - self.known:
                givers.setdefault(fact, []).append(number)
        found: set[int] = set()
        left, seen = list(self.wanted), set(self.wanted)
        while left:
            for number in givers.get(left.pop(), ()):
                if number not in found:
                    found.add(number)
                    new = self.makings[number].needs - self.known - seen
                    seen |= new
                    left.extend(new)
        return sorted(found)

    def cost(self, chosen: set[int] | frozenset[int]) -> float:
        return sum(self.makings[number].cost for number in sorted(chosen))

    def run(self) -> Found:
        start: frozenset[int] = frozenset()
        queue: list[tuple[float, int, tuple[int, ...]]] = [(0.0, 0, ())]
        seen = {start}
        work, complete = 0, True
        while queue:
            bound, _, key = heapq.heappop(queue)
            if bound >= self.best_cost:
                break
            work += len(self.relevant) + 1
            if work > WORK:
                complete = False
                break
            chosen = set(key)
            facts = _run(chosen, self.known, self.makings)[1]
            if self.wanted <= facts:
                self.best, self.best_cost = chosen, self.cost(chosen)
                continue
            for number in self._next(chosen, facts):
                more = frozenset(chosen | {number})
                if more not in seen:
                    seen.add(more)
                    at_least = self.cost(more) + self._at_least(more)
                    if at_least < self.best_cost:
                        heapq.heappush(queue, (at_least, len(more), tuple(sorted(more))))
        best = _trimmed(set(self.best), self.wanted, self.known, self.makings)
        return Found(tuple(_run(best, self.known, self.makings)[0]), self.cost(best), complete)

    def _open(self, chosen: set[int] | frozenset[int], facts: set[F]) -> list[F]:
        """Facts that are needed and not there yet."""
        needed = set(self.wanted).union(*(self.makings[number].needs for number in chosen))
        return sorted(needed - facts, key=self._place)

    def _place(self, fact: F) -> tuple[int, int]:
        givers = self.givers.get(fact, [])
        return len(givers), givers[0] if givers else -1

    def _next(self, chosen: set[int], facts: set[F]) -> list[int]:
        """Makers of which each solution that contains the chosen ones has at least one.

        For a needed fact that none of the chosen gives, one of its makers. Where each has a giver and still nothing moves, they wait for each
        other: then one of the makers of any of them.
        """
        wanted = self._open(chosen, facts)
        for fact in wanted:
            makers = self.givers.get(fact, [])
            if not chosen.intersection(makers):
                return makers
        return sorted({number for fact in wanted for number in self.givers.get(fact, [])} - chosen)

    def _at_least(self, chosen: frozenset[int]) -> float:
        """What the rest costs at least: the dearest of the open facts by its own cheapest way, with what is chosen for nothing; or the cheapest
        maker of each of those open facts that have no maker in common."""
        facts = _run(set(chosen), self.known, self.makings)[1]
        wanted = self._open(chosen, facts)
        if not wanted:
            return 0.0
        apart, used = 0.0, set(chosen)
        for fact in wanted:
            makers = self.givers.get(fact, [])
            if used.isdisjoint(makers):
                apart += min((self.makings[number].cost for number in makers), default=0.0)
                used.update(makers)
        return max(apart, self._dearest(chosen, facts, wanted))

    def _dearest(self, chosen: frozenset[int], facts: set[F], wanted: list[F]) -> float:
        """Dijkstra's algorithm, where a maker's needs cost as much as the dearest of them."""
        costs: dict[F, float] = dict.fromkeys(facts, 0.0)
        left = [number for number in self.relevant if number not in chosen or not self.makings[number].gives <= facts]
        changed = True
        while changed:
            changed = False
            for number in left:
                making = self.makings[number]
                worst = max((costs.get(need, float("inf")) for need in making.needs), default=0.0)
                if worst == float("inf"):
                    continue
                total = worst + (0.0 if number in chosen else making.cost)
                for fact in making.gives:
                    if total < costs.get(fact, float("inf")):
                        costs[fact] = total
                        changed = True
        return max(costs.get(fact, 0.0) for fact in wanted)
