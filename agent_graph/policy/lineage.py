"""In which version of a plan each step came, and what its planner had read by then.

A planner that has read text from outside may propose what that text asks for. Such a step is not covered by a yes that was given before, nor
by a standing grant: the person is asked anew, and told what was read. A step that a replan leaves exactly as it was keeps its own story, unless
the replan changed where its values come from: then it is another call under the old words. Where a check that it waits for was changed, its call
is the same, but a yes to it was given to a plan with another check before it, and is asked for anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from agent_graph.identity import digest
from agent_graph.plan import Model, Plan, Step
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.expressions import ExpressionError, steps_read
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Source


class Origin(Model):
    """Of one step."""

    since: int = 1
    """The plan version that brought it in its present form."""
    read: tuple[Source, ...] = ()
    """What came from outside and had been read by who proposed it. Empty for a person, and for a planner that reads none of it."""

    around: tuple[Source, ...] = ()
    """What had been read by who changed a check that this one waits for, and nothing else of it."""
    renewed: int = 0
    """The version that did so, or that changed where its values come from; 0: none."""

    @property
    def mark(self) -> str:
        """Part of what a yes to such a step is bound to; empty for a step that nobody outside had a say in."""
        told = [source.path for source in (*self.read, *self.around)]
        return digest(["proposed", self.since, self.renewed, told])[:16] if told else ""


Lineage = Mapping[str, Origin]
"""By step; a step that is not in it came in version 1, from somebody who had read nothing from outside."""

FIRST = Origin()


def lineage_of(
    made: Plan,
    read: tuple[Source, ...],
    before: Plan | None = None,
    known: Lineage | None = None,
    tools: Mapping[str, ToolSpec] | None = None,
) -> dict[str, Origin]:
    """Of a new version. ``known``: the lineage of ``before``, the version that it revises; ``tools``: those of its steps.

    A step that changes something, and was there before, is asked about itself: what comes after it is not told a second time.
    """
    found: dict[str, Origin] = {}
    values: set[str] = set()
    """Steps whose output may be another one now."""
    checks: set[str] = set()
    """Those of them that had something to check, and reads that wait for one."""
    stops = before is not None and before.stop_when not in (None, made.stop_when)
    primary = {step.fallback: step.id for step in made.steps if step.fallback is not None}
    for step in made.steps:
        was = before.by_id.get(step.id) if before is not None else None
        if was != step:
            origin = Origin(since=made.version if before is not None else 1, read=read)
            values.add(step.id)
            checks |= {step.id} if was is not None and _checks(was) else set()
        else:
            origin = (known or {}).get(step.id, FIRST)
            decided_by = _decided_by(step, primary.get(step.id))
            spec = (tools or {}).get(step.tool or "")
            passes_on = {step.id} if spec is None or not spec.changes else set()
            if read and (stops or decided_by & values):
                origin = Origin(since=origin.since, read=read, renewed=made.version)
                values |= passes_on
                checks |= passes_on if _checks(step) else set()
            elif read and (decided_by | step.needs | expression_reads(step)) & checks:
                origin = origin.model_copy(update={"around": read, "renewed": made.version})
                checks |= passes_on
        if origin != FIRST:
            found[step.id] = origin
    return found


def _checks(step: Step) -> bool:
    """Whether the step says what must hold before anything that waits for it runs."""
    return bool(step.success_criteria) or step.expected_output is not None


def _decided_by(step: Step, primary: str | None) -> frozenset[str]:
    """Steps that decide what the step is called with, or whether: those that it refers to, that its condition reads, or that it stands in for."""
    found = step.reads | ({primary} if primary is not None else set())
    if step.when is not None:
        with contextlib.suppress(ExpressionError):  # the compiler reports it
            found |= steps_read(step.when)
    return frozenset(found)


# ── as it is stored: what was read once, however many steps came after it ─────────────────────────────────────────────


def write_lineage(lineage: Lineage) -> dict[str, Any]:
    """As JSON: ``read`` holds each distinct list of sources, and each step the numbers of its two."""
    read: dict[tuple[Source, ...], int] = {}
    steps = {
        step_id: [origin.since, origin.renewed, *(read.setdefault(sources, len(read)) for sources in (origin.read, origin.around))]
        for step_id, origin in lineage.items()
    }
    return {"read": [[source.model_dump(mode="json", exclude_defaults=True) for source in sources] for sources in read], "steps": steps}


def read_lineage(document: Mapping[str, Any]) -> dict[str, Origin]:
    """Raises ValueError for what ``write_lineage`` did not write."""
    if not document:
        return {}
    try:
        read = [tuple(Source.model_validate(source) for source in sources) for sources in document["read"]]
        return {
            step_id: Origin(since=since, renewed=renewed, read=read[first], around=read[second])
            for step_id, (since, renewed, first, second) in document["steps"].items()
        }
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no lineage: {error}") from None
