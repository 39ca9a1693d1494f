"""The peer: plan and execute on plain LangGraph, as its tutorial builds it, with its own saver. No schema, criterion, event or intent."""

from __future__ import annotations

import operator
import sqlite3
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send

from .chains import Seen, seen
from .costs import Cost, cost
from .dags import Dag
from .measure import spending

Compiled = CompiledStateGraph[Any, Any, Any, Any]


def saver_at(path: Path) -> SqliteSaver:
    return SqliteSaver(sqlite3.connect(path, check_same_thread=False))


# ── one step after the other ──────────────────────────────────────────────────────────────────────────────────────────


class Chain(TypedDict):
    plan: list[dict[str, Any]]
    results: Annotated[list[Seen], operator.add]


def loop(saver: SqliteSaver) -> Compiled:
    """One node that does the next step of the plan, and an edge back to it."""

    def look(n: int, after: str) -> Seen:
        return seen(n)

    def execute(state: Chain) -> dict[str, Any]:
        step = state["plan"][len(state["results"])]
        after = state["results"][-1]["text"] if state["results"] else ""
        return {"results": [look(**{**step["args"], "after": after})]}

    def more(state: Chain) -> str:
        return "execute" if len(state["results"]) < len(state["plan"]) else END

    graph = StateGraph(Chain)
    graph.add_node("execute", execute)
    graph.add_edge(START, "execute")
    graph.add_conditional_edges("execute", more, ["execute", END])
    return graph.compile(checkpointer=saver)


def chain_costs(folder: str, sizes: list[int]) -> list[Cost]:
    _chain_cost(Path(folder) / "warm.db", 3)
    return [_chain_cost(Path(folder) / f"langgraph-{steps}.db", steps) for steps in sizes]


def _chain_cost(path: Path, steps: int) -> Cost:
    saver = saver_at(path)
    graph = loop(saver)

    def begin() -> Any:
        plan = [{"id": f"s{n}", "description": f"Look at the next thing, number {n}.", "args": {"n": n}} for n in range(steps)]

        def run() -> Any:
            came = graph.invoke(
                {"plan": plan, "results": []},
                {"configurable": {"thread_id": "1"}, "recursion_limit": steps + 10},
                durability="sync",
            )
            assert came["results"][-1]["n"] == steps - 1
            return came, plan

        return run

    return cost(steps, path, begin, saver.conn.close)


# ── all steps that are ready, as one wave ─────────────────────────────────────────────────────────────────────────────


class Wanted(TypedDict):
    n: int


class Waves(TypedDict):
    done: Annotated[list[int], operator.add]


def waves(dag: Dag, saver: SqliteSaver) -> Compiled:
    """Each superstep sends every step whose needs are done. The next begins when the slowest of them has ended."""

    def work(given: Wanted) -> dict[str, Any]:
        time.sleep(dag.seconds[given["n"]])
        return {"done": [given["n"]]}

    def collect(state: Waves) -> dict[str, Any]:
        return {}

    def ready(state: Waves) -> list[Send] | str:
        done = set(state["done"])
        free = [n for n, needs in enumerate(dag.needs) if n not in done and done.issuperset(needs)]
        return [Send("work", {"n": n}) for n in free] or END

    graph: Any = StateGraph(Waves)
    graph.add_node("work", work)
    graph.add_node("collect", collect)
    graph.add_conditional_edges(START, ready, ["work", END])
    graph.add_edge("work", "collect")
    graph.add_conditional_edges("collect", ready, ["work", END])
    compiled: Compiled = graph.compile(checkpointer=saver)
    return compiled


def wave_makespan(dag: Dag, path: Path, limit: int | None) -> float:
    """Seconds."""
    saver = saver_at(path)
    graph = waves(dag, saver)
    config: Any = {"configurable": {"thread_id": "1"}, "recursion_limit": 1000, "max_concurrency": limit or len(dag.needs)}
    with spending() as spent:
        came = graph.invoke({"done": []}, config, durability="sync")
    assert len(came["done"]) == len(dag.needs)
    saver.conn.close()
    return spent.wall
