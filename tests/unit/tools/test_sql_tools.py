"""Tools for one database: what a query or a change may reach, each layer by itself, and what a receipt says after a crash."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph import AgentGraph, Approve, Plan, Policy
from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.tools.sql import RECEIPTS, query_sqlite, sql_tools
from agent_graph.tools.sql_connection import MAX_VALUE, reading
from agent_graph.tools.sql_functions import FUNCTIONS
from agent_graph.tools.sql_statement import check_query
from agent_graph.tools.sql_writing import Receipted
from agent_graph.tools.tool import Tool, ToolContext
from agent_graph.verdicts import Absent, Landed, Probed, Unknown

SCHEMA = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT UNIQUE, price REAL);
CREATE TABLE salaries (name TEXT, amount INTEGER);
CREATE TABLE log (what TEXT);
CREATE TABLE carts (id INTEGER PRIMARY KEY);
CREATE TABLE lines (id INTEGER PRIMARY KEY, cart INTEGER REFERENCES carts (id) ON DELETE CASCADE);
CREATE TABLE noted (id INTEGER PRIMARY KEY AUTOINCREMENT, note TEXT);
CREATE TRIGGER logs AFTER INSERT ON noted BEGIN INSERT INTO log VALUES (new.note); END;
CREATE VIEW rich AS SELECT name FROM salaries WHERE amount > 10;
INSERT INTO orders VALUES (1, 'ink', 1.5), (2, 'pen', 2.5), (3, 'cup', 4);
INSERT INTO salaries VALUES ('ada', 4711);
INSERT INTO carts VALUES (1), (2);
INSERT INTO lines VALUES (1, 1), (2, 1), (3, 2);
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
    return path


@pytest.fixture
def database(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(made, tmp_path / "shop ?#%41.db"))


class Tools:
    def __init__(self, database: Path, **options: Any) -> None:
        self.database = database
        self.by_name: dict[str, Tool] = {one.name: one for one in sql_tools(database, **options)}

    def query(self, query: str, params: Any = None, **args: Any) -> Any:
        return self.by_name["query_sql"].call(ToolContext(), {"query": query, "params": params, **args})

    def change(self, statement: str, params: Any = None, tool: str = "execute_sql", key: str = "key", deadline: float = 0.0) -> Any:
        context = ToolContext(idempotency_key=key, deadline=deadline)
        return self.by_name[tool].call(context, {"statement": statement, "params": params})

    def delete(self, statement: str, params: Any = None, **how: Any) -> Any:
        return self.change(statement, params, tool="delete_sql", **how)

    def probe(self, tool: str = "execute_sql", key: str = "key") -> Probed:
        ask = self.by_name[tool].probe
        assert ask is not None
        return ask(ToolContext(idempotency_key=key), {"statement": "-", "params": None})

    def all(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def shop(database: Path) -> Tools:
    return Tools(database, tables=["orders"], writable=["orders"], max_changes=2, timeout_s=5.0)


# ── reading: what an allow-list keeps out ─────────────────────────────────────────────────────────────────────────────

AROUND_THE_LIST = [
    "SELECT * FROM salaries",
    "SELECT * FROM SALARIES",
    'SELECT * FROM "salaries"',
    "SELECT * FROM main.salaries",
    "SELECT * FROM orders, salaries",
    "SELECT (SELECT amount FROM salaries)",
    "SELECT 1 WHERE 4711 IN (SELECT amount FROM salaries)",
    "SELECT * FROM orders UNION SELECT 1, name, amount FROM salaries",
    "WITH x AS (SELECT * FROM salaries) SELECT * FROM x",
    # A WITH of an allowed name: SQLite's authorizer is told that name as the view that reads the table.
    "WITH orders AS (SELECT * FROM salaries) SELECT * FROM orders",
    "SELECT name FROM orders AS o WHERE EXISTS (SELECT 1 FROM salaries)",
    "SELECT 1 WHERE 'ada' IN salaries",
    "SELECT id FROM orders ORDER BY (SELECT amount FROM salaries)",
    "SELECT * FROM rich",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM pragma_table_info('salaries')",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM dbstat",
    "SELECT * FROM sqlite_dbpage",
    "SELECT * FROM temp.sqlite_master",
    "SELECT * FROM noted",
    "SELECT count(*) FROM salaries",
    "SELECT 1 FROM salaries, salaries AS s",
    "SELECT count(*) FROM dbstat",
    "SELECT count(*) FROM pragma_table_info('salaries')",
    "WITH RECURSIVE salaries(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM main.salaries) SELECT x FROM salaries",
    "PRAGMA table_info(salaries)",
    "EXPLAIN SELECT * FROM salaries",
]


@pytest.mark.parametrize("query", AROUND_THE_LIST)
def test_no_query_reaches_a_table_that_is_not_on_the_list(shop: Tools, query: str) -> None:
    with pytest.raises(ValueError, match=r"shop .*(not allowed|READ|only reading|no such|another database|begins with)"):
        shop.query(query)


@pytest.mark.parametrize("query", AROUND_THE_LIST)
def test_sqlite_itself_reaches_no_table_that_is_not_on_the_list(database: Path, query: str) -> None:
    """The first layer without the second."""

    def past_the_second_reading() -> None:
        with reading(database, timeout_s=1, tables=frozenset({"orders"})) as connection:
            connection.execute(query).fetchall()

    with pytest.raises(ValueError, match=r"wants to|no such"):
        past_the_second_reading()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT item FROM orders WHERE id = 1",
        "SELECT o.item FROM main.orders AS o JOIN orders p USING (id) WHERE o.id = 1",
        "WITH cheap AS (SELECT * FROM ORDERS WHERE price < 2) SELECT item FROM cheap",
        "SELECT 'ink' AS item FROM json_each('[1]')",
        "SELECT coalesce(max(item), upper('x')) AS item FROM orders WHERE id = 1",
        "VALUES ('ink')",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3) SELECT max('ink') AS item FROM n",
        "SELECT item FROM orders WHERE id = 1 -- a comment; with a semicolon\n;",
        "/* SELECT */ SELECT item FROM orders EXCEPT SELECT item FROM orders WHERE id > 1",
        "SELECT item FROM (SELECT item, row_number() OVER (ORDER BY id) AS n FROM orders) WHERE n = 1",
    ],
)
def test_what_only_reads_what_is_allowed_is_answered(shop: Tools, query: str) -> None:
    assert list(shop.query(query)["rows"][0].values()) == ["ink"]


def test_values_are_bound_and_never_part_of_the_statement(shop: Tools) -> None:
    assert shop.query("SELECT id FROM orders WHERE item = :item", {"item": "x' OR 1=1 --"})["rows"] == []
    assert shop.query("SELECT id FROM orders WHERE item = ?", ["ink"])["rows"] == [{"id": 1}]


STATEMENTS = [
    "INSERT INTO orders VALUES (9, 'x', 1)",
    "UPDATE orders SET price = 0",
    "DELETE FROM orders",
    "WITH x AS (SELECT 1) DELETE FROM orders",
    "WITH x AS (DELETE FROM orders RETURNING *) SELECT * FROM x",
    "REPLACE INTO orders VALUES (1, 'x', 1)",
    "INSERT INTO orders VALUES (9, 'x', 1) RETURNING id",
    "SELECT 1; DELETE FROM orders",
    "SELECT 1;/**/DELETE FROM orders",
    "SELECT 1 --\n; DELETE FROM orders",
    "/**/DELETE/**/FROM/**/orders",
    "CREATE TABLE more (x)",
    "CREATE TEMP TABLE more (x)",
    "CREATE TEMP TRIGGER t AFTER INSERT ON orders BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE more USING fts5(x)",
    "DROP TABLE orders",
    "ALTER TABLE orders ADD COLUMN x",
    "SELECT * INTO copy FROM orders",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = 1",
    "PRAGMA table_info(salaries)",
    "ATTACH 'other.db' AS other",
    "DETACH main",
    "VACUUM INTO 'copy.db'",
    "BEGIN",
    "SAVEPOINT a",
    "ANALYZE",
    "REINDEX",
    "EXPLAIN SELECT 1",
    "SELECT load_extension('x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT writefile('out', 'x')",
    "SELECT sqlite_source_id()",
    "",
    "   -- nothing",
    "SELECT '\0'; DELETE FROM orders",
    "SELECT " + "(" * 300 + "1" + ")" * 300,
    "SELECT '" + "x" * 60_000 + "'",
]


@pytest.mark.parametrize("query", STATEMENTS, ids=range(len(STATEMENTS)))
def test_a_query_changes_nothing_and_calls_nothing_that_acts(
    shop: Tools, query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = shop.database.read_bytes()
    with pytest.raises(ValueError, match="shop"):
        shop.query(query)
    assert shop.database.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [shop.database.name]


def test_the_second_reading_refuses_without_asking_sqlite() -> None:
    for query in (each for each in STATEMENTS if not each.endswith(")") or "(((" in each):  # functions are for the authorizer
        with pytest.raises(ValueError, match=r"statement|table"):
            check_query(query, frozenset({"orders"}))


def test_every_function_of_this_sqlite_that_is_not_on_the_list_is_refused(shop: Tools) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        known = {row[0].lower() for row in connection.execute("SELECT name FROM pragma_function_list WHERE name GLOB '[a-z]*'")}
    assert {"load_extension", "fts3_tokenizer"} <= known - FUNCTIONS
    for name in sorted(known - FUNCTIONS):
        with pytest.raises(ValueError, match=r"function|syntax error|check"):
            shop.query(f"SELECT {name}(1)")


WORDS = [
    "SELECT",
    "WITH",
    "DELETE",
    "FROM",
    "INSERT",
    "INTO",
    "VALUES",
    "UNION",
    "AS",
    "IN",
    "orders",
    "salaries",
    "x",
    "1",
    "*",
    ",",
    "(",
    ")",
]


@given(st.lists(st.sampled_from([*WORDS, ";", "--", "/*", "*/", "'", '"', "["]), max_size=14))
def test_whatever_the_second_reading_lets_pass_reads_no_other_table(words: list[str]) -> None:
    query = " ".join(words)
    try:
        check_query(query, frozenset({"orders"}))
    except ValueError:
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        before = connection.total_changes
        seen: set[str] = set()

        def asked(action: int, first: str | None, *_: str | None) -> int:
            if action == sqlite3.SQLITE_READ:
                seen.add(str(first))
            return sqlite3.SQLITE_OK

        connection.set_authorizer(asked)
        try:
            connection.execute(query).fetchall()
        except sqlite3.Error:
            return
        assert connection.total_changes == before
        assert "salaries" not in seen


# ── reading: what a query may cost ────────────────────────────────────────────────────────────────────────────────────


def test_a_query_without_end_is_interrupted(database: Path) -> None:
    tools = Tools(database, timeout_s=0.3)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"took longer than 0\.3 s"):
        tools.query("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "value",
    [
        "zeroblob(1000000000)",
        "randomblob(1000000000)",
        "hex(zeroblob(900000))",
        "replace(hex(zeroblob(400000)), '0', hex(zeroblob(400000)))",
        "quote(zeroblob(900000))",
        "(WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 100) SELECT group_concat(hex(zeroblob(100000))) FROM n)",
        "printf('%*d', 100000000, 1) || zeroblob(2000000)",
    ],
)
def test_a_value_too_large_for_memory_is_refused_and_the_bound_is_named(database: Path, value: str) -> None:
    with pytest.raises(ValueError, match=f"too big: no value may have more than {MAX_VALUE:,} bytes"):
        Tools(database).query(f"SELECT {value}")


def test_a_row_of_large_values_does_not_exhaust_memory(database: Path) -> None:
    code = """
import sys
from pathlib import Path
import resource
from agent_graph.tools.sql import query_sqlite
query_sqlite(sys.argv[1], "SELECT 1")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    columns = ", ".join(["b"] * 1900)
    query_sqlite(sys.argv[1], f"WITH a AS MATERIALIZED (SELECT randomblob(1000000) AS b) SELECT {columns} FROM a")
except ValueError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code, str(database)], capture_output=True, text=True, check=True)
    said, grown = done.stdout.splitlines()
    assert "too many columns in result set" in said
    assert int(grown) < 50


def test_a_file_with_a_wide_table_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "wide.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE wide ({', '.join(f'c{number}' for number in range(1_000))})")
        connection.execute("INSERT INTO wide (c999) VALUES (7)")
        connection.commit()
    assert query_sqlite(str(path), "SELECT c999 FROM wide")["rows"] == [{"c999": 7}]


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not count what a thread writes")
def test_a_sort_that_fills_the_disk_is_ended(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_graph.tools.sql_connection.MAX_SPILL", 20 * 1024 * 1024)
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_oublock
    with pytest.raises(ValueError, match="while sorting"):
        Tools(database, timeout_s=30).query(
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 5000) SELECT x FROM n ORDER BY randomblob(100000)"
        )
    assert (resource.getrusage(resource.RUSAGE_THREAD).ru_oublock - before) * 512 < 300 * 1024 * 1024


def test_what_sqlite_cannot_interrupt_is_killed_with_its_process(database: Path, store_path: Path) -> None:
    """One call of ``instr`` that compares for minutes: no progress handler is asked in the middle of it."""
    stubborn = "instr(hex(zeroblob(500000)), hex(zeroblob(250000)) || '1')"
    query = f"SELECT {', '.join(f'{stubborn} + {number}' for number in range(60))}"
    plan = Plan.model_validate(
        {"goal": "go", "steps": [{"id": "a", "tool": "query_sql", "args": {"query": query}, "timeout_s": 2, "on_failure": "fail"}]}
    )
    began = time.monotonic()
    with AgentGraph(sql_tools(database), policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan)
    assert run.status == "failed"
    assert run.error is not None
    assert "no answer within 2 s" in run.error.message
    assert "left behind" not in run.error.message  # as a thread would be
    assert time.monotonic() - began < 20


def test_rows_that_are_left_out_are_counted(database: Path) -> None:
    many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {}) SELECT x FROM n"
    (note,) = Tools(database).query(many.format(1_000), max_rows=10)["notes"]
    assert "there are 990 more" in note
    (note,) = Tools(database).query(many.format(10_000_000), max_rows=10)["notes"]
    assert "there are at least" in note


def test_text_that_is_not_utf_8_is_given_as_well_as_it_can_be(database: Path) -> None:
    assert Tools(database).query("SELECT CAST(x'68ff' AS TEXT) AS a")["rows"] == [{"a": "h\ufffd"}]


@pytest.mark.parametrize("params", [[2**70], {"a": 1}, [1, 2], ["\ud800"]])
def test_params_that_do_not_fit_say_so(database: Path, params: Any) -> None:
    with pytest.raises((ValueError, NotDone), match=r"shop|not called"):
        Tools(database).query("SELECT ?", params)


def test_tables_are_described_as_far_as_they_may_be_read(shop: Tools, database: Path) -> None:
    (table,) = shop.by_name["describe_tables"].call(ToolContext(), {})["tables"]
    assert table["name"] == "orders"
    assert table["columns"][0] == {"name": "id", "type": "INTEGER", "not_null": False, "primary_key": True}
    every = Tools(database).by_name["describe_tables"].call(ToolContext(), {})
    assert [each["name"] for each in every["tables"]] == ["carts", "lines", "log", "noted", "orders", "rich", "salaries"]


# ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_changes_are_tools_of_their_own_with_their_own_risk(database: Path) -> None:
    assert [(one.name, one.spec.risk) for one in sql_tools(database)] == [("query_sql", "read_only"), ("describe_tables", "read_only")]
    changing = sql_tools(database, writable=["orders"], prefix="shop_")[2:]
    assert [(one.name, one.spec.risk, one.spec.recovery) for one in changing] == [
        ("shop_execute_sql", "write", "probeable"),
        ("shop_delete_sql", "deletion", "probeable"),
    ]
    assert all(one.spec.trusted_output is False for one in sql_tools(database, writable=["orders"]))


def test_a_change_says_what_it_changed_and_is_there(shop: Tools) -> None:
    changed = shop.change("INSERT INTO orders (item, price) VALUES (?, ?) RETURNING id", ["hat", 9])
    assert changed == {"changed": 1, "rows": [{"id": 4}], "notes": []}
    assert shop.change("UPDATE orders SET price = price + 1 WHERE id < :most", {"most": 3}, key="2")["changed"] == 2
    assert shop.all("SELECT id, price FROM orders ORDER BY id") == [(1, 2.5), (2, 3.5), (3, 4.0), (4, 9.0)]


def test_an_upsert_is_a_change(shop: Tools) -> None:
    shop.change("INSERT INTO orders (item, price) VALUES ('ink', 7) ON CONFLICT (item) DO UPDATE SET price = excluded.price")
    assert shop.all("SELECT price FROM orders WHERE id = 1") == [(7.0,)]


@pytest.mark.parametrize("tool", ["execute_sql", "delete_sql"])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO orders VALUES (1, 'x', 1)",
        "REPLACE INTO orders VALUES (1, 'x', 1)",
        "UPDATE OR REPLACE orders SET item = 'ink' WHERE id = 2",
        "INSERT INTO salaries VALUES ('eve', 1)",
        "UPDATE salaries SET amount = 0",
        "DELETE FROM salaries",
        "INSERT INTO orders (item) SELECT name FROM salaries",
        "UPDATE orders SET item = (SELECT name FROM salaries) WHERE id = 1",
        "DELETE FROM orders WHERE id IN (SELECT amount - 4710 FROM salaries)",
        "INSERT INTO log SELECT 1",
        "UPDATE sqlite_master SET sql = ''",
        "UPDATE sqlite_sequence SET seq = 0",
        f"DELETE FROM {RECEIPTS}",
        f"INSERT INTO {RECEIPTS} VALUES ('k', 't', 'w', '{{}}')",
        "UPDATE orders SET price = 0; DELETE FROM orders",
        "UPDATE orders SET price = 0 WHERE id = 1; COMMIT",
        "COMMIT",
        "ROLLBACK",
        "DROP TABLE orders",
        "ALTER TABLE orders RENAME TO gone",
        "CREATE TABLE more (x)",
        "CREATE TRIGGER t AFTER INSERT ON orders BEGIN DELETE FROM orders; END",
        "PRAGMA foreign_keys = OFF",
        "ATTACH 'other.db' AS other",
        "VACUUM",
        "SELECT 1",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "UPDATE orders SET item = load_extension('x')",
        "INSERT INTO temp.orders VALUES (1)",
        "",
    ],
)
def test_no_change_reaches_what_is_not_its_own(shop: Tools, tool: str, statement: str) -> None:
    before = list(sqlite3.connect(shop.database).iterdump())
    with pytest.raises(NotDone, match="shop"):
        shop.change(statement, tool=tool)
    assert list(sqlite3.connect(shop.database).iterdump()) == before


def test_deleting_is_for_the_tool_of_that_risk_only(shop: Tools) -> None:
    with pytest.raises(NotDone, match="write one UPDATE or INSERT"):
        shop.change("DELETE FROM orders WHERE id = 3")
    with pytest.raises(NotDone, match="write one DELETE"):
        shop.delete("UPDATE orders SET price = 0 WHERE id = 3")
    assert shop.delete("DELETE FROM orders WHERE id = 3 RETURNING item") == {"changed": 1, "rows": [{"item": "cup"}], "notes": []}


@pytest.mark.parametrize("statement", ["UPDATE orders SET price = 0", "UPDATE orders SET price = 0 RETURNING id"])
def test_more_rows_than_are_allowed_are_rolled_back(shop: Tools, statement: str) -> None:
    with pytest.raises(NotDone, match="changes 3 rows, at most 2 are allowed; it was rolled back"):
        shop.change(statement)
    assert shop.all("SELECT count(*) FROM orders WHERE price = 0") == [(0,)]
    assert shop.probe() == Absent()


def test_what_a_trigger_or_a_foreign_key_changes_must_be_allowed_and_counts(database: Path) -> None:
    alone = Tools(database, writable=["noted", "carts"], max_changes=2)
    with pytest.raises(NotDone, match=r"wants to INSERT \(log\)"):
        alone.change("INSERT INTO noted (note) VALUES ('a')")
    with pytest.raises(NotDone, match=r"wants to DELETE \(lines\)"):
        alone.delete("DELETE FROM carts WHERE id = 1")
    together = Tools(database, writable=["noted", "carts", "log", "lines"], max_changes=2)
    assert together.change("INSERT INTO noted (note) VALUES ('a')")["changed"] == 2
    with pytest.raises(NotDone, match="changes 3 rows"):
        together.delete("DELETE FROM carts WHERE id = 1", key="2")
    assert together.delete("DELETE FROM carts WHERE id = 2", key="3")["changed"] == 2


def test_foreign_keys_hold(database: Path) -> None:
    with pytest.raises(NotDone, match=r"FOREIGN KEY constraint failed\. Nothing was changed"):
        Tools(database, writable=["lines"]).change("INSERT INTO lines (cart) VALUES (99)")


def test_a_change_without_end_is_interrupted_and_rolled_back(database: Path) -> None:
    tools = Tools(database, writable=["noted", "log"], timeout_s=0.3)
    endless = "INSERT INTO noted (note) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    with pytest.raises(NotDone, match=r"took longer than 0\.3 s.*Nothing was changed"):
        tools.change(endless)
    assert tools.all("SELECT count(*) FROM noted") == [(0,)]


def test_a_change_after_its_deadline_is_rolled_back(shop: Tools) -> None:
    with pytest.raises(NotDone, match="the deadline passed before the commit"):
        shop.change("UPDATE orders SET price = 0 WHERE id = 1", deadline=1.0)
    assert shop.all("SELECT price FROM orders WHERE id = 1") == [(1.5,)]


def test_a_change_of_a_locked_database_is_refused_for_certain(database: Path) -> None:
    tools = Tools(database, writable=["orders"], timeout_s=0.2)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(NotDone, match=r"database is locked\. Nothing was changed"):
            tools.change("UPDATE orders SET price = 0 WHERE id = 1")


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    tools = Tools(tmp_path / "none.db", writable=["orders"])
    with pytest.raises(ValueError, match="there is no such database file"):
        tools.query("SELECT 1")
    with pytest.raises(NotDone, match="there is no such database file"):
        tools.change("UPDATE orders SET a = 1")
    assert list(tmp_path.iterdir()) == []
    assert isinstance(tools.probe(), Unknown)


@pytest.mark.parametrize(
    "options", [{"tables": "orders"}, {"writable": [RECEIPTS]}, {"writable": ["sqlite_master"]}, {"max_changes": 0}, {"timeout_s": 0}]
)
def test_options_that_cannot_work_are_refused_when_the_tools_are_made(database: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidToolError, match="sql_tools"):
        sql_tools(database, **options)


# ── receipts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_receipt_says_that_it_landed_and_what_came_of_it(shop: Tools) -> None:
    assert shop.probe() == Absent()
    changed = shop.change("INSERT INTO orders (item) VALUES ('hat') RETURNING id, item")
    assert shop.probe() == Landed(changed)
    assert shop.probe(key="another") == Absent()


def test_the_same_effect_does_not_land_twice(shop: Tools) -> None:
    shop.change("UPDATE orders SET price = price + 1 WHERE id = 1")
    with pytest.raises(Receipted):
        shop.change("UPDATE orders SET price = price + 1 WHERE id = 1")
    assert shop.all("SELECT price FROM orders WHERE id = 1") == [(2.5,)]


def test_a_refused_statement_leaves_no_receipt(shop: Tools) -> None:
    with pytest.raises(NotDone, match="UNIQUE constraint failed"):
        shop.change("INSERT INTO orders (item) VALUES ('ink')")
    assert shop.all("SELECT count(*) FROM sqlite_master WHERE name LIKE 'agent_graph%'") == [(0,)]


def run_of(statement: str) -> Plan:
    return Plan.model_validate(
        {"goal": "go", "steps": [{"id": "a", "tool": "execute_sql", "args": {"statement": statement}, "timeout_s": 3}]}
    )


def test_in_a_run_a_change_is_asked_for_and_made_in_a_process_of_its_own(database: Path, store_path: Path) -> None:
    with AgentGraph(sql_tools(database, writable=["orders"]), store=store_path) as agent:
        run = agent.run(run_of("UPDATE orders SET price = 0 WHERE id = 1"))
        assert (run.status, run.requests[0].calls[0].risk) == ("paused", "write")
        run = agent.resume(run, Approve())
        assert run.status == "succeeded"
        assert run.results["a"].output == {"changed": 1, "rows": [], "notes": []}
        refused = agent.resume(agent.run(run_of("UPDATE orders SET price = 0 WHERE id = (SELECT amount FROM salaries)")), Approve())
        assert refused.status == "succeeded"  # without tables=, every table may be read
        failed = agent.resume(agent.run(run_of("UPDATE salaries SET amount = 0")), Approve())
        assert (failed.status, failed.error is not None and "UPDATE on salaries is refused" in failed.error.message) == ("failed", True)


KILLED = """
import os, signal, sys
from agent_graph import AgentGraph, Plan, Policy
from agent_graph.tools import sql_connection, sql_writing
from agent_graph.tools.sql import sql_tools

database, store, moment = sys.argv[1:]
real = sql_writing.connected


class Killing:
    def __init__(self, connection):
        self._connection = connection

    def execute(self, sql, *args):
        if sql == "COMMIT" and moment == "before the commit":
            os.kill(os.getpid(), signal.SIGKILL)
        done = self._connection.execute(sql, *args)
        if sql == "COMMIT" and moment == "after the commit":
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    def __getattr__(self, name):
        return getattr(self._connection, name)


class Connected:
    def __init__(self, *args):
        self._real = real(*args)

    def __enter__(self):
        return Killing(self._real.__enter__())

    def __exit__(self, *what):
        return self._real.__exit__(*what)


sql_writing.connected = Connected
steps = [{"id": "a", "tool": "execute_sql", "args": {"statement": "UPDATE orders SET price = price + 1 WHERE id = 1"}, "timeout_s": 2}]
with AgentGraph(sql_tools(database, writable=["orders"], isolation="thread"), policy=Policy.allow_all(), store=store) as agent:
    agent.run(Plan(goal="go", steps=steps), run_id="11111111-1111-4111-8111-111111111111")
"""


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_a_change_whose_process_is_killed_around_the_commit_is_made_once(
    database: Path, store_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_graph.tools.sql_writing.SETTLE_S", 0.5)  # nobody reads the database, so that no commit waits
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(database), str(store_path), moment], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    tools = sql_tools(database, writable=["orders"], isolation="thread")
    with AgentGraph(tools, policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.resume("11111111-1111-4111-8111-111111111111")
    assert (run.status, run.results["a"].output) == ("succeeded", {"changed": 1, "rows": [], "notes": []})
    assert Tools(database).all("SELECT price FROM orders WHERE id = 1") == [(2.5,)]
