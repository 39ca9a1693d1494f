"""The end of a run that somebody cancels. Does not load LangGraph.

The wish is a row, so that it reaches a driver in any process: from then on no intent is written, and the driver lets the calls in flight end,
records them and ends the run. What nobody drives is ended at once, by whoever finds the wish.
"""

from __future__ import annotations

import time

from agent_graph.checkpoints.leases import new_owner
from agent_graph.errors import RunBusy, RunFinished
from agent_graph.events import Done, Note
from agent_graph.identity import RunId
from agent_graph.ports import Clock, Store
from agent_graph.records import Effect, Owner, RunRecord
from agent_graph.trace.diagnosis import diagnose
from agent_graph.verdicts import Diagnosis

WAIT = 10.0
"""Seconds for which a cancel waits for the driver."""

LOOK = 0.1
"""Seconds between two looks at a run that is driven elsewhere."""


def cancel(store: Store, clock: Clock, run_id: RunId, by: str | None, wait: float, seen: Owner | None = None) -> RunRecord:
    """Record the wish, and end the run or wait for its driver to do so. ``seen``: the owner that is to be killed first.

    Raises RunFinished for a run that has ended before, and RunBusy when it is still driven after ``wait`` seconds; the wish stays on record.
    """
    record = store.runs.get(run_id)
    if record.finished:
        raise RunFinished(f"run {record.id} has ended already: {record.status}")
    hindered = ""
    if seen is not None:
        try:
            if store.leases.evict(run_id, seen):
                store.events.add(Note(run_id=run_id, at=clock.now(), message=f"taken over from {seen}, which was killed"))
        except RunBusy as busy:
            hindered = f". It was not taken over: {busy}"
    if record.cancel_asked is None:
        record = store.runs.ask_cancel(run_id, by)
        store.events.add(Note(run_id=run_id, at=clock.now(), message=f"cancelled by {by or 'somebody'}"))
        store.flush()
    until = time.monotonic() + wait
    while not end_if_asked(store, clock, run_id):
        if time.monotonic() >= until:
            raise RunBusy(
                f"run {run_id} is to end, and {store.leases.holder(run_id) or 'its driver'} still drives it: it begins no call any more and stops "
                f"after those in flight{hindered or f'; to end a process that hangs: agent-graph cancel {run_id} --takeover'}"
            )
        time.sleep(min(LOOK, max(0.0, until - time.monotonic())))
    return store.runs.get(run_id)


def end_if_asked(store: Store, clock: Clock, run_id: RunId) -> bool:
    """End a run that is to end and that nobody drives. Whether it has ended."""
    record = store.runs.get(run_id)
    if record.finished:
        return True
    if record.cancel_asked is None:
        return False
    try:
        lease = store.leases.acquire(run_id, new_owner())
    except RunBusy:
        return False
    try:
        error = why(store, record)
        store.runs.finish(lease, "cancelled", error=error)
        store.events.add(Done(run_id=run_id, at=clock.now(), status="cancelled", error=error.model_dump()))
        store.flush()
    finally:
        store.leases.release(lease)
    return True


def why(store: Store, record: RunRecord) -> Diagnosis:
    """Who cancelled, and what is left open by it."""
    left = store.ledger.open_effects(record.id)
    return diagnose("cancelled", f"cancelled by {record.cancel_by or 'somebody'}{_open(left)}")


def _open(left: list[Effect]) -> str:
    if not left:
        return ""
    named = ", ".join(f"{effect.tool} of step {effect.step_id}" for effect in left)
    return f", with {len(left)} effect{'s' if len(left) != 1 else ''} whose outcome is not known: {named}"
