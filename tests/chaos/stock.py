"""The same steps through stock LangGraph: a node per step, its own SQLite savers, resumed as its documentation says."""

from __future__ import annotations

import asyncio
import operator
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph

from .case import Case
from .plans import needs_of
from .seams import Seams
from .world import HERE, Here, World, act


class State(TypedDict):
    done: Annotated[list[str], operator.add]


def drive(case: Case, place: Path, number: int, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    os.chdir(place)
    HERE.append(Here(world=World(place / "world.log", number), seams=Seams(), chance=random.Random(f"{case.seed} {case.name} {number}")))
    config: Any = {"configurable": {"thread_id": "1"}}
    if case.engine == "stock aio":
        asyncio.run(_adrive(case, config))
    else:
        with SqliteSaver.from_conn_string("stock.db") as saver:
            there = saver.get_tuple(config)
            given: Any = None if there is not None else {"done": []}
            durability: Any = "sync" if case.engine == "stock sync" else "async"
            _graph(case).compile(checkpointer=saver).invoke(given, config, durability=durability)
    return {"status": "succeeded"}


async def _adrive(case: Case, config: Any) -> None:
    async with AsyncSqliteSaver.from_conn_string("stock.db") as saver:
        there = await saver.aget_tuple(config)
        given: Any = None if there is not None else {"done": []}
        await _graph(case).compile(checkpointer=saver).ainvoke(given, config, durability="sync")


def _graph(case: Case) -> StateGraph[State, None, State, State]:
    graph = StateGraph(State)
    for index, needs in enumerate(needs_of(case.shape)):
        graph.add_node(f"s{index}", _node(f"s{index}"))
        if not needs:
            graph.add_edge(START, f"s{index}")
        elif len(needs) == 1:
            graph.add_edge(f"s{needs[0]}", f"s{index}")
        else:
            graph.add_edge([f"s{need}" for need in needs], f"s{index}")
    return graph


def _node(step: str) -> Any:
    def node(state: State) -> dict[str, list[str]]:
        act(step, "-", 0.0)
        return {"done": [step]}

    return node
