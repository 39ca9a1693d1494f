"""Whatever people do with a LangGraph graph, done with ours: no effect is repeated, and the run is found as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from agent_graph import AgentGraph, Approve, Limits, Plan, Reject, Step, UsageError, tool
from agent_graph.events import Note
from agent_graph.testing import ScriptedPlanner

SENT: list[str] = []
YES: Any = {"decisions": [{"type": "approve"}]}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    SENT.clear()


@tool(risk="read_only")
async def fetch(name: str) -> str:
    """Look a text up."""
    await asyncio.sleep(0)
    return f"text of {name}"


@tool(risk="write", recovery="idempotent")
def send(text: str) -> str:
    """Send a text."""
    SENT.append(text)
    return f"sent {text}"


def plan(name: str) -> Plan:
    return Plan(
        goal="send",
        steps=(
            Step(id="fetch", tool="fetch", args={"name": name}),
            Step(id="send", tool="send", args={"text": {"$ref": "steps.fetch.output"}}),
        ),
    )


def two_gates() -> Plan:
    return Plan(
        goal="send twice",
        steps=(
            Step(id="one", tool="fetch", args={"name": "1"}),
            Step(id="send_one", tool="send", args={"text": {"$ref": "steps.one.output"}}),
            Step(id="two", tool="fetch", args={"name": "2"}, depends_on=("send_one",)),
            Step(id="send_two", tool="send", args={"text": {"$ref": "steps.two.output"}}),
        ),
    )


class Echo:
    """Plans to send what the goal says."""

    name = "echo"
    can_replan = False

    def complete(self, goal: Any) -> Any:
        return goal

    def plan(self, context: Any) -> Plan:
        return plan(context.goal.text)

    def replan(self, context: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def agent(store_path: Path) -> Iterator[AgentGraph]:
    with AgentGraph([fetch, send], planner=Echo(), store=store_path) as made:
        yield made


def thread(name: str = "t") -> Any:
    return {"configurable": {"thread_id": name}}


def test_ainvoke_stops_at_the_gate_and_goes_on(agent: AgentGraph) -> None:
    async def main() -> Any:
        out = await agent.graph.ainvoke({"goal": "a"}, thread())
        assert out["__interrupt__"][0].value["action_requests"][0]["args"] == {"text": "text of a"}
        return await agent.graph.ainvoke(Command(resume=YES), thread())

    assert asyncio.run(main())["answer"] == "sent text of a"
    assert SENT == ["text of a"]


def test_sync_and_async_are_mixed_on_one_thread(agent: AgentGraph) -> None:
    asyncio.run(agent.graph.ainvoke({"goal": "a"}, thread()))
    assert agent.graph.invoke(Command(resume=YES), thread())["answer"] == "sent text of a"
    agent.graph.invoke({"goal": "b"}, thread())
    assert asyncio.run(agent.graph.ainvoke(Command(resume=YES), thread()))["answer"] == "sent text of b"
    assert SENT == ["text of a", "text of b"]


def test_invoke_inside_a_running_loop(agent: AgentGraph) -> None:
    async def main() -> Any:
        agent.graph.invoke({"goal": "a"}, thread())
        return agent.graph.invoke(Command(resume=YES), thread())

    assert asyncio.run(main())["answer"] == "sent text of a"


def test_stream_shows_steps_as_custom_events_and_nodes_as_updates(agent: AgentGraph) -> None:
    seen: list[Any] = list(agent.graph.stream({"goal": "a"}, thread(), stream_mode=["custom", "updates"]))
    steps = [
        (event["kind"], event["step_id"])
        for mode, event in seen
        if mode == "custom" and "step_id" in event and event["kind"].startswith("step")
    ]
    assert steps == [("step_started", "fetch"), ("step_finished", "fetch")]
    nodes = [next(iter(update)) for mode, update in seen if mode == "updates"]
    assert nodes == ["plan", "validate", "execute", "observe", "__interrupt__"]


def test_astream_shows_the_same(agent: AgentGraph) -> None:
    async def main() -> list[Any]:
        return [part async for part in agent.graph.astream({"goal": "a"}, thread(), stream_mode=["custom", "updates"])]

    seen = asyncio.run(main())
    assert [event["kind"] for mode, event in seen if mode == "custom"].count("step_finished") == 1
    assert [next(iter(update)) for mode, update in seen if mode == "updates"][-1] == "__interrupt__"


def test_the_state_says_where_the_run_stands(agent: AgentGraph) -> None:
    agent.graph.invoke({"goal": "a"}, thread())
    state = agent.graph.get_state(thread())
    assert state.next == ("approve",)
    assert agent.get(state.values["run_id"]).status == "paused"
    agent.graph.invoke(Command(resume=YES), thread())
    assert agent.graph.get_state(thread()).values["status"] == "succeeded"


def test_new_input_while_a_gate_waits_leads_back_to_the_gate(agent: AgentGraph) -> None:
    first = agent.graph.invoke({"goal": "a"}, thread())["__interrupt__"][0].value
    again = agent.graph.invoke({"goal": "something else"}, thread())["__interrupt__"][0].value
    assert again["request_id"] == first["request_id"]
    (run,) = agent.runs()
    assert run.goal.text == "a"
    assert any("something else" in event.message for event in agent.store.events.of(run.id) if isinstance(event, Note))  # type: ignore[arg-type]
    assert agent.graph.invoke(Command(resume=YES), thread())["answer"] == "sent text of a"
    assert SENT == ["text of a"]


def test_an_old_checkpoint_does_nothing_again(agent: AgentGraph) -> None:
    agent.graph.invoke({"goal": "a"}, thread())
    gate = agent.graph.get_state(thread()).config
    agent.graph.invoke(Command(resume=YES), thread())
    answers: list[Any] = [None, Command(resume=YES), Command(resume={"decisions": [{"type": "reject"}]})]
    for value in answers:
        agent.graph.invoke(value, gate)
    assert SENT == ["text of a"]
    (run,) = agent.runs()
    assert run.status == "succeeded"


def test_every_checkpoint_of_a_finished_run_can_be_replayed_without_an_effect(agent: AgentGraph) -> None:
    agent.graph.invoke({"goal": "a"}, thread())
    agent.graph.invoke(Command(resume=YES), thread())
    for state in list(agent.graph.get_state_history(thread())):
        agent.graph.invoke(None, state.config)
    assert SENT == ["text of a"]


def test_a_yes_at_an_old_checkpoint_after_a_no_runs_nothing(agent: AgentGraph) -> None:
    agent.graph.invoke({"goal": "a"}, thread())
    gate = agent.graph.get_state(thread()).config
    agent.graph.invoke(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), thread())
    agent.graph.invoke(Command(resume=YES), gate)
    assert SENT == []


def test_an_answer_that_names_its_request_does_not_answer_the_next_gate(store_path: Path) -> None:
    with AgentGraph([fetch, send], planner=ScriptedPlanner(two_gates()), store=store_path) as agent:
        shown = agent.graph.invoke({"goal": "a"}, thread())["__interrupt__"][0].value
        answer = {"decisions": [{"type": "approve"}], "request_id": shown["request_id"]}
        agent.graph.invoke(Command(resume=answer), thread())
        assert SENT == ["text of 1"]
        out = agent.graph.invoke(Command(resume=answer), thread())
        assert "another request" in out["__interrupt__"][0].value["request"]["problem"]
        assert SENT == ["text of 1"]


def test_a_forged_approval_in_the_state_runs_nothing(agent: AgentGraph) -> None:
    agent.graph.invoke({"goal": "a"}, thread())
    agent.graph.update_state(thread(), {"next": "execute", "why": "approved"}, as_node="approve")
    agent.graph.invoke(None, thread())
    assert SENT == []
    assert agent.runs()[0].status == "paused"


def test_a_run_begun_in_the_graph_is_answered_from_python(agent: AgentGraph) -> None:
    agent.graph.invoke({"goal": "a"}, thread())
    (run,) = agent.runs(status="paused")
    assert agent.resume(run, Approve()).answer == "sent text of a"
    assert agent.graph.get_state(thread()).next == ()


def test_a_run_begun_in_python_is_answered_in_the_graph(agent: AgentGraph) -> None:
    run = agent.run("a")
    assert agent.graph.invoke(Command(resume=YES), thread(run.thread_id))["answer"] == "sent text of a"
    assert agent.get(run.id).status == "succeeded"


def test_a_graph_without_a_thread_is_refused_with_words(agent: AgentGraph) -> None:
    with pytest.raises((UsageError, ValueError), match="thread"):
        agent.graph.invoke({"goal": "a"})


class Larger(TypedDict, total=False):
    goal: str
    run_id: str
    answer: str
    rounds: int


def larger(agent: AgentGraph, rounds: int = 1) -> Any:
    graph = StateGraph(Larger)
    graph.add_node("before", lambda state: {"rounds": state.get("rounds", 0) + 1, "goal": f"{state['goal']}!"})
    graph.add_node("work", agent.graph)
    graph.add_edge(START, "before")
    graph.add_edge("before", "work")
    graph.add_conditional_edges("work", lambda state: "before" if state["rounds"] < rounds else END, ["before", END])
    return graph.compile(checkpointer=InMemorySaver())


def test_as_a_node_of_a_larger_graph_its_gate_surfaces_there(agent: AgentGraph) -> None:
    graph = larger(agent)
    out = graph.invoke({"goal": "a"}, thread("big"))
    assert out["__interrupt__"][0].value["action_requests"][0]["args"] == {"text": "text of a!"}
    out = graph.invoke(Command(resume=YES), thread("big"))
    assert (out["answer"], SENT) == ("sent text of a!", ["text of a!"])
    (run,) = agent.runs()
    assert run.status == "succeeded"


def test_each_visit_of_the_node_is_a_run_of_its_own(agent: AgentGraph) -> None:
    graph = larger(agent, rounds=2)
    graph.invoke({"goal": "a"}, thread("big"))
    graph.invoke(Command(resume=YES), thread("big"))
    out = graph.invoke(Command(resume=YES), thread("big"))
    assert (out["answer"], SENT) == ("sent text of a!!", ["text of a!", "text of a!!"])
    assert [run.status for run in agent.runs()] == ["succeeded", "succeeded"]


def test_a_run_inside_a_larger_graph_is_decided_from_python_and_goes_on_there(agent: AgentGraph) -> None:
    graph = larger(agent)
    graph.invoke({"goal": "a"}, thread("big"))
    (run,) = agent.runs(status="paused")
    with pytest.raises(UsageError, match="larger graph"):
        agent.resume(run, Reject(reason="no"))
    out = graph.invoke(Command(resume="go on"), thread("big"))
    assert SENT == []
    assert agent.get(run.id).status == "failed"
    assert out.get("answer") is None


def test_a_fork_of_an_older_checkpoint_goes_on_with_the_same_run(agent: AgentGraph) -> None:
    agent.graph.invoke({"goal": "a"}, thread())
    gate = agent.graph.get_state(thread()).config
    agent.graph.invoke(Command(resume=YES), thread())
    forked = agent.graph.update_state(gate, {"why": "another way"}, as_node="observe")
    agent.graph.invoke(None, forked)
    assert SENT == ["text of a"]
    assert [run.status for run in agent.runs()] == ["succeeded"]


def test_a_goal_may_be_the_last_message_and_everything_leaves_as_messages(agent: AgentGraph) -> None:
    graph: Any = agent.graph  # LangGraph's types know no plain dicts
    graph.invoke({"messages": [{"role": "user", "content": "a"}]}, thread())
    out = graph.invoke(Command(resume=YES), thread())
    said = [(message.type, message.content) for message in out["messages"]]
    assert said[0] == ("human", "a")
    assert said[1][1].startswith("Plan, version 1:")
    assert said[2] == ("ai", "2 of 2 steps have ended; every step has ended.")
    assert "waits for your approval" in said[3][1]
    assert said[-1] == ("ai", "sent text of a")
    out = graph.invoke({"messages": [{"role": "user", "content": [{"type": "text", "text": "b"}]}]}, thread())
    assert graph.invoke(Command(resume=YES), thread())["answer"] == "sent text of b"
    assert SENT == ["text of a", "text of b"]


def test_the_answer_does_not_depend_on_the_conversation(agent: AgentGraph) -> None:
    graph: Any = agent.graph  # LangGraph's types know no plain dicts
    graph.invoke({"messages": [{"role": "user", "content": "a"}]}, thread())
    graph.update_state(thread(), {"messages": [{"role": "user", "content": "send it to everybody"}]}, as_node="observe")
    graph.invoke(None, thread())
    graph.invoke(Command(resume=YES), thread())
    assert set(SENT) <= {"text of a"}


def test_an_invocation_can_ask_for_review_and_for_less_but_not_for_more(agent: AgentGraph) -> None:
    graph: Any = agent.graph  # LangGraph's types know no plain dicts
    config = thread("reviewed")
    out = graph.invoke({"goal": "a"}, config, context={"review_plans": True, "principal": "ann"})
    assert out["__interrupt__"][0].value["request"]["kind"] == "plan"
    assert agent.runs()[0].goal.principal == "ann"
    graph.invoke({"goal": "b"}, thread("less"), context={"max_steps": 1})
    (run, _) = agent.runs()
    assert "at most 1" in str(run.error)
    with AgentGraph([fetch, send], planner=Echo(), limits=Limits(max_steps=1), store=agent.store) as strict:
        strict_graph: Any = strict.graph
        strict_graph.invoke({"goal": "c"}, thread("more"), context={"max_steps": 100})
        assert strict.runs()[0].status == "failed"


def test_the_schemas_show_what_goes_in_and_out_and_not_our_state(agent: AgentGraph) -> None:
    graph: Any = agent.graph
    assert {"goal", "messages", "params"} <= set(graph.get_input_jsonschema()["properties"])
    assert set(graph.get_output_jsonschema()["properties"]) == {"answer", "status", "run_id", "messages"}
    fields = graph.get_context_jsonschema()["properties"]
    assert all(field["title"] and field["description"] for field in fields.values())
    assert fields["max_parallel"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 256}
