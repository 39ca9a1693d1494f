"""The goal's criteria: what code finds, and what a judge or a person says of those that code cannot check, before ``conclude`` ends the run."""

from __future__ import annotations

from typing import Any

from agent_graph.errors import CancelAsked
from agent_graph.execution.asking import put
from agent_graph.execution.criteria import check, checked, unmet
from agent_graph.execution.evidence import of_run
from agent_graph.execution.judge import Case
from agent_graph.execution.normalise import keep
from agent_graph.execution.references import resolve_answer
from agent_graph.execution.verifying import Verifying, filled_in
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Criterion, Judge
from agent_graph.policy.expressions import ExpressionError, steps_read
from agent_graph.verdicts import Evidence, Observation, Source


def unverified(visit: Visit) -> Observation | None:
    """Asked by ``observe`` before it says ``conclude`` of a run that has come to its end.

    Has the judge look at what no deterministic check stands against, and puts what stays open before a person. An observation that leads to
    ``approve`` when somebody is asked; None when nothing stands in the way of the end.
    """
    every = criteria(visit)
    if not any(isinstance(criterion, Judge) for criterion in every) or unmet(checked(every, check(every, context(visit)))):
        return None
    verifying, cases = judging(visit), goal_cases(visit, every)
    try:
        found = verifying.look(cases)
    except CancelAsked:
        return None
    open_ = [(case, known) for case, known in zip(cases, found, strict=True) if known.holds is None]
    if not open_ or any(known.holds is False for known in found):
        verifying.withdraw(cases)
        return None
    for case, known in open_:
        put(visit.deps.store, visit.lease, verifying.request(case, known, outside(visit)), visit.trace)
    came = {step.id: status for step in visit.plan.steps if (status := visit.results.status(step.id)) is not None}
    why = f"every step has ended; a person says whether this holds: {'; '.join(case.criterion for case, _ in open_)}"
    return Observation(expected=tuple(visit.plan.by_id), came=came, next="approve", why=why)


MOST_SOURCES = 12
"""Steps that are named beside what a person is to judge."""


def outside(visit: Visit) -> tuple[Source, ...]:
    """Whose words from outside a person is about to judge."""
    given = [step.id for step in visit.plan.steps if visit.results.way(step.id) == "good" and not visit.results.label(step.id).trusted]
    places = [f"steps.{step_id}.output" for step_id in given[:MOST_SOURCES]]
    places += [f"{len(given) - MOST_SOURCES} more"] if len(given) > MOST_SOURCES else []
    return tuple(Source(label="untrusted", what=place, path=f"{place} → the verdict", into="the verdict") for place in places)


def evidence(visit: Visit) -> tuple[Evidence, ...] | None:
    """Of the goal's criteria and the plan's, in their order, without asking anybody; None while somebody has still to say something."""
    every = criteria(visit)
    found = check(every, context(visit))
    if not any(isinstance(criterion, Judge) for criterion in every) or unmet(checked(every, found)):
        return tuple(checked(every, found))
    known = judging(visit).look(goal_cases(visit, every), ask=False)
    if all(each.holds is not False for each in known) and any(each.holds is None for each in known):
        return None
    return tuple(each for each in filled_in(found, known) if each.holds is not None)


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


def judging(visit: Visit) -> Verifying:
    return Verifying(visit.context(), lambda ask: visit.think(ask, "the judge"))


def answer_to_show(visit: Visit) -> Any:
    """The plan's answer, without secrets and without the parameters that are not for everybody."""
    goal = visit.plan.goal
    params = {name: NOT_SHOWN if name in goal.sensitive else value for name, value in goal.params.items()}
    answer = resolve_answer(visit.plan.answer, visit.results.output, params)
    return keep(answer, visit.deps.rules.limits.max_output_bytes, visit.deps.redaction).value


NOT_SHOWN = "(not shown: sensitive)"


def goal_cases(visit: Visit, every: tuple[Criterion, ...]) -> list[Case]:
    """The evidence of all is the same: what the steps gave, and what the run is about to answer."""
    shown = of_run(visit.plan, visit.results, answer_to_show(visit) if visit.plan.answer is not None else None)
    about = f"What a whole run gave: its steps, and what it is about to answer\nIts goal: {visit.plan.goal.text}"
    return [Case(criterion=each.judge, about=about, evidence=shown) for each in every if isinstance(each, Judge)]
