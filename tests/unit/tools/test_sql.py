"""What a query may not do, and what it is told."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_graph.tools.sql import MAX_BYTES, query_sqlite, reading


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "shop ?#.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER, item TEXT, price REAL)")
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", [(number, f"item {number}", number / 2) for number in range(1, 11)])
        connection.commit()
    return str(path)


def test_rows_come_as_objects_by_column(database: str) -> None:
    assert query_sqlite(database, "SELECT id, item FROM orders WHERE id <= 2 ORDER BY id") == {
        "columns": ["id", "item"],
        "rows": [{"id": 1, "item": "item 1"}, {"id": 2, "item": "item 2"}],
        "row_count": 2,
        "truncated": False,
        "notes": [],
    }


@pytest.mark.parametrize(
    ("query", "params"), [("SELECT item FROM orders WHERE id = ?", [3]), ("SELECT item FROM orders WHERE id = :id", {"id": 3})]
)
def test_values_are_bound(database: str, query: str, params: Any) -> None:
    assert query_sqlite(database, query, params)["rows"] == [{"item": "item 3"}]
    hostile = "' OR 1=1 --" if isinstance(params, list) else {"id": "' OR 1=1 --"}
    assert query_sqlite(database, query, [hostile] if isinstance(hostile, str) else hostile)["rows"] == []


@pytest.mark.parametrize(
    "query",
    [
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3) SELECT max(x) AS x FROM n",
        "VALUES (3)",
        "EXPLAIN SELECT * FROM orders",
        "PRAGMA table_info(orders)",
        "SELECT name FROM pragma_table_info('orders')",
        "SELECT name, sql FROM sqlite_master",
        "SELECT value FROM json_each('[1, 2]')",
        "SELECT id FROM orders;",
    ],
)
def test_reading_in_any_form_is_allowed(database: str, query: str) -> None:
    assert query_sqlite(database, query)["row_count"] > 0


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO orders VALUES (99, 'x', 1)",
        "UPDATE orders SET price = 0",
        "DELETE FROM orders",
        "DROP TABLE orders",
        "CREATE TABLE more (x)",
        "CREATE TEMP TABLE more (x)",
        "CREATE VIEW v AS SELECT 1",
        "ATTACH DATABASE 'other.db' AS other",
        "PRAGMA writable_schema = 1",
        "PRAGMA journal_mode = wal",
        "PRAGMA user_version = 5",
        "UPDATE sqlite_master SET sql = ''",
        "BEGIN",
        "VACUUM INTO 'copy.db'",
        "REINDEX",
        "SELECT load_extension('x')",
        "INSERT INTO orders VALUES (99, 'x', 1) RETURNING id",
    ],
)
def test_everything_else_is_refused_and_changes_nothing(database: str, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = Path(database).read_bytes()
    with pytest.raises(ValueError, match="shop"):
        query_sqlite(database, query)
    assert Path(database).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [Path(database).name]


@pytest.mark.parametrize("off", ["SELECT 1", "PRAGMA query_only = OFF"])
def test_the_file_itself_is_opened_for_reading_only(database: str, off: str) -> None:
    def past_the_authorizer() -> None:
        with reading(Path(database), timeout_s=1) as connection:
            connection.set_authorizer(None)
            connection.execute(off)
            connection.execute("DELETE FROM orders")

    with pytest.raises(ValueError, match="attempt to write a readonly database"):
        past_the_authorizer()


def test_a_connection_for_reading_says_so_itself(database: str) -> None:
    with reading(Path(database), timeout_s=1) as connection:
        connection.set_authorizer(None)
        assert connection.execute("PRAGMA query_only").fetchone() == (1,)
        assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)


def test_a_refusal_names_what_was_wanted(database: str) -> None:
    with pytest.raises(ValueError, match=r"only reading is allowed, and this statement wants to DELETE \(orders\); write one SELECT"):
        query_sqlite(database, "DELETE FROM orders")


@pytest.mark.parametrize(
    ("query", "params", "said"),
    [
        ("SELECT 1; SELECT 2", None, "more than one statement"),
        ("SELECT colour FROM orders", None, "no such column: colour"),
        ("SELEC 1", None, "syntax error"),
        ("SELECT ?", None, "params do not fit"),
        ("SELECT :a", {"b": 1}, "params do not fit"),
        ("", None, "returns no rows"),
    ],
)
def test_a_wrong_query_says_what_is_wrong(database: str, query: str, params: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        query_sqlite(database, query, params)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at" * 100)
    with pytest.raises(ValueError, match="file is not a database"):
        query_sqlite(str(path), "SELECT 1 FROM t")
    with pytest.raises(ValueError, match="there is no such database file"):
        query_sqlite(str(tmp_path / "none.db"), "SELECT 1")
    assert not (tmp_path / "none.db").exists()


def test_a_query_without_end_is_ended(database: str) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with pytest.raises(ValueError, match=r"took longer than 0\.2 s"):
        query_sqlite(database, endless, timeout_s=0.2)


def test_a_value_too_large_for_memory_is_refused(database: str) -> None:
    with pytest.raises(ValueError, match="too big"):
        query_sqlite(database, "SELECT zeroblob(1000000000)")


def test_rows_beyond_the_cap_are_cut_off_and_said(database: str) -> None:
    found = query_sqlite(database, "SELECT id FROM orders", max_rows=4)
    assert (found["row_count"], found["truncated"]) == (4, True)
    assert found["notes"] == ["cut off after 4 rows (max_rows = 4): there are 6 more; narrow or aggregate the query"]
    exact = query_sqlite(database, "SELECT id FROM orders", max_rows=10)
    assert (exact["row_count"], exact["truncated"], exact["notes"]) == (10, False, [])


def test_bytes_beyond_the_cap_are_cut_off_and_said(database: str) -> None:
    many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 1000) SELECT x, hex(zeroblob(1000)) AS h FROM n"
    found = query_sqlite(database, many, max_rows=1000)
    assert found["truncated"]
    assert len(json.dumps(found)) < MAX_BYTES + 1000
    assert f"{MAX_BYTES:,} bytes" in found["notes"][0]


def test_what_json_does_not_know_is_written_otherwise_and_said(database: str) -> None:
    found = query_sqlite(database, "SELECT x'ff00' AS a, x'6869' AS b, 9e999 AS c, hex(zeroblob(5000)) AS d, 1 AS e, 2 AS e")
    (row,) = found["rows"]
    assert (row["a"], row["b"], row["c"], row["e"], row["e_2"]) == ("<blob of 2 bytes>", "hi", "inf", 1, 2)
    assert str(row["d"]).endswith("… (10,000 characters)")
    assert len(found["notes"]) == 4
    json.dumps(found, allow_nan=False)
