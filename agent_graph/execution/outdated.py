"""What was read for a goal that a person has revised since: it was about other parameters, and is made again.

What has landed stays: an effect is not done a second time because it was done with the old value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_graph.identity import RunId
from agent_graph.plan import Goal, Step
from agent_graph.policy.touched import touched
from agent_graph.ports import Store
from agent_graph.records import Standing

RanWith = dict[int, dict[str, Any]]
"""By plan version the parameters of its goal, so that each version is read once."""


def outdated(store: Store, run_id: RunId, standings: Mapping[str, Standing], goal: Goal, known: RanWith) -> frozenset[str]:
    """Ids of the steps that have ended under a goal with other parameters, and would be another thing under ``goal``."""
    found: set[str] = set()
    for version in {standing.plan_version for standing in standings.values()}:
        plan = None
        if version not in known and (record := store.runs.plan(run_id, version)) is not None:
            plan, known[version] = record.plan, dict(record.plan.goal.params)
        if known.get(version, goal.params) == goal.params:
            continue
        if plan is None and (record := store.runs.plan(run_id, version)) is not None:
            plan = record.plan
        if plan is not None:
            held = {step.id for step in plan.steps if _is_held(store, standings, step)}
            found |= {step_id for step_id in touched(plan, goal, held) if (at := standings.get(step_id)) and at.plan_version == version}
    return frozenset(found)


def _is_held(store: Store, standings: Mapping[str, Standing], step: Step) -> bool:
    """Whether the step, or a call that it made, has changed something, or may have."""
    calls = [standings[step.id]] if step.id in standings else []
    if step.agent is not None:
        calls += [standing for step_id, standing in standings.items() if step_id.rpartition(".")[0] == step.id]
    return any((effect := store.ledger.effect(each.key)) is not None and effect.recovery is not None for each in calls)
