"""The graph itself: its drawing, its bounds, and that a plain ``invoke`` finds the ledger and not the state."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

from langgraph.types import Command

from agent_graph import AgentGraph, Plan, Policy, Step, tool
from agent_graph.errors import RunBusy
from agent_graph.nodes.execute import execute
from agent_graph.nodes.visit import entering
from agent_graph.testing import MemoryStore, ScriptedPlanner

DRAWING = Path(__file__).parents[2] / "docs" / "graph.md"
SENT: list[str] = []


@tool(risk="write", recovery="idempotent")
def send(text: str) -> str:
    """Send."""
    SENT.append(text)
    return f"sent {text}"


def plan(*texts: str) -> Plan:
    return Plan(goal="send", steps=tuple(Step(id=f"s{n}", tool="send", args={"text": text}) for n, text in enumerate(texts)))


def agent(*script: Any, store: Any = None) -> AgentGraph:
    SENT.clear()
    return AgentGraph([send], planner=ScriptedPlanner(*script), store=store or MemoryStore())


def test_the_drawing_in_the_docs_is_the_graph() -> None:
    drawn = agent().graph.get_graph().draw_mermaid()
    if os.environ.get("UPDATE_SNAPSHOTS"):
        text = DRAWING.read_text()
        DRAWING.write_text(re.sub(r"```mermaid\n.*?```", lambda _: f"```mermaid\n{drawn}```", text, flags=re.DOTALL))
    found = re.search(r"```mermaid\n(.*?)```", DRAWING.read_text(), re.DOTALL)
    assert found is not None
    assert found[1] == drawn


def test_every_arrow_of_the_design_is_there_and_no_other() -> None:
    edges = {(edge.source, edge.target) for edge in agent().graph.get_graph().edges}
    assert edges == {
        ("__start__", "plan"),
        ("plan", "validate"),
        *(("validate", each) for each in ("approve", "execute", "replan", "conclude")),
        *(("approve", each) for each in ("execute", "validate", "replan", "plan", "approve", "conclude")),
        ("execute", "observe"),
        *(("observe", each) for each in ("execute", "approve", "replan", "conclude")),
        ("replan", "validate"),
        ("conclude", "__end__"),
    }


def test_plain_invoke_stops_at_the_gate_and_a_command_goes_on() -> None:
    with agent(plan("a")) as graph:
        config: Any = {"configurable": {"thread_id": "one"}}
        out = graph.graph.invoke({"goal": "send a"}, config)
        (interrupt,) = out["__interrupt__"]
        assert interrupt.value["review_configs"][0]["allowed_decisions"] == ["approve", "edit", "reject"]
        assert SENT == []
        out = graph.graph.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
        assert (out["status"], out["answer"], SENT) == ("succeeded", "sent a", ["a"])


def test_a_second_goal_on_a_thread_is_a_second_run() -> None:
    with agent(plan("a"), plan("b")) as graph:
        config: Any = {"configurable": {"thread_id": "one"}}
        for text in "ab":
            graph.graph.invoke({"goal": f"send {text}"}, config)
            out = graph.graph.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
            assert out["answer"] == f"sent {text}"
        assert SENT == ["a", "b"]
        assert len(graph.runs()) == 2


def test_a_jump_to_execute_runs_nothing_that_was_not_approved() -> None:
    with agent(plan("a")) as graph:
        config: Any = {"configurable": {"thread_id": "one"}}
        graph.graph.invoke({"goal": "send a"}, config)
        # LangGraph runs the waiting gate and the jump side by side; whichever comes second may find the run busy.
        with contextlib.suppress(RunBusy):
            graph.graph.invoke(Command(goto="execute"), config)
        assert SENT == []


def test_a_jump_to_execute_runs_no_plan_that_was_not_validated() -> None:
    with AgentGraph([send], store=MemoryStore(), policy=Policy.allow_all()) as graph:
        SENT.clear()
        run_id = graph._create(plan("a"), None, None, None, None, None)
        config: Any = {"configurable": {"thread_id": run_id}}
        with entering(graph.deps, {}, config, lambda _: None) as visit:
            execute({}, visit)
        assert SENT == []
        assert graph.resume(run_id).answer == "sent a"


def test_a_state_that_says_done_ends_nothing() -> None:
    with agent(plan("a")) as graph:
        config: Any = {"configurable": {"thread_id": "one"}}
        graph.graph.invoke({"goal": "send a"}, config)
        graph.graph.update_state(config, {"next": "conclude", "status": "succeeded"}, as_node="observe")
        graph.graph.invoke(None, config)
        (run,) = graph.runs()
        assert run.status == "paused"
        assert SENT == []


def test_supersteps_do_not_grow_with_the_plan() -> None:
    counts = []
    for n in (1, 40):
        with agent(plan(*map(str, range(n)))) as graph:
            config: Any = {"configurable": {"thread_id": "one"}}
            graph.graph.invoke({"goal": "send"}, config)
            graph.graph.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
            assert len(SENT) == n
            counts.append(len(list(graph.graph.get_state_history(config))))
    assert counts[0] == counts[1]
