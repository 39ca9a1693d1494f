"""``observe``: hold what came against what the plan expected, and name what comes next. It calls no tool."""

from __future__ import annotations

from agent_graph.events import Observed
from agent_graph.execution.asking import put
from agent_graph.execution.results import ENDED
from agent_graph.identity import digest, new_id
from agent_graph.nodes.messages import progress_message, request_message
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Step
from agent_graph.state import State, Update
from agent_graph.verdicts import Deviation, Observation, Request, StepResult, StepStatus


def observe(state: State, visit: Visit) -> Update:
    if visit.over or visit.current is None or visit.current.verdict != "valid":
        return {"next": "conclude", "why": "there is nothing to observe"}
    seen = look(visit)
    waiting = visit.deps.store.approvals.open(visit.run_id)
    visit.deps.store.runs.set_status(visit.lease, "paused" if seen.next == "approve" and waiting else "running", seen)
    visit.trace(
        Observed(
            run_id=visit.run_id, at=visit.now(), next=seen.next, why=seen.why, deviations=[each.model_dump() for each in seen.deviations]
        )
    )
    ended = sum(status in ENDED for status in seen.came.values())
    messages = [progress_message(visit.run_id, visit.plan.version, ended, len(visit.plan.steps), seen.why)]
    update: Update = {"next": seen.next, "why": seen.why, "messages": messages}
    if seen.next == "approve" and waiting:
        update["asking"] = waiting[0].id
        messages.append(request_message(waiting[0]))
    return update


def look(visit: Visit) -> Observation:
    plan, results = visit.plan, visit.results
    came = {step.id: status for step in plan.steps if (status := results.statuses.get(step.id)) is not None}
    found = [deviation(visit, plan.by_id[step_id]) for step_id, status in came.items() if status in ("failed", "blocked", "in_doubt")]

    def observation(following: str, why: str) -> Observation:
        return Observation.model_validate(
            {"expected": tuple(plan.by_id), "came": came, "deviations": tuple(found), "next": following, "why": why}
        )

    open_requests = visit.deps.store.approvals.open(visit.run_id)
    decided = visit.deps.store.approvals.decided(visit.run_id)
    if decided:
        return observation("approve", "a decision is to be acted on")
    if any(request.kind == "in_doubt" for request in open_requests):
        return observation("approve", "it is not known whether an effect happened")
    over = overspent(visit, came)
    if over is not None:
        visit.overspent(f"step {over.id} was not called: {reason(visit, over)}", over.id)
        return observation("conclude", "a limit of the run is reached")
    halted = results.all_halted()
    if halted:
        following, why = after_failure(visit, halted)
        return observation(following, why)
    if visit.results.may_stop():
        return observation("conclude", f"stop_when holds: {plan.stop_when}")
    asked = {request.step_id for request in open_requests}
    left = results.open_steps()
    free = [step for step in left if step.id not in asked and all(results.ended(need) for need in visit.flow.needs[step.id])]
    if free:
        before = visit.record.observation
        if before is not None and before.next == "execute" and before.came == came and before.expected == tuple(plan.by_id) and not asked:
            visit.blame("stuck", f"{', '.join(step.id for step in free)} may run, but nothing came of trying")
            return observation("conclude", "no step makes any progress")
        return observation("execute", f"{len(free)} more may run now")
    if open_requests:
        return observation("approve", f"{len(open_requests)} waiting for a person")
    if left:
        visit.blame("stuck", f"{', '.join(step.id for step in left)} cannot run")
        return observation("conclude", "steps are left that cannot run")
    return observation("conclude", "every step has ended")


def overspent(visit: Visit, came: dict[str, StepStatus]) -> Step | None:
    """The first step that was not called because it did not fit into what is left."""
    if not visit.deps.rules.limits.bounds_calls:
        return None
    stopped = (step_id for step_id, status in came.items() if status == "blocked")
    standings = ((step_id, visit.results.standing(step_id)) for step_id in stopped)
    return next((visit.plan.by_id[step_id] for step_id, at in standings if at is not None and at.error_code == "budget_exceeded"), None)


def deviation(visit: Visit, step: Step) -> Deviation:
    result = visit.results.result(step.id)
    error = result.error if result is not None else None
    return Deviation(step_id=step.id, code=error.code if error else "failed", message=error.message if error else "")


def after_failure(visit: Visit, halted: list[Step]) -> tuple[str, str]:
    """The gravest of what the failed steps say: fail, then what the policy puts before a person, then replan, then ask."""
    for step in halted:
        if step.on_failure == "fail":
            return end_with(visit, step, "its on_failure says so")
    for step in halted:
        if step.on_failure == "replan" and exhausted(visit, step):
            ask_what_to_do(visit, step)
            return "approve", f"step {step.id} failed at every attempt, and policy {visit.deps.rules.policy.name!r} asks a person"
    for step in halted:
        if step.on_failure == "replan":
            if not visit.planner.can_replan:
                return end_with(visit, step, f"{visit.planner.name} cannot replan")
            if visit.replans_left() == 0:
                visit.overspent(
                    f"step {step.id} failed after {visit.deps.rules.limits.max_replans} replans: {reason(visit, step)}", step.id
                )
                return "conclude", "no replan is left"
            return "replan", f"step {step.id} failed: {reason(visit, step)}"
    ask_what_to_do(visit, halted[0])
    return "approve", f"step {halted[0].id} failed, and a person says what to do"


def exhausted(visit: Visit, step: Step) -> bool:
    """Whether the step's calls failed as often as they may, and the policy wants a person to know of it first."""
    spec = visit.deps.tools.specs.get(step.tool or "")
    result = visit.results.result(step.id)
    if spec is None or result is None or result.error is None or spec.risk not in visit.deps.rules.policy.escalate:
        return False
    return result.error.code in ("tool_failed", "timeout", "outcome_unknown")


def end_with(visit: Visit, step: Step, why: str) -> tuple[str, str]:
    result = visit.results.result(step.id)
    code = result.error.code if result is not None and result.error else "step_failed"
    visit.blame(code, f"step {step.id} failed: {reason(visit, step)}", step.id)
    return "conclude", f"step {step.id} failed, and {why}"


def reason(visit: Visit, step: Step) -> str:
    result = visit.results.result(step.id)
    return result.error.message if result is not None and result.error else "no reason is recorded"


def ask_what_to_do(visit: Visit, step: Step) -> None:
    result: StepResult | None = visit.results.result(step.id)
    standing = visit.results.standing(step.id)
    attempts = result.attempts if result is not None else 0
    effect = visit.deps.store.ledger.effect(standing.key) if standing is not None else None
    request = Request(
        id=new_id(),
        run_id=visit.run_id,
        kind="question",
        args=effect.args if effect is not None else None,
        risk=effect.risk if effect is not None else None,
        idempotency_key=effect.key if effect is not None and effect.recovery is not None else None,
        digest=digest(["failed", visit.run_id, visit.plan.version, step.id, attempts, standing.key if standing else ""]),
        reason=f"step {step.id} failed{f' after {attempts} attempts' if attempts > 1 else ''}: {reason(visit, step)}",
        asked=visit.now(),
        plan_version=visit.plan.version,
        step_id=step.id,
        tool=step.tool or step.kind,
        question=f"Step {step.id} failed. Approve to try it again, or reject to give it up.",
    )
    put(visit.deps.store, visit.lease, request, visit.trace)
