"""Order rules: what must have succeeded before a call, and what must come after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from agent_graph.plan import Plan, Step
from agent_graph.policy.matching import Match, OrderRule
from agent_graph.ports import ToolSpec

Needs = Mapping[str, frozenset[str]]


def violations(
    plan: Plan, rules: tuple[OrderRule, ...], tools: Mapping[str, ToolSpec], needs: Needs, frozen: Mapping[str, Step]
) -> Iterator[tuple[Step, str]]:
    """Steps that do not keep to an order rule, and what is missing. What has ended is not asked to come after anything any more."""
    if not rules:
        return
    specs = {step.id: spec for step in plan.steps if (spec := tools.get(step.tool or "")) is not None}
    for rule in rules:
        for step in plan.steps:
            if step.id not in specs or not rule.matches(specs[step.id]):
                continue
            if rule.after is not None and step.id not in frozen and not _any(before(step.id, needs), specs, rule.after):
                yield step, f"{rule}: nothing that it waits for is {_said(rule.after)}"
            if rule.followed_by is not None and not any(
                rule.followed_by.matches(specs[other]) and step.id in before(other, needs) for other in specs if other != step.id
            ):
                yield step, f"{rule}: no later step that waits for it is {_said(rule.followed_by)}"


def not_yet(
    step: Step,
    spec: ToolSpec,
    rules: tuple[OrderRule, ...],
    needs: Needs,
    tool_of: Callable[[str], ToolSpec | None],
    succeeded: Callable[[str], bool],
) -> str:
    """At the call: what an order rule still misses; empty when nothing. A step that was skipped, or failed, has validated nothing."""
    for rule in rules:
        if rule.after is None or not rule.matches(spec):
            continue
        wanted = [need for need in before(step.id, needs) if (found := tool_of(need)) is not None and rule.after.matches(found)]
        if not any(map(succeeded, wanted)):
            return f"{rule}: {' and '.join(sorted(wanted)) + ' did not succeed' if wanted else 'no step before it'}, and {_said(rule.after)} must have"
    return ""


def not_followed(
    plan: Plan,
    rules: tuple[OrderRule, ...],
    needs: Needs,
    tool_of: Callable[[str], ToolSpec | None],
    happened: Callable[[str], bool],
    succeeded: Callable[[str], bool],
) -> Iterator[tuple[Step, str]]:
    """At the end: calls that were made and that nothing followed. A follower may have been skipped, failed, or come too late to run."""
    for rule in rules:
        if rule.followed_by is None:
            continue
        followers = [step.id for step in plan.steps if (found := tool_of(step.id)) is not None and rule.followed_by.matches(found)]
        for step in plan.steps:
            spec = tool_of(step.id)
            if spec is None or not rule.matches(spec) or not happened(step.id):
                continue
            if not any(succeeded(other) and step.id in before(other, needs) for other in followers):
                yield step, f"{rule}: step {step.id} was done, and {_said(rule.followed_by)} was to follow and did not succeed"


def before(step_id: str, needs: Needs) -> set[str]:
    """Every step that must have ended before this one starts."""
    found: set[str] = set()
    left = [step_id]
    while left:
        for need in needs.get(left.pop(), ()):
            if need not in found:
                found.add(need)
                left.append(need)
    return found - {step_id}


def _any(step_ids: set[str], specs: Mapping[str, ToolSpec], wanted: Match) -> bool:
    return any(step_id in specs and wanted.matches(specs[step_id]) for step_id in step_ids)


def _said(match: Match) -> str:
    return f"a call of {match}"
