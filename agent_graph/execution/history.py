"""What has happened in a run before, as the plan compiler is told."""

from __future__ import annotations

from agent_graph.execution.budget import spent_so_far
from agent_graph.execution.results import Results
from agent_graph.identity import RunId, call_key
from agent_graph.plan import Plan
from agent_graph.policy.compiler import Rules, SoFar
from agent_graph.policy.lineage import Origin, lineage_of
from agent_graph.policy.spending import Spent
from agent_graph.ports import Store
from agent_graph.records import PlanRecord


def landed_calls(store: Store, run_id: RunId) -> dict[str, tuple[str, int]]:
    """Effects that happened: by ``call_key``, the step and the plan version that made the call."""
    return {call_key(tool, args): (step_id, version) for tool, args, step_id, version in store.ledger.landed_calls(run_id)}


def lineage(record: PlanRecord | None) -> dict[str, Origin]:
    """Of the steps of a version that a replan brought."""
    return {} if record is None else {step_id: Origin.model_validate(origin) for step_id, origin in record.lineage.items()}


def before_edit(store: Store, run_id: RunId, current: PlanRecord, made: Plan, rules: Rules, now: float) -> SoFar:
    """For ``made``, which a person wants as the next version: what they change is theirs, and what they leave as it was keeps its story."""
    return SoFar(
        frozen=Results(store, run_id, current.plan).frozen(),
        lineage=lineage_of(made, (), current.plan, lineage(current)),
        landed=landed_calls(store, run_id),
        spent=spent_so_far(store, run_id, rules.tools) if rules.limits.bounds_calls else Spent(),
        now=now,
    )
