"""What makes a plan wrong although no call has failed: an empty result, and an assumption that turns out false."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agent_graph.execution.normalise import brief
from agent_graph.execution.results import Results
from agent_graph.policy.expressions import ExpressionError, evaluate, steps_read, values_read


def is_empty(output: Any) -> bool:
    """Null, or a text, list or object with nothing in it; blanks are nothing."""
    return output is None or (isinstance(output, str) and not output.strip()) or (isinstance(output, list | dict) and not output)


@dataclass(frozen=True, slots=True)
class Broken:
    """An assumption of the plan that is false."""

    text: str
    step_id: str
    """The last of the steps that it reads; empty where it reads none."""
    values: dict[str, Any]
    """What it saw, by path."""

    def __str__(self) -> str:
        saw = f" (saw {self.values})" if self.values else ""
        return f"the plan rests on {self.text}, and that is false{saw}"


def broken(results: Results, since: str | None = None) -> list[Broken]:
    """The plan's assumptions that are false on what has come so far. One whose steps have not all ended, or that cannot be evaluated, is not.

    ``since``: only those that read this step.
    """
    return list(_broken(results, since)) if results.plan.assumptions else []


def _broken(results: Results, since: str | None) -> Iterable[Broken]:
    plan = results.plan
    for text in plan.assumptions:
        try:
            read = steps_read(text)
            if (since is not None and since not in read) or not all(results.ended(step_id) for step_id in read):
                continue
            context = {"steps": results.view(read & plan.by_id.keys()), "params": plan.goal.params, "goal": plan.goal.text}
            if evaluate(text, context) is False:
                last = next((step.id for step in reversed(plan.steps) if step.id in read), "")
                yield Broken(text, last, {path: brief(value) for path, value in values_read(text, context).items()})
        except ExpressionError:
            continue  # what it reads is not there: its step failed or was skipped, which is looked at by itself
