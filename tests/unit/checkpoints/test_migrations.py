"""The schema as numbered steps: from nothing, once, and by several processes at the same time."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from agent_graph.checkpoints.database import Database
from agent_graph.checkpoints.migrations import LATEST, MIGRATIONS, migrate

TABLES = {
    "runs",
    "plans",
    "effects",
    "approvals",
    "leases",
    "events",
    "policies",
    "grants",
    "usage",
    "seals",
    "usage_entries",
    "conversations",
    "judgements",
}


def tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def test_numbers_rise_by_one_and_names_carry_them() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(1, LATEST + 1))
    assert all(migration.name.startswith(f"m{migration.number:03}_") for migration in MIGRATIONS)


def test_a_fresh_store_has_every_table_and_the_latest_version() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "fresh")
    assert tables(connection) == TABLES
    assert connection.execute("PRAGMA user_version").fetchone()[0] == LATEST
    connection.close()


def test_migrating_again_changes_nothing() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "fresh")
    before = connection.total_changes, "".join(connection.iterdump())
    migrate(connection, "fresh")
    assert (connection.total_changes, "".join(connection.iterdump())) == before
    connection.close()


def test_a_migration_that_fails_leaves_nothing_behind() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE approvals (mine TEXT)")
    try:
        migrate(connection, "occupied")
    except sqlite3.OperationalError as error:
        assert "approvals" in str(error)  # noqa: PT017  # what is left behind is the point
    assert tables(connection) == {"approvals"}
    assert connection.execute("PRAGMA user_version").fetchone()[0] == 0
    connection.close()


OPEN = """
import sys, time
from pathlib import Path
from agent_graph.checkpoints.database import Database
print("ready", flush=True)
sys.stdin.readline()
Database(sys.argv[1]).close()
"""


def test_processes_that_open_a_new_store_at_once_all_succeed(tmp_path: Path) -> None:
    openers = []
    for n in range(4):
        path = tmp_path / f"{n // 2}.db"  # two processes each
        openers.append(subprocess.Popen([sys.executable, "-c", OPEN, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for opener in openers:
        assert opener.stdout is not None
        assert opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("\n")
        opener.stdin.flush()
    for opener in openers:
        opener.communicate()
    assert [opener.returncode for opener in openers] == [0] * 4
    for n in range(2):
        made = Database(tmp_path / f"{n}.db")
        assert {row["name"] for row in made.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")} == TABLES
        made.close()
