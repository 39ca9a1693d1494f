"""LangGraph's checkpoints are kept as far as somebody may go on from them, and their bytes are bounded by that."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from agent_graph import AgentGraph, Approve, Plan, Step, tool
from agent_graph.checkpoints.retention import DEFAULT, Retention
from agent_graph.checkpoints.store import SqliteStore

SMALL = Retention(drives=2, checkpoints=6, every=4)
YES: Any = {"decisions": [{"type": "approve"}]}
DONE: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    DONE.clear()


@tool(risk="read_only")
def look(name: str) -> str:
    """Return a long text."""
    return name * 1000


@tool(risk="write", recovery="idempotent")
def put(name: str) -> str:
    """Write something."""
    DONE.append(name)
    return name


class Echo:
    """Plans to look at, or to put, what the goal says."""

    name = "echo"
    can_replan = False

    def complete(self, goal: Any) -> Any:
        return goal

    def plan(self, context: Any) -> Plan:
        name = context.goal.text
        used = "put" if name.startswith("put") else "look"
        return Plan(goal=name, steps=(Step(id="a", tool=used, args={"name": name}),), answer={"$ref": "steps.a.output"})

    def replan(self, context: Any) -> Any:
        raise NotImplementedError


def gates(count: int) -> Plan:
    steps: list[Step] = []
    for n in range(count):
        steps.append(Step(id=f"r{n}", tool="look", args={"name": "x"}, depends_on=(f"w{n - 1}",) if n else ()))
        steps.append(Step(id=f"w{n}", tool="put", args={"name": {"$ref": f"steps.r{n}.output"}}))
    return Plan(goal="gates", steps=tuple(steps))


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


def sizes(path: Path, thread_id: str = "t") -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT LENGTH(checkpoint) FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id", (thread_id,))
        return [row[0] for row in rows]


# ── the rule ──────────────────────────────────────────────────────────────────────────────────────────────────────────

DRIVES = st.lists(st.integers(1, 30), max_size=20)
RULES = st.builds(Retention, drives=st.integers(0, 5), checkpoints=st.integers(1, 12), every=st.integers(1, 5))


def driven(rule: Retention, drives: list[int]) -> Iterator[list[tuple[str, bool]]]:
    """A thread's history as the saver leaves it after each checkpoint, when it looks as often as it may."""
    history: list[tuple[str, bool]] = []
    for drive, length in enumerate(drives):
        for n in range(length):
            history.append((f"{drive:03}:{n:03}", n == 0))
            gone = set(rule.superseded(history))
            history = [one for one in history if one[0] not in gone]
            yield history


@given(RULES, DRIVES)
def test_what_is_kept_is_bounded_and_holds_the_newest(rule: Retention, drives: list[int]) -> None:
    newest = ""
    for history in driven(rule, drives):
        ids = [checkpoint_id for checkpoint_id, _ in history]
        assert ids[-1] > newest
        newest = ids[-1]
        assert len(ids) <= rule.drives + 1 + rule.checkpoints


@given(RULES, st.lists(st.integers(2, 30), max_size=20))  # one that came no further than its input may be forgotten
def test_the_last_checkpoint_of_each_of_the_latest_drives_is_kept(rule: Retention, drives: list[int]) -> None:
    for history in driven(rule, drives):
        kept = {checkpoint_id for checkpoint_id, _ in history}
        now = int(history[-1][0][:3])
        ends = {f"{drive:03}:{drives[drive] - 1:03}" for drive in range(max(0, now - rule.drives), now)}
        assert ends <= kept


def test_a_thread_from_before_the_rule_is_brought_under_it_at_once() -> None:
    history = [(f"{drive:03}:{n}", n == 0) for drive in range(50) for n in range(7)]
    gone = set(DEFAULT.superseded(history))
    assert [one for one, _ in history if one not in gone] == [f"{drive:03}:6" for drive in range(39, 49)] + [f"049:{n}" for n in range(7)]


@pytest.mark.parametrize("bad", [{"drives": -1}, {"checkpoints": 0}, {"every": 0}])
def test_a_rule_that_keeps_nothing_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Retention(**bad)


# ── in a store ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_thread_of_many_runs_holds_a_bounded_number_of_checkpoints(store_path: Path) -> None:
    with AgentGraph([look, put], planner=Echo(), store=store_path) as agent:
        for n in range(30):
            agent.graph.invoke({"goal": f"g{n}"}, thread())
        held = sizes(store_path)
        assert len(held) <= DEFAULT.drives + 8  # eight are of the run that was the last
        assert sum(held) <= (DEFAULT.drives + 8) * max(held)
        assert len(agent.runs()) == 30


def test_a_long_run_holds_a_bounded_number_of_checkpoints(store_path: Path) -> None:
    with AgentGraph([look, put], store=SqliteStore(store_path, retention=SMALL)) as agent:
        run = agent.run(plan=gates(12))
        while run.status == "paused":
            run = agent.resume(run, Approve())
            assert len(sizes(store_path, run.id)) <= SMALL.drives + 1 + SMALL.checkpoints + SMALL.every
        assert (run.status, len(DONE)) == ("succeeded", 12)


def test_nothing_is_left_of_a_checkpoint_that_was_dropped(store_path: Path) -> None:
    with AgentGraph([look, put], planner=Echo(), store=SqliteStore(store_path, retention=SMALL)) as agent:
        for n in range(5):
            agent.graph.invoke({"goal": f"g{n}"}, thread())
    with closing(sqlite3.connect(store_path)) as connection:
        orphans = connection.execute(
            "SELECT COUNT(*) FROM writes WHERE checkpoint_id NOT IN (SELECT checkpoint_id FROM checkpoints)"
        ).fetchone()[0]
    assert orphans == 0


def test_the_ends_of_earlier_runs_can_be_looked_at(store_path: Path) -> None:
    with AgentGraph([look, put], planner=Echo(), store=SqliteStore(store_path, retention=SMALL)) as agent:
        for n in range(5):
            agent.graph.invoke({"goal": f"g{n}"}, thread())
        seen = [
            state.values["answer"][:2] for state in agent.graph.get_state_history(thread()) if state.values.get("status") == "succeeded"
        ]
        assert list(dict.fromkeys(seen)) == ["g4", "g3", "g2"]


def test_a_gate_that_waits_is_answered_after_much_was_dropped(store_path: Path) -> None:
    with AgentGraph([look, put], planner=Echo(), store=SqliteStore(store_path, retention=SMALL)) as agent:
        for n in range(4):
            agent.graph.invoke({"goal": f"g{n}"}, thread())
        agent.graph.invoke({"goal": "put it"}, thread())
        for n in range(4):  # each leads back to the gate, and is a drive of its own
            agent.graph.invoke({"goal": f"not now {n}"}, thread())
        assert agent.graph.invoke(Command(resume=YES), thread())["answer"] == "put it"
        assert DONE == ["put it"]


def test_the_drive_under_way_can_be_forked(store_path: Path) -> None:
    with AgentGraph([look, put], planner=Echo(), store=SqliteStore(store_path, retention=SMALL)) as agent:
        for n in range(3):
            agent.graph.invoke({"goal": f"g{n}"}, thread())
        agent.graph.invoke({"goal": "put it"}, thread())
        gate = agent.graph.get_state(thread()).config
        agent.graph.invoke(Command(resume=YES), thread())
        forked = agent.graph.update_state(gate, {"why": "another way"}, as_node="observe")
        agent.graph.invoke(None, forked)
        assert DONE == ["put it"]


class Larger(TypedDict, total=False):
    goal: str
    answer: str
    rounds: int


def test_a_larger_graph_on_our_saver_keeps_all_of_its_own(store_path: Path) -> None:
    with AgentGraph([look, put], planner=Echo(), store=SqliteStore(store_path, retention=SMALL)) as agent:
        graph: Any = StateGraph(Larger)
        graph.add_node("before", lambda state: {"rounds": state.get("rounds", 0) + 1})
        graph.add_node("work", agent.graph)
        graph.add_edge(START, "before")
        graph.add_edge("before", "work")
        graph.add_edge("work", END)
        compiled = graph.compile(checkpointer=agent.store.checkpointer())
        for n in range(6):
            compiled.invoke({"goal": f"g{n}"}, thread())
        assert len(list(compiled.get_state_history(thread()))) == 6 * 4
        assert len(agent.runs()) == 6


def test_a_clock_that_was_set_back_does_not_cost_the_newest_checkpoint(store_path: Path) -> None:
    with AgentGraph([look, put], planner=Echo(), store=SqliteStore(store_path, retention=SMALL)) as agent:
        for n in range(3):
            agent.graph.invoke({"goal": f"g{n}"}, thread())
        saver = agent.store.checkpointer()
        found = saver.get_tuple(thread())
        assert found is not None
        early = {**found.checkpoint, "id": "1e000000-0000-6000-8000-000000000000"}
        written = saver.put({"configurable": {"thread_id": "t", "checkpoint_ns": ""}}, early, {"source": "input", "step": 99}, {})  # type: ignore[arg-type]
        assert saver.get_tuple(written) is not None
