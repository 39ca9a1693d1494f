"""From what is wanted and what is at hand to steps: the search over tools, and its solution written down."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from agent_graph.plan import Goal, Step
from agent_graph.planners.facts import AtHand, Maker, Need, reference
from agent_graph.planners.search import Found, Making, Missing, cheapest

WANT = "want"
"""The goal's parameter that names the kinds of fact that are wanted, where its text does not. It is no fact itself."""


class Writing:
    """Writes a solution down as steps: each takes what it needs from the goal, from what was done before, or from an earlier step."""

    def __init__(self, there: Iterable[AtHand], taken: Collection[str]) -> None:
        self.there = list(there)
        self.taken = set(taken)

    def of(self, need: Need) -> Any:
        """A reference to the fact. The caller knows that it is there."""
        return next(each.reference for each in self.there if each.is_a(need))

    def step(self, maker: Maker, goal: Goal, given: Mapping[str, Any] | None = None, step_id: str | None = None) -> Step:
        """The next step. ``given``: arguments that are known already."""
        args = dict(given or {})
        args |= {name: self.of(need) for name, need in maker.needs.items() if name not in args}
        for name, need in maker.may_take.items():
            if name not in args and need.kind in goal.params and need.kind != WANT:
                args[name] = {"$ref": f"params.{need.kind}"}
        made = Step(id=self.free(step_id or maker.spec.name), tool=maker.spec.name, args=args, description=f"gives {_listed(maker.gives)}")
        self.taken.add(made.id)
        self.there += [AtHand(reference(made.id, path), maker, kind) for kind, path in maker.gives.items()]
        return made

    def free(self, name: str) -> str:
        """An id of a step that nobody has, made from a name."""
        stem = re.sub(r"[^A-Za-z0-9_]", "_", name)[:60]
        stem = stem if re.match(r"[A-Za-z_]", stem) else f"_{stem}"
        return next(
            each for number in range(1, len(self.taken) + 2) if (each := stem if number == 1 else f"{stem}_{number}") not in self.taken
        )


def solve(wanted: Sequence[Need], there: Sequence[AtHand], makers: Sequence[Maker]) -> Found | Missing[Need]:
    """Over needs: what a tool gives is each need that it may fill, by kind and type."""
    needs = set(wanted).union(*(maker.needs.values() for maker in makers))
    by_kind: dict[str, list[Need]] = {}
    for need in needs:
        by_kind.setdefault(need.kind, []).append(need)
    known = frozenset(need for need in needs if any(each.is_a(need) for each in there))
    makings = [
        Making(
            frozenset(maker.needs.values()),
            frozenset(need for kind in maker.gives for need in by_kind.get(kind, ()) if maker.has(need)),
            maker.spec.cost,
        )
        for maker in makers
    ]
    return cheapest(wanted, known, makings)


def _listed(kinds: Iterable[str]) -> str:
    named = list(kinds)
    return ", ".join(named[:6]) + (" …" if len(named) > 6 else "") if named else "nothing"
