"""What a plan does for nothing: steps whose output nobody uses, and more steps than what is asked needs."""

from __future__ import annotations

from collections.abc import Mapping

from agent_graph.plan import Judge, Plan, Reference, Step, references
from agent_graph.policy.expressions import ExpressionError, steps_read
from agent_graph.policy.ordering import before
from agent_graph.policy.template import TemplateWrong, parsed
from agent_graph.policy.template import steps_read as template_reads
from agent_graph.ports import ToolSpec

LOOKUP_STEPS = 6
"""Reads from which a plan is held against what comes of them."""
LOOKUP_SHARE = 3
"""It is too much when fewer than one read in so many serves something."""


def idle_steps(plan: Plan, tools: Mapping[str, ToolSpec], needs: Mapping[str, frozenset[str]]) -> list[Step]:
    """Steps that serve nothing: they change nothing, and no answer, criterion or other step uses what they give.

    Of a plan that says what it is for; one without an answer gives its last step's output.
    """
    if plan.answer is None and not (plan.success_criteria or plan.goal.success_criteria):
        return []  # nothing says what is asked for
    used = _served(plan)
    for wanted in needs.values():
        used |= wanted
    used |= {step.fallback for step in plan.steps if step.fallback is not None}
    if plan.answer is None and plan.steps:
        used.add(plan.steps[-1].id)
    return [step for step in plan.steps if step.id not in used and not step.success_criteria and _only_looks(step, tools)]


def too_much(plan: Plan, tools: Mapping[str, ToolSpec], needs: Mapping[str, frozenset[str]]) -> str:
    """Why a plan reads a lot for what comes of it; empty when it does not."""
    reads = {step.id for step in plan.steps if _only_looks(step, tools)}
    if len(reads) < LOOKUP_STEPS or plan.answer is None:
        return ""
    serving = _served(plan) | {step.id for step in plan.steps if step.id not in reads}
    for step_id in list(serving):
        serving |= before(step_id, needs)
    serving &= reads
    if len(serving) * LOOKUP_SHARE >= len(reads):
        return ""
    many = "serves" if len(serving) == 1 else "serve"
    return f"{len(reads)} steps that only read, of which {len(serving)} {many} the answer, a criterion or a step that changes something"


def _served(plan: Plan) -> set[str]:
    """Steps that the answer and its template, the criteria of the whole, its assumptions and ``stop_when`` read; a judge reads all of them."""
    found = {step_id for _, text in references(plan.answer) if (step_id := Reference.parse(text).step) is not None}
    criteria = (*plan.goal.success_criteria, *plan.success_criteria)
    in_words = None if any(isinstance(text, Judge) for text in criteria) else _shown(plan.template)
    if in_words is None:
        return set(plan.by_id)
    for text in (*criteria, *plan.assumptions, plan.stop_when):
        if isinstance(text, str):
            found |= _read(text)
    return found | in_words


def _shown(template: str | None) -> set[str] | None:
    """Steps that the template reads; None: it reads them all."""
    if template is None:
        return set()
    try:
        return template_reads(parsed(template))
    except TemplateWrong:
        return set()  # the compiler reports it


def _read(expression: str) -> set[str]:
    try:
        return set(steps_read(expression))
    except ExpressionError:
        return set()  # the compiler reports it


def _only_looks(step: Step, tools: Mapping[str, ToolSpec]) -> bool:
    spec = tools.get(step.tool or "")
    return spec is not None and not spec.changes
