"""Who drives, across real processes: a machine whose clock is set must not take a living owner for a dead one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import RunBusy
from agent_graph.identity import RunId
from agent_graph.plan import Goal

RUN = RunId("run-1")

DRIVE = """
import sys
from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.store import SqliteStore
store = SqliteStore(sys.argv[1])
store.leases.acquire("run-1", new_owner())
store.flush()
print("driving", flush=True)
sys.stdin.readline()
import os
os._exit(9)   # no release
"""


def drive(path: Path) -> subprocess.Popen[str]:
    other = subprocess.Popen([sys.executable, "-c", DRIVE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "driving\n"
    return other


def test_a_run_is_busy_while_another_process_drives_it_and_free_once_that_is_gone(store_path: Path) -> None:
    with SqliteStore(store_path) as store:
        store.runs.create(RUN, Goal(text="x"), thread_id="t")
        other = drive(store_path)
        with pytest.raises(RunBusy, match=f"process {other.pid} "):
            store.leases.acquire(RUN, new_owner())
        other.communicate("\n")
        assert store.leases.acquire(RUN, new_owner()).fence == 2


def test_a_clock_that_was_set_does_not_make_a_living_owner_look_dead(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteStore(store_path) as store:
        store.runs.create(RUN, Goal(text="x"), thread_id="t")
        other = drive(store_path)
        # What the system says when the clock is set forward: the boot, and with it each process, seems to have been a day later.
        booted = psutil.boot_time()
        monkeypatch.setattr("psutil._psplatform.boot_time", lambda: booted + 86_400)
        with pytest.raises(RunBusy):
            store.leases.acquire(RUN, new_owner())
        other.communicate("\n")


def test_a_fork_is_another_owner() -> None:
    child = subprocess.run(
        [sys.executable, "-c", "from agent_graph.checkpoints.leases import new_owner; o = new_owner(); print(o.host, o.pid, o.drive)"],
        capture_output=True,
        text=True,
        check=True,
    )
    host, pid, drive_id = child.stdout.split()
    mine = new_owner()
    assert (host, int(pid) != mine.pid, drive_id != mine.drive) == (mine.host, True, True)
