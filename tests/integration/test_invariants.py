"""What must always hold, seen from inside a tool and from beside the store."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Limits, Plan, Policy, Step, ToolContext, tool
from agent_graph.checkpoints.store import SqliteStore


def rows(store: Path, sql: str) -> list[tuple[Any, ...]]:
    """As another process would see it."""
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_the_intent_is_on_disk_before_the_tool_is_called(store_path: Path) -> None:
    seen: list[Any] = []

    @tool(risk="write", recovery="keyed")
    def write(ctx: ToolContext, n: int) -> int:
        seen.extend(rows(store_path, f"SELECT state, step_id, args FROM effects WHERE key = '{ctx.idempotency_key}'"))
        return n

    with AgentGraph([write], store=store_path, policy=Policy.allow_all()) as agent:
        agent.run(plan=Plan(goal="write", steps=(Step(id="a", tool="write", args={"n": 1}),)))
    assert seen == [("intent", "a", '{"n":1}')]


def test_the_outcome_is_on_disk_before_a_step_that_depends_on_it_is_called(store_path: Path) -> None:
    seen: list[Any] = []

    @tool(risk="write", recovery="keyed")
    def write(n: int) -> int:
        seen.append(rows(store_path, "SELECT step_id, state FROM effects ORDER BY step_id"))
        return n + 1

    steps = (Step(id="a", tool="write", args={"n": 1}), Step(id="b", tool="write", args={"n": {"$ref": "steps.a.output"}}))
    with AgentGraph([write], store=store_path, policy=Policy.allow_all()) as agent:
        agent.run(plan=Plan(goal="write", steps=steps))
    assert seen == [[("a", "intent")], [("a", "done"), ("b", "intent")]]


def test_the_outcome_of_a_write_is_on_disk_before_a_read_that_depends_on_it(store_path: Path) -> None:
    seen: list[Any] = []

    @tool(risk="write", recovery="keyed")
    def write() -> int:
        return 1

    @tool(risk="read_only")
    def read(n: int) -> int:
        seen.extend(rows(store_path, "SELECT step_id, state FROM effects"))
        return n

    steps = (Step(id="a", tool="write"), Step(id="b", tool="read", args={"n": {"$ref": "steps.a.output"}}))
    with AgentGraph([write, read], store=store_path, policy=Policy.allow_all()) as agent:
        agent.run(plan=Plan(goal="write, then read", steps=steps))
    assert seen == [("a", "done")]


def test_an_approval_is_used_up_in_the_transaction_of_its_intent(store_path: Path) -> None:
    seen: list[Any] = []

    @tool(risk="write", recovery="keyed")
    def write(ctx: ToolContext, n: int) -> int:
        seen.extend(rows(store_path, "SELECT consumed_by FROM approvals WHERE kind = 'step'"))
        assert seen == [(ctx.idempotency_key,)]
        return n

    with AgentGraph([write], store=store_path) as agent:
        run = agent.run(plan=Plan(goal="write", steps=(Step(id="a", tool="write", args={"n": 1}),)))
        assert agent.resume(run, Approve()).status == "succeeded"


def test_a_durable_commit_is_flushed_to_disk_and_there_is_one_for_each_write(store_path: Path) -> None:
    @tool(risk="write", recovery="keyed")
    def write(n: int) -> int:
        return n + 1

    steps = [Step(id="s0", tool="write", args={"n": 0})]
    steps += [Step(id=f"s{n}", tool="write", args={"n": {"$ref": f"steps.s{n - 1}.output"}}) for n in range(1, 30)]
    store = SqliteStore(store_path)
    with AgentGraph([write], store=store, policy=Policy.allow_all()) as agent:
        before = store.database.durable_commits
        agent.run(plan=Plan(goal="write", steps=tuple(steps)))
        # The outcome of one shares the commit of the next one's intent: n + 1 for the steps, the rest for the run itself.
        assert 30 < store.database.durable_commits - before <= 30 + 8


def test_files_are_readable_for_their_owner_only(tmp_path: Path) -> None:
    @tool(risk="read_only")
    def read() -> int:
        return 1

    store = tmp_path / "made" / "runs.db"
    with AgentGraph([read], store=store) as agent:
        agent.run(plan=Plan(goal="read", steps=(Step(id="a", tool="read"),)))
        assert (store.parent.stat().st_mode & 0o777) == 0o700
        assert {path.name: oct(path.stat().st_mode & 0o777) for path in store.parent.iterdir()} == dict.fromkeys(
            ("runs.db", "runs.db-wal", "runs.db-shm"), "0o600"
        )


def test_a_policy_that_denies_is_asked_again_at_the_call(store_path: Path) -> None:
    """The plan was validated under another policy; what counts is the one at the call."""
    from agent_graph.policy.rules import Rule

    called: list[int] = []

    @tool(risk="money", recovery="keyed")
    def pay(n: int) -> int:
        called.append(n)
        return n

    @tool(risk="read_only")
    def amount() -> int:
        return 3

    plan = Plan(
        goal="pay", steps=(Step(id="amount", tool="amount"), Step(id="pay", tool="pay", args={"n": {"$ref": "steps.amount.output"}}))
    )
    with AgentGraph([pay, amount], store=store_path) as agent:
        run = agent.run(plan=plan)
        assert run.status == "paused"
    deny = Policy(rules=(Rule(verdict="allow", risks=("read_only",)), Rule(verdict="deny", risks=("money",), reason="no money today")))
    with AgentGraph([pay, amount], store=store_path, policy=deny) as agent:
        run = agent.resume(run, Approve())
        assert called == []
        assert run.error is not None
        assert (run.status, run.error.cause) == ("failed", "policy")


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_steps_run_side_by_side_than_allowed(store_path: Path, limit: int) -> None:
    import threading
    import time

    now, most, lock = 0, 0, threading.Lock()

    @tool(risk="read_only")
    def busy(n: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return n

    with AgentGraph([busy], store=store_path, limits=Limits(max_parallel=limit)) as agent:
        agent.run(plan=Plan(goal="busy", steps=tuple(Step(id=f"s{n}", tool="busy", args={"n": n}) for n in range(6))))
    assert most == limit
