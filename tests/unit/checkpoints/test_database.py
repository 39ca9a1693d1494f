"""One file, one writing connection: commits that are shared, refusals that are not, and files that cannot be used."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_graph.checkpoints import database as module
from agent_graph.checkpoints.database import Database
from agent_graph.checkpoints.migrations import LATEST
from agent_graph.checkpoints.sqlite import Saver
from agent_graph.errors import LeaseLost, StoreError, StoreTooNew, StoreUnreadable, UsageError


@pytest.fixture
def database(store_path: Path) -> Iterator[Database]:
    made = Database(store_path)
    made.write(lambda connection: connection.execute("CREATE TABLE notes (id TEXT PRIMARY KEY, n INTEGER CHECK (n >= 0))"))
    yield made
    made.close()


def note(name: str, n: int = 0) -> Callable[[sqlite3.Connection], Any]:
    return lambda connection: connection.execute("INSERT INTO notes VALUES (?, ?)", (name, n)).rowcount


def notes(database: Database) -> set[str]:
    return {row["id"] for row in database.rows("SELECT id FROM notes")}


def refuse(_: sqlite3.Connection) -> None:
    raise LeaseLost("taken over")


def half_then_refuse(connection: sqlite3.Connection) -> None:
    note("half")(connection)
    refuse(connection)


def at_once(*works: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ── commits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_many_writers_share_commits_and_nothing_is_lost(database: Database) -> None:
    writers, each = 8, 25
    before = database.commits

    def write(writer: int) -> None:
        for n in range(each):
            assert database.write(note(f"{writer}:{n}")) == 1

    with database._io:  # whoever holds the lock commits for all that queued up meanwhile
        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
        for thread in threads:
            thread.start()
        while len(database._queue) < writers:
            pass
    for thread in threads:
        thread.join()
    assert notes(database) == {f"{writer}:{n}" for writer in range(writers) for n in range(each)}
    assert database.commits - before < writers * each


def test_what_is_deferred_costs_no_commit_of_its_own(database: Database) -> None:
    before = database.commits
    for n in range(10):
        database.defer(note(str(n)))
    database.write(note("last"))
    assert database.commits - before == 1
    assert notes(database) == {*map(str, range(10)), "last"}


def test_a_commit_is_flushed_to_disk_when_one_of_its_works_asks_for_it(database: Database) -> None:
    commits, durable = database.commits, database.durable_commits
    database.write(note("a"), durable=False)
    assert (database.commits - commits, database.durable_commits - durable) == (1, 0)
    database.defer(note("b"), durable=False)
    database.write(note("c"), durable=True)
    assert (database.commits - commits, database.durable_commits - durable) == (2, 1)


def test_sqlite_is_told_to_flush_for_a_durable_commit_and_not_for_others(database: Database) -> None:
    seen = {}

    def look(name: str) -> Callable[[sqlite3.Connection], None]:
        return lambda connection: seen.update({name: connection.execute("PRAGMA synchronous").fetchone()[0]})

    database.write(look("durable"), durable=True)
    database.write(look("not"), durable=False)
    database.write(look("durable again"), durable=True)
    assert seen == {"durable": 2, "not": 1, "durable again": 2}  # FULL, NORMAL


def test_a_look_at_a_row_commits_nothing(database: Database) -> None:
    database.defer(note("queued"))
    before = database.commits
    assert notes(database) == set()
    assert database.commits == before


def test_flush_without_anything_to_do_commits_nothing(database: Database) -> None:
    before = database.commits
    database.flush()
    assert database.commits == before


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refused_work_takes_no_other_with_it(database: Database) -> None:
    database.defer(note("before"))
    with pytest.raises(LeaseLost):
        database.write(half_then_refuse)
    database.write(note("after"))
    assert notes(database) == {"before", "after"}


@pytest.mark.parametrize(
    "broken",
    [note("negative", -1), note("\udc80"), note("big", 2**70), lambda _: int("x")],
    ids=["constraint", "half a character", "number", "our own bug"],
)
def test_a_work_that_breaks_takes_no_other_with_it(database: Database, broken: Callable[[sqlite3.Connection], Any]) -> None:
    raised = []

    def write_it() -> None:
        try:
            database.write(broken)
        except Exception as error:
            raised.append(error)

    with database._io:
        breaking = threading.Thread(target=write_it)
        breaking.start()
        while not database._queue:
            pass
        database.defer(note("of another"))
        database.flush()
    breaking.join()
    assert len(raised) == 1
    assert notes(database) == {"of another"}


def test_flush_tells_the_thread_whose_deferred_work_was_refused(database: Database) -> None:
    told: list[str] = []

    def unlucky() -> None:
        database.defer(refuse)
        committed.wait()
        try:
            database.flush()
        except LeaseLost:
            told.append("unlucky")

    def lucky() -> None:
        while not database._queue:
            pass
        database.write(note("lucky"))  # commits for both
        database.flush()
        told.append("lucky")
        committed.set()

    committed = threading.Event()
    at_once(unlucky, lucky)
    assert told == ["lucky", "unlucky"]


def test_a_refusal_is_told_once(database: Database) -> None:
    database.defer(refuse)
    with pytest.raises(LeaseLost):
        database.flush()
    database.flush()


def test_closing_tells_of_a_refusal_and_closes_all_the_same(store_path: Path) -> None:
    made = Database(store_path)
    made.defer(refuse)
    with pytest.raises(LeaseLost):
        made.close()
    with pytest.raises(StoreError, match="closed"):
        made.rows("SELECT 1")


def test_whoever_writes_to_a_closed_store_is_told_so(store_path: Path) -> None:
    made = Database(store_path)
    made.close()
    with pytest.raises(StoreError, match="closed"):
        made.write(note("late"))


def test_after_a_failed_commit_the_next_one_works(database: Database, store_path: Path) -> None:
    def full(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    database.defer(note("lost with it"))
    with pytest.raises(StoreError, match="free some disk space"):
        database.write(full)
    with pytest.raises(StoreError, match="disk is full"):
        database.flush()
    database.write(note("fine"))
    assert notes(database) == {"fine"}


def test_a_disk_that_is_full_refuses_and_keeps_what_was_there(database: Database) -> None:
    database.write(note("kept"))
    pages = database.rows("PRAGMA page_count")[0][0]
    database.write(lambda connection: None)
    database._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="free some disk space"):
        database.write(lambda connection: connection.executemany("INSERT INTO notes VALUES (?, 1)", [(str(n) * 100,) for n in range(1000)]))
    assert notes(database) == {"kept"}


# ── other processes ───────────────────────────────────────────────────────────────────────────────────────────────────

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_store_that_another_process_locks_too_long_is_a_clear_error(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT", 0.2)
    ours = Database(store_path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(store_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=r"locked by another process.*nothing was written"):
            ours.write(lambda connection: connection.execute("CREATE TABLE t (x)"))
        other.communicate("\n")
    ours.write(lambda connection: connection.execute("CREATE TABLE t (x)"))
    ours.close()


WRITE = """
import sys
from agent_graph.checkpoints.database import Database
made = Database(sys.argv[1])
for n in range(50):
    made.write(lambda c: c.execute("INSERT INTO notes VALUES (?, 1)", (f"{sys.argv[2]}:{n}",)))
made.close()
"""


def test_processes_that_write_at_once_lose_nothing(database: Database) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, database.path, str(n)]) for n in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(notes(database)) == 150


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_file_is_made_only_where_that_is_wanted(store_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no store at"):
        Database(store_path, must_exist=True)
    assert not store_path.exists()


def test_a_file_that_is_no_database_is_refused(store_path: Path) -> None:
    store_path.write_text("not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreUnreadable, match="not a store"):
        Database(store_path)
    assert store_path.read_text().startswith("not a database")


def look(path: Path) -> None:
    with contextlib.closing(Database(path)) as made:
        made.rows("SELECT * FROM events")


@pytest.mark.parametrize("left", [0.3, 0.7])
def test_a_file_that_was_cut_off_is_refused(store_path: Path, left: float) -> None:
    Database(store_path).close()
    data = store_path.read_bytes()
    store_path.write_bytes(data[: int(len(data) * left)])
    with pytest.raises(StoreUnreadable, match="damaged"):
        look(store_path)


def test_an_empty_file_is_refused_where_a_store_is_expected(store_path: Path) -> None:
    store_path.touch()
    with pytest.raises(StoreUnreadable, match="is empty"):
        Database(store_path, must_exist=True)


def test_a_database_of_something_else_is_refused_and_left_alone(store_path: Path) -> None:
    with sqlite3.connect(store_path) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    other.close()
    before = store_path.read_bytes()
    with pytest.raises(StoreUnreadable, match=r"something else.*customers"):
        Database(store_path)
    assert store_path.read_bytes() == before


def test_a_file_with_langgraphs_own_tables_becomes_a_store(store_path: Path) -> None:
    Saver(str(store_path)).close()
    made = Database(store_path)
    tables = {row["name"] for row in made.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    made.close()
    assert tables >= {"checkpoints", "writes", "runs", "effects"}


def test_a_store_of_a_newer_version_is_refused(store_path: Path) -> None:
    made = Database(store_path)
    made.write(lambda connection: connection.execute(f"PRAGMA user_version = {LATEST + 1}"))
    made.close()
    with pytest.raises(StoreTooNew, match=f"schema {LATEST + 1}.*upgrade agent-graph"):
        Database(store_path)


def test_a_folder_is_refused_and_a_file_in_it_proposed(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreadable, match=r"is a folder.*runs\.db"):
        Database(tmp_path)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        Database(tmp_path / "file" / "runs.db")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_a_new_store_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "runs.db"
    made = Database(path)
    saver = Saver(str(path))
    made.write(lambda connection: connection.execute("CREATE TABLE t (x)"))
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {"runs.db": 0o600, "runs.db-wal": 0o600, "runs.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    saver.close()
    made.close()
