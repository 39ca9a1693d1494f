"""``replan``: ask for a new version. Steps that have ended stay as they are; nothing is edited in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent_graph.errors import BudgetExceeded, CancelAsked, Interrupted
from agent_graph.events import Note
from agent_graph.execution.outcome import words
from agent_graph.nodes.alternatives import another_tool, read_before
from agent_graph.nodes.extending import MOST_ASKS, NEXT, extended, new_steps, no_progress, reason, room, wants_more
from agent_graph.nodes.ladder import ask_what_to_do, may_ask
from agent_graph.nodes.messages import revision_message
from agent_graph.nodes.plan import asked, put_question
from agent_graph.nodes.reads import read_by
from agent_graph.nodes.reflection import approvals, attempts, why
from agent_graph.nodes.versions import keep, replaced
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan
from agent_graph.policy.nesting import lay_out
from agent_graph.ports import Answer, GiveUp, Question, ReplanningContext
from agent_graph.state import State, Update
from agent_graph.verdicts import Source


def replan(state: State, visit: Visit) -> Update:
    if visit.over or visit.current is None or (visit.current.verdict is None and not visit.revised):
        return {}  # the newest version is not validated yet: a crash came between writing it and leaving this node
    if wants_more(visit):
        return extend(visit)
    instead = another_tool(visit)
    if instead is not None:
        return take(visit, instead, read_before(visit, instead), instead.created_by)
    left = visit.replans_left()
    if not visit.planner.can_replan:
        visit.blame("gave_up", why(visit))
        return {}
    if left == 0 and not visit.revised:
        visit.overspent(f"no replan is left of {visit.deps.rules.limits.max_replans}: {why(visit)}")
        return {}
    read = read_by(visit.planner, visit)
    came = ask(visit, lambda: context(visit, why(visit), left))
    return take(visit, came, read, visit.planner.name)


def extend(visit: Visit) -> Update:
    """Ask for the next steps of a plan that is open."""
    read, problem, came = read_by(visit.planner, visit), "", None
    for _ in range(MOST_ASKS):
        said = reason(visit, problem)
        came = ask(visit, lambda said=said: context(visit, said, visit.replans_left(), extending=True))  # type: ignore[misc]
        if not isinstance(came, Plan):
            return take(visit, came, read, visit.planner.name)
        came = lay_out(came.model_copy(update={"goal": visit.record.goal}), visit.deps.blueprints)  # as the plan that it goes on from is
        problem = no_progress(visit.plan, came)
        if not problem:
            break
    else:
        visit.blame("stuck", f"{visit.planner.name} was asked {MOST_ASKS} times how the plan goes on; {problem}")
        return {}
    if room(visit) == 0 and new_steps(visit.plan, came):
        visit.overspent(f"the plan has {len(visit.plan.steps)} steps, as many as it may, and {visit.planner.name} wants more")
        return {}
    return take(visit, extended(visit.plan, came), read, visit.planner.name + NEXT)


def context(visit: Visit, because: str, left: int, *, extending: bool = False) -> ReplanningContext:
    assert visit.current is not None  # noqa: S101  # there is a version to revise
    results, gone = visit.deps.store.ledger.results(visit.run_id), visit.outdated()
    return ReplanningContext(
        **asked(visit),
        plan=as_it_ran(visit),
        results={step_id: result for step_id, result in results.items() if step_id not in gone} if gone else results,
        issues=visit.current.issues if visit.current.verdict == "invalid" else (),
        reason=because,
        replans_left=left,
        extending=extending,
        approvals=approvals(visit),
        attempts=attempts(visit),
    )


def as_it_ran(visit: Visit) -> Plan:
    """The newest version, with what has ended as it was: a version that wanted it otherwise was refused."""
    plan, frozen = visit.plan, visit.frozen()
    if all(frozen.get(step.id, step) == step for step in plan.steps):
        return plan
    return plan.model_copy(update={"steps": tuple(frozen.get(step.id, step) for step in plan.steps)})


def ask(visit: Visit, told: Callable[[], ReplanningContext]) -> Any:
    """What the planner answers; None when the run ends instead, and why is on record."""
    given = told()
    try:
        came = visit.think(lambda: visit.planner.replan(given))
    except CancelAsked:
        return None
    except BudgetExceeded as error:
        visit.overspent(str(error))
        return None
    except Interrupted:
        raise
    except Exception as error:
        visit.blame("planner_failed", f"the planner {visit.planner.name} failed: {type(error).__name__}: {error}")
        return None
    if isinstance(came, Answer):  # what has ended is enough: no step is left to do
        return Plan(goal=given.goal, answer=came.text, reason="what has come so far answers the goal")
    return came


def take(visit: Visit, came: Any, read: tuple[Source, ...], by: str) -> Update:
    match came:
        case None:
            pass
        case Plan():
            made, revision = keep(visit, came, read, by)
            return {"messages": [revision_message(visit.run_id, replaced(visit), made, revision)]}
        case Question():
            put_question(visit, came, read)
        case GiveUp(said):
            give_up(visit, f"{visit.planner.name} sees no way on: {said}")
        case _:
            visit.blame(
                "planner_failed",
                f"the planner {visit.planner.name} returned {type(came).__name__} instead of a Plan, a Question, an Answer or a GiveUp",
            )
    return {}


def give_up(visit: Visit, said: str) -> None:
    """The end, unless the policy wants a person asked about the step that failed."""
    assert visit.current is not None  # noqa: S101  # there is a version that its planner gave up
    halted = visit.results.all_halted() if visit.current.verdict == "valid" else []
    if halted and may_ask(visit, halted[0]):
        visit.trace(Note(run_id=visit.run_id, at=visit.now(), step_id=halted[0].id, message=words(said, visit.deps.redaction)))
        ask_what_to_do(visit, halted[0])
    else:
        visit.blame("gave_up", said)
