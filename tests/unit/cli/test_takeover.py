"""Whom ``--takeover`` ends, and whom it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from agent_graph.checkpoints import owners
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli.output import Out
from agent_graph.cli.takeover import owner_to_end
from agent_graph.errors import RunBusy
from agent_graph.identity import RunId
from agent_graph.plan import Goal

RUN = RunId("run-1")


def test_a_drive_that_began_after_the_command_was_given_is_not_meant(store_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(owners.new_owner(), pid=child.pid, started=owners.started(psutil.Process(child.pid)))
    with SqliteStore(store_path) as store:
        store.runs.create(RUN, Goal(text="x"), thread_id="t")
        assert owner_to_end(Out(), store, RUN) is None
        before = replace(owner, since=owners.command_given() - 1)
        lease = store.leases.acquire(RUN, before)
        assert owner_to_end(Out(), store, RUN) == before
        assert f"ending process {child.pid} on " in capsys.readouterr().out
        store.leases.release(lease)
        store.leases.acquire(RUN, owner)
        with pytest.raises(RunBusy, match="after this command was given; nothing was ended"):
            owner_to_end(Out(), store, RUN)
    child.communicate(b"\n")
