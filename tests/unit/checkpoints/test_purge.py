"""Runs that have ended are removed wholly, or not at all; what others need stays."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from agent_graph import AgentGraph, Approve, Plan, Step, UsageError, tool
from agent_graph.checkpoints.leases import new_owner
from agent_graph.errors import RunBusy, UnknownRun
from agent_graph.identity import RunId
from agent_graph.ports import Store
from agent_graph.testing import FakeClock, MemoryStore

TABLES = ("runs", "plans", "effects", "approvals", "leases", "events", "checkpoints", "writes")
YES: Any = {"decisions": [{"type": "approve"}]}
DONE: list[str] = []
DAY = 86_400.0


@pytest.fixture(autouse=True)
def _fresh() -> None:
    DONE.clear()


@tool(risk="write", recovery="idempotent")
def put(name: str) -> str:
    """Write something."""
    DONE.append(name)
    return f"SECRET {name}"


class Echo:
    name = "echo"
    can_replan = False

    def complete(self, goal: Any) -> Any:
        return goal

    def plan(self, context: Any) -> Plan:
        return Plan(goal=context.goal.text, steps=(Step(id="a", tool="put", args={"name": context.goal.text}),))

    def replan(self, context: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def agent(store_path: Path, clock: FakeClock) -> Iterator[AgentGraph]:
    with AgentGraph([put], planner=Echo(), store=store_path, clock=clock) as made:
        yield made


def finished(agent: AgentGraph, goal: str) -> str:
    run = agent.resume(agent.run(goal), Approve())
    assert run.status == "succeeded"
    return run.id


def on_thread(agent: AgentGraph, goal: str, name: str = "t") -> str:
    """One run after another on one thread."""
    agent.graph.invoke({"goal": goal}, thread(name))
    out: Any = agent.graph.invoke(Command(resume=YES), thread(name))
    return str(out["run_id"])


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


def counts(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES}


def test_nothing_is_left_of_a_run_that_was_purged(agent: AgentGraph, store_path: Path) -> None:
    run = finished(agent, "a")
    assert agent.purge(run) == [run]
    assert set(counts(store_path).values()) == {0}
    assert agent.runs() == []


def test_what_was_purged_is_not_in_the_file_any_more(agent: AgentGraph, store_path: Path) -> None:
    run = finished(agent, "a")
    files = [store_path, Path(f"{store_path}-wal")]
    assert any(b"SECRET" in file.read_bytes() for file in files)
    agent.purge(run)
    assert not any(b"SECRET" in file.read_bytes() for file in files)


def test_the_space_goes_back_to_the_disk(agent: AgentGraph, store_path: Path) -> None:
    run = finished(agent, "x" * 200_000)
    before = store_path.stat().st_size + Path(f"{store_path}-wal").stat().st_size
    agent.purge(run)
    assert store_path.stat().st_size + Path(f"{store_path}-wal").stat().st_size < before / 4


def test_a_run_that_has_not_ended_is_refused_and_nothing_is_removed(agent: AgentGraph) -> None:
    done, waiting = finished(agent, "a"), agent.run("b").id
    with pytest.raises(UsageError, match=rf"{waiting} \(paused\).*agent-graph cancel.*Nothing was removed"):
        agent.purge(done, waiting)
    assert {run.id for run in agent.runs()} == {done, waiting}
    assert agent.resume(waiting, Approve()).status == "succeeded"


def test_the_store_itself_refuses_what_has_not_ended(agent: AgentGraph) -> None:
    done, waiting = RunId(finished(agent, "a")), RunId(agent.run("b").id)
    with pytest.raises(UsageError, match=waiting):
        agent.store.purge([done, waiting])
    with pytest.raises(UnknownRun, match="run-nowhere"):
        agent.store.purge([done, RunId("run-nowhere")])
    assert len(agent.runs()) == 2


def test_a_run_whose_driver_has_not_let_go_is_refused(agent: AgentGraph) -> None:
    done = RunId(finished(agent, "a"))
    agent.store.leases.acquire(done, new_owner())
    with pytest.raises(RunBusy, match="still being driven"):
        agent.purge(done)
    assert len(agent.runs()) == 1


def test_all_that_have_ended_are_purged_and_the_others_stay(agent: AgentGraph) -> None:
    done, waiting = {finished(agent, "a"), finished(agent, "b")}, agent.run("c").id
    assert set(agent.purge(finished=True)) == done
    assert [run.id for run in agent.runs()] == [waiting]


def test_only_what_is_old_enough_is_purged(agent: AgentGraph, clock: FakeClock) -> None:
    old = finished(agent, "a")
    clock.advance(31 * DAY)
    new = finished(agent, "b")
    assert agent.purge(older_than=30 * DAY) == [old]
    assert [run.id for run in agent.runs()] == [new]


@pytest.mark.parametrize("wrong", [{}, {"named": True, "finished": True}])
def test_what_to_purge_must_be_said_in_one_way(agent: AgentGraph, wrong: dict[str, bool]) -> None:
    run = finished(agent, "a")
    with pytest.raises(UsageError, match="say which runs"):
        agent.purge(*([run] if wrong.get("named") else []), finished=wrong.get("finished", False))


# ── threads with several runs ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_thread_goes_on_after_its_earlier_runs_were_purged(agent: AgentGraph, clock: FakeClock) -> None:
    first = on_thread(agent, "a")
    clock.advance(31 * DAY)
    second = on_thread(agent, "b")
    assert agent.purge(older_than=30 * DAY) == [first]
    assert agent.graph.get_state(thread()).values["run_id"] == second
    assert on_thread(agent, "c") not in (first, second)
    assert DONE == ["a", "b", "c"]


def test_no_checkpoint_of_a_purged_run_can_begin_it_anew(agent: AgentGraph, clock: FakeClock) -> None:
    first = on_thread(agent, "a")
    old = [state.config for state in agent.graph.get_state_history(thread())]
    clock.advance(31 * DAY)
    agent.graph.invoke({"goal": "b"}, thread())
    agent.graph.invoke(Command(resume=YES), thread())
    agent.purge(first)
    for config in old:
        with pytest.raises(Exception):  # noqa: B017  # LangGraph says in its own ways that there is no such checkpoint
            agent.graph.invoke(None, config)
    assert DONE == ["a", "b"]
    assert len(agent.runs()) == 1


def test_the_newest_run_of_a_thread_is_not_purged_from_under_it(agent: AgentGraph) -> None:
    first, second = on_thread(agent, "a"), on_thread(agent, "b")
    with pytest.raises(UsageError, match=f"{second} is the newest of thread 't'.*{first}"):
        agent.purge(second)
    assert len(agent.runs()) == 2
    assert set(agent.purge(first, second)) == {first, second}


def test_by_age_the_newest_of_a_thread_waits_for_the_others(agent: AgentGraph, clock: FakeClock) -> None:
    first = on_thread(agent, "a")
    clock.advance(40 * DAY)
    second = on_thread(agent, "b")
    clock.jump(-80 * DAY)  # ends, by the clock, long before the first
    third = on_thread(agent, "c")
    assert agent.purge(older_than=0) == []
    clock.jump(60 * DAY)
    assert set(agent.purge(older_than=10 * DAY)) == {first}
    assert {run.id for run in agent.runs()} == {second, third}


class Larger(TypedDict, total=False):
    goal: str
    answer: str


def test_a_larger_graph_keeps_its_own_checkpoints(agent: AgentGraph, store_path: Path) -> None:
    graph: Any = StateGraph(Larger)
    graph.add_node("work", agent.graph)
    graph.add_edge(START, "work")
    graph.add_edge("work", END)
    compiled = graph.compile(checkpointer=agent.store.checkpointer())
    compiled.invoke({"goal": "a"}, thread("big"))
    compiled.invoke(Command(resume=YES), thread("big"))
    agent.purge(finished=True)
    assert compiled.get_state(thread("big")).values["answer"] == "SECRET a"
    with closing(sqlite3.connect(store_path)) as connection:
        assert connection.execute("SELECT DISTINCT checkpoint_ns FROM checkpoints").fetchall() == [("",)]


# ── other stores ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_in_memory_is_purged_as_well() -> None:
    store = MemoryStore()
    with AgentGraph([put], planner=Echo(), store=store) as agent:
        run = finished(agent, "a")
        assert agent.purge(run) == [run]
        assert list(agent.store.checkpointer().list(None)) == []
        assert agent.runs() == []


def test_a_store_that_langgraph_never_used_is_purged(store_path: Path) -> None:
    from agent_graph.checkpoints.store import SqliteStore
    from agent_graph.plan import Goal

    with SqliteStore(store_path) as store:
        opened: Store = store
        opened.runs.create(RunId("r"), Goal(text="x"), thread_id="r")
        lease = opened.leases.acquire(RunId("r"), new_owner())
        opened.runs.finish(lease, "failed")
        opened.leases.release(lease)
        opened.purge([RunId("r")])
        assert opened.runs.recent() == []


# ── checkpoints only ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_goes_on_from_the_ledger_after_its_checkpoints_were_dropped(agent: AgentGraph) -> None:
    run = agent.run("a")
    lease = agent.store.leases.acquire(RunId(run.id), new_owner())
    agent.store.drop_checkpoints(lease)
    agent.store.leases.release(lease)
    assert agent.graph.get_state(thread(run.thread_id)).created_at is None
    assert agent.resume(run.id, Approve()).status == "succeeded"
    assert DONE == ["a"]
