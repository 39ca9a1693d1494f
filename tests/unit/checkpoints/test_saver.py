"""LangGraph's saver as we run it: its own conformance suite, from any loop, and rows that cannot make it call anything."""

from __future__ import annotations

import asyncio
import json
import operator
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import ormsgpack
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from agent_graph.checkpoints.serializer import strict_serializer
from agent_graph.checkpoints.sqlite import Saver, memory_saver
from agent_graph.errors import StoreError, StoreUnreadable


@pytest.fixture
def saver(store_path: Path) -> Iterator[Saver]:
    made = Saver(str(store_path))
    yield made
    made.close()


# ── LangGraph's own suite ─────────────────────────────────────────────────────────────────────────────────────────────

CAPABILITIES = ["put", "put_writes", "get_tuple", "list", "delete_thread", "delete_for_runs", "copy_thread", "prune"]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_saver_conforms(tmp_path: Path, capability: str) -> None:
    @checkpointer_test(name="agent-graph")
    async def ours() -> AsyncIterator[Saver]:
        made = Saver(str(tmp_path / f"{uuid4()}.db"))
        yield made
        made.close()

    report = asyncio.run(validate(ours, capabilities={capability}))
    found = report.results[capability]
    assert (found.detected, found.failures) == (True, [])
    assert found.tests_passed > 0


# ── loops and threads ─────────────────────────────────────────────────────────────────────────────────────────────────


class Counting(TypedDict):
    seen: Annotated[list[str], operator.add]


def graph(saver: Any) -> Any:
    made = StateGraph(Counting)
    made.add_node("count", lambda _: {"seen": [threading.current_thread().name]})
    made.add_edge(START, "count")
    return made.compile(checkpointer=saver)


CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}


def test_one_saver_serves_two_event_loops_and_plain_calls(saver: Saver) -> None:
    made = graph(saver)
    for _ in range(2):
        asyncio.run(made.ainvoke({"seen": ["async"]}, CONFIG))
    made.invoke({"seen": ["sync"]}, CONFIG)
    assert [each for each in made.get_state(CONFIG).values["seen"] if each in ("async", "sync")] == ["async", "async", "sync"]


def test_each_async_method_works_from_whichever_loop(saver: Saver) -> None:
    async def write(thread_id: str) -> RunnableConfig:
        config: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        written = await saver.aput(config, checkpoint(), {"source": "input", "step": 1, "run_id": thread_id}, {})
        await saver.aput_writes(written, [("channel", 1)], "task")
        return written

    async def read(config: RunnableConfig) -> tuple[Any, int]:
        found = await saver.aget_tuple(config)
        assert found is not None
        return found.pending_writes, len([each async for each in saver.alist(None)])

    async def remove() -> list[str]:
        await saver.acopy_thread("a", "copy")
        await saver.adelete_thread("a")
        await saver.adelete_for_runs(["b"])
        return sorted([each.config["configurable"]["thread_id"] async for each in saver.alist(None)])

    written = asyncio.run(write("a"))
    asyncio.run(write("b"))
    assert asyncio.run(read(written)) == ([("task", "channel", 1)], 2)
    assert asyncio.run(remove()) == ["copy"]


def test_async_calls_at_once_do_not_meet_in_the_connection(saver: Saver) -> None:
    async def many() -> None:
        made = graph(saver)
        await asyncio.gather(*(made.ainvoke({"seen": ["x"]}, {"configurable": {"thread_id": str(n)}}) for n in range(20)))

    asyncio.run(many())
    assert len({each.config["configurable"]["thread_id"] for each in saver.list(None)}) == 20


def checkpoint() -> Checkpoint:
    made = empty_checkpoint()
    made["channel_values"] = {"channel": 1}
    return made


# ── keeping it small ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_pruning_leaves_the_newest_checkpoint_of_the_named_threads_only(saver: Saver) -> None:
    made = graph(saver)
    other: RunnableConfig = {"configurable": {"thread_id": "other"}}
    for config in (CONFIG, CONFIG, other, other):
        made.invoke({"seen": ["x"]}, config)
    before, kept = made.get_state(CONFIG).values, len(list(saver.list(other)))
    saver.prune(["t"])
    assert len(list(saver.list(CONFIG))) == 1
    assert made.get_state(CONFIG).values == before
    assert len(list(saver.list(other))) == kept


def test_pruning_wholly_leaves_nothing(saver: Saver, store_path: Path) -> None:
    graph(saver).invoke({"seen": ["x"]}, CONFIG)
    saver.prune(["t"], strategy="delete")
    left = [saver.conn.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("checkpoints", "writes")]
    assert left == [0, 0]


def test_a_copy_goes_its_own_way(saver: Saver) -> None:
    made = graph(saver)
    made.invoke({"seen": ["before"]}, CONFIG)
    saver.copy_thread("t", "copy")
    made.invoke({"seen": ["after"]}, CONFIG)
    copied = made.get_state({"configurable": {"thread_id": "copy"}}).values["seen"]
    assert ("before" in copied, "after" in copied) == (True, False)


# ── what a row in the file can do ─────────────────────────────────────────────────────────────────────────────────────


class Ours:
    """A class of the user, which no checkpoint may bring back."""

    made = 0

    def __init__(self, **_: Any) -> None:
        Ours.made += 1


def constructor(code: int, *parts: Any) -> bytes:
    """A value as LangGraph's msgpack writes an object: to be made again by calling what is named."""
    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))


def tampered(path: Path) -> list[tuple[str, bytes]]:
    touch = str(path)
    return [
        ("msgpack", constructor(0, "pathlib", "Path", touch)),
        ("msgpack", constructor(0, "os", "system", f"touch {touch}")),
        ("msgpack", constructor(1, "subprocess", "getoutput", [f"touch {touch}"])),
        ("msgpack", constructor(2, "os", "system", {"command": f"touch {touch}"})),
        ("msgpack", constructor(3, "pathlib", "Path", [touch], "touch")),
        ("msgpack", constructor(2, __name__, "Ours", {})),
        ("json", json.dumps({"lc": 2, "type": "constructor", "id": ["os", "system"], "args": [f"touch {touch}"]}).encode()),
        ("json", json.dumps({"lc": 2, "type": "constructor", "id": ["pathlib", "Path"], "method": ["touch"], "args": [touch]}).encode()),
        ("pickle", b"cos\nsystem\n(S'touch " + touch.encode() + b"'\ntR."),
    ]


@pytest.mark.parametrize("which", range(9))
def test_a_row_that_was_tampered_with_calls_nothing(saver: Saver, tmp_path: Path, which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ours, "made", 0)
    written = saver.put({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, checkpoint(), {"source": "input", "step": 1}, {})
    kind, value = tampered(tmp_path / "touched")[which]
    saver.conn.execute("UPDATE checkpoints SET type = ?, checkpoint = ?", (kind, value))
    saver.conn.commit()
    try:
        found: Any = saver.get_tuple(written)
    except Exception:
        found = None
    assert not (tmp_path / "touched").exists()
    assert Ours.made == 0
    assert found is None or not isinstance(found.checkpoint, Ours)


def test_an_object_of_ours_does_not_come_back_as_one() -> None:
    serializer = strict_serializer()
    back = serializer.loads_typed(("msgpack", constructor(2, __name__, "Ours", {})))
    assert not isinstance(back, Ours)


def test_langchains_own_types_do_come_back() -> None:
    serializer = strict_serializer()
    message = HumanMessage("hello")
    assert serializer.loads_typed(serializer.dumps_typed(message)) == message


def test_the_saver_of_a_store_in_memory_is_as_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    back = memory_saver().serde.loads_typed(("msgpack", constructor(2, __name__, "Ours", {})))
    assert not isinstance(back, Ours)


def test_a_closed_saver_lets_the_file_go(store_path: Path) -> None:
    made = Saver(str(store_path))
    made.close()
    with pytest.raises(StoreError, match="closed"):
        made.get_tuple(CONFIG)


def test_a_file_that_another_process_locks_too_long_is_a_clear_error(store_path: Path) -> None:
    made = Saver(str(store_path), busy_timeout=0.1)
    other = sqlite3.connect(store_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked by another process"):
        made.put({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, checkpoint(), {"source": "input", "step": 1}, {})
    other.close()
    made.close()


def test_a_damaged_file_is_a_clear_error(store_path: Path) -> None:
    store_path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StoreUnreadable, match="damaged or not a store"):
        Saver(str(store_path))
