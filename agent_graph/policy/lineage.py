"""In which version of a plan each step came, and what its planner had read by then.

A planner that has read text from outside may propose what that text asks for. Such a step is not covered by a yes that was given before, nor
by a standing grant: the person is asked anew, and told what was read. A step that a replan leaves exactly as it was keeps its own story.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent_graph.identity import digest
from agent_graph.plan import Model, Plan
from agent_graph.verdicts import Source


class Origin(Model):
    """Of one step."""

    since: int = 1
    """The plan version that brought it in its present form."""
    read: tuple[Source, ...] = ()
    """What came from outside and had been read by who proposed it. Empty for a person, and for a planner that reads none of it."""

    @property
    def mark(self) -> str:
        """Part of what a yes to such a step is bound to; empty for a step that nobody outside had a say in."""
        return digest(["proposed", self.since, [source.path for source in self.read]])[:16] if self.read else ""


Lineage = Mapping[str, Origin]
"""By step; a step that is not in it came in version 1, from somebody who had read nothing from outside."""

FIRST = Origin()


def lineage_of(made: Plan, read: tuple[Source, ...], before: Plan | None = None, known: Lineage | None = None) -> dict[str, Origin]:
    """Of a new version. ``known``: the lineage of ``before``, the version that it revises."""
    found: dict[str, Origin] = {}
    for step in made.steps:
        if before is not None and before.by_id.get(step.id) == step:
            origin = (known or {}).get(step.id, FIRST)
        else:
            origin = Origin(since=made.version if before is not None else 1, read=read)
        if origin != FIRST:
            found[step.id] = origin
    return found
