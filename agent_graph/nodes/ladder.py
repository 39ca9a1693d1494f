"""The way on after a failure, from the cheapest to the last. Retry and fallback were tried by the executor before anybody comes here: what is
left is another tool, another plan, a person, and the end."""

from __future__ import annotations

from agent_graph.execution.asking import put
from agent_graph.identity import digest, new_id
from agent_graph.nodes.alternatives import another_tool
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Step
from agent_graph.verdicts import Request, StepResult


def after_failure(visit: Visit, halted: list[Step]) -> tuple[str, str]:
    """The gravest of what the failed steps say: fail, then what the policy puts before a person, then replan, then ask."""
    asked = {request.step_id for request in visit.deps.store.approvals.open(visit.run_id)}
    for step in halted:
        if step.on_failure == "fail":
            return end_with(visit, step, "its on_failure says so")
    for step in halted:
        if step.id in asked:
            return "approve", f"step {step.id} failed, and a person says what to do"
    for step in halted:
        if step.on_failure == "replan" and exhausted(visit, step):
            ask_what_to_do(visit, step)
            return "approve", f"step {step.id} failed at every attempt, and policy {visit.deps.rules.policy.name!r} asks a person"
    instead = another_tool(visit)
    if instead is not None:
        return "replan", instead.reason
    for step in halted:
        if step.on_failure == "replan":
            return another_plan(visit, step)
    ask_what_to_do(visit, halted[0])
    return "approve", f"step {halted[0].id} failed, and a person says what to do"


def another_plan(visit: Visit, step: Step) -> tuple[str, str]:
    """A new version while there may be one; then a person, where the policy wants one asked; then the end."""
    if visit.planner.can_replan and visit.replans_left() > 0:
        return "replan", f"step {step.id} failed: {reason(visit, step)}"
    if may_ask(visit, step):
        ask_what_to_do(visit, step)
        return "approve", f"step {step.id} failed, no other plan can be made, and policy {visit.deps.rules.policy.name!r} asks a person"
    if not visit.planner.can_replan:
        return end_with(visit, step, f"{visit.planner.name} cannot replan")
    visit.overspent(f"step {step.id} failed after {visit.deps.rules.limits.max_replans} replans: {reason(visit, step)}", step.id)
    return "conclude", "no replan is left"


def may_ask(visit: Visit, step: Step) -> bool:
    """Whether a person is asked before a run ends that is stuck at this step: once, unless they wanted it tried again."""
    refused = visit.deps.store.approvals.rejections(visit.run_id, visit.plan.version)
    return visit.deps.rules.policy.ask_when_stuck and all(record.request.step_id != step.id for record in refused)


def plan_is_wrong(visit: Visit, code: str, said: str, step_id: str | None) -> tuple[str, str]:
    """No step failed, and the plan does not fit any more: another version, or the end with that reason."""
    if not visit.planner.can_replan:
        visit.blame(code, f"{said}, and {visit.planner.name} cannot replan", step_id)
        return "conclude", said
    if visit.replans_left() == 0:
        visit.overspent(f"no replan is left of {visit.deps.rules.limits.max_replans}: {said}", step_id)
        return "conclude", said
    return "replan", said


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
