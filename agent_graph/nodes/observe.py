"""``observe``: hold what came against what the plan expected, and name what comes next. It calls no tool."""

from __future__ import annotations

from agent_graph.events import Observed
from agent_graph.execution.outcome import words
from agent_graph.execution.results import ENDED
from agent_graph.execution.triggers import broken
from agent_graph.nodes.extending import wants_more
from agent_graph.nodes.ladder import after_failure, plan_is_wrong, reason
from agent_graph.nodes.messages import progress_message, request_message
from agent_graph.nodes.verifying import unverified
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Step
from agent_graph.policy.spending import needs_of, overruns
from agent_graph.revision import named
from agent_graph.state import State, Update
from agent_graph.verdicts import Deviation, Observation, StepStatus


def observe(state: State, visit: Visit) -> Update:
    if visit.over or visit.current is None or visit.current.verdict != "valid":
        return {"next": "conclude", "why": "there is nothing to observe"}
    if visit.revised:
        return {"next": "replan", "why": "the goal was revised"}
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
        said = f"step {over.id} was not called: {reason(visit, over)}"
        if over.on_failure == "replan" and visit.planner.can_replan and visit.replans_left() > 0:
            return observation("replan", f"what is left of the budget does not suffice for the plan: {said}")
        visit.overspent(said, over.id)
        return observation("conclude", "a limit of the run is reached")
    halted = results.all_halted()
    if halted:
        following, why = after_failure(visit, halted)
        return observation(following, why)
    if visit.results.may_stop():
        return unverified(visit) or observation("conclude", f"stop_when holds: {plan.stop_when}{not_needed(visit)}")
    wrong = broken(results)
    if wrong:
        found += [Deviation(step_id=each.step_id, code="assumption_broken", message=words(each, visit.deps.redaction)) for each in wrong]
        told = "; ".join(words(each, visit.deps.redaction) for each in wrong)
        return observation(*plan_is_wrong(visit, "assumption_broken", told, wrong[0].step_id or None))
    asked = {name for request in open_requests for name in (request.step_id, request.part_of)}
    left = results.open_steps()
    free = [step for step in left if step.id not in asked and all(results.ended(need) for need in visit.flow.needs[step.id])]
    if free:
        before = visit.record.observation
        if before is not None and before.next == "execute" and before.came == came and before.expected == tuple(plan.by_id) and not asked:
            visit.blame("stuck", f"{', '.join(step.id for step in free)} may run, but nothing came of trying")
            return observation("conclude", "no step makes any progress")
        tight = too_tight(visit, left)
        if tight:
            found.append(Deviation(step_id=free[0].id, code="budget_pressure", message=tight))
            return observation("replan", f"what is left of the budget does not suffice for the plan: {tight}")
        return observation("execute", f"{len(free)} more may run now")
    if open_requests:
        return observation("approve", f"{len(open_requests)} waiting for a person")
    if left:
        visit.blame("stuck", f"{', '.join(step.id for step in left)} cannot run")
        return observation("conclude", "steps are left that cannot run")
    if wants_more(visit):
        return observation("replan", "what was planned has ended well, and the plan is open: it is planned on")
    return unverified(visit) or observation("conclude", "every step has ended")


def not_needed(visit: Visit) -> str:
    """The steps that an early stop leaves undone, in words."""
    left = [step.id for step in visit.results.open_steps()]
    return f"; not needed any more: {named(left)}" if left else ""


def too_tight(visit: Visit, left: list[Step]) -> str:
    """Why not even the least that the steps ``left`` need fits any more; empty when it does, or when nobody could make another plan.

    A version was held against the budget before it ran; what was tried again, or cost what nobody knew, has changed that since.
    """
    limits = visit.deps.rules.limits
    if not limits.bounds_calls or not visit.planner.can_replan or visit.replans_left() == 0:
        return ""
    needs = needs_of(visit.plan, left, visit.deps.tools.specs)
    return "; ".join(said for code, said in overruns(needs, limits, visit.spent(), limits.max_parallel) if code == "over_budget")


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
