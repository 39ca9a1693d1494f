"""Writing the next version of a plan: what has ended stays as it is, and what was asked about the old version is withdrawn."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from agent_graph.events import Replanned
from agent_graph.execution.history import could_run
from agent_graph.nodes.plan import outline
from agent_graph.nodes.reflection import why
from agent_graph.nodes.remarks import remarks
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan, Step
from agent_graph.policy.dataflow import Dataflow
from agent_graph.policy.lineage import Lineage, Origin, lineage_of
from agent_graph.policy.nesting import lay_out
from agent_graph.revision import Revision, compare
from agent_graph.verdicts import Request, Source


def keep(visit: Visit, came: Plan, read: tuple[Source, ...], by: str) -> tuple[Plan, Revision]:
    """Version n + 1: finished steps that the planner left out are carried over; changed ones are found by ``validate``."""
    store, frozen = visit.deps.store, visit.frozen()
    came = lay_out(came.model_copy(update={"goal": visit.record.goal}), visit.deps.blueprints)
    made = came.model_copy(
        update={
            "goal": visit.record.goal,
            "steps": carried_over(visit.plan, frozen, came, visit.outdated()),
            "version": visit.plan.version + 1,
            "parent": visit.plan.version,
            "created_by": by,
            "reason": came.reason or why(visit),
        }
    )
    made = Plan.model_validate(made.document())  # digest and lookups are computed anew
    outdated = [request.id for request in store.approvals.open(visit.run_id) if is_outdated(request, visit.plan, made)]
    store.approvals.close(visit.lease, outdated)
    remarks(visit, made)
    ended = [step_id for step_id in frozen if not visit.results.unsettled(step_id)]
    visit.add_plan(made, settled(lineage_of(made, read, visit.plan, visit.lineage, visit.deps.tools.specs), ended))
    revision = compare(replaced(visit), made, frozen)
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
            dropped=list(revision.dropped),
            changed={step_id: list(fields) for step_id, fields in (*revision.changed.items(), ("", revision.plan)) if fields},
            added=list(revision.added),
            prompt=made.prompt,
        )
    )
    return made, revision


def is_outdated(request: Request, before: Plan, made: Plan) -> bool:
    """Whether a new version has no use for the answer: a question about a step stands while the step does, as it was."""
    about = request.part_of or request.step_id
    gone = request.kind == "question" and about is not None and made.by_id.get(about) != before.by_id.get(about)
    return request.kind in ("plan", "step") or gone


def replaced(visit: Visit) -> Plan:
    """What the next version takes the place of: the newest one, or the one before it where that was refused."""
    assert visit.current is not None  # noqa: S101  # a next one has one before it
    if visit.before is None or could_run(visit.current, visit.results.versions()):
        return visit.plan
    return visit.before.plan


def carried_over(plan: Plan, frozen: Mapping[str, Step], came: Plan, gone: Collection[str] = ()) -> tuple[Step, ...]:
    """What came, with the steps that have ended and are missing in it, each behind what it needs, and before those that are to stand in for one
    of these."""
    missing = [step for step_id, step in frozen.items() if step_id not in came.by_id]
    if gone:
        missing += [step for step in lost_inputs(plan, frozen, gone) if step.id not in came.by_id]
        order = list(plan.by_id)
        missing.sort(key=lambda step: order.index(step.id) if step.id in plan.by_id else -1)
    there, stand_ins, left = {*came.by_id, *(step.id for step in missing)}, list[Step](), list(missing)
    while left:
        other = plan.by_id.get(left.pop().fallback or "")
        if other is not None and other.id not in there:
            there.add(other.id)
            stand_ins.append(other)
            left.append(other)
    steps, needs, front = list(came.steps), Dataflow.of(plan).needs if missing else {}, 0
    for step in missing:
        behind = max((at for at, other in enumerate(steps, 1) if other.id in needs[step.id]), default=0)
        steps.insert(behind or front, step)
        front += not behind
    return (*steps, *stand_ins)


def lost_inputs(plan: Plan, frozen: Mapping[str, Step], gone: Collection[str]) -> list[Step]:
    """Of the steps that are to be made again, those that one which stays refers to: it could not stand in a plan without them."""
    needs, left, found = Dataflow.of(plan).needs, list(frozen), set[str]()
    while left:
        more = {need for need in needs.get(left.pop(), ()) if need in gone} - found
        found |= more
        left += more
    return [step for step in plan.steps if step.id in found]


def settled(lineage: Lineage, ended: Collection[str]) -> dict[str, Origin]:
    """Of a step that has ended it is kept that something had been read, and of which kind; not what, again in each later version."""
    return {step_id: _in_short(origin) if step_id in ended else origin for step_id, origin in lineage.items()}


def _in_short(origin: Origin) -> Origin:
    return origin.model_copy(update={"read": tuple(_kinds(origin.read)), "around": tuple(_kinds(origin.around))})


def _kinds(sources: tuple[Source, ...]) -> Iterator[Source]:
    said = "what was read then"
    for label in ("untrusted", "sensitive"):
        if any(source.label == label for source in sources):
            yield Source.model_validate({"label": label, "what": said, "path": f"{said} → the plan", "into": "the plan"})
