"""One driver per run: a lease with a rising fence.

A lease on this machine is judged by its owner's process (pid and start time), not by the clock: a dead owner frees the run at once, and
a clock that jumps changes nothing. Only for an owner on another machine, which cannot be asked, does the expiry count.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import sqlite3
from dataclasses import asdict
from pathlib import Path

import psutil

from agent_graph.checkpoints.database import Database
from agent_graph.errors import LeaseLost, RunBusy
from agent_graph.identity import RunId, new_id
from agent_graph.ports import Clock
from agent_graph.records import Fence, Lease, Owner

DURATION = 60.0
"""Seconds after which a silent owner on another machine loses its lease."""


class Leases:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def acquire(self, run_id: RunId, owner: Owner) -> Lease:
        """Raises RunBusy, naming the owner, when another driver holds the run."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> Fence:
            row = connection.execute("SELECT owner, expires FROM leases WHERE run_id = ?", (run_id,)).fetchone()
            if row is not None and row["owner"] is not None:
                holder = _read(row["owner"])
                if holder != owner and _alive(holder, row["expires"], now):
                    raise RunBusy(f"run {run_id} is being driven by {holder}; wait for it, or look at it with: agent-graph show {run_id}")
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
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE leases SET owner = NULL WHERE run_id = ? AND fence = ?", (lease.run_id, lease.fence)
            ),
            durable=False,
        )

    def holder(self, run_id: RunId) -> Owner | None:
        """Who drives the run now; None when nobody does, or its driver is dead."""
        row = self._database.row("SELECT owner, expires FROM leases WHERE run_id = ?", (run_id,))
        if row is None or row["owner"] is None:
            return None
        owner = _read(row["owner"])
        return owner if _alive(owner, row["expires"], self._clock.now()) else None


def check_fence(connection: sqlite3.Connection, lease: Lease) -> None:
    """Inside a transaction: refuse to write for a driver that was replaced."""
    row = connection.execute("SELECT fence, owner FROM leases WHERE run_id = ?", (lease.run_id,)).fetchone()
    if row is None or row["fence"] != lease.fence or row["owner"] is None:
        raise LeaseLost(f"run {lease.run_id} was taken over by another driver; this one stops without writing")


def new_owner(drive: str | None = None) -> Owner:
    """This process, as the owner of one drive."""
    host, started = _this_process(os.getpid())
    return Owner(host=host, pid=os.getpid(), started=started, drive=drive or new_id())


@functools.cache
def _this_process(pid: int) -> tuple[str, float]:
    # The pid is a key of the cache, so that a forked child asks anew.
    return _host(), _started(psutil.Process(pid))


def _started(process: psutil.Process) -> float:
    """Seconds from boot to the start of the process. Not the time of day: that of a living process changes when the clock is set."""
    try:
        after_name = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return int(after_name.split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):  # not Linux
        booted = 0.0 if psutil.WINDOWS else psutil.boot_time()
        return process.create_time() - booted


def _host() -> str:
    """A name under which pids mean the same: containers share a kernel, not their process ids."""
    parts = [platform.node() or "localhost"]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8])
    except OSError:
        parts.append(str(int(psutil.boot_time())))
    try:
        parts.append(str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]"))
    except OSError:
        parts.append("-")
    return "/".join(parts)


def _read(text: str) -> Owner:
    return Owner(**json.loads(text))


def _alive(owner: Owner, expires: float, now: float) -> bool:
    if owner.host != _this_process(os.getpid())[0]:
        return now < expires
    try:
        process = psutil.Process(owner.pid)
        return abs(_started(process) - owner.started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
