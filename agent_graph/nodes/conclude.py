"""``conclude``: check the goal's criteria against evidence and write outcome and answer. It claims nothing that no evidence shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent_graph.cancellation import why
from agent_graph.errors import CancelAsked
from agent_graph.events import Done
from agent_graph.execution.criteria import unmet
from agent_graph.execution.inner_made import Made, calls_made, tools_called
from agent_graph.nodes.answer import partial_answer, planned, written
from agent_graph.nodes.messages import answer_message
from agent_graph.nodes.verifying import evidence
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Step
from agent_graph.policy.ordering import not_followed
from agent_graph.policy.reasoned import not_followed_in
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
    found = evidence(visit)
    if found is None:
        return {"status": "interrupted"}  # the same: nobody has said yet whether a criterion holds that code cannot check
    missed = unmet(found)
    if missed:
        return end(visit, "failed", planned(visit), diagnose("goal_not_met", f"the goal's criteria do not hold: {'; '.join(missed)}"))
    for step, missing in left_open(visit):
        return end(visit, "failed", planned(visit), diagnose("order_violated", missing, step.id))
    try:
        return end(visit, "succeeded", written(visit), None)
    except CancelAsked:
        return end(visit, "cancelled", partial_answer(visit), why(visit.deps.store, visit.deps.store.runs.get(visit.run_id)))


def complete(visit: Visit) -> bool:
    """Every step has ended in a way that the plan allows, or the plan says that it may stop."""
    results = visit.results
    if results.all_halted() or results.any_unsettled():
        return False
    return results.may_stop() or not results.open_steps()


def left_open(visit: Visit) -> Iterator[tuple[Step, str]]:
    """What an order rule wanted to follow a call, and did not: the plan had it, and it was skipped or failed; or an agent ended without it."""
    results, tools, plan = visit.results, visit.deps.tools.specs, visit.plan

    def happened(step_id: str) -> bool:
        standing = results.standing(step_id)
        return standing is not None and standing.state == "done"

    yield from not_followed(
        plan,
        visit.deps.rules.policy.order,
        visit.flow.every_need,
        lambda step_id: tools.get(plan.by_id[step_id].tool or ""),
        happened,
        lambda step_id: results.status(step_id) == "succeeded",
    )
    if any(rule.followed_by is not None for rule in visit.deps.rules.policy.order):
        yield from _left_open_in_agents(visit)


def _left_open_in_agents(visit: Visit) -> Iterator[tuple[Step, str]]:
    """Of every plan version: an agent that was planned away has made its calls all the same, and steps that came after it may have followed."""
    results, store, plan = visit.results, visit.deps.store, visit.plan
    agents = {step.id: step for record in store.runs.plans(visit.run_id) for step in record.plan.steps if step.agent is not None}
    for step in agents.values():
        called = calls_made(results, step.id, tools_called(store.ledger, results, step.id))
        now = plan.by_id.get(step.id)
        if called and (now is None or now.agent is None):
            last = results.standing(called[-1][0])
            done = ((each, results.standing(each.id)) for each in plan.steps if results.status(each.id) == "succeeded")
            called += [
                Made(each.id, each.tool or "", succeeded=True, happened=True)
                for each, at in done
                if at and last and at.plan_version > last.plan_version
            ]
        missing = not_followed_in(called, visit.deps.rules)
        if missing:
            yield step, missing


def end(visit: Visit, status: StoredStatus, answer: Any, error: Diagnosis | None) -> Update:
    visit.deps.store.runs.finish(visit.lease, status, answer=answer, error=error)
    visit.trace(Done(run_id=visit.run_id, at=visit.now(), status=status, answer=answer, error=error.model_dump() if error else None))
    return {
        "status": status,
        "answer": answer,
        "messages": [answer_message(visit.run_id, status, answer, error.message if error else None)],
    }
