"""Whatever page of a store is damaged: it is refused with words, or the run goes on rightly. An effect that landed is never done again."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Plan, Step, tool
from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.log import left_out
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import StoreError, StoreUnreadable, UnknownRun
from agent_graph.identity import RunId
from agent_graph.plan import Goal
from agent_graph.records import Fence, Lease
from agent_graph.verdicts import Request, Resolve

RUN = RunId("11111111-1111-4111-8111-111111111111")
PAGE = 4096
PAID: list[str] = []


@tool(risk="read_only")
def look(name: str) -> str:
    """Look up."""
    return name


@tool(risk="write")
def pay(name: str) -> str:
    """Pay, which nobody can look up."""
    PAID.append(name)
    return name


STEPS = (
    Step(id="who", tool="look", args={"name": "ann"}),
    Step(id="first", tool="pay", args={"name": {"$ref": "steps.who.output"}}),
    Step(id="then", tool="look", args={"name": "bob"}, depends_on=("first",)),
    Step(id="second", tool="pay", args={"name": {"$ref": "steps.then.output"}}),
)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    PAID.clear()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has paid once, and waits for a yes to the second payment."""
    path = tmp_path_factory.mktemp("whole") / "runs.db"
    with AgentGraph([look, pay], store=path) as agent:
        run = agent.run(plan=Plan(goal="pay", steps=STEPS), run_id=RUN)
        run = agent.resume(run, Approve())
        assert (run.status, PAID) == ("paused", ["ann"])
    PAID.clear()
    return path


def go_on(path: Path) -> str:
    """How it ends: refused, or with a status."""
    try:
        with AgentGraph([look, pay], store=path) as agent:
            shown = agent.get(RUN)
            return agent.resume(RUN, Approve() if shown.requests else None).status
    except (StoreError, UnknownRun) as error:
        return type(error).__name__


@pytest.mark.parametrize("what", ["garbage", "zeros", "a letter"])
def test_no_damaged_page_makes_a_payment_happen_twice(whole: Path, tmp_path: Path, what: str) -> None:
    content = whole.read_bytes()
    dice = random.Random(7)
    ends = set()
    for page in range(1, len(content) // PAGE):
        at = page * PAGE
        broken = bytearray(content)
        match what:
            case "garbage":
                broken[at : at + PAGE] = dice.randbytes(PAGE)
            case "zeros":
                broken[at + PAGE // 2 : at + PAGE] = bytes(PAGE // 2)
            case _:
                broken[at + dice.randrange(PAGE)] ^= 0xFF
        path = tmp_path / f"{page}.db"
        path.write_bytes(broken)
        PAID.clear()
        ends.add(go_on(path))
        assert "ann" not in PAID, f"page {page}"
        assert PAID in ([], ["bob"]), f"page {page}"
    assert ends >= {"StoreUnreadable", "succeeded"}, ends  # some pages matter, some do not


READS: dict[tuple[str, str], Callable[[SqliteStore], Any]] = {
    ("runs", "goal"): lambda store: store.runs.get(RUN),
    ("runs", "observation"): lambda store: store.runs.get(RUN).observation,
    ("plans", "plan"): lambda store: store.runs.plan(RUN),
    ("effects", "output"): lambda store: dict(store.ledger.results(RUN)),
    ("effects", "args"): lambda store: [store.ledger.effect(standing.key) for standing in store.ledger.standings(RUN).values()],
    ("approvals", "request"): lambda store: store.approvals.open(RUN),
    ("events", "data"): lambda store: store.events.of(RUN),
}


@pytest.mark.parametrize("where", READS, ids=".".join)
def test_a_row_that_does_not_parse_is_told_with_its_run(whole: Path, tmp_path: Path, where: tuple[str, str]) -> None:
    table, column = where
    path = tmp_path / "runs.db"
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE {table} SET {column} = '{{\"half'")
    with SqliteStore(path) as store, pytest.raises(StoreUnreadable, match=f"a row of {table} of run {RUN} is damaged.*agent-graph doctor"):
        READS[where](store)


def test_a_text_that_is_none_is_damage(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    shutil.copy(whole, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET goal = CAST(X'ff00fe' AS TEXT)")
    with SqliteStore(path) as store, pytest.raises(StoreUnreadable, match="a text in it is none"):
        store.runs.get(RUN)


# ── the log ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a store that is open, with ten commits of one page each."""
    path = tmp_path / "open.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (x)")
    for n in range(8):
        connection.execute("INSERT INTO t VALUES (?)", (str(n) * 100,))
    copy = tmp_path / "copy-wal"
    shutil.copy(f"{path}-wal", copy)
    connection.close()
    return copy


def test_a_whole_log_leaves_out_nothing(log: Path) -> None:
    assert left_out(log) == 0


def test_commits_behind_a_damaged_frame_are_counted(log: Path) -> None:
    content = bytearray(log.read_bytes())
    frames = (len(content) - 32) // (24 + PAGE)
    content[32 + 3 * (24 + PAGE) + 500] ^= 1
    log.write_bytes(content)
    assert left_out(log) == frames - 4


def test_a_frame_that_was_cut_off_at_the_end_is_what_a_crash_leaves(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-100])
    assert left_out(log) == 0


def test_a_damaged_head_of_a_log_is_damage(log: Path) -> None:
    content = bytearray(log.read_bytes())
    content[9] ^= 1
    log.write_bytes(content)
    assert left_out(log) == 1


def test_no_log_and_an_empty_one_are_well(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert [left_out(tmp_path / "none"), left_out(tmp_path / "empty")] == [0, 0]


# ── rows that are read inside a write ─────────────────────────────────────────────────────────────────────────────────

Write = Callable[[SqliteStore, Lease, Request], Any]
WRITES: dict[str, tuple[str, Write]] = {
    "ask": ("approvals SET request", lambda store, lease, waits: store.approvals.ask(lease, waits)),
    "decide": (
        "approvals SET request",
        lambda store, lease, waits: store.approvals.decide(RUN, {waits.id: Resolve(outcome="absent")}),
    ),
    "again": ("approvals SET request", lambda store, lease, waits: store.approvals.again(lease, waits.id, "what?")),
    "acquire": ("leases SET owner", lambda store, lease, waits: store.leases.acquire(RUN, new_owner())),
    "set_status": ("leases SET owner", lambda store, lease, waits: store.runs.set_status(replace(lease, fence=Fence(99)), "paused")),
}


@pytest.mark.parametrize("damage", ["CAST(X'7bff00fe' AS TEXT)", "'{\"half'"], ids=["no text", "half a document"])
@pytest.mark.parametrize("what", WRITES)
def test_a_damaged_row_that_a_write_reads_is_told_as_damage(whole: Path, tmp_path: Path, what: str, damage: str) -> None:
    where, write = WRITES[what]
    path = tmp_path / "runs.db"
    shutil.copy(whole, path)
    with SqliteStore(path, key=()) as store:
        waits = store.approvals.open(RUN)[0]
        lease = store.leases.acquire(RUN, new_owner())
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"UPDATE {where} = {damage}")
        with pytest.raises(StoreUnreadable, match="damaged"):
            write(store, lease, waits)


def test_a_damaged_row_of_one_run_takes_no_other_write_of_the_same_commit_with_it(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    shutil.copy(whole, path)
    with SqliteStore(path, key=()) as store:
        waits = store.approvals.open(RUN)[0]
        other = store.runs.create(RunId("other"), Goal(text="x"), thread_id="t")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE approvals SET request = CAST(X'7bff00fe' AS TEXT)")
        store.database.defer(lambda connection: connection.execute("UPDATE runs SET planner = 'x' WHERE id = 'other'"))
        with pytest.raises(StoreUnreadable):
            store.approvals.decide(RUN, {waits.id: Approve()})
        assert (other.planner, store.runs.get("other").planner) == ("", "x")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"versions_seen": None}, "not a checkpoint"),
        ({"versions_seen": {"plan": 5}}, "have seen"),
        ({"versions_seen": {"plan": {"goal": []}}}, "have seen"),
        ({"channel_versions": {"goal": "x.1"}}, "versions"),
        ({"id": 7}, "versions"),
        ({"step": "two"}, "versions"),
    ],
)
def test_a_checkpoint_whose_inside_is_damaged_is_refused_and_not_run_into(
    whole: Path, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    path = tmp_path / "x.db"
    shutil.copy(whole, path)
    with AgentGraph([look, pay], store=path) as agent:
        saver: Any = agent.store.checkpointer()
        config = {"configurable": {"thread_id": RUN, "checkpoint_ns": ""}}
        found = saver.get_tuple(config)
        if "step" in change:
            found.metadata["step"] = change["step"]
        else:
            found.checkpoint.update(change)
        kind, content = saver.serde.dumps_typed(found.checkpoint)
        told = json.dumps(found.metadata).encode()
        with saver.cursor() as cursor:
            cursor.execute(
                "UPDATE checkpoints SET type = ?, checkpoint = ?, metadata = ? WHERE checkpoint_id = ?",
                (kind, content, told, found.config["configurable"]["checkpoint_id"]),
            )
        with pytest.raises(StoreUnreadable, match=why):
            agent.resume(RUN)
    assert PAID == []
