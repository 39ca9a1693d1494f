"""Writing the next version of a plan: what has ended stays as it is, and what was asked about the old version is withdrawn."""

from __future__ import annotations

from agent_graph.events import Replanned
from agent_graph.nodes.plan import outline
from agent_graph.nodes.reflection import why
from agent_graph.nodes.remarks import remarks
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan
from agent_graph.policy.lineage import lineage_of
from agent_graph.policy.nesting import lay_out
from agent_graph.verdicts import Source


def keep(visit: Visit, came: Plan, read: tuple[Source, ...], by: str) -> Plan:
    """Version n + 1: finished steps that the planner left out are carried over; changed ones are found by ``validate``."""
    store, frozen = visit.deps.store, visit.results.frozen()
    came = lay_out(came.model_copy(update={"goal": visit.record.goal}), visit.deps.blueprints)
    missing = tuple(step for step_id, step in frozen.items() if step_id not in came.by_id)
    made = came.model_copy(
        update={
            "goal": visit.record.goal,
            "steps": (*missing, *came.steps),
            "version": visit.plan.version + 1,
            "parent": visit.plan.version,
            "created_by": by,
            "reason": came.reason or why(visit),
        }
    )
    made = Plan.model_validate(made.document())  # digest and lookups are computed anew
    outdated = [request.id for request in store.approvals.open(visit.run_id) if request.kind in ("plan", "step")]
    store.approvals.close(visit.lease, outdated)
    remarks(visit, made)
    visit.add_plan(made, lineage_of(made, read, visit.plan, visit.lineage, visit.deps.tools.specs))
    visit.trace(
        Replanned(
            run_id=visit.run_id,
            at=visit.now(),
            version=made.version,
            digest=made.digest,
            steps=outline(made.steps),
            count=len(made.steps),
            created_by=made.created_by,
            reason=made.reason,
            kept=sorted(frozen),
            prompt=made.prompt,
        )
    )
    return made
