"""Success criteria against what came: a verdict each, with the values that it read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent_graph.execution.normalise import brief
from agent_graph.plan import Criterion, Judge
from agent_graph.policy.expressions import ExpressionError, evaluate, values_read
from agent_graph.verdicts import Evidence


def check(criteria: Iterable[Criterion], context: Mapping[str, Any]) -> tuple[Evidence, ...]:
    """Evaluate every criterion, also after one that does not hold."""
    return tuple([_check(criterion, context) for criterion in criteria])


def _check(criterion: Criterion, context: Mapping[str, Any]) -> Evidence:
    if isinstance(criterion, Judge):
        return Evidence(criterion=criterion.judge, holds=None, why="no judge has said so")
    values = {path: brief(value) for path, value in values_read(criterion, context).items()}
    try:
        found = evaluate(criterion, context)
    except ExpressionError as error:
        return Evidence(criterion=criterion, holds=None, values=values, why=str(error))
    if not isinstance(found, bool):
        return Evidence(criterion=criterion, holds=None, values=values, why=f"it gives {type(found).__name__}, not true or false")
    return Evidence(criterion=criterion, holds=found, values=values)


def checked(criteria: Iterable[Criterion], evidence: Iterable[Evidence]) -> list[Evidence]:
    """The evidence of the criteria that code can check."""
    return [each for criterion, each in zip(criteria, evidence, strict=True) if not isinstance(criterion, Judge)]


def unmet(evidence: Iterable[Evidence]) -> list[str]:
    """What did not hold or could not be evaluated, in words."""
    return [
        f"{each.criterion}: {each.why}" if each.why else f"{each.criterion} (saw {dict(each.values)})"
        for each in evidence
        if each.holds is not True
    ]
