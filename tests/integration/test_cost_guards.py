"""What a fixed plan costs in things that can be counted on any machine: commits, checkpoints, compilations, bytes. Timings are for `make bench`."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Limits, Plan, Policy, tool
from agent_graph.policy import schemas


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
    assert (store_path.stat().st_size - before) / 500 < 2000
