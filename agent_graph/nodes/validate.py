"""``validate``: compile the plan against tools, policy and limits, and say whether a person is needed. It asks no model."""

from __future__ import annotations

from agent_graph.events import IssueFound, Note
from agent_graph.execution.asking import put
from agent_graph.identity import Digest, RunId, digest, new_id
from agent_graph.nodes.messages import request_message
from agent_graph.nodes.plan import waits_for_answer
from agent_graph.nodes.remarks import with_remarks
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan, Step
from agent_graph.policy.compiler import compile_plan
from agent_graph.policy.params import with_params
from agent_graph.policy.standing import standing_yes
from agent_graph.records import PlanRecord
from agent_graph.revision import compare
from agent_graph.state import State, Update
from agent_graph.trace.diagnosis import CAUSES
from agent_graph.verdicts import Approve, Call, Edit, Report, Request


def validate(state: State, visit: Visit) -> Update:
    store = visit.deps.store
    if visit.over:
        return {"next": "conclude", "why": "the run has ended" if visit.record.finished else "there is a reason to end it"}
    if waits_for_answer(visit) or store.approvals.decided(visit.run_id):
        return to_the_gate(visit, "a question waits, or a decision is to be acted on")
    if visit.current is None:
        visit.blame("no_plan", "there is no plan to validate")
        return {"next": "conclude", "why": "there is no plan"}
    if visit.revised:
        return {"next": "replan", "why": "the goal was revised"}
    say_policy(visit, visit.current)
    report = with_remarks(visit, compiled(visit))
    if visit.current.verdict is None:
        for issue in report.issues:
            visit.trace(IssueFound(run_id=visit.run_id, at=visit.now(), **issue.model_dump()))
    visit.judge_plan(report)
    if not report.valid:
        return refuse(visit, report)
    if gate_wanted(visit, report):
        ask(visit, report)
    waiting = [request for request in store.approvals.open(visit.run_id) if request.kind == "plan"]
    if waiting:
        return to_the_gate(visit, waiting[0].reason)
    store.runs.set_status(visit.lease, "running")
    return {"next": "execute", "why": "nothing in the plan needs a person before it starts"}


def compiled(visit: Visit) -> Report:
    checked = visit.deps.checked.pop(visit.run_id, None)
    if checked is not None and checked[0].digest == visit.plan.digest and not visit.frozen():
        return checked[1]
    return compile_plan(visit.plan, visit.deps.rules, visit.run_id, visit.so_far())


def say_policy(visit: Visit, current: PlanRecord) -> None:
    """A policy that was changed while the run waited counts from here on, and that is said."""
    policy = visit.deps.rules.policy
    visit.deps.store.policies.note(policy.digest, policy.model_dump_json(exclude_defaults=True))
    if current.verdict is not None and current.policy not in ("", policy.digest):
        visit.trace(
            Note(
                run_id=visit.run_id,
                at=visit.now(),
                message=f"the policy was changed: plan version {current.plan.version} had been checked against {current.policy[:12]}, and is "
                f"checked anew against {policy.name!r} ({policy.digest[:12]}); what has a yes keeps it, unless it is denied now",
            )
        )


def refuse(visit: Visit, report: Report) -> Update:
    """A plan with errors: the planner may try again, within bounds."""
    listed = "; ".join(str(issue) for issue in report.errors)
    if not visit.planner.can_replan and all(issue.code == "over_budget" for issue in report.errors):
        visit.overspent(f"the plan does not fit, and {visit.planner.name} cannot make another: {listed}")
    elif not visit.planner.can_replan:
        visit.blame(code_of(report), f"the plan cannot run, and {visit.planner.name} cannot make another: {listed}")
    elif repeated(visit, report):
        visit.blame("gave_up", f"{visit.planner.name} proposes what has failed, although it was told so: {listed}")
    elif visit.replans_left() == 0:
        visit.overspent(f"the planner has used its {visit.deps.rules.limits.max_replans} replans; the last plan cannot run: {listed}")
    else:
        return {"next": "replan", "why": listed}
    return {"next": "conclude", "why": listed}


def repeated(visit: Visit, report: Report) -> bool:
    """Whether the planner was sent back for proposing what had failed, and does so again."""
    before = None if visit.plan.parent is None else visit.deps.store.runs.plan(visit.run_id, visit.plan.parent)
    refused = () if before is None or before.verdict != "invalid" else before.issues
    return all(any(issue.code == "repeats_failure" for issue in each) for each in (refused, report.errors))


def code_of(report: Report) -> str:
    """Why a plan with errors ends the run: where the policy alone stands in its way, what the policy says."""
    codes = [issue.code for issue in report.errors]
    return codes[0] if all(CAUSES.get(code) == "policy" for code in codes) else "invalid_plan"


def gate_wanted(visit: Visit, report: Report) -> bool:
    """Whether a person must see this plan version before any of it runs."""
    store, plan = visit.deps.store, visit.plan
    if not report.review or store.approvals.decision(visit.run_id, plan_digest(visit.run_id, plan), "plan") is not None:
        return False
    if visit.deps.rules.policy.review_plans or uncovered(visit, report):
        return True
    asked, frozen = {call.step_id for call in report.calls}, visit.frozen()  # each of these calls has a yes of its own
    required = [step for step in plan.steps if step.approval == "required" and step.id not in frozen and step.id not in asked]
    return bool(required) and not agreed_before(visit, required)


def agreed_before(visit: Visit, steps: list[Step]) -> bool:
    """Whether a person said yes to a version before this one in which each of the steps was to do the very same.

    What nobody has decided is no yes, and of those who decided about a step, the last one counts.
    """
    store, plan, left = visit.deps.store, visit.plan, list(steps)
    parent = plan.parent
    while left and parent is not None:
        record = store.runs.plan(visit.run_id, parent)
        if record is None:
            return False
        earlier, parent = record.plan, record.plan.parent
        decided = store.approvals.decision(visit.run_id, plan_digest(visit.run_id, earlier), "plan")
        if decided is None:
            continue
        same = [step for step in left if earlier.by_id.get(step.id) == step and does_the_same(step, earlier, plan)]
        if same and not isinstance(decided.decision, Approve | Edit):
            return False
        left = [step for step in left if step not in same]
    return not left


def does_the_same(step: Step, before: Plan, after: Plan) -> bool:
    """Whether the parameters of the two goals, which a person may have revised, leave the step with the same arguments."""
    return with_params(step, before.goal.params) == with_params(step, after.goal.params)


def uncovered(visit: Visit, report: Report) -> tuple[Call, ...]:
    """The calls for which nobody has said yes, neither to them nor beforehand."""
    store, policy, now = visit.deps.store, visit.deps.rules.policy, visit.now()
    return tuple(
        call
        for call in report.calls
        if store.approvals.grant(visit.run_id, call.digest) is None
        and not (
            call.standing
            and standing_yes(store.grants, policy, visit.deps.tools.specs[call.tool], call.args, visit.plan.goal.principal, now)
        )
    )


def ask(visit: Visit, report: Report) -> None:
    now, ttl = visit.now(), visit.deps.rules.policy.approval_ttl_s
    request = Request(
        id=new_id(),
        run_id=visit.run_id,
        kind="plan",
        digest=plan_digest(visit.run_id, visit.plan),
        reason=f"{report.review}{changes(visit)}",
        asked=now,
        expires=None if ttl is None else now + ttl,
        plan_version=visit.plan.version,
        risk=report.risk,
        policy=report.policy,
        calls=uncovered(visit, report),
        remarks=tuple(issue for issue in report.issues if issue.code == "judge_remark"),
    )
    put(visit.deps.store, visit.lease, request, visit.trace)


def changes(visit: Visit) -> str:
    """What a version that revises another changed of it, for whoever is to agree; empty for the first."""
    if visit.before is None:
        return ""
    revision = compare(visit.before.plan, visit.plan, visit.frozen().keys())
    return f" — version {visit.plan.version} of the plan, in place of version {revision.before}: {revision}"


def to_the_gate(visit: Visit, why: str) -> Update:
    waiting = visit.deps.store.approvals.open(visit.run_id)
    visit.deps.store.runs.set_status(visit.lease, "paused" if waiting else "running")
    update: Update = {"next": "approve", "why": why}
    if waiting:
        update["asking"] = waiting[0].id
        update["messages"] = [request_message(waiting[0])]
    return update


def plan_digest(run_id: RunId, plan: Plan) -> Digest:
    """What a yes to a plan is bound to."""
    return digest(["plan", run_id, plan.digest])
