"""For ``langgraph dev`` and LangGraph Studio: the graph without a checkpointer, and our store as the server's checkpointer.

What agent the server runs is said by the environment:

    AGENT_GRAPH_STORE      the store's file (default .agent-graph/runs.db)
    AGENT_GRAPH_PLANNER    a blueprint's file, the name of a bundled one, or openai:MODEL (default investigate-metric)
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
from typing import TYPE_CHECKING, Any

from agent_graph.agent import AgentGraph
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.examples import blueprints
from agent_graph.examples import tools as bundled_tools
from agent_graph.graph import Graph, build_graph
from agent_graph.threads import on_own_thread
from agent_graph.tools.registry import load_tools

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver


@functools.cache
def agent() -> AgentGraph:
    """The agent that the environment describes, made once."""
    named = shlex.split(os.environ.get("AGENT_GRAPH_TOOLS", ""))
    planner = os.environ.get("AGENT_GRAPH_PLANNER") or "investigate-metric"
    tools: list[Any] = [one for spec in named for one in load_tools(spec)] if named else bundled_tools()
    return AgentGraph(
        tools,
        planner=blueprints().get(planner, planner),
        policy=os.environ.get("AGENT_GRAPH_POLICY") or None,
        store=os.environ.get("AGENT_GRAPH_STORE") or DEFAULT_PATH,
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
