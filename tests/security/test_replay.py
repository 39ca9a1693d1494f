"""A run that ended is not begun once more by whoever replays its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent_graph import AgentGraph, Plan, Policy, tool
from agent_graph.testing import ScriptedPlanner

DONE: list[str] = []


@tool(risk="write", recovery="idempotent")
def write(text: str) -> str:
    """Write something."""
    DONE.append(text)
    return text


ONE = Plan.model_validate({"goal": "write", "steps": [{"id": "w", "tool": "write", "args": {"text": "x"}}]})


def test_no_checkpoint_of_a_run_that_python_began_begins_another(store_path: Path) -> None:
    DONE.clear()
    with AgentGraph([write], planner=ScriptedPlanner(ONE, ONE, ONE), policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run("write")
        config: Any = {"configurable": {"thread_id": run.thread_id}}
        for snapshot in list(agent.graph.get_state_history(config)):
            agent.graph.invoke(None, snapshot.config)
        assert [each.id for each in agent.runs()] == [run.id]
    assert DONE == ["x"]
