"""What a run answers: the plan's answer with its references followed."""

from __future__ import annotations

from typing import Any

from agent_graph.execution.references import ReferenceError_, follow
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Reference, is_reference


def planned(visit: Visit) -> Any:
    """The plan's answer; without one, what its last successful step gave."""
    return resolved(visit, visit.plan.answer) if visit.plan.answer is not None else last_output(visit)


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
