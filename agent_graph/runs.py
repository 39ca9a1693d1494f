"""From the rows of the store to the ``Run`` that people are shown. Does not load LangGraph."""

from __future__ import annotations

from agent_graph.identity import RunId
from agent_graph.ports import Store
from agent_graph.records import Owner, RunRecord
from agent_graph.state import Run, RunStatus
from agent_graph.verdicts import Request


def read_run(store: Store, run_id: RunId, *, results: bool = True) -> Run:
    """The run as it stands in the ledger. Raises UnknownRun."""
    record = store.runs.get(run_id)
    current = store.runs.plan(run_id)
    requests = tuple(store.approvals.open(run_id)) if not record.finished else ()
    owner = None if record.finished else store.leases.holder(run_id)
    return Run(
        id=record.id,
        thread_id=record.thread_id,
        status=status_of(record, owner, requests),
        goal=record.goal,
        plan=current.plan if current is not None else None,
        risk=current.risk if current is not None else None,
        requests=requests,
        results=store.ledger.results(run_id) if results else {},
        observation=record.observation,
        answer=record.answer,
        error=record.error,
        owner=str(owner) if owner is not None else None,
        created=record.created,
        updated=record.updated,
    )


def status_of(record: RunRecord, owner: Owner | None, requests: tuple[Request, ...]) -> RunStatus:
    """``interrupted`` is derived: under way, nobody drives it, and nobody is asked."""
    if record.finished:
        return record.status
    if owner is not None:
        return "running"
    return "paused" if record.status == "paused" and requests else "interrupted"
