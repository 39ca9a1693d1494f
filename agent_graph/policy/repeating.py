"""A new plan version that proposes what has just failed, or what a person has just refused, is sent back: nothing would come of it.

The same call is not the same once something new comes before it: a repair, a check, a wait. What may have been a passing trouble (an error of
a tool, a timeout) may be tried once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent_graph.identity import call_key, digest
from agent_graph.plan import Plan, Step
from agent_graph.verdicts import Issue

PASSING = frozenset({"tool_failed", "timeout"})
"""Codes of failures that may pass: the same call may be proposed again, once."""

OF_OUTPUTS = frozenset({"criteria_unmet", "unexpected_output", "empty_result"})
"""Codes of calls that were answered, and not as the step expected: with other expectations it is another step."""

CIRCUMSTANCES = frozenset(
    {"budget_exceeded", "stale_input", "order_violated", "condition_failed", "outcome_unknown", "in_doubt", "not_called"}
)
"""Codes that say nothing of the call itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A call that came to nothing in an earlier version."""

    step_id: str
    version: int
    said: str
    """Code and message, or who refused it and why."""
    after: Mapping[str, Step]
    """The steps that it had waited for, by id."""
    expected: str | None = None
    """Digest of what its step expected; None: that makes no difference."""
    refused: bool = False
    """By a person."""


def key_of(step: Step, args: Mapping[str, Any]) -> str:
    """Of what a step would do; ``args`` with their parameters filled in."""
    if step.tool is not None:
        return call_key(step.tool, dict(args))
    return digest([step.kind, getattr(step, step.kind), dict(args), step.executor, step.use_model, list(step.allowed_tools)])


def key_of_plan(plan: Plan) -> str:
    """Of what a plan would do and answer as a whole."""
    return digest(["plan", [step.model_dump(mode="json", exclude_defaults=True) for step in plan.steps], plan.answer])


def expected_of(step: Step) -> str:
    wanted = step.model_dump(mode="json", include={"expected_output", "success_criteria", "allow_empty"}, exclude_defaults=True)
    return digest(wanted)


def ancestors(plan: Plan, needs: Mapping[str, frozenset[str]], step_id: str) -> dict[str, Step]:
    """Every step that must have ended before this one, by id."""
    found: dict[str, Step] = {}
    left = list(needs.get(step_id, ()))
    while left:
        one = left.pop()
        if one not in found and one != step_id and one in plan.by_id:
            found[one] = plan.by_id[one]
            left.extend(needs.get(one, ()))
    return found


def repeats(
    plan: Plan, needs: Mapping[str, frozenset[str]], proposed: Sequence[tuple[Step, Mapping[str, Any]]], failed: Mapping[str, Failed]
) -> Iterator[Issue]:
    """``proposed``: the steps that are still to run, with their arguments; ``failed``: by ``key_of``."""
    if not failed:
        return
    whole = failed.get(key_of_plan(plan))
    if whole is not None:
        yield _issue(f"it is exactly the plan of version {whole.version}: {whole.said}", "plan it another way")
    for step, args in proposed:
        was = failed.get(key_of(step, args))
        if was is None or (was.expected is not None and was.expected != expected_of(step)):
            continue
        if not was.refused and (step.on_failure == "continue" or step.fallback is not None):
            continue  # it is known to fail, and the plan goes on without it
        if any(was.after.get(step_id) != one for step_id, one in ancestors(plan, needs, step.id).items()):
            continue
        yield _issue(
            f"it is exactly what came to nothing as step {was.step_id!r} of version {was.version}: {was.said}",
            "do it another way, or put before it what changes the outcome, and have it wait for that",
            step.id,
        )


def _issue(message: str, fix: str, step_id: str | None = None) -> Issue:
    return Issue(code="repeats_failure", step_id=step_id, message=message, fix=fix)
