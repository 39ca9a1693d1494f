"""Which steps of a plan would be another thing under a goal with other parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from agent_graph.plan import Goal, Plan, Step
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.expressions import paths_read


def touched(plan: Plan, goal: Goal, held: Collection[str] = ()) -> set[str]:
    """The steps of ``plan`` that read parameters which are others in ``goal``, and what reads those; ``held`` stay, and pass nothing on."""
    found = {step.id for step in plan.steps if step.id not in held and other_params(step, plan.goal, goal)}
    more = bool(found)
    while more:
        reading = {step.id for step in plan.steps if step.id not in found and step.id not in held and _reads(step, plan) & found}
        found |= reading
        more = bool(reading)
    return found


def other_params(step: Step, before: Goal, after: Goal) -> list[str]:
    """Names of the parameters that the step reads and that are others in ``after``."""
    return sorted(
        name for name in set(_params_read(step)) if name in before.params.keys() | after.params.keys() and _differs(name, before, after)
    )


def _differs(name: str, before: Goal, after: Goal) -> bool:
    return (name in before.params, before.params.get(name)) != (name in after.params, after.params.get(name))


def _params_read(step: Step) -> Iterator[str]:
    yield from (reference.param for _, reference in step.references if reference.param is not None)
    for text in (step.when, *step.success_criteria):
        if isinstance(text, str):
            yield from (str(path[1]) for path in paths_read(text) if len(path) > 1 and path[0] == "params")


def _reads(step: Step, plan: Plan) -> frozenset[str]:
    """Steps whose values have a say in this one, and those that may have stood in for them."""
    found = step.reads | expression_reads(step)
    stand_ins = {other.fallback for step_id in found if (other := plan.by_id.get(step_id)) is not None and other.fallback is not None}
    return found | stand_ins
