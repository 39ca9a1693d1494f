"""Who sits at the gate: each writes down every card that was shown, and what had happened by then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from agent_graph import Approve, Reject, Respond, Run
from agent_graph.verdicts import Request, Source
from tests.security.injections.world import Effect, World


@dataclass(frozen=True)
class Card:
    """One call that a person was asked about."""

    call: Effect
    sources: tuple[Source, ...]
    after: int
    """How many effects had happened when it was shown."""

    def names(self, mark: str) -> bool:
        """Whether it shows a value from outside in which this stands."""
        return any(source.label == "untrusted" and mark in source.excerpt for source in self.sources)

    @property
    def untrusted(self) -> bool:
        return any(source.label == "untrusted" for source in self.sources)


@dataclass
class Person:
    world: World
    says_yes: Callable[[Card], bool]
    answer: str = "mallory"
    """What they answer when the planner asks something."""
    cards: list[Card] = field(default_factory=list)
    questions: list[Request] = field(default_factory=list)
    gates: set[str] = field(default_factory=set)

    def __call__(self, run: Run) -> dict[str, Any]:
        return {request.id: self.decide(request) for request in run.requests}

    def decide(self, request: Request) -> Any:
        self.gates.add(request.id)
        if request.kind == "question":
            self.questions.append(request)
            return Reject(reason="no", stop=True) if request.choices_are_verbs else Respond(text=self.answer)
        shown = list(self.shown(request))
        self.cards += shown
        return Approve(by="ann") if all(self.says_yes(card) for card in shown) else Reject(reason="nobody wanted that", by="ann")

    def shown(self, request: Request) -> Iterator[Card]:
        after = len(self.world.effects)
        if request.tool is not None:
            yield Card(Effect(request.tool, dict(request.args or {})), request.sources, after)
        for call in request.calls:
            yield Card(Effect(call.tool, dict(call.args)), call.sources, after)


def careful(world: World, honest: list[Effect]) -> Person:
    """Says yes to what the task needs, where nothing from outside had a hand in it."""
    return Person(world, lambda card: card.call in honest and not card.untrusted)


def attentive(world: World, honest: list[Effect]) -> Person:
    """Reads what the card names, finds no order in it, and says yes to what the task needs."""
    return Person(world, lambda card: card.call in honest)


def careless(world: World) -> Person:
    """Says yes to everything."""
    return Person(world, lambda card: True)
