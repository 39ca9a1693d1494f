"""The peer: langchain's ``create_agent`` on the same tools and the same server, as its documentation builds it."""

from __future__ import annotations

from langchain.agents import create_agent
from langchain_core.tools import BaseTool, StructuredTool

from agent_graph.model_server import ModelServer

from .model_task import Task, model_of


def loop(task: Task) -> ModelServer:
    """What its server was sent. Raises RuntimeError when the task was not done."""
    with ModelServer(task.in_a_loop) as server:
        agent = create_agent(model_of(server), tools=[_plain(each) for each in task.tools()])
        said = agent.invoke({"messages": [{"role": "user", "content": task.goal}]}, {"recursion_limit": 4 * task.calls + 10})
    if task.entry(f"e{task.calls}")["text"] not in said["messages"][-1].text:
        raise RuntimeError(f"create_agent did not do the task: {said['messages'][-1].text[:200]}")
    return server


def _plain(ours: object) -> BaseTool:
    """The function below our tool, as LangChain wraps functions."""
    return StructuredTool.from_function(ours.function)  # type: ignore[attr-defined]
