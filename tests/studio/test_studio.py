"""The graph under a real ``langgraph dev``, driven with langgraph_sdk: what Studio shows, every shape of answer, two at once, cancelling."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from langgraph_sdk import get_sync_client

from agent_graph import AgentGraph, Approve
from agent_graph.nodes.routes import AfterApprove, AfterObserve, AfterValidate

GRAPH = "agent-graph"


class Desk:
    """One person's view of the server."""

    def __init__(self, url: str) -> None:
        self.client = get_sync_client(url=url)
        self.runs, self.threads, self.assistants = self.client.runs, self.client.threads, self.client.assistants

    def thread(self, **more: Any) -> str:
        return str(self.threads.create(**more)["thread_id"])

    def say(self, thread: str, **given: Any) -> Any:
        """Drive the thread's graph until it ends or asks, with an input or a command."""
        return self.runs.wait(thread, GRAPH, **given)

    def answer(self, thread: str, answer: Any) -> Any:
        return self.say(thread, command={"resume": answer})

    def gate(self, thread: str) -> dict[str, Any]:
        """What the thread asks now, as a UI that lists interrupted threads finds it."""
        found = self.threads.get(thread)
        assert found["status"] == "interrupted"
        ((asked,),) = found["interrupts"].values()
        return dict(asked["value"])  # type: ignore[call-overload,no-any-return]

    def ask_for(self, goal: str, **given: Any) -> str:
        """A thread of its own that has been driven as far as it goes."""
        thread = self.thread()
        self.say(thread, input={"goal": goal}, **given)
        return thread

    def status(self, thread: str) -> str:
        return str(self.threads.get(thread)["status"])

    def state(self, thread: str) -> dict[str, Any]:
        return dict(self.threads.get_state(thread)["values"])  # type: ignore[arg-type]


@pytest.fixture
def desk(server: Any) -> Iterator[Desk]:
    made = Desk(server.url)
    with made.client:
        yield made


@pytest.fixture
def name() -> str:
    """Tells the effects of one test from those of another."""
    return uuid.uuid4().hex[:8]


@pytest.fixture
def python(server: Any, world: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentGraph]:
    """Plain Python on the server's store, in another process than the server's."""
    monkeypatch.setenv("WORLD_LOG", str(server.world))
    with world.make_agent(server.store) as agent:
        yield agent


# ── what Studio shows ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_forms_show_goal_and_answer_and_not_the_inner_state(desk: Desk) -> None:
    (assistant,) = desk.assistants.search(graph_id=GRAPH)
    schemas: Any = desk.assistants.get_schemas(assistant["assistant_id"])
    assert {"goal", "params", "messages"} <= schemas["input_schema"]["properties"].keys()
    assert {"answer", "messages"} <= schemas["output_schema"]["properties"].keys()
    assert not {"next", "why", "asking", "taken"} & (schemas["input_schema"]["properties"].keys() | schemas["output_schema"]["properties"].keys())
    context = schemas["context_schema"]["properties"]
    assert set(context) == {"principal", "review_plans", "max_parallel", "max_replans", "max_steps"}
    assert all(field["title"] and field["description"] for field in context.values())
    (bounds,) = [each for each in context["max_parallel"]["anyOf"] if each["type"] == "integer"]
    assert (bounds["minimum"], bounds["maximum"]) == (1, 256)
    assert schemas["state_schema"] is not None


def test_every_arrow_is_in_the_drawing(desk: Desk) -> None:
    drawn: Any = desk.assistants.get_graph(GRAPH)
    wanted = {("__start__", "plan"), ("plan", "validate"), ("execute", "observe"), ("replan", "validate"), ("conclude", "__end__")}
    for source, ways in (("validate", AfterValidate), ("approve", AfterApprove), ("observe", AfterObserve)):
        wanted |= {(source, way) for way in get_args(ways)}
    assert {(edge["source"], edge["target"]) for edge in drawn["edges"]} == wanted
    conditional = {(edge["source"], edge["target"]) for edge in drawn["edges"] if edge.get("conditional")}
    assert conditional == {edge for edge in wanted if edge[0] in ("validate", "approve", "observe")}


def test_a_run_stops_at_the_gate_and_ends_after_it(desk: Desk, server: Any, name: str) -> None:
    thread = desk.ask_for(f"send {name}")
    gate = desk.gate(thread)
    assert gate["action_requests"][0]["args"] == {"text": f"text of {name}"}
    assert gate["review_configs"] == [{"action_name": "send", "allowed_decisions": ["approve", "edit", "reject"]}]
    assert desk.threads.get_state(thread)["next"] == ["approve"]
    assert server.effects()[f"send text of {name}"] == 0
    done = desk.answer(thread, {"decisions": [{"type": "approve"}]})
    assert (done["status"], done["answer"]) == ("succeeded", f"sent text of {name}")
    assert desk.status(thread) == "idle"
    assert server.effects()[f"send text of {name}"] == 1


def test_the_stream_shows_each_step_as_it_goes(desk: Desk, name: str) -> None:
    parts = list(desk.runs.stream(desk.thread(), GRAPH, input={"goal": f"post {name}"}, stream_mode=["custom", "updates"]))
    assert [part.data for part in parts if part.event == "error"] == []
    steps = [(part.data["kind"], part.data["step_id"]) for part in parts if part.event == "custom" and part.data["kind"].startswith("step_")]
    assert steps == [("step_started", "look"), ("step_finished", "look")]
    nodes = [next(iter(part.data)) for part in parts if part.event == "updates"]
    assert nodes == ["plan", "validate", "execute", "observe", "__interrupt__"]


def test_a_context_narrows_one_run(desk: Desk, name: str) -> None:
    thread = desk.ask_for(f"look {name}", context={"review_plans": True, "principal": "ann"})
    gate = desk.gate(thread)
    assert gate["request"]["kind"] == "plan"
    assert desk.answer(thread, {"type": "approve"})["answer"] == f"text of {name}"


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────

YES = {"decisions": [{"type": "approve"}]}
NO = {"decisions": [{"type": "reject", "message": "not today"}]}


@pytest.mark.parametrize(
    "answer",
    [
        YES,  # Agent Chat UI, LangChain
        [{"type": "accept", "args": None}],  # Agent Inbox
        [{"type": "accept", "args": {"action": "send", "args": {"text": "as it is shown"}}}],  # Agent Inbox, with the action along
        {"type": "approve", "by": "ann"},
        "approve",
    ],
    ids=["LangChain", "Agent Inbox", "Agent Inbox with args", "bare", "word"],
)
def test_each_shape_of_a_yes(desk: Desk, server: Any, name: str, answer: Any) -> None:
    thread = desk.ask_for(f"send {name}")
    assert desk.answer(thread, answer)["status"] == "succeeded"
    assert server.effects()[f"send text of {name}"] == 1


@pytest.mark.parametrize(
    "answer",
    [NO, [{"type": "response", "args": "not today"}], [{"type": "ignore", "args": None}], {"type": "reject", "reason": "not today"}],
    ids=["LangChain", "Agent Inbox response", "Agent Inbox ignore", "bare"],
)
def test_each_shape_of_a_no(desk: Desk, server: Any, name: str, answer: Any) -> None:
    thread = desk.ask_for(f"send {name}")
    assert desk.answer(thread, answer)["status"] == "failed"
    assert desk.status(thread) == "idle"
    assert server.effects()[f"send text of {name}"] == 0


@pytest.mark.parametrize(
    "answer",
    [
        {"decisions": [{"type": "edit", "edited_action": {"name": "book", "args": {"day": "DAY", "seats": 3, "window": False}}}]},
        # Agent Inbox turns every value that somebody edited into a text.
        [{"type": "edit", "args": {"action": "book", "args": {"day": "DAY", "seats": "3", "window": "false"}}}],
        {"type": "edit", "args": {"day": "DAY", "seats": 3, "window": False}},
    ],
    ids=["LangChain", "Agent Inbox with texts", "bare"],
)
def test_each_shape_of_an_edit(desk: Desk, server: Any, name: str, answer: Any) -> None:
    thread = desk.ask_for(f"book {name}")
    done = desk.answer(thread, _with_day(answer, name))
    assert (done["status"], done["answer"]) == ("succeeded", f"booked 3 on {name}")
    assert server.effects()[f"book {name} 3 False None"] == 1
    assert server.effects()[f"book {name} 2 True None"] == 0


def _with_day(value: Any, day: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_day(each, day) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_day(each, day) for each in value]
    return day if value == "DAY" else value


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("yes please", "reject"),
        (17, "not a decision"),
        ({"decisions": []}, "exactly one"),
        ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "exactly one"),
        ([{"type": "perhaps", "args": None}], "perhaps"),
        ({"decisions": [{"type": "edit", "edited_action": {"name": "book", "args": {"day": 4, "seats": "many"}}}]}, "seats"),
        ({"decisions": [{"type": "approve"}], "request_id": "another"}, "another request"),
    ],
    ids=["text", "number", "none", "two", "unknown", "edit that does not validate", "wrong address"],
)
def test_an_answer_that_makes_no_sense_is_asked_again_with_what_was_wrong(desk: Desk, name: str, answer: Any, said: str) -> None:
    thread = desk.ask_for(f"book {name}")
    first = desk.gate(thread)
    if answer == "yes please":
        pytest.skip("a text is a no with its reason; see test_each_shape_of_a_no")
    desk.answer(thread, answer)
    again = desk.gate(thread)  # interrupted, not error
    assert again["request_id"] == first["request_id"]
    assert said in again["request"]["problem"]
    assert said in again["action_requests"][0]["description"]
    assert desk.answer(thread, YES)["status"] == "succeeded"


def test_money_is_not_moved_by_an_answer_without_an_address(desk: Desk, server: Any, name: str) -> None:
    thread = desk.ask_for(f"pay {name}")
    desk.answer(thread, YES)
    again = desk.gate(thread)
    assert "request_id" in again["request"]["problem"]
    assert server.effects()[f"pay 10 text of {name}"] == 0
    assert desk.answer(thread, {**YES, "request_id": again["request_id"]})["status"] == "succeeded"


def test_an_answer_by_interrupt_id_is_taken(desk: Desk, server: Any, name: str) -> None:
    thread = desk.ask_for(f"send {name}")
    interrupt = desk.threads.get_state(thread)["interrupts"][0]["id"]
    assert desk.answer(thread, {interrupt: YES})["status"] == "succeeded"
    assert server.effects()[f"send text of {name}"] == 1
