"""One driver per run: a lease with a rising fence.

A lease on this machine is judged by its owner's process (pid and start time), not by the clock: a dead owner frees the run at once, and
a clock that jumps changes nothing. Only for an owner on another machine, which cannot be asked, does the expiry count.
"""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import asdict, replace

from agent_graph.checkpoints.database import Database, reads_row
from agent_graph.checkpoints.owners import DEATH, alive, end, is_local, new_owner
from agent_graph.errors import LeaseLost, RunBusy
from agent_graph.identity import RunId
from agent_graph.ports import Clock
from agent_graph.records import Fence, Lease, Owner

__all__ = ["DURATION", "Leases", "check_fence", "new_owner"]

DURATION = 60.0
"""Seconds after which a silent owner on another machine loses its lease, by the clocks of both."""


class Leases:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._ended: set[str] = set()
        """Drives of this process that are over although the store could not be told: a disk that is full keeps no run busy."""

    def acquire(self, run_id: RunId, owner: Owner) -> Lease:
        """Raises RunBusy, naming the owner, when another driver holds the run, and StoreUnreadable when a sealed row of it is not as it was written."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> Fence:
            row = connection.execute("SELECT owner, expires FROM leases WHERE run_id = ?", (run_id,)).fetchone()
            if row is not None and row["owner"] is not None:
                holder = owner_in(row, run_id)
                if holder != owner and holder.drive not in self._ended and alive(holder, row["expires"], now):
                    raise RunBusy(_busy(run_id, holder, row["expires"] - now))
            if self._database.seals is not None:
                self._database.seals.take(connection, run_id)
            taken = connection.execute(
                """INSERT INTO leases (run_id, owner, fence, expires) VALUES (:run, :owner, 1, :expires)
                   ON CONFLICT (run_id) DO UPDATE SET owner = :owner, fence = fence + 1, expires = :expires RETURNING fence""",
                {"run": run_id, "owner": json.dumps(asdict(owner)), "expires": now + DURATION},
            ).fetchone()
            return Fence(taken["fence"])

        return Lease(run_id=run_id, owner=owner, fence=self._database.write(work))

    def renew(self, lease: Lease) -> None:
        """Push the expiry out. Raises LeaseLost."""
        expires = self._clock.now() + DURATION

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.execute("UPDATE leases SET expires = ? WHERE run_id = ?", (expires, lease.run_id))

        self._database.write(work, durable=False)

    def release(self, lease: Lease) -> None:
        """Let go, if it is still held; the fence stays, so that it keeps rising."""
        self._ended.add(lease.owner.drive)
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE leases SET owner = NULL WHERE run_id = ? AND fence = ?", (lease.run_id, lease.fence)
            ),
            durable=False,
        )
        self._ended.discard(lease.owner.drive)
        if self._database.seals is not None:
            self._database.seals.let_go(lease.run_id)

    def holder(self, run_id: RunId) -> Owner | None:
        """Who drives the run now; None when nobody does, or its driver is dead."""
        row = self._database.sealed_row("leases", "SELECT * FROM leases WHERE run_id = ?", (run_id,))
        if row is None or row["owner"] is None:
            return None
        owner = owner_in(row, run_id)
        return owner if owner.drive not in self._ended and alive(owner, row["expires"], self._clock.now()) else None

    def check(self, lease: Lease) -> None:
        """Raises LeaseLost when the run was taken over. Only a look: what writes is held against the fence in its own transaction."""
        hold_against(lease, self._database.row(_FENCE, (lease.run_id,)))

    def driven_by(self, owner: Owner) -> list[RunId]:
        """The runs that the owner's process drives: they all end with it."""
        rows = self._database.sealed_rows("leases", "SELECT * FROM leases WHERE owner IS NOT NULL ORDER BY run_id")
        return [
            RunId(row["run_id"]) for row in rows if replace(owner_in(row, row["run_id"]), drive=owner.drive, since=owner.since) == owner
        ]

    def evict(self, run_id: RunId, seen: Owner) -> bool:
        """End the process that was seen to hold the run, so that the run can be acquired. False: nobody holds it any more.

        The process ends with all that it does. Raises RunBusy when somebody else holds the run by now, and when the owner cannot be ended from here:
        it is this process, one on another machine whose lease has not expired, or another user's.
        """
        # Read without the write lock: a process may have been stopped while it held that, and is freed of it only by its end.
        row = self._database.sealed_row("leases", "SELECT * FROM leases WHERE run_id = ?", (run_id,))
        now = self._clock.now()
        if row is None or row["owner"] is None or not alive(holder := owner_in(row, run_id), row["expires"], now):
            return False
        if holder != seen:
            raise RunBusy(f"run {run_id} was taken over by {holder} since; nothing was ended: {_look(run_id)}")
        if not is_local(holder):
            raise RunBusy(
                f"{_busy(run_id, holder, row['expires'] - now)}; it cannot be ended from here: end it there, or take the run over after that"
            )
        if holder.pid == os.getpid():
            raise RunBusy(
                f"run {run_id} is driven by this very process ({holder}), which does not end itself: stop that drive, for example with agent.stop()"
            )
        try:
            gone = end(holder)
        except PermissionError:
            raise RunBusy(
                f"run {run_id} is driven by {holder}, which belongs to another user: take the run over as that user, or have it ended"
            ) from None
        if not gone:
            raise RunBusy(f"{holder} was killed and is not gone after {DEATH:g} s, since the system still waits for it; try again")
        return True


HELD = "EXISTS (SELECT 1 FROM leases WHERE run_id = :run AND fence = :fence AND owner IS NOT NULL)"
"""What ``check_fence`` looks for, as part of a statement that writes nothing otherwise."""

_FENCE = "SELECT fence, owner FROM leases WHERE run_id = ?"


def check_fence(connection: sqlite3.Connection, lease: Lease) -> None:
    """Inside a transaction: refuse to write for a driver that was replaced."""
    hold_against(lease, connection.execute(_FENCE, (lease.run_id,)).fetchone())


def hold_against(lease: Lease, row: sqlite3.Row | None) -> None:
    """Raises LeaseLost unless the row (``fence``, ``owner``) is the lease's."""
    if row is not None and row["fence"] == lease.fence and row["owner"] is not None:
        return
    by = owner_in(row, lease.run_id) if row is not None and row["fence"] != lease.fence and row["owner"] is not None else "another driver"
    raise LeaseLost(f"run {lease.run_id} was taken over by {by}; this one stops without writing. {_look(lease.run_id)}")


def _busy(run_id: RunId, holder: Owner, left: float) -> str:
    if is_local(holder):
        return (
            f"run {run_id} is being driven by {holder}; wait for it, look at it with: agent-graph show {run_id}, "
            f"or, if it hangs, end that process and go on with: agent-graph resume {run_id} --takeover"
        )
    return f"run {run_id} is being driven by {holder}, on another machine or in another container; its lease ends in {left:.0f} s unless it is renewed"


def _look(run_id: RunId) -> str:
    return f"Look at it with: agent-graph show {run_id}"


@reads_row("leases")
def owner_in(row: sqlite3.Row, run_id: RunId) -> Owner:
    """Who holds the lease."""
    return Owner(**json.loads(row["owner"]))
