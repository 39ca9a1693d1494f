"""What a store holds is for its owner: modes of its files and folder, whatever the umask, and whatever was there before."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_graph.checkpoints.store import SqliteStore
from agent_graph.identity import RunId
from agent_graph.plan import Goal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def used(path: Path) -> dict[str, int]:
    """Modes of all files of a store while it is open and has been written to by both of its connections."""
    with SqliteStore(path) as store:
        store.runs.create(RunId("r"), Goal(text="x"), thread_id="r")
        store.checkpointer()
        return {each.name: mode(each) for each in path.parent.iterdir()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


OURS = {"runs.db": 0o600, "runs.db-wal": 0o600, "runs.db-shm": 0o600}


def test_a_new_store_in_a_new_folder_is_for_its_owner_only(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "far" / "away" / "runs.db"
    assert used(path) == OURS
    assert [mode(path.parent), mode(path.parent.parent)] == [0o700, 0o700]


def test_a_new_store_in_a_folder_that_was_there_is_for_its_owner_only_and_leaves_the_folder_alone(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    assert used(folder / "runs.db") == OURS
    assert mode(folder) == 0o755


def test_a_store_that_was_given_another_mode_keeps_it_and_its_log_has_the_same(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "runs.db"
    SqliteStore(path).close()
    path.chmod(0o640)
    assert used(path) == dict.fromkeys(OURS, 0o640)


def test_a_store_that_was_written_anew_keeps_its_mode(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "runs.db"
    with SqliteStore(path) as store:
        store.reclaim()
        assert {mode(each) for each in tmp_path.iterdir()} == {0o600}
    assert mode(path) == 0o600
