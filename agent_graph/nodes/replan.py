"""``replan``: ask for a new version. Steps that have ended stay as they are; nothing is edited in place."""

from __future__ import annotations

from collections.abc import Iterator

from agent_graph.errors import BudgetExceeded, CancelAsked, Interrupted
from agent_graph.events import Replanned
from agent_graph.nodes.messages import plan_message
from agent_graph.nodes.plan import asked, outline, params_read, put_question, reads_values
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan
from agent_graph.policy.lineage import lineage_of
from agent_graph.policy.provenance import excerpt
from agent_graph.ports import GiveUp, Planner, Question, ReplanningContext
from agent_graph.state import State, Update
from agent_graph.verdicts import Source


def replan(state: State, visit: Visit) -> Update:
    if visit.over or visit.current is None or visit.current.verdict is None:
        return {}  # the newest version is not validated yet: a crash came between writing it and leaving this node
    store = visit.deps.store
    left = visit.replans_left()
    if not visit.planner.can_replan or left == 0:
        if visit.planner.can_replan:
            visit.overspent(f"no replan is left of {visit.deps.rules.limits.max_replans}: {why(visit)}")
        else:
            visit.blame("gave_up", why(visit))
        return {}
    context = ReplanningContext(
        **asked(visit),
        plan=visit.plan,
        results=store.ledger.results(visit.run_id),
        issues=visit.current.issues if visit.current.verdict == "invalid" else (),
        reason=why(visit),
        replans_left=left,
    )
    read = read_by(visit.planner, visit)
    try:
        came = visit.think(lambda: visit.planner.replan(context))
    except CancelAsked:
        return {}
    except BudgetExceeded as error:
        visit.overspent(str(error))
        return {}
    except Interrupted:
        raise
    except Exception as error:
        visit.blame("planner_failed", f"the planner {visit.planner.name} failed: {type(error).__name__}: {error}")
        return {}
    match came:
        case Plan():
            return {"messages": [plan_message(visit.run_id, keep(visit, came, read))]}
        case Question():
            put_question(visit, came, read)
        case GiveUp(reason):
            visit.blame("gave_up", f"{visit.planner.name} sees no way on: {reason}")
        case _:
            visit.blame(
                "planner_failed",
                f"the planner {visit.planner.name} returned {type(came).__name__} instead of a Plan, a Question or a GiveUp",
            )
    return {}


def why(visit: Visit) -> str:
    """What made this necessary, from the ledger."""
    reasons = [str(issue) for issue in visit.current.issues if issue.severity == "error"] if visit.current else []
    for record in visit.deps.store.approvals.rejections(visit.run_id, visit.plan.version):
        said = getattr(record.decision, "reason", "") or "no reason given"
        what = f"step {record.request.step_id}" if record.request.step_id else "the plan"
        reasons.append(f"{what} was rejected by {record.by or 'a person'}: {said}")
    for step in visit.plan.steps:
        if visit.results.halted(step.id):
            result = visit.results.result(step.id)
            reasons.append(f"step {step.id} failed: {result.error.message if result and result.error else ''}")
    return "; ".join(reasons) or "a new plan was asked for"


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


def keep(visit: Visit, came: Plan, read: tuple[Source, ...] = ()) -> Plan:
    """Version n + 1: finished steps that the planner left out are carried over; changed ones are found by ``validate``."""
    store, frozen = visit.deps.store, visit.results.frozen()
    missing = tuple(step for step_id, step in frozen.items() if step_id not in came.by_id)
    made = came.model_copy(
        update={
            "goal": visit.record.goal,
            "steps": (*missing, *came.steps),
            "version": visit.plan.version + 1,
            "parent": visit.plan.version,
            "created_by": visit.planner.name,
            "reason": came.reason or why(visit),
        }
    )
    made = Plan.model_validate(made.document())  # digest and lookups are computed anew
    outdated = [request.id for request in store.approvals.open(visit.run_id) if request.kind in ("plan", "step")]
    store.approvals.close(visit.lease, outdated)
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
        )
    )
    return made
