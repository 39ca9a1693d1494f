"""One type of event for whoever watches: words of a model, steps as they are drafted, states of steps. None of the words is kept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Plan, Step, tool
from agent_graph.events import Drafted, Event, Token, read_event
from agent_graph.models.drafting import drafts
from agent_graph.models.speaking import spoken
from agent_graph.ports import PlanningContext
from agent_graph.testing import ScriptedPlanner


@tool(risk="read_only")
def look() -> str:
    """Look."""
    return "seen"


PLAN = Plan(goal="look", steps=(Step(id="a", tool="look"), Step(id="b", tool="look", depends_on=("a",))))

REPLY = json.dumps(
    {
        "reply": {
            "kind": "plan",
            "steps": [{"id": "a", "tool": "look", "description": "first"}, {"id": "b", "tool": "look", "description": ""}],
        }
    }
)
ANSWER = json.dumps({"claims": [{"text": "It was seen."}, {"text": "Twice."}]})


class TalkingPlanner(ScriptedPlanner):
    """Says its plan piece by piece, as a chat model's client does, and counts for whom."""

    def __init__(self) -> None:
        super().__init__(*[self.said] * 9)
        self.watched: list[bool] = []
        self.waits = 0.0

    def said(self, context: PlanningContext) -> Plan:
        self.watched.append(context.tell is not None)
        for role, text in (("planner", REPLY), ("summarizer", ANSWER)):
            tell: Callable[[Event], None] | None = drafts(context.tell, context.run_id)
            for place in range(0, len(text), 7):
                if tell is not None:
                    tell(Token(run_id=context.run_id, at=time.time(), role=role, text=text[place : place + 7], begins=place == 0))
                    time.sleep(self.waits)
        return PLAN


@pytest.fixture
def planner() -> TalkingPlanner:
    return TalkingPlanner()


@pytest.fixture
def agent(tmp_path: Path, planner: TalkingPlanner) -> Any:
    with AgentGraph([look], planner=planner, store=tmp_path / "runs.db") as made:
        yield made


def check(seen: list[Event]) -> None:
    """The words, the drafted steps, then the plan, then its steps: in the order in which they came."""
    words = [event for event in seen if isinstance(event, Token)]
    assert "".join(event.text for event in words if event.role == "planner") == REPLY
    assert "".join(event.text for event in words if event.role == "summarizer") == "It was seen.\nTwice."
    assert [(event.number, event.step) for event in seen if isinstance(event, Drafted)] == [
        (1, {"id": "a", "kind": "tool", "tool": "look", "description": "first"}),
        (2, {"id": "b", "kind": "tool", "tool": "look", "description": ""}),
    ]
    kinds = [event.kind for event in seen]
    assert kinds.index("drafted") < kinds.index("plan_made") < kinds.index("step_started") < kinds.index("step_finished")
    assert len({event.run_id for event in seen}) == 1


def test_they_come_from_stream(agent: AgentGraph) -> None:
    check(list(agent.stream("look")))


def test_they_come_from_astream(agent: AgentGraph) -> None:
    async def seen() -> list[Event]:
        return [event async for event in agent.astream("look")]

    check(asyncio.run(seen()))


def test_they_come_from_langgraph_as_custom_events(agent: AgentGraph) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}
    check([read_event(document) for document in agent.graph.stream({"goal": "look"}, config, stream_mode="custom")])


def test_they_come_from_langgraph_in_an_event_loop(agent: AgentGraph) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}

    async def seen() -> list[Event]:
        return [read_event(each) async for each in agent.graph.astream({"goal": "look"}, config, stream_mode="custom")]

    check(asyncio.run(seen()))


def test_they_come_out_of_a_larger_graph(agent: AgentGraph) -> None:
    from langgraph.graph import END, START, StateGraph

    from agent_graph.graph import GraphState

    outer = StateGraph(GraphState)
    outer.add_node("inner", agent.graph)
    outer.add_edge(START, "inner")
    outer.add_edge("inner", END)
    config: Any = {"configurable": {"thread_id": "t"}}
    graph = outer.compile(checkpointer=agent.store.checkpointer())
    seen: list[Any] = list(graph.stream({"goal": "look"}, config, stream_mode="custom", subgraphs=True))
    check([read_event(document) for _, document in seen])


def test_the_answer_is_a_message_that_grows_for_who_streams_messages(agent: AgentGraph) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}
    seen: list[Any] = list(agent.graph.stream({"goal": "look"}, config, stream_mode=["messages", "values"]))
    growing = [part[0] for mode, part in seen if mode == "messages"]
    assert "".join(str(message.content) for message in growing) == "It was seen.\nTwice."
    (message_id,) = {message.id for message in growing}
    last = seen[-1][1]["messages"]
    assert last[-1].id != message_id, "the answer itself is another message, in which what is unsupported is marked"
    assert message_id not in {message.id for message in last}


def test_words_come_while_they_are_said(agent: AgentGraph, planner: TalkingPlanner) -> None:
    planner.waits = 0.02
    came = [time.monotonic() for event in agent.stream("look") if isinstance(event, Token)]
    assert came[-1] - came[0] > planner.waits * 10


def test_nothing_of_the_words_is_kept(agent: AgentGraph, planner: TalkingPlanner, tmp_path: Path) -> None:
    (run_id,) = {event.run_id for event in agent.stream("look")}
    assert not {event.kind for event in agent.trace(run_id)} & {"token", "drafted"}
    assert b"It was seen." not in (tmp_path / "runs.db").read_bytes()


@pytest.mark.parametrize("mode", ["values", "updates"])
def test_where_nobody_watches_a_planner_is_told_so(agent: AgentGraph, planner: TalkingPlanner, mode: Any) -> None:
    agent.run("look")
    asyncio.run(agent.arun("look"))
    agent.graph.invoke({"goal": "look"}, {"configurable": {"thread_id": "a"}})
    asyncio.run(agent.graph.ainvoke({"goal": "look"}, {"configurable": {"thread_id": "b"}}))
    list(agent.graph.stream({"goal": "look"}, {"configurable": {"thread_id": "c"}}, stream_mode=mode))
    assert planner.watched == [False] * 5
    assert spoken(None) is None


def test_who_looks_away_stops_the_run_and_it_goes_on_later(agent: AgentGraph, planner: TalkingPlanner) -> None:
    planner.waits = 0.01
    events = agent.stream("look")
    run_id = next(event.run_id for event in events if isinstance(event, Token))
    events.close()  # type: ignore[attr-defined]
    assert agent.get(run_id).status == "interrupted"
    assert agent.resume(run_id).status == "succeeded"
