"""For ``langgraph dev`` and LangGraph Studio: the graph without a checkpointer, and our store as the server's checkpointer.

What agent the server runs is said by the environment:

    AGENT_GRAPH_STORE      the store's file (default .agent-graph/runs.db)
    AGENT_GRAPH_PLANNER    a blueprint's file, the name of a bundled one, chain, or openai:MODEL (default investigate-metric, or the models' planner)
    AGENT_GRAPH_MODELS     a file that says which model does what; AGENT_GRAPH_MODEL and its like say more (docs/models.md)
    AGENT_GRAPH_MODE       inline, single_shot, iterative or auto
    AGENT_GRAPH_GRANULARITY coarse, fine or auto
    AGENT_GRAPH_BLUEPRINTS files of nested plans, several as a shell would take them
    AGENT_GRAPH_TOOLS      MODULE[:NAME] or FILE.py[:NAME], several as a shell would take them (default: the bundled tools)
    AGENT_GRAPH_POLICY     a policy file

A langgraph.json names both parts by import, so that it works wherever the package is installed. The server wants a colon for a graph and
a dot for a checkpointer: ``agent_graph.studio:graph`` and ``agent_graph.studio.checkpointer``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from agent_graph.agent import AgentGraph
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.examples import blueprints
from agent_graph.examples import tools as bundled_tools
from agent_graph.graph import Graph, build_graph
from agent_graph.models.roles import Models
from agent_graph.plan import Granularity, Mode
from agent_graph.threads import on_own_thread
from agent_graph.tools.registry import load_tools

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver


@functools.cache
def agent() -> AgentGraph:
    """The agent that the environment describes, made once."""
    named = shlex.split(os.environ.get("AGENT_GRAPH_TOOLS", ""))
    models = Models.from_env(os.environ, Models.of(path) if (path := os.environ.get("AGENT_GRAPH_MODELS")) else None)
    planner = os.environ.get("AGENT_GRAPH_PLANNER") or (None if models.planner is not None else "investigate-metric")
    tools: list[Any] = [one for spec in named for one in load_tools(spec)] if named else bundled_tools()
    return AgentGraph(
        tools,
        planner=None if planner is None else blueprints().get(planner, planner),
        policy=os.environ.get("AGENT_GRAPH_POLICY") or None,
        store=os.environ.get("AGENT_GRAPH_STORE") or DEFAULT_PATH,
        models=models,
        mode=cast("Mode | None", os.environ.get("AGENT_GRAPH_MODE") or None),
        granularity=cast("Granularity", os.environ.get("AGENT_GRAPH_GRANULARITY") or "auto"),
        blueprints=shlex.split(os.environ.get("AGENT_GRAPH_BLUEPRINTS", "")),
    )


@functools.cache
def _graph() -> Graph:
    return build_graph(agent().deps)


def _saver() -> BaseCheckpointSaver[str]:
    return agent().store.checkpointer()


async def graph() -> Graph:
    """For ``graphs`` in langgraph.json. Opening the store is file work, which the server does not want on its loop."""
    return await on_own_thread(_graph)


@contextlib.asynccontextmanager
async def checkpointer() -> AsyncIterator[BaseCheckpointSaver[str]]:
    """For ``checkpointer.path`` in langgraph.json: the same file that Python and the command line use."""
    yield await on_own_thread(_saver)
