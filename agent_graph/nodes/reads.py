"""What a planner is about to read of a run: values from outside, and values that are not for everybody, have a say in what it proposes."""

from __future__ import annotations

from collections.abc import Iterator

from agent_graph.nodes.plan import params_read, reads_values
from agent_graph.nodes.visit import Visit
from agent_graph.policy.provenance import excerpt
from agent_graph.ports import Planner
from agent_graph.verdicts import Source


def read_by(planner: Planner, visit: Visit) -> tuple[Source, ...]:
    """What the planner is about to read that came from outside, or is not for everybody: the newest first, the rest by their number."""
    if not reads_values(planner):
        return ()
    plan, specs = visit.plan, visit.deps.tools.specs
    found = list(params_read(visit.record.goal, visit.deps.redaction))
    for step_id, result in sorted(visit.deps.store.ledger.results(visit.run_id).items(), key=lambda each: -(each[1].finished or 0.0)):
        step = plan.by_id.get(step_id)
        tool = result.provenance.source if result.provenance is not None else step.tool if step is not None else None
        spec = specs.get(tool or "")
        if result.status == "skipped" or tool in (None, "person"):
            continue
        given = result.output if result.output is not None else result.error.message if result.error is not None else None
        if given is None:
            continue
        what = f"steps.{step_id}.output"
        path = f"{tool} → {what} → the plan"
        inherits = result.provenance is not None and result.provenance.sensitive
        sensitive = inherits or (spec is not None and any(place.partition(".")[0] == "output" for place in spec.sensitive))
        if result.provenance is None or not result.provenance.trusted:
            said = "" if sensitive else excerpt(given)
            found.append(Source(label="untrusted", what=what, path=path, into="the plan", excerpt=said))
        if sensitive:
            found.append(Source(label="sensitive", what=what, path=path, into="the plan"))
    return tuple(told(found))


def told(found: list[Source]) -> Iterator[Source]:
    """Of each label at most so many, and how many more there are; the label counts, whichever are shown."""
    for label in ("untrusted", "sensitive"):
        mine = [source for source in found if source.label == label]
        yield from mine[:MOST_SOURCES]
        if len(mine) > MOST_SOURCES:
            more = f"{len(mine) - MOST_SOURCES} earlier outputs"
            yield Source(label=mine[0].label, what=more, path=f"{more} → the plan", into="the plan")


MOST_SOURCES = 12
"""Of one label that are shown with a step that was proposed after they had been read."""
