"""A server that is killed or told to end, at the gate and inside a step, and started again: each effect happens once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.types import Command

from agent_graph import AgentGraph, Policy

GRAPH = "agent-graph"
YES = {"decisions": [{"type": "approve"}]}


@pytest.fixture(scope="module")
def killed(make_server: Any) -> Iterator[tuple[Any, Any, dict[str, str]]]:
    """One thread at its gate, one inside a write that can be repeated, one inside a write that cannot; then ``kill -9`` and a new server.

    The server keeps its list of threads in memory and writes it down every ten seconds, so it has forgotten them: they are registered anew.
    """
    server = make_server()
    with server.desk() as desk:
        goals = {"gate": "send gate", "step": "twice step", "blind": "blind blind"}
        threads = desk.each(lambda _, goal: desk.ask_for(goal), goals)
        for name in ("step", "blind"):
            desk.runs.create(threads[name], GRAPH, command={"resume": YES})
        server.wait_for("slow_send text of step")
        server.wait_for("slow_blind text of blind")
        server.kill(signal.SIGKILL)
        server.start()
        for thread in threads.values():
            desk.thread(thread_id=thread, graph_id=GRAPH, if_exists="do_nothing")
        desk.each(lambda name, _: desk.say(threads[name], input=None), {"step": (), "blind": ()})
        yield server, desk, threads


def test_a_gate_outlives_the_server(killed: tuple[Any, Any, dict[str, str]]) -> None:
    server, desk, threads = killed
    assert desk.threads.get_state(threads["gate"])["interrupts"][0]["value"]["action_requests"][0]["name"] == "send"
    assert desk.answer(threads["gate"], YES)["status"] == "succeeded"
    assert server.effects()["send text of gate"] == 1


def test_a_step_that_was_cut_off_goes_on_and_its_effect_is_not_repeated(killed: tuple[Any, Any, dict[str, str]]) -> None:
    server, desk, threads = killed
    assert desk.gate(threads["step"])["request"]["step_id"] == "second"
    assert desk.answer(threads["step"], YES)["status"] == "succeeded"
    assert server.effects()["slow_send text of step"] == 1
    assert server.effects()["send sent text of step"] == 1


def test_a_blind_effect_that_was_cut_off_is_asked_about(killed: tuple[Any, Any, dict[str, str]]) -> None:
    server, desk, threads = killed
    shown = desk.gate(threads["blind"])["action_requests"][0]
    assert shown["name"] == "say_what_happened"
    desk.answer(threads["blind"], [{"type": "accept", "args": None}])  # Agent Inbox's yes does not say what happened
    assert "landed" in desk.gate(threads["blind"])["action_requests"][0]["description"]
    assert desk.answer(threads["blind"], [{"type": "response", "args": "landed"}])["status"] == "succeeded"
    assert server.effects()["slow_blind text of blind"] == 1


def test_a_server_that_is_told_to_end_records_what_is_in_flight_and_goes_on_by_itself(make_server: Any) -> None:
    """It sends the interrupted drive's input again when it is back: a yes to the first gate, which must not be taken for one to the second."""
    server = make_server()
    with server.desk() as desk:
        thread = desk.ask_for("twice x")
        desk.runs.create(thread, GRAPH, command={"resume": YES})
        server.wait_for("slow_send text of x")
        server.kill(signal.SIGINT)
        server.start()
        server.until(lambda: desk.status(thread) == "interrupted", "the second gate")
        assert desk.gate(thread)["request"]["step_id"] == "second"
        assert server.effects()["slow_send text of x"] == 1
        assert server.effects()["send sent text of x"] == 0
        assert desk.answer(thread, YES)["status"] == "succeeded"
        assert server.effects()["send sent text of x"] == 1


def test_an_answer_that_the_server_repeats_is_not_taken_for_one_to_the_gate_that_waits_now(python: AgentGraph, server: Any) -> None:
    """After ``kill -9`` it repeats what it had written down as running up to ten seconds before, which may have ended since at a gate."""

    def drive(number: int, value: Any, attempt: int = 1) -> Any:
        config: Any = {"configurable": {"thread_id": "repeated"}, "metadata": {"run_id": f"drive {number}", "run_attempt": attempt}}
        return python.graph.invoke(value, config)

    drive(1, {"goal": "twice repeated"})
    shown = drive(2, Command(resume=YES))["__interrupt__"][0].value
    assert shown["request"]["step_id"] == "second"
    for attempt in (1, 2):  # the server of today forgets how often it tried
        again = drive(2, Command(resume=YES), attempt)["__interrupt__"][0].value
        assert again["request_id"] == shown["request_id"]
        assert "answer anew" in again["request"]["problem"]
    assert server.effects()["send sent text of repeated"] == 0
    assert drive(3, Command(resume=YES))["status"] == "succeeded"
    assert server.effects()["send sent text of repeated"] == 1


def test_a_goal_that_the_server_repeats_begins_no_second_run(python: AgentGraph, server: Any) -> None:
    config: Any = {"configurable": {"thread_id": "once"}, "metadata": {"run_id": "drive 1", "run_attempt": 1}}
    python.graph.invoke({"goal": "look once"}, config)
    python.graph.invoke({"goal": "look once"}, config)
    assert len([run for run in python.runs() if run.thread_id == "once"]) == 1
    config["metadata"]["run_id"] = "drive 2"  # asked again by a person
    python.graph.invoke({"goal": "look once"}, config)
    assert len([run for run in python.runs() if run.thread_id == "once"]) == 2


def test_replaying_any_checkpoint_of_finished_runs_begins_nothing_even_where_nobody_is_asked(
    server: Any, world: Any, python: AgentGraph
) -> None:
    """Studio runs again from any point of a thread. Gates would hide a run that begins anew, so there are none here."""
    free = AgentGraph(world.TOOLS, planner=world.DoAsTold(), store=python.store, policy=Policy.allow_all())
    config: Any = {"configurable": {"thread_id": "replayed"}}
    free.graph.invoke({"goal": "send replayed"}, config)
    message: Any = {"role": "user", "content": "post replayed"}
    free.graph.invoke({"messages": [message]}, config)
    for state in list(free.graph.get_state_history(config)):
        free.graph.invoke(None, state.config)
    assert server.effects()["send text of replayed"] == 1
    assert server.effects()["post text of replayed"] == 1
    free.graph.invoke({"goal": "send replayed"}, free.graph.get_state(config).config)  # asked again, and so done again
    assert server.effects()["send text of replayed"] == 2


def test_the_next_goal_of_a_thread_does_not_inherit_parameters(python: AgentGraph) -> None:
    config: Any = {"configurable": {"thread_id": "parameters"}}
    python.graph.invoke({"goal": "look one", "params": {"a": 1}}, config)
    python.graph.invoke({"goal": "look two"}, config)
    assert [run.goal.params for run in python.runs() if run.thread_id == "parameters"] == [{}, {"a": 1}]
