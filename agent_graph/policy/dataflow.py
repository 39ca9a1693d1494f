"""Which step waits for which, and which matters most."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from agent_graph.plan import Plan, Step
from agent_graph.policy.expressions import ExpressionError, steps_read


@dataclass(frozen=True, slots=True)
class Dataflow:
    """Of the steps that are still to run; what has ended is only named where it is needed."""

    needs: Mapping[str, frozenset[str]]
    """By step, the steps that must have ended before it starts: ``depends_on``, references, and what ``when`` and criteria read."""
    followers: Mapping[str, tuple[str, ...]]
    """By step, the steps that need it."""
    rank: Mapping[str, int]
    """By step, the length of the longest chain that starts with it: the longest goes first."""
    fallback_of: Mapping[str, str]
    """By fallback step, the step that it stands in for."""
    order: Mapping[str, int]
    """By step, its place in the plan."""
    every_need: Mapping[str, frozenset[str]]
    """As ``needs``, of every step of the plan; empty unless it was asked for."""

    @classmethod
    def of(cls, plan: Plan, ended: Container[str] = (), *, every: bool = False) -> Dataflow:
        """For a plan that validates. Steps that are named but not there are left out. ``every``: ``every_need`` is wanted."""
        known = plan.by_id
        steps = [step for step in plan.steps if step.id not in ended]
        fallback_of = {step.fallback: step.id for step in plan.steps if step.on_failure.startswith("step:") and step.fallback in known}
        needs = {step.id: {need for need in step.needs | expression_reads(step) if need in known} - {step.id} for step in steps}
        for fallback, primary in fallback_of.items():
            if fallback in needs:
                needs[fallback] |= {primary} - {fallback}
        if fallback_of:
            # Whoever needs a step also waits for its fallback, which may have to stand in, and for the fallback's own.
            for step in steps:
                waits = list(needs[step.id])
                while waits:
                    stand_in = known[waits.pop()].fallback
                    if stand_in in known and stand_in not in needs[step.id] and stand_in not in _around(step, known):
                        needs[step.id].add(stand_in)
                        waits.append(stand_in)
        followers: dict[str, list[str]] = {}
        for step_id, wanted in needs.items():
            for need in wanted:
                followers.setdefault(need, []).append(step_id)
        order = {step.id: index for index, step in enumerate(steps)}
        rank: dict[str, int] = {}
        try:
            for step_id in reversed(_sorted(needs, order)):
                rank[step_id] = 1 + max((rank[each] for each in followers.get(step_id, ())), default=0)
        except CycleError:
            rank = dict.fromkeys(order, 1)  # refused by the compiler before anything runs
        return cls(
            needs={step_id: frozenset(wanted) for step_id, wanted in needs.items()},
            followers={step_id: tuple(each) for step_id, each in followers.items()},
            rank=rank,
            fallback_of=fallback_of,
            order=order,
            every_need={step.id: step.needs | expression_reads(step) - {step.id} for step in plan.steps} if every else {},
        )


def _around(step: Step, known: Mapping[str, Step]) -> Iterator[str]:
    """The step, and those whose nested plan it is part of: they wait for it."""
    at: Step | None = step
    seen: set[str] = set()
    while at is not None and at.id not in seen:
        seen.add(at.id)
        yield at.id
        at = known.get(at.part_of or "")


def _sorted(needs: Mapping[str, set[str]], order: Mapping[str, int]) -> list[str]:
    """Each step after those that it needs. The plan stands so already, unless a fallback is waited for. Raises CycleError."""
    if all(order.get(need, -1) < order[step_id] for step_id, wanted in needs.items() for need in wanted):
        return list(order)
    return [step_id for step_id in TopologicalSorter(needs).static_order() if step_id in order]


def expression_reads(step: Step) -> frozenset[str]:
    """Steps that ``when`` and the success criteria read."""
    found: frozenset[str] = frozenset()
    for text in step.success_criteria if step.when is None else (step.when, *step.success_criteria):
        if isinstance(text, str):
            try:
                read = steps_read(text)
            except ExpressionError:
                continue  # the compiler reports it
            found = found | read if found else read
    return found


def find_cycle(needs: Mapping[str, frozenset[str]]) -> list[str] | None:
    """One cycle as ``[a, b, a]``; None when there is none."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return None
