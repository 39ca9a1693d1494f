"""Changing what a run is to do while it waits: its goal, constraints or parameters. What has landed stays; the rest is planned anew.

The new goal is on record before anything goes on. No version of a plan that was made for the old one runs after that: ``validate`` sends
it to ``replan``, and ``execute`` refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent_graph.checkpoints.leases import new_owner
from agent_graph.errors import RunFinished, UsageError
from agent_graph.events import Revised
from agent_graph.plan import Goal
from agent_graph.ports import Clock, Planner, Store
from agent_graph.records import RunRecord
from agent_graph.verdicts import Reject, Request

CHANGES = ("text", "constraints", "params", "success_criteria", "untrusted", "sensitive")


def revise(
    store: Store,
    clock: Clock,
    planner: Planner,
    record: RunRecord,
    goal: str | Goal | None,
    constraints: Iterable[str] | None,
    params: Mapping[str, Any] | None,
    by: str | None,
) -> None:
    """Put the new goal on record, and close the requests that were about the old one; what is in doubt is still asked.

    Raises UsageError and RunFinished before anything is changed, and RunBusy while somebody drives the run.
    """
    refuse_early(store, planner, record)
    wanted = planner.complete(goal_of(record.goal, goal, constraints, params))
    before, after = difference(record.goal, wanted)
    if not after:
        raise UsageError(f"nothing of run {record.id} would be changed: that is what it is to do already")
    lease = store.leases.acquire(record.id, new_owner())
    try:
        about_it = outdated(store, record)
        store.events.add(
            Revised(run_id=record.id, at=clock.now(), by=by, before=before, after=after, closed=[each.id for each in about_it])
        )
        store.runs.revise(lease, wanted, [each.id for each in about_it])
    finally:
        store.flush()
        store.leases.release(lease)


def refuse_early(store: Store, planner: Planner, record: RunRecord) -> None:
    if record.error is not None:
        raise RunFinished(f"run {record.id} is about to end: {record.error.message}; there is nothing to revise. Start another run")
    if record.checkpoint_ns:
        raise UsageError(f"run {record.id} is part of a larger graph, which alone can go on with it; give that graph a new goal")
    if record.plan_version and not planner.can_replan:
        raise UsageError(
            f"run {record.id} has a plan, and {planner.name} cannot make another for a new goal. Edit the plan at its gate, "
            "or cancel the run and start one with the new goal"
        )


def goal_of(was: Goal, goal: str | Goal | None, constraints: Iterable[str] | None, params: Mapping[str, Any] | None) -> Goal:
    """The goal as it will be. For whom the run acts stays, and so does what came from outside, or is not for everybody. Raises UsageError."""
    if isinstance(constraints, str) or not isinstance(constraints, Iterable | None):
        raise UsageError("constraints are a list of texts; for one, write constraints=['…']")
    if not isinstance(params, Mapping | None):
        raise UsageError(f"params={params!r} names no parameters; write params={{'name': value}}")
    changed: dict[str, Any] = was.model_dump(mode="json")
    if isinstance(goal, Goal):
        if goal.principal not in (None, was.principal):
            raise UsageError(
                f"the run acts for {was.principal or 'nobody named'}, from its start to its end; start another for {goal.principal}"
            )
        changed |= goal.model_dump(mode="json", exclude={"principal", "params", "untrusted", "sensitive"})
        changed["params"] = {**changed["params"], **goal.params}
        for marks in ("untrusted", "sensitive"):
            changed[marks] = sorted({*getattr(was, marks), *getattr(goal, marks)})
    elif goal is not None:
        changed["text"] = goal
    if constraints is not None:
        changed["constraints"] = list(constraints)
    changed["params"] = {**changed["params"], **(params or {})}
    return Goal.of(changed)


def difference(before: Goal, after: Goal) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was changed: as it was, and as it is. Of what is not for everybody, only that it was."""
    was, is_now = before.model_dump(mode="json"), after.model_dump(mode="json")
    changed = [name for name in CHANGES if was[name] != is_now[name]]
    pair = {name: was[name] for name in changed}, {name: is_now[name] for name in changed}
    for each in pair if "params" in changed else ():
        each["params"] = {
            name: NOT_SHOWN if name in after.sensitive else value
            for name, value in each["params"].items()
            if was["params"].get(name) != is_now["params"].get(name)
        }
    return pair


NOT_SHOWN = "(not shown: the parameter is sensitive)"


def outdated(store: Store, record: RunRecord) -> list[Request]:
    """The requests that are about the goal as it was. Raises UsageError when somebody has said that the run is to end."""
    decided = store.approvals.decided(record.id)
    if any(isinstance(each.decision, Reject) and each.decision.stop for each in decided):
        raise UsageError(f"somebody has decided that run {record.id} is to end; resume it, and it does")
    found = [*store.approvals.open(record.id), *(each.request for each in decided)]
    return [request for request in found if request.kind != "in_doubt"]
