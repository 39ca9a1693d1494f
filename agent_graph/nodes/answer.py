"""What a run answers: the plan's answer with its references followed; in words, where the plan has a template or the agent a summarizer.

The goal's criteria have decided the outcome before a word of it is written, and whatever goes wrong with the words costs the answer nothing.
"""

from __future__ import annotations

from typing import Any

from agent_graph.errors import BudgetExceeded, ModelError, UsageError
from agent_graph.events import Note
from agent_graph.execution.normalise import keep
from agent_graph.execution.outcome import words
from agent_graph.execution.references import resolve_answer
from agent_graph.nodes.visit import Visit
from agent_graph.policy.template import TemplateWrong, parsed, steps_read


def written(visit: Visit) -> Any:
    """The answer of a run that has reached its goal. Raises CancelAsked and Interrupted while a model writes it."""
    plan = visit.plan
    answer = planned(visit)
    if plan.template is not None:
        return from_template(visit, plan.template, answer)
    if visit.deps.models.has("summarizer") and plan.steps and plan.mode != "inline":  # inline, a model has just written it
        return from_summarizer(visit, answer)
    return answer


def from_template(visit: Visit, template: str, answer: Any) -> Any:
    from agent_graph.execution.template import render

    plan, limits = visit.plan, visit.deps.rules.limits
    try:
        read = steps_read(parsed(template))
        named = plan.by_id.keys() if read is None else frozenset(read) & plan.by_id.keys()
        values = {"steps": visit.results.view(frozenset(named)), "params": plan.goal.params, "goal": plan.goal.text, "answer": answer}
        return storable(visit, render(template, values, limits.max_output_bytes), answer)
    except TemplateWrong as error:
        note(visit, f"the template of the answer could not be filled in, so the answer is the plan's own: {error}")
        return answer


def from_summarizer(visit: Visit, answer: Any) -> Any:
    from agent_graph.execution.summary import answer_of, summarize
    from agent_graph.models.client import Asking

    deps, plan = visit.deps, visit.plan

    def ask() -> Any:
        asking = Asking(meter=visit.meter(), run_id=visit.run_id, tell=visit.tell())
        return summarize(deps.models.of("summarizer"), plan, visit.results, asking)

    try:
        made = answer_of(visit.think(ask, "the summarizer"), answer if plan.answer is not None else None)
    except (BudgetExceeded, ModelError, UsageError) as error:
        note(visit, f"the summarizer could not write the answer, so it is the plan's own: {error}")
        return answer
    return storable(visit, made, answer)


def storable(visit: Visit, made: Any, instead: Any) -> Any:
    """What was written, without secrets. The goal's parameters are as the host gave them, and words may repeat them."""
    kept = keep(made, visit.deps.rules.limits.max_output_bytes, visit.deps.redaction)
    if kept.failure is not None:
        note(visit, f"what was written is not the answer, which is the plan's own: {kept.failure.message}")
        return instead
    return kept.value


def note(visit: Visit, message: str) -> None:
    visit.trace(Note(run_id=visit.run_id, at=visit.now(), message=words(message, visit.deps.redaction)))


def planned(visit: Visit) -> Any:
    """The plan's answer; without one, what its last successful step gave."""
    return resolved(visit, visit.plan.answer) if visit.plan.answer is not None else last_output(visit)


def resolved(visit: Visit, value: Any) -> Any:
    """The answer with its references followed; what a skipped step would have given is null."""
    return resolve_answer(value, visit.results.output, visit.plan.goal.params)


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
