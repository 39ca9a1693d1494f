"""Which step waits for which, and which matters most: computed once per plan version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter

from agent_graph.plan import Plan, Step
from agent_graph.policy.expressions import ExpressionError, steps_read


@dataclass(frozen=True, slots=True)
class Dataflow:
    needs: Mapping[str, frozenset[str]]
    """By step, the steps that must have ended before it starts: ``depends_on``, references, and what ``when`` and criteria read."""
    reads: Mapping[str, frozenset[str]]
    """By step, the steps whose output its arguments refer to; without one of them it cannot run."""
    followers: Mapping[str, tuple[str, ...]]
    """By step, the steps that need it."""
    rank: Mapping[str, int]
    """By step, the length of the longest chain that starts with it: the longest goes first."""
    fallback_of: Mapping[str, str]
    """By fallback step, the step that it stands in for."""
    order: Mapping[str, int]
    """By step, its place in the plan."""

    @classmethod
    def of(cls, plan: Plan) -> Dataflow:
        """For a plan that validates. Steps that are named but not there are left out. Each node of a drive asks; it is computed once."""
        return _of(_ByDigest(plan))

    @classmethod
    def _of(cls, plan: Plan) -> Dataflow:
        known = plan.by_id
        reads = {step.id: step.reads & known.keys() for step in plan.steps}
        fallback_of = {step.fallback: step.id for step in plan.steps if step.fallback in known}
        needs = {step.id: {need for need in step.needs | expression_reads(step) if need in known} - {step.id} for step in plan.steps}
        for fallback, primary in fallback_of.items():
            needs[fallback] |= {primary} - {fallback}
        # Whoever needs a step also waits for its fallback, which may have to stand in, and for the fallback's own.
        for step in plan.steps:
            waits = list(needs[step.id])
            while waits:
                stand_in = known[waits.pop()].fallback
                if stand_in in known and stand_in not in needs[step.id] and stand_in != step.id:
                    needs[step.id].add(stand_in)
                    waits.append(stand_in)
        followers: dict[str, list[str]] = {step.id: [] for step in plan.steps}
        for step_id, wanted in needs.items():
            for need in wanted:
                followers[need].append(step_id)
        rank: dict[str, int] = {}
        try:
            for step_id in reversed(list(TopologicalSorter(needs).static_order())):
                rank[step_id] = 1 + max((rank[each] for each in followers[step_id]), default=0)
        except CycleError:
            rank = dict.fromkeys(known, 1)  # refused by the compiler before anything runs
        return cls(
            needs={step: frozenset(wanted) for step, wanted in needs.items()},
            reads=reads,
            followers={step: tuple(each) for step, each in followers.items()},
            rank=rank,
            fallback_of=fallback_of,
            order={step.id: index for index, step in enumerate(plan.steps)},
        )


@dataclass(frozen=True, slots=True, eq=False)
class _ByDigest:
    plan: Plan

    def __hash__(self) -> int:
        return hash(self.plan.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByDigest) and self.plan.digest == other.plan.digest


@lru_cache(maxsize=32)
def _of(key: _ByDigest) -> Dataflow:
    return Dataflow._of(key.plan)


def expression_reads(step: Step) -> frozenset[str]:
    """Steps that ``when`` and the success criteria read."""
    found: frozenset[str] = frozenset()
    for text in (step.when, *step.success_criteria):
        if isinstance(text, str):
            try:
                found |= steps_read(text)
            except ExpressionError:
                continue  # the compiler reports it
    return found


def find_cycle(needs: Mapping[str, frozenset[str]]) -> list[str] | None:
    """One cycle as ``[a, b, a]``; None when there is none."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return None
