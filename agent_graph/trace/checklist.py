"""The plan as a list of steps with how each stands: what progress, ``show`` and ``draw`` have in common.

It starts from what the ledger says and goes on with events, so that a run that is resumed shows what was done before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from agent_graph.state import Run
from agent_graph.verdicts import StepResult, StepStatus

if TYPE_CHECKING:
    from agent_graph.events import Event, PlanMade

Standing = Literal["waiting", "running", "asks", "succeeded", "failed", "blocked", "in_doubt", "skipped", "begun"]
"""
``asks``: a person must say something first; ``begun``: a call was begun and nobody drives the run now, so that its outcome is settled
at the next resume; the others as in ``StepStatus``.
"""

OPEN: frozenset[Standing] = frozenset({"waiting", "running", "asks", "begun"})
_AS: Mapping[StepStatus, Standing] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "blocked": "blocked",
    "skipped": "skipped",
    "in_doubt": "in_doubt",
    "needs_clarification": "asks",
}


@dataclass(slots=True, kw_only=True)
class Item:
    """One step as people see it."""

    id: str
    what: str
    """Its tool, or its kind."""
    description: str = ""
    standing: Standing = "waiting"
    started: float | None = None
    """Seconds since the epoch."""
    seconds: float | None = None
    """How long it took."""
    note: str = ""
    """Why it stands so, where that needs saying."""
    part_of: str = ""
    """The ``agent`` step that made this call; empty for a step of the plan."""


@dataclass(slots=True)
class Checklist:
    items: dict[str, Item] = field(default_factory=dict)
    version: int = 0
    """Of the plan; 0: there is none yet."""

    @classmethod
    def of(cls, run: Run, begun: Iterable[str] = ()) -> Checklist:
        """As the ledger has it. ``begun``: steps with a call whose outcome is not on record."""
        made = cls()
        if run.plan is None:
            return made
        made.version = run.plan.version
        made.items = {step.id: Item(id=step.id, what=step.tool or step.kind, description=step.description) for step in run.plan.steps}
        for step_id, result in run.results.items():
            item = made.items.get(step_id) or made._call(step_id, result.provenance.source if result.provenance is not None else "")
            if item is not None:
                made._settle(item, result)
        for step_id in begun:
            if step_id in made.items and made.items[step_id].standing == "waiting":
                made.items[step_id].standing = "running" if run.owner else "begun"
        for request in run.requests:
            asking = request.part_of or request.step_id
            if asking in made.items:
                made.items[asking].standing = "in_doubt" if request.kind == "in_doubt" else "asks"
        if run.error is not None and run.error.step_id in made.items:
            blamed = made.items[run.error.step_id]
            if blamed.standing in OPEN:
                blamed.standing, blamed.note = "blocked", run.error.message
        return made

    def _settle(self, item: Item, result: StepResult) -> None:
        if result.plan_version != self.version and result.status not in ("succeeded", "skipped"):
            return  # a failure counts for the version that ran it; a later one tries again
        item.standing = _AS[result.status]
        item.note = result.error.message if result.error and result.status != "succeeded" else ""
        item.started = result.started
        if result.started is not None and result.finished is not None:
            item.seconds = max(0.0, result.finished - result.started)

    def see(self, event: Event) -> None:
        """Go on with what happened now."""
        from agent_graph.events import Decided, PlanMade, StepFinished, StepStarted, Waiting  # `show` has none of them

        match event:
            case PlanMade():
                self._plan(event)
            case StepStarted() if event.step_id in self.items or self._call(event.step_id, event.tool or "") is not None:
                item = self.items[event.step_id]
                item.standing, item.started, item.seconds, item.note = "running", event.at, None, ""
            case StepFinished() if event.step_id in self.items:
                item = self.items[event.step_id]
                item.standing, item.seconds = _AS.get(event.status, "failed"), event.seconds  # type: ignore[call-overload]
                item.note = str(event.error["message"]) if event.error and event.status != "succeeded" else ""
            case Waiting():
                asking = self.items.get(str(event.request.get("part_of") or event.request.get("step_id")))
                if asking is not None:
                    asking.standing = "in_doubt" if event.request.get("kind") == "in_doubt" else "asks"
            case Decided() if event.step_id in self.items and event.decision.get("type") != "reject":
                item = self.items[event.step_id]
                if item.standing != "succeeded":
                    item.standing, item.note = "waiting", ""
            case _:
                pass

    def _call(self, call_id: str, tool: str) -> Item | None:
        """A call that an ``agent`` step of the plan makes, in its place below the step: after the calls before it."""
        step_id, _, number = call_id.rpartition(".")
        if step_id not in self.items or not number.isdecimal():
            return None
        call = Item(id=call_id, what=tool, part_of=step_id)
        ids = list(self.items)
        at = 1 + max(ids.index(each.id) for each in self.items.values() if step_id in (each.id, each.part_of))
        following = {each: self.items.pop(each) for each in ids[at:]}
        self.items |= {call_id: call, **following}
        return call

    def _plan(self, event: PlanMade) -> None:
        """A new version keeps what has ended well; what failed in the old one is open again."""
        again = ("failed", "blocked", "asks") if event.kind == "replanned" else ("failed", "blocked")
        newer = event.version > self.version
        items: dict[str, Item] = {}
        for step in event.steps:
            known = self.items.get(str(step["id"]))
            if known is None or (newer and known.standing in again):
                known = Item(id=str(step["id"]), what=_what(step), description=str(step.get("description") or ""))
            items[known.id] = known
            items |= {each.id: each for each in self.items.values() if each.part_of == known.id}
        self.items, self.version = items, event.version

    @property
    def counts(self) -> Counter[Standing]:
        """Of the plan's steps; what an agent calls is part of its step."""
        return Counter(item.standing for item in self.items.values() if not item.part_of)


def _what(step: Mapping[str, Any]) -> str:
    return str(step.get("tool") or step.get("kind") or "")
