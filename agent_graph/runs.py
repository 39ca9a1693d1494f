"""From the rows of the store to the ``Run`` that people are shown. Does not load LangGraph."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from agent_graph.identity import RunId
from agent_graph.ports import Store
from agent_graph.records import Effect, Owner, RunRecord, UsageEntry
from agent_graph.state import Run, RunStatus
from agent_graph.verdicts import Diagnosis, OpenEffect, Request


def read_run(store: Store, run_id: RunId, *, results: bool = True, plan: bool = True) -> Run:
    """The run as it stands in the ledger, or without what is not wanted. Raises UnknownRun."""
    record = store.runs.get(run_id)
    current = store.runs.plan(run_id) if plan else None
    waiting = not record.finished and record.cancel_asked is None
    requests = tuple(store.approvals.open(run_id)) if waiting else ()
    owner = None if record.finished else store.leases.holder(run_id)
    status = status_of(record, owner, requests)
    return Run(
        id=record.id,
        thread_id=record.thread_id,
        status=status,
        goal=record.goal,
        plan=current.plan if current is not None else None,
        risk=current.risk if current is not None else None,
        requests=requests,
        results=store.ledger.results(run_id) if results else {},
        open_effects=tuple(map(_open_effect, store.ledger.open_effects(run_id))) if results else (),
        landed=tuple(store.ledger.landed(run_id)) if results and status in ("failed", "cancelled") else (),
        observation=record.observation,
        answer=record.answer,
        error=record.error if status != "cancelled" or record.finished else _why_cancelled(store, record),
        usage={role: asdict(used) for role, used in store.usage.of(run_id).items()} if results else {},
        usage_entries=tuple(map(_usage_entry, store.usage.entries(run_id))) if results else (),
        owner=str(owner) if owner is not None else None,
        cancel_asked=record.cancel_asked,
        cancel_by=record.cancel_by,
        created=record.created,
        updated=record.updated,
    )


def _why_cancelled(store: Store, record: RunRecord) -> Diagnosis:
    from agent_graph.cancellation import why

    return why(store, record)


def status_of(record: RunRecord, owner: Owner | None, requests: tuple[Request, ...]) -> RunStatus:
    """``interrupted`` is derived: under way, nobody drives it, and nobody is asked. So is ``cancelled``, where a driver died before the end."""
    if record.finished:
        return record.status
    if owner is not None:
        return "running"
    if record.cancel_asked is not None:
        return "cancelled"
    return "paused" if record.status == "paused" and requests else "interrupted"


def _usage_entry(entry: UsageEntry) -> dict[str, Any]:
    named = {"role": entry.role, "model": entry.model, "step_id": entry.step_id, "plan_version": entry.plan_version}
    return named | asdict(entry.used)


def _open_effect(effect: Effect) -> OpenEffect:
    return OpenEffect(
        step_id=effect.step_id, tool=effect.tool, args=effect.args, key=effect.key, attempt=effect.attempt, started=effect.started
    )
