"""What one plan version changed of the one that it takes the place of, for people: kept, dropped, changed, added, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from agent_graph.plan import Model, Plan, Step

_OF_THE_VERSION = frozenset({"steps", "version", "parent", "created_by", "reason", "prompt", "risk_level", "interpretation"})
"""Fields of a plan that say nothing of what will be done, or are shown apart."""


MOST_NAMED = 20
"""Steps that are named on one line."""


class Revision(Model):
    """Ids of steps, each in the order of its version."""

    version: int
    before: int
    """The version that it takes the place of: the newest before it that was not refused."""
    created_by: str = ""
    why: str = ""
    finished: tuple[str, ...] = ()
    """Had ended before, and stay as they are."""
    kept: tuple[str, ...] = ()
    """Still to run, and exactly as they were."""
    dropped: tuple[str, ...] = ()
    changed: dict[str, tuple[str, ...]] = {}
    """By step, the fields that are not as they were."""
    added: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()
    """Fields of the plan itself that are not as they were: ``goal``, ``answer``, ``success_criteria``."""

    def __str__(self) -> str:
        """On one line."""
        changed = [f"{step_id} ({', '.join(fields)})" for step_id, fields in self.changed.items()]
        parts = [
            f"{len(self.finished)} finished" if self.finished else "",
            f"{len(self.kept)} kept" if self.kept else "",
            *(
                f"{what} {named(names)}" if names else ""
                for what, names in (
                    ("dropped", self.dropped),
                    ("changed", changed),
                    ("added", self.added),
                    ("of the plan:", self.plan),
                )
            ),
        ]
        return "; ".join(part for part in parts if part) or "nothing is changed"


def named(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def compare(before: Plan, after: Plan, finished: Collection[str] = ()) -> Revision:
    """``finished``: ids of the steps of ``before`` that had ended for good."""
    same = [step.id for step in after.steps if before.by_id.get(step.id) == step]
    return Revision(
        version=after.version,
        before=before.version,
        created_by=after.created_by,
        why=after.reason,
        finished=tuple(step_id for step_id in same if step_id in finished),
        kept=tuple(step_id for step_id in same if step_id not in finished),
        dropped=tuple(step.id for step in before.steps if step.id not in after.by_id),
        changed={
            step.id: tuple(changed_fields(before.by_id[step.id], step))
            for step in after.steps
            if step.id in before.by_id and before.by_id[step.id] != step
        },
        added=tuple(step.id for step in after.steps if step.id not in before.by_id),
        plan=tuple(name for name in changed_fields(before, after) if name not in _OF_THE_VERSION),
    )


def changed_fields(before: Step | Plan, after: Step | Plan) -> Iterator[str]:
    """In the order of the model."""
    return (name for name in type(before).model_fields if getattr(before, name) != getattr(after, name))


def field_of(thing: Step | Plan, name: str) -> Any:
    """A field as plain JSON."""
    return thing.model_dump(mode="json", include={name})[name]
