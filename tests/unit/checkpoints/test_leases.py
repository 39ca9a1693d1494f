"""Who drives, across real processes: a machine whose clock is set must not take a living owner for a dead one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent_graph.checkpoints import owners
from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import LeaseLost, RunBusy
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


# ── taking over ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def driven(store_path: Path) -> Iterator[tuple[SqliteStore, subprocess.Popen[str]]]:
    """A store, and the process that drives its run."""
    with SqliteStore(store_path) as store:
        store.runs.create(RUN, Goal(text="x"), thread_id="t")
        other = drive(store_path)
        yield store, other
        other.kill()
        other.communicate()


def holder(store: SqliteStore) -> Any:
    found = store.leases.holder(RUN)
    assert found is not None
    return found


@pytest.mark.parametrize("descriptors", [True, False], ids=["pidfd", "pid"])
def test_the_owner_that_was_seen_is_ended_and_the_run_is_free(
    driven: tuple[SqliteStore, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, descriptors: bool
) -> None:
    store, other = driven
    if not descriptors:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    other.send_signal(signal.SIGSTOP)
    assert store.leases.evict(RUN, holder(store))
    assert store.leases.acquire(RUN, new_owner()).fence == 2
    assert other.wait(10) == -signal.SIGKILL


def test_an_owner_that_was_not_seen_is_not_ended(driven: tuple[SqliteStore, subprocess.Popen[str]]) -> None:
    store, other = driven
    for seen in (replace(holder(store), drive="before"), replace(holder(store), since=1.0), new_owner()):
        with pytest.raises(RunBusy, match=f"taken over by process {other.pid} .* nothing was ended"):
            store.leases.evict(RUN, seen)
    assert other.poll() is None


@pytest.mark.parametrize("descriptors", [True, False], ids=["pidfd", "pid"])
def test_a_process_that_was_given_the_pid_of_the_owner_is_not_ended(
    driven: tuple[SqliteStore, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch, descriptors: bool
) -> None:
    _, other = driven
    if not descriptors:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    owner = replace(new_owner(), pid=other.pid, started=owners.started(psutil.Process(other.pid)) - 0.01)
    assert owners.end(owner)
    assert other.poll() is None


def test_a_process_does_not_end_itself(store_path: Path) -> None:
    with SqliteStore(store_path) as store:
        store.runs.create(RUN, Goal(text="x"), thread_id="t")
        lease = store.leases.acquire(RUN, new_owner())
        with pytest.raises(RunBusy, match="driven by this very process"):
            store.leases.evict(RUN, lease.owner)


def test_an_owner_of_another_user_is_told_of(driven: tuple[SqliteStore, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = driven

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse, raising=False)
    monkeypatch.setattr(owners, "_hold", os.pidfd_open)
    with pytest.raises(RunBusy, match=f"process {other.pid} .* belongs to another user"):
        store.leases.evict(RUN, holder(store))


def test_an_owner_elsewhere_is_not_ended_from_here(store_path: Path) -> None:
    with SqliteStore(store_path) as store:
        store.runs.create(RUN, Goal(text="x"), thread_id="t")
        far = store.leases.acquire(RUN, replace(new_owner(), host="elsewhere/1/2"))
        with pytest.raises(RunBusy, match=r"its lease ends in [56][0-9] s .* cannot be ended from here"):
            store.leases.evict(RUN, far.owner)


def test_nobody_is_ended_for_a_run_that_is_free(driven: tuple[SqliteStore, subprocess.Popen[str]]) -> None:
    store, other = driven
    seen = holder(store)
    other.communicate("\n")
    assert not store.leases.evict(RUN, seen)


def test_the_runs_of_one_process_are_found(driven: tuple[SqliteStore, subprocess.Popen[str]]) -> None:
    store, _ = driven
    for name in ("mine-1", "mine-2"):
        store.runs.create(RunId(name), Goal(text="x"), thread_id=name)
        store.leases.acquire(RunId(name), new_owner())
    assert store.leases.driven_by(new_owner()) == ["mine-1", "mine-2"]
    assert store.leases.driven_by(holder(store)) == [RUN]


def test_a_driver_that_was_replaced_is_told_by_whom_when_it_looks(store_path: Path) -> None:
    with SqliteStore(store_path) as store:
        store.runs.create(RUN, Goal(text="x"), thread_id="t")
        far = store.leases.acquire(RUN, replace(new_owner(), host="elsewhere/1/2"))
        store.leases.check(far)
        store.leases.acquire(RUN, far.owner)
        with pytest.raises(LeaseLost, match=r"taken over by process .* on elsewhere"):
            store.leases.check(far)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_fork_with_the_pid_of_a_dead_ancestor_does_not_take_its_start() -> None:
    code = (
        "import os; from agent_graph.checkpoints import owners; owners.new_owner(); "
        "pid = os.fork(); pid and os.wait(); print(owners._this_process.cache_info().currsize, flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]
