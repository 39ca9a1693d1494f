"""What a fixed plan costs in things that can be counted on any machine: commits, checkpoints, compilations, bytes. Timings are for `make bench`."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Limits, Plan, Policy, tool
from agent_graph.checkpoints import ledger, runs
from agent_graph.checkpoints.ledger import Ledger
from agent_graph.policy import expressions, schemas


@tool(risk="read_only")
def look(before: str = "", n: int = 0) -> str:
    return f"{n}".rjust(200, "x")


@tool(risk="write", recovery="keyed")
def put(before: str = "", n: int = 0) -> str:
    return f"{n}".rjust(200, "x")


def chain(name: str, steps: int) -> Plan:
    made: list[dict[str, Any]] = []
    for n in range(steps):
        args: dict[str, Any] = {"n": n} | ({"before": {"$ref": f"steps.s{n - 1}.output"}} if n else {})
        made.append({"id": f"s{n}", "tool": name, "args": args, "success_criteria": ["size(output) == 200"]})
    return Plan.model_validate({"goal": "go", "steps": made})


def commits(store_path: Path, name: str, steps: int) -> tuple[int, int, int]:
    """Commits, flushed ones, and checkpoints of LangGraph, of one run of a chain."""
    with AgentGraph([look, put], policy=Policy.allow_all(), limits=Limits(max_steps=1000), store=store_path) as agent:
        agent.run(chain(name, 2))  # what is made once
        database: Any = agent.store.database  # type: ignore[attr-defined]
        before = database.commits, database.durable_commits
        run = agent.run(chain(name, steps))
        assert run.status == "succeeded"
        after = database.commits, database.durable_commits
    with sqlite3.connect(store_path) as store:
        checkpoints = store.execute("SELECT COUNT(*) FROM checkpoints WHERE thread_id = ?", (run.thread_id,)).fetchone()[0]
    store.close()
    return after[0] - before[0], after[1] - before[1], checkpoints


@pytest.mark.parametrize("steps", [20, 120])
def test_a_read_costs_one_commit_that_is_not_flushed(store_path: Path, steps: int) -> None:
    total, flushed, _ = commits(store_path, "look", steps)
    assert total - flushed <= steps + 10
    assert flushed <= 12


@pytest.mark.parametrize("steps", [20, 120])
def test_a_write_costs_one_flushed_commit_for_its_outcome_and_the_next_intent(store_path: Path, steps: int) -> None:
    total, flushed, _ = commits(store_path, "put", steps)
    assert steps <= flushed <= steps + 12
    assert total - flushed <= 10


def test_checkpoints_do_not_grow_with_the_plan(tmp_path: Path) -> None:
    assert commits(tmp_path / "a.db", "look", 20)[2] == commits(tmp_path / "b.db", "look", 120)[2] <= 8


def test_a_schema_is_compiled_once(store_path: Path) -> None:
    with AgentGraph([look], limits=Limits(max_steps=1000), store=store_path) as agent:
        agent.run(chain("look", 3))
        before = schemas.compilations
        agent.run(chain("look", 100))
        assert schemas.compilations == before


def test_bytes_for_each_step_are_bounded(store_path: Path) -> None:
    """With its trace; the value of 200 bytes is there three times: as output, as evidence, and as the next step's argument."""
    with AgentGraph([look], limits=Limits(max_steps=1000), store=store_path) as agent:
        agent.run(chain("look", 2))
    before = store_path.stat().st_size
    with AgentGraph([look], limits=Limits(max_steps=1000), store=store_path) as agent:
        agent.run(chain("look", 500))
    assert (store_path.stat().st_size - before) / 500 < 1500


def counted(monkeypatch: pytest.MonkeyPatch, home: Any, name: str) -> list[Any]:
    """What the function is called with from here on."""
    calls: list[Any] = []
    really = getattr(home, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return really(*args, **kwargs)

    monkeypatch.setattr(home, name, counting)
    return calls


def test_a_drive_reads_how_its_steps_stand_once_and_parses_its_plan_once(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs._PLANS._plans.clear()
    standings, parsed = counted(monkeypatch, Ledger, "standings"), counted(monkeypatch, Plan, "read")
    with AgentGraph([look], store=store_path) as agent:
        assert agent.run(chain("look", 20)).status == "succeeded"
    assert (len(standings), len(parsed)) == (1, 1)


def test_a_resumed_run_lays_out_and_compiles_only_what_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process nothing of it was met before, as in a new one."""
    made = [
        step.model_copy(update={"tool": "put" if step.id == "s58" else "look", "success_criteria": (f"size(output) > {n}",)})
        for n, step in enumerate(chain("look", 60).steps)
    ]
    with AgentGraph([look, put], store=tmp_path / "runs.db") as agent:
        paused = agent.run(Plan(goal="go", steps=tuple(made)))
        assert (paused.status, len(paused.results)) == ("paused", 58)
    runs._PLANS._plans.clear()
    expressions._read.cache_clear()
    compiled, parsed = counted(monkeypatch, expressions, "_compiled"), counted(monkeypatch, Plan, "read")
    read = counted(monkeypatch, ledger, "_result")
    with AgentGraph([look, put], store=tmp_path / "runs.db") as agent:
        done = agent.resume(paused.id, Approve())
        assert done.status == "succeeded"
        assert (len(compiled), len(parsed), expressions._read.cache_info().misses) == (2, 1, 2)
        assert len(read) <= 2  # what the next step takes, and the answer
        assert (len(done.results), done.results["s3"].status) == (60, "succeeded")


def test_a_read_costs_three_statements(store_path: Path) -> None:
    statements: list[str] = []
    with AgentGraph([look], limits=Limits(max_steps=1000), store=store_path) as agent:
        agent.run(chain("look", 2))
        database: Any = agent.store.database  # type: ignore[attr-defined]
        database._connection.set_trace_callback(statements.append)
        agent.run(chain("look", 100))
        database._connection.set_trace_callback(None)
    of_steps = [each for each in statements if not each.startswith("--")]
    assert len(of_steps) < 100 * 3 + 100
