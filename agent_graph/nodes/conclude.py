"""``conclude``: check the goal's criteria against evidence and write outcome and answer. It claims nothing that no evidence shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent_graph.cancellation import why
from agent_graph.events import Done
from agent_graph.execution.criteria import check, unmet
from agent_graph.execution.references import ReferenceError_, follow
from agent_graph.nodes.messages import answer_message
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Criterion, Reference, Step, is_reference
from agent_graph.policy.expressions import ExpressionError, steps_read
from agent_graph.policy.ordering import not_followed
from agent_graph.state import State, StoredStatus, Update
from agent_graph.trace.diagnosis import diagnose
from agent_graph.verdicts import Diagnosis


def conclude(state: State, visit: Visit) -> Update:
    """Computed anew from the ledger: a state that was edited to say "done" ends nothing."""
    record = visit.record
    if record.finished:
        return {"status": record.status, "answer": record.answer}
    if record.cancel_asked is not None:
        return end(visit, "cancelled", partial_answer(visit), why(visit.deps.store, record))
    if record.error is not None:
        return end(visit, "failed", partial_answer(visit), record.error)
    if visit.current is None or visit.current.verdict != "valid" or not complete(visit):
        return {"status": "interrupted"}  # somebody jumped here; the run can be resumed
    missed = unmet(check(criteria(visit), context(visit)))
    answer = resolved(visit, visit.plan.answer) if visit.plan.answer is not None else last_output(visit)
    if missed:
        return end(visit, "failed", answer, diagnose("goal_not_met", f"the goal's criteria do not hold: {'; '.join(missed)}"))
    for step, missing in left_open(visit):
        return end(visit, "failed", answer, diagnose("order_violated", missing, step.id))
    return end(visit, "succeeded", answer, None)


def complete(visit: Visit) -> bool:
    """Every step has ended in a way that the plan allows, or the plan says that it may stop."""
    results = visit.results
    if results.all_halted() or results.any_unsettled():
        return False
    return results.may_stop() or not results.open_steps()


def left_open(visit: Visit) -> Iterator[tuple[Step, str]]:
    """What an order rule wanted to follow a call, and did not: the plan had it, and it was skipped or failed."""
    results, tools, plan = visit.results, visit.deps.tools.specs, visit.plan

    def happened(step_id: str) -> bool:
        standing = results.standing(step_id)
        return standing is not None and standing.state == "done"

    return not_followed(
        plan,
        visit.deps.rules.policy.order,
        visit.flow.every_need,
        lambda step_id: tools.get(plan.by_id[step_id].tool or ""),
        happened,
        lambda step_id: results.status(step_id) == "succeeded",
    )


def criteria(visit: Visit) -> tuple[Criterion, ...]:
    return (*visit.plan.goal.success_criteria, *visit.plan.success_criteria)


def context(visit: Visit) -> dict[str, Any]:
    read: frozenset[str] = frozenset()
    for criterion in criteria(visit):
        try:
            read |= steps_read(criterion) if isinstance(criterion, str) else frozenset()
        except ExpressionError:
            continue
    goal = visit.plan.goal
    return {"steps": visit.results.view(read & visit.plan.by_id.keys()), "params": goal.params, "goal": goal.text}


def resolved(visit: Visit, value: Any) -> Any:
    """The answer with its references followed; what a skipped step would have given is null."""
    if is_reference(value):
        try:
            return follow(Reference.parse(value["$ref"]), visit.results.output, visit.plan.goal.params)
        except ReferenceError_:
            return None
    if isinstance(value, dict):
        return {key: resolved(visit, item) for key, item in value.items()}
    if isinstance(value, list):
        return [resolved(visit, item) for item in value]
    return value


def last_output(visit: Visit) -> Any:
    """Without an answer in the plan: what its last successful step gave."""
    for step in reversed(visit.plan.steps):
        if visit.results.status(step.id) == "succeeded":
            return visit.results.output(step.id)
    return None


def partial_answer(visit: Visit) -> Any:
    """Of a failed run: the plan's answer as far as evidence goes, when any of it is there."""
    if visit.current is None or visit.plan.answer is None or not visit.plan.steps:
        return None
    answer = resolved(visit, visit.plan.answer)
    parts = answer.values() if isinstance(answer, dict) else [answer]
    return answer if any(part is not None for part in parts) else None


def end(visit: Visit, status: StoredStatus, answer: Any, error: Diagnosis | None) -> Update:
    visit.deps.store.runs.finish(visit.lease, status, answer=answer, error=error)
    visit.trace(Done(run_id=visit.run_id, at=visit.now(), status=status, answer=answer, error=error.model_dump() if error else None))
    return {
        "status": status,
        "answer": answer,
        "messages": [answer_message(visit.run_id, status, answer, error.message if error else None)],
    }
