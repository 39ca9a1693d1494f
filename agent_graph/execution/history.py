"""What has happened in a run before, as the plan compiler is told."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from agent_graph.errors import StoreUnreadable, UsageError
from agent_graph.execution.budget import spent_so_far
from agent_graph.execution.results import Results, landed_calls
from agent_graph.identity import RunId
from agent_graph.plan import Plan
from agent_graph.policy.compiler import Rules, SoFar
from agent_graph.policy.lineage import Origin, lineage_of, read_lineage
from agent_graph.policy.spending import Spent
from agent_graph.ports import Store
from agent_graph.records import PlanRecord
from agent_graph.revision import Revision, compare


def lineage(record: PlanRecord | None) -> dict[str, Origin]:
    """Of the steps of a version that a replan brought. Raises StoreUnreadable."""
    try:
        return {} if record is None else read_lineage(record.lineage)
    except ValueError as error:
        raise StoreUnreadable(
            f"where the steps of plan version {record.plan.version if record else 0} came from cannot be read ({str(error)[:200]}); nothing of it "
            "will run. See what else is damaged, with: agent-graph doctor; then restore the store from a copy"
        ) from None


def before_edit(store: Store, run_id: RunId, current: PlanRecord, made: Plan, rules: Rules, now: float) -> SoFar:
    """For ``made``, which a person wants as the next version: what they change is theirs, and what they leave as it was keeps its story."""
    return SoFar(
        frozen=Results(store, run_id, current.plan).frozen(),
        lineage=lineage_of(made, (), current.plan, lineage(current)),
        landed=landed_calls(store, run_id),
        spent=spent_so_far(store, run_id, rules.tools) if rules.limits.bounds_calls else Spent(),
        now=now,
    )


def replans_made(records: Sequence[PlanRecord], planner: str) -> int:
    """How many of a run's versions its planner has made after its first; one that it made because a person changed the goal is none of them."""
    goals = {record.plan.version: record.plan.goal for record in records}
    made = sum(
        record.plan.created_by == planner and goals.get(record.plan.parent or 0, record.plan.goal) == record.plan.goal for record in records
    )
    return max(0, made - 1)


def could_run(record: PlanRecord, ran: Collection[int]) -> bool:
    """Whether a version is valid; or was, before the policy was changed, and something of it ran. ``ran``: versions of which something did."""
    return record.verdict == "valid" or (record.verdict is not None and record.plan.version in ran)


def in_force_before(store: Store, run_id: RunId, record: PlanRecord, ran: Collection[int]) -> PlanRecord | None:
    """The newest version before this one that could run: what was refused in between has changed nothing. None when there is none."""
    before: PlanRecord | None = record
    while before is not None and before.plan.parent is not None:
        before = store.runs.plan(run_id, before.plan.parent)
        if before is not None and could_run(before, ran):
            return before
    return None


def revision_of(store: Store, run_id: RunId, version: int | None = None) -> tuple[Revision, Plan, Plan]:
    """What a version changed of the one that it takes the place of, and the two. ``version``: None for the newest. Raises UsageError."""
    after = store.runs.plan(run_id, version)
    if after is None:
        newest = store.runs.plan(run_id)
        there = f"the newest is version {newest.plan.version}" if newest is not None else "it has no plan yet"
        raise UsageError(f"run {run_id} has no plan version {version or 1}: {there}")
    ran = {standing.plan_version for standing in store.ledger.standings(run_id).values()}
    before = in_force_before(store, run_id, after, ran)
    if before is None and after.plan.parent is not None:
        before = store.runs.plan(run_id, after.plan.parent)
    if before is None:
        raise UsageError(f"plan version {after.plan.version} of run {run_id} is the first; it revises nothing")
    ended = {step_id for step_id, result in store.ledger.results(run_id).items() if result.plan_version <= before.plan.version}
    return compare(before.plan, after.plan, Results(store, run_id, before.plan).frozen().keys() & ended), before.plan, after.plan
