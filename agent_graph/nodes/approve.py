"""``approve``: the only node that talks to a person. One ``interrupt``, and nothing with an effect before it.

The decision row is the authority. ``AgentGraph.resume`` records it before it wakes the graph; an answer that a chat UI sends is recorded
here. Each decision is acted on once.
"""

from __future__ import annotations

from typing import Any, Literal

from langgraph.types import interrupt

from agent_graph.errors import DecisionConflict, InvalidDecision, NothingPending
from agent_graph.events import Decided, Note
from agent_graph.execution.history import before_edit
from agent_graph.identity import StepId, call_digest
from agent_graph.nodes.edits import check_call_edit, check_edit, edited_plan
from agent_graph.nodes.gate import RECORDED, Unclear, payload, read_answer
from agent_graph.nodes.plan import plan_made
from agent_graph.nodes.validate import plan_digest
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan
from agent_graph.policy.approvers import may_not_approve
from agent_graph.policy.compiler import SoFar
from agent_graph.policy.lineage import FIRST, Lineage
from agent_graph.records import ApprovalRecord
from agent_graph.state import State, Update
from agent_graph.verdicts import Approve, Call, Edit, Reject, Request, Resolve, Respond

Way = Literal["execute", "validate", "replan", "plan", "approve", "conclude"]


def approve(state: State, visit: Visit) -> Update:
    if visit.over:
        return {"next": "conclude", "why": "the run has ended"}
    approvals = visit.deps.store.approvals
    decided = approvals.decided(visit.run_id)
    if not decided:
        waiting = approvals.open(visit.run_id)
        if not waiting:
            return {"next": "validate", "why": "what was asked has expired or was withdrawn"}
        shown = next((request for request in waiting if request.id == state.get("asking")), waiting[0])
        visit.deps.store.runs.set_status(visit.lease, "paused")
        problem = take(visit, interrupt(payload(shown, len(waiting))), shown)
        if problem is not None:
            approvals.again(visit.lease, shown.id, problem)
            return {"next": "approve", "why": problem, "asking": shown.id}
        decided = approvals.decided(visit.run_id)
    visit.deps.store.runs.set_status(visit.lease, "running")
    return act(visit, decided)


def take(visit: Visit, answer: Any, shown: Request) -> str | None:
    """Record what a UI answered. Returns what was wrong with it; None when there is a decision."""
    if isinstance(answer, dict) and answer.get(RECORDED) is True:
        return None if visit.deps.store.approvals.decided(visit.run_id) else "the decision that was announced is not on record"
    spec = visit.deps.tools.specs.get(shown.tool or "")
    try:
        schema = spec.args_schema if spec is not None else None
        plan = visit.current.plan if visit.current is not None else None
        decision = read_answer(answer, shown, visit.deps.rules.policy, schema, plan, sent_again=visit.sent_again)
        if visit.user is not None:
            decision = decision.model_copy(update={"by": visit.user})  # whatever the answer says
        if isinstance(decision, Edit):
            try_edit(visit, decision, shown)
        if not isinstance(decision, Reject | Respond):
            refused = may_not_approve(visit.deps.rules.policy, shown, decision.by, visit.record.goal.principal)
            if refused:
                return refused
        visit.deps.store.approvals.decide(visit.run_id, {shown.id: decision})
    except (Unclear, InvalidDecision, NothingPending) as error:
        return str(error)
    except DecisionConflict:
        return None  # somebody was first; that decision stands and is acted on
    return None


def act(visit: Visit, decided: list[ApprovalRecord]) -> Update:
    """Act on each decision; of where they lead, the most far-reaching counts."""
    ways: list[tuple[Way, str]] = []
    for record in decided:
        if record.decision is None:
            continue
        visit.trace(
            Decided(
                run_id=visit.run_id,
                at=record.decided or visit.now(),
                request_id=record.request.id,
                step_id=record.request.step_id,
                decision=record.decision.model_dump(mode="json", exclude_none=True) | ({"by": record.by} if record.by else {}),
            )
        )
        ways.append(follow(visit, record))
    if not ways:
        return {"next": "validate", "why": "there is no decision to act on"}
    following, why = min(ways, key=lambda way: _ORDER.index(way[0]))
    if visit.revised and following in ("execute", "approve"):
        return {"next": "validate", "why": f"{why}; the goal was revised"}
    if following == "execute" and visit.deps.store.approvals.open(visit.run_id) and blocked_by_gate(visit):
        waiting = visit.deps.store.approvals.open(visit.run_id)
        visit.deps.store.runs.set_status(visit.lease, "paused")
        return {"next": "approve", "why": f"{len(waiting)} more waiting", "asking": waiting[0].id}
    if following == "execute" and visit.current is not None and visit.current.policy not in ("", visit.deps.rules.policy.digest):
        return {"next": "validate", "why": f"{why}; the policy was changed since the plan was checked"}
    return {"next": following, "why": why}


_ORDER: tuple[Way, ...] = ("conclude", "replan", "plan", "validate", "approve", "execute")


def blocked_by_gate(visit: Visit) -> bool:
    """Whether a request is open that holds up everything: the plan's own, or the planner's question."""
    return any(
        request.kind == "plan" or (request.kind == "question" and request.step_id is None)
        for request in visit.deps.store.approvals.open(visit.run_id)
    )


def follow(visit: Visit, record: ApprovalRecord) -> tuple[Way, str]:
    approvals, request, decision = visit.deps.store.approvals, record.request, record.decision
    if isinstance(decision, Approve | Edit | Resolve):
        refused = may_not_approve(visit.deps.rules.policy, request, record.by, visit.record.goal.principal)
        if refused:  # it was looked at when it was recorded: the policy was changed since, or somebody went past us
            approvals.void(visit.lease, request.id)
            visit.trace(Note(run_id=visit.run_id, at=visit.now(), step_id=request.step_id, message=f"a yes does not count: {refused}"))
            return "validate", refused
    match decision:
        case Reject(stop=False) | Approve() if request.criterion is not None:
            approvals.handle(visit.lease, request.id)
            return "execute", f"a person said whether this holds: {request.criterion}"
        case Reject(stop=False) if request.part_of is not None:
            approvals.handle(visit.lease, request.id)
            return "execute", f"agent {request.part_of} is told that {request.step_id} was rejected"
        case Edit() if request.part_of is not None:
            return edit_call(visit, request, decision)
        case Reject():
            approvals.handle(visit.lease, request.id)
            return rejected(visit, record, decision)
        case Edit():
            return edit(visit, record, decision)
        case Approve() if request.kind == "plan":
            approvals.handle(visit.lease, request.id, grants=request.calls, expires=request.expires)
            return "execute", "the plan was approved"
        case Approve() if request.choices_are_verbs:
            standing = visit.results.standing(request.step_id or "")
            if standing is not None:
                visit.reopen(standing.key)
            approvals.handle(visit.lease, request.id)
            return "execute", f"step {request.step_id} is tried again"
        case Respond() if request.step_id is None:
            approvals.handle(visit.lease, request.id)
            return ("plan" if visit.current is None else "replan"), "the planner's question was answered"
        case Approve() | Respond() | Resolve() | None:
            approvals.handle(visit.lease, request.id)
            return "execute", f"step {request.step_id} was decided"


def rejected(visit: Visit, record: ApprovalRecord, decision: Reject) -> tuple[Way, str]:
    """The planner may try another way, unless the person wants to stop or nobody can."""
    request = record.request
    what = f"step {request.step_id}" if request.step_id else "the question" if request.kind == "question" else "the plan"
    said = f"{what} was rejected by {record.by or 'a person'}{': ' + decision.reason if decision.reason else ''}"
    if not decision.stop and visit.current is not None and visit.planner.can_replan and visit.replans_left() > 0:
        return "replan", said
    visit.blame("rejected", said, request.step_id)
    return "conclude", said


def try_edit(visit: Visit, decision: Edit, request: Request) -> None:
    """Raises InvalidDecision when the edited plan, or call of an agent, cannot run."""
    if request.part_of is not None:
        called(visit, decision, request)
        return
    made = edited_plan(visit.plan, decision, request, visit.plan.version + 1, visit.deps.blueprints)
    check_edit(made, visit.deps.rules, visit.run_id, so_far_of_edit(visit, made))


def so_far_of_edit(visit: Visit, made: Plan) -> SoFar:
    assert visit.current is not None  # noqa: S101  # what is edited is there
    return before_edit(visit.deps.store, visit.run_id, visit.current, made, visit.deps.rules, visit.now())


def edit(visit: Visit, record: ApprovalRecord, decision: Edit) -> tuple[Way, str]:
    """A new version, which the person who made it has approved: the edited call, or the edited plan with its calls."""
    store, request = visit.deps.store, record.request
    by = decision.model_copy(update={"by": record.by})
    made = edited_plan(visit.plan, by, request, visit.plan.version + 1, visit.deps.blueprints)
    try:
        so_far = so_far_of_edit(visit, made)
        report = check_edit(made, visit.deps.rules, visit.run_id, so_far)
    except InvalidDecision as error:
        # It was checked when it was recorded; tools or policy have changed since.
        store.approvals.handle(visit.lease, request.id)
        visit.blame("invalid_plan", str(error), request.step_id)
        return "conclude", str(error)
    if request.kind == "plan":
        grants, approved_plan = report.calls, plan_digest(visit.run_id, made)
    else:
        grants, approved_plan = (edited_call(visit, decision, request, so_far.lineage),), None
    visit.add_plan(made, so_far.lineage)
    store.approvals.handle(visit.lease, request.id, grants=grants, approved_plan=approved_plan, expires=request.expires)
    visit.trace(plan_made(made, visit.run_id, visit.now()))
    return "validate", "the plan was edited"


def edit_call(visit: Visit, request: Request, decision: Edit) -> tuple[Way, str]:
    """A yes to another call of an agent's than it had asked for."""
    try:
        grants: tuple[Call, ...] = (called(visit, decision, request),)
    except InvalidDecision as error:  # it was checked when it was recorded; tools or policy have changed since
        visit.deps.store.approvals.void(visit.lease, request.id)
        visit.trace(Note(run_id=visit.run_id, at=visit.now(), step_id=request.step_id, message=f"an edit does not count: {error}"))
        return "execute", f"{request.step_id} is asked again"
    visit.deps.store.approvals.handle(visit.lease, request.id, grants=grants, expires=request.expires)
    return "execute", f"{request.step_id} was edited"


def called(visit: Visit, decision: Edit, request: Request) -> Call:
    return check_call_edit(decision, request, visit.deps.rules, visit.run_id, visit.record.goal.principal, visit.now())


def edited_call(visit: Visit, decision: Edit, request: Request, lineage: Lineage) -> Call:
    """``lineage``: of the edited plan. An edit that changes nothing leaves the step its story, and is a yes to it all the same."""
    step_id = request.step_id or ""
    spec = visit.deps.tools.specs[request.tool or ""]
    args = dict(decision.args or {})
    bound = call_digest(visit.run_id, StepId(step_id), spec.name, spec.digest, args, lineage.get(step_id, FIRST).mark)
    return Call(step_id=step_id, tool=spec.name, args=args, risk=spec.risk, digest=bound, reason="edited and approved")
