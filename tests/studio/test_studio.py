"""The graph under a real ``langgraph dev``, driven with langgraph_sdk: what Studio shows, every shape of answer, two at once, cancelling."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import httpx
import pytest

from agent_graph import AgentGraph, Approve
from agent_graph.errors import RunBusy
from agent_graph.nodes.routes import AfterApprove, AfterObserve, AfterValidate

GRAPH = "agent-graph"
YES = {"decisions": [{"type": "approve"}]}  # byte for byte what Agent Chat UI sends


# ── what Studio shows ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_forms_show_goal_and_answer_and_not_the_inner_state(desk: Any) -> None:
    (assistant,) = desk.assistants.search(graph_id=GRAPH)
    schemas: Any = desk.assistants.get_schemas(assistant["assistant_id"])
    assert {"goal", "params", "messages"} <= schemas["input_schema"]["properties"].keys()
    assert {"answer", "messages"} <= schemas["output_schema"]["properties"].keys()
    assert not {"next", "why", "asking", "taken"} & (
        schemas["input_schema"]["properties"].keys() | schemas["output_schema"]["properties"].keys()
    )
    context = schemas["context_schema"]["properties"]
    assert set(context) == {"principal", "review_plans", "max_parallel", "max_replans", "max_steps"}
    assert all(field["title"] and field["description"] for field in context.values())
    (bounds,) = [each for each in context["max_parallel"]["anyOf"] if each["type"] == "integer"]
    assert (bounds["minimum"], bounds["maximum"]) == (1, 256)
    assert schemas["state_schema"] is not None


def test_every_arrow_is_in_the_drawing(desk: Any) -> None:
    drawn: Any = desk.assistants.get_graph(GRAPH)
    wanted = {("__start__", "plan"), ("plan", "validate"), ("execute", "observe"), ("replan", "validate"), ("conclude", "__end__")}
    for source, ways in (("validate", AfterValidate), ("approve", AfterApprove), ("observe", AfterObserve)):
        wanted |= {(source, way) for way in get_args(ways)}
    assert {(edge["source"], edge["target"]) for edge in drawn["edges"]} == wanted
    conditional = {(edge["source"], edge["target"]) for edge in drawn["edges"] if edge.get("conditional")}
    assert conditional == {edge for edge in wanted if edge[0] in ("validate", "approve", "observe")}


def test_a_run_stops_at_the_gate_and_ends_after_it(desk: Any, server: Any, name: str) -> None:
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


def test_the_stream_shows_each_step_as_it_goes(desk: Any, name: str) -> None:
    thread = desk.thread()
    parts = list(desk.runs.stream(thread, GRAPH, input={"goal": f"post {name}"}, stream_mode=["custom", "updates"]))
    assert [part.data for part in parts if part.event == "error"] == []
    steps = [
        (part.data["kind"], part.data["step_id"]) for part in parts if part.event == "custom" and part.data["kind"].startswith("step_")
    ]
    assert steps == [("step_started", "look"), ("step_finished", "look")]
    nodes = [next(iter(part.data)) for part in parts if part.event == "updates"]
    assert nodes == ["plan", "validate", "execute", "observe", "__interrupt__"]
    assert desk.answer(thread, YES)["answer"] == f"posted text of {name}"  # by an async tool, on the server's loop


def test_words_and_drafted_steps_are_streamed_and_the_answer_as_a_message_that_grows(desk: Any, name: str) -> None:
    thread = desk.thread()
    parts = list(desk.runs.stream(thread, GRAPH, input={"goal": f"talk {name}"}, stream_mode=["custom", "messages-tuple", "values"]))
    told = [part.data for part in parts if part.event == "custom"]
    assert [event["step"]["id"] for event in told if event["kind"] == "drafted"] == ["look"]
    words = "".join(event["text"] for event in told if event["kind"] == "token" and event["role"] == "summarizer")
    grown = [part.data[0] for part in parts if part.event == "messages"]
    assert words == "".join(message["content"] for message in grown) == f"It is about {name}."
    assert len({message["id"] for message in grown}) == 1
    last = [part.data for part in parts if part.event == "values"][-1]
    assert last["messages"][-1]["content"] == f"text of {name}", "what is kept is the answer itself"


def test_each_shape_in_which_a_proposed_value_is_confirmed(desk: Any, name: str) -> None:
    def confirm(case: str, answer: Any) -> Any:
        thread = desk.ask_for(f"confirm {name}")
        shown = desk.gate(thread)
        assert shown["action_requests"][0]["args"]["answer"] == "2"
        assert "approve" in shown["review_configs"][0]["allowed_decisions"]
        desk.answer(thread, answer)
        return desk.status(thread)

    edited = {"type": "edit", "edited_action": {"name": "answer_question", "args": {"answer": "3"}}}
    shapes = {"chat": YES, "inbox": [{"type": "accept", "args": None}], "edited": {"decisions": [edited]}, "senseless": "many"}
    assert desk.each(confirm, shapes) == {"chat": "idle", "inbox": "idle", "edited": "idle", "senseless": "interrupted"}


def test_a_context_narrows_one_run(desk: Any, name: str) -> None:
    thread = desk.ask_for(f"look {name}", context={"review_plans": True, "principal": "ann"})
    gate = desk.gate(thread)
    assert gate["request"]["kind"] == "plan"
    assert desk.answer(thread, {"type": "approve"})["answer"] == f"text of {name}"


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────────

NO = {"decisions": [{"type": "reject", "message": "not today"}]}


def test_each_shape_of_a_yes(desk: Any, server: Any, name: str) -> None:
    shapes = {
        "LangChain, Agent Chat UI": YES,
        "Agent Inbox": [{"type": "accept", "args": None}],
        "Agent Inbox with the action": [{"type": "accept", "args": {"action": "send", "args": {"text": "as it is shown"}}}],
        "bare": {"type": "approve", "by": "ann"},
        "a word": "approve",
        "by interrupt id": YES,
    }

    def agree(shape: str, answer: Any) -> Any:
        thread = desk.ask_for(f"send {name} {shape}")
        if shape == "by interrupt id":
            answer = {desk.threads.get_state(thread)["interrupts"][0]["id"]: answer}
        return desk.answer(thread, answer).get("status")

    assert desk.each(agree, shapes) == dict.fromkeys(shapes, "succeeded")
    assert [server.effects()[f"send text of {name} {shape}"] for shape in shapes] == [1] * len(shapes)


def test_each_shape_of_a_no(desk: Any, server: Any, name: str) -> None:
    shapes = {
        "LangChain, Agent Chat UI": NO,
        "Agent Inbox, response": [{"type": "response", "args": "not today"}],
        "Agent Inbox, ignore": [{"type": "ignore", "args": None}],
        "bare": {"type": "reject", "reason": "not today"},
    }

    def refuse(shape: str, answer: Any) -> tuple[str, str]:
        thread = desk.ask_for(f"send {name} {shape}")
        return desk.answer(thread, answer).get("status"), desk.status(thread)

    assert desk.each(refuse, shapes) == dict.fromkeys(shapes, ("failed", "idle"))
    assert [server.effects()[f"send text of {name} {shape}"] for shape in shapes] == [0] * len(shapes)


def test_each_shape_of_an_edit(desk: Any, server: Any, name: str) -> None:
    shapes: dict[str, Callable[[str], Any]] = {
        "LangChain, Agent Chat UI": lambda day: {
            "decisions": [{"type": "edit", "edited_action": {"name": "book", "args": {"day": day, "seats": 3, "window": False}}}]
        },
        # Agent Inbox turns every value that somebody edited into a text.
        "Agent Inbox": lambda day: [{"type": "edit", "args": {"action": "book", "args": {"day": day, "seats": "3", "window": "false"}}}],
        "bare": lambda day: {"type": "edit", "args": {"day": day, "seats": 3, "window": False}},
    }

    def edit(shape: str, answer: Callable[[str], Any]) -> Any:
        return desk.answer(desk.ask_for(f"book {name} {shape}"), answer(f"{name} {shape}, edited")).get("answer")

    assert desk.each(edit, shapes) == {shape: f"booked 3 on {name} {shape}, edited" for shape in shapes}
    effects = server.effects()
    assert [effects[f"book {name} {shape}, edited 3 False None"] for shape in shapes] == [1] * len(shapes)
    assert [effects[f"book text of {name} {shape} 2 True None"] for shape in shapes] == [0] * len(shapes)


def test_the_calls_that_a_plan_s_gate_shows_can_be_edited(desk: Any, server: Any, name: str) -> None:
    def edit(how: str, send_back: Callable[[dict[str, Any]], Any]) -> Any:
        thread = desk.ask_for(f"plan {name} {how}")
        (shown,) = desk.gate(thread)["action_requests"]
        assert shown["name"] == "execute_plan"
        shown["args"]["calls"][0]["args"]["seats"] = 4
        return desk.answer(thread, send_back(shown)).get("status")

    shapes: dict[str, Any] = {
        "Agent Chat UI": lambda shown: {"decisions": [{"type": "edit", "edited_action": {"name": shown["name"], "args": shown["args"]}}]},
        "Agent Inbox": lambda shown: [
            {
                "type": "edit",
                "args": {"action": shown["name"], "args": {key: json.dumps(value) for key, value in shown["args"].items()}},
            }
        ],
    }
    assert desk.each(edit, shapes) == dict.fromkeys(shapes, "succeeded")
    effects = server.effects()
    assert [effects[f"book {name} {how} 4 True None"] for how in shapes] == [1, 1]
    assert [effects[f"book {name} {how} 1 True None"] for how in shapes] == [0, 0]
    assert [effects[f"send {name} {how}"] for how in shapes] == [1, 1]


def test_an_answer_that_makes_no_sense_is_asked_again_with_what_was_wrong(desk: Any, server: Any, name: str) -> None:
    cases = {
        "a number": (17, "not a decision"),
        "a text": ("yes please", "it takes approve, edit, reject"),
        "no decision": ({"decisions": []}, "exactly one"),
        "two decisions": ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "exactly one"),
        "an unknown type": ([{"type": "perhaps", "args": None}], "perhaps"),
        "an empty object": ({}, "not a decision"),
        "an edit that does not validate": (
            {
                "decisions": [
                    {"type": "edit", "edited_action": {"name": "book", "args": {"day": "monday", "seats": "many", "window": True}}}
                ]
            },
            "seats",
        ),
        "an edit without arguments": ([{"type": "edit", "args": None}], "edit"),
        "another request's": ({"decisions": [{"type": "approve"}], "request_id": "another"}, "another request"),
    }

    def confuse(case: str, given: tuple[Any, str]) -> str:
        answer, said = given
        thread = desk.ask_for(f"book {name} {case}")
        first = desk.gate(thread)
        desk.answer(thread, answer)
        if case == "an empty object":  # LangGraph takes it for a map of no answers
            desk.gate(thread)
            return "asked again"
        again = desk.gate(thread)  # which looks that the thread is interrupted, not in error
        assert again["request_id"] == first["request_id"]
        if said not in again["request"]["problem"] or said not in again["action_requests"][0]["description"]:
            return str(again["request"]["problem"])
        assert desk.answer(thread, YES)["status"] == "succeeded"
        return "asked again"

    assert desk.each(confuse, cases) == dict.fromkeys(cases, "asked again")
    effects = server.effects()
    assert [effects[f"book text of {name} {case} 2 True None"] for case in cases] == [case != "an empty object" for case in cases]


def test_money_is_not_moved_by_an_answer_without_an_address(desk: Any, server: Any, name: str) -> None:
    thread = desk.ask_for(f"pay {name}")
    desk.answer(thread, YES)
    again = desk.gate(thread)
    assert "request_id" in again["request"]["problem"]
    assert server.effects()[f"pay 10 text of {name}"] == 0
    assert desk.answer(thread, {**YES, "request_id": again["request_id"]})["status"] == "succeeded"
    assert server.effects()[f"pay 10 text of {name}"] == 1


# ── chat ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def human(text: str) -> dict[str, Any]:
    """As Agent Chat UI sends a message."""
    return {"messages": [{"id": str(uuid.uuid4()), "type": "human", "content": [{"type": "text", "text": text}]}]}


def test_a_goal_comes_as_a_message_and_plan_question_and_answer_leave_as_messages(desk: Any, server: Any, name: str) -> None:
    thread = desk.thread()
    desk.say(thread, input=human("ask"))
    assert desk.gate(thread)["action_requests"][0]["name"] == "answer_question"
    # Agent Chat UI cannot respond: its people answer by editing the argument.
    shown = desk.gate(thread)["action_requests"][0]
    edited = {"decisions": [{"type": "edit", "edited_action": {"name": shown["name"], "args": {**shown["args"], "answer": name}}}]}
    desk.answer(thread, edited)
    done = desk.answer(thread, YES)
    said = [message["content"] for message in done["messages"] if message["type"] == "ai"]
    assert any("To whom?" in text for text in said)
    assert any("Plan, version 1" in text and "Send what was found." in text for text in said)
    assert said[-1] == f"sent text of to {name}"
    assert server.effects()[f"send text of to {name}"] == 1
    again = desk.say(thread, input=human(f"look {name}"))  # the next goal on the same thread is the next run
    assert again["messages"][-1]["content"] == f"text of {name}"
    assert server.effects()[f"send text of to {name}"] == 1


def test_the_buttons_of_agent_chat_ui_as_its_browser_sends_them(desk: Any, server: Any, name: str) -> None:
    """Each with the checkpoint that was shown: a second press of a button is an answer to an old checkpoint."""

    def press(button: str, command: Any) -> tuple[int, str]:
        thread = desk.thread()
        desk.say(thread, input=human(f"send {name} {button}"))
        shown = desk.threads.get_state(thread)["checkpoint"]
        for _ in range(2):
            sent = {"checkpoint_id": shown["checkpoint_id"], "checkpoint_ns": ""}
            desk.say(thread, input={}, command=command, checkpoint=sent, on_disconnect="cancel")
        return server.effects()[f"send text of {name} {button}"], desk.status(thread)

    buttons = {"Approve": {"resume": YES}, "Submit rejection": {"resume": NO}, "Mark as Resolved": {"goto": "__end__"}}
    # "Mark as Resolved" only jumps, which decides nothing: the gate still waits.
    assert desk.each(press, buttons) == {"Approve": (1, "idle"), "Submit rejection": (0, "idle"), "Mark as Resolved": (0, "interrupted")}


def test_agent_inbox_answers_a_question_with_a_text(desk: Any, name: str) -> None:
    thread = desk.ask_for("ask")
    desk.answer(thread, [{"type": "response", "args": name}])
    assert desk.gate(thread)["action_requests"][0]["args"] == {"text": f"text of to {name}"}


def test_typing_while_a_gate_waits_leads_back_to_the_gate_and_says_so(desk: Any, server: Any, name: str) -> None:
    thread = desk.thread()
    desk.say(thread, input=human(f"send {name}"))
    first = desk.gate(thread)
    desk.say(thread, input=human("forget it"))
    assert desk.gate(thread)["request_id"] == first["request_id"]
    last = desk.state(thread)["messages"][-1]
    assert last["type"] == "ai"
    assert "forget it" in last["content"]
    assert desk.answer(thread, YES)["status"] == "succeeded"
    assert server.effects()[f"send text of {name}"] == 1


# ── more than one at a time ───────────────────────────────────────────────────────────────────────────────────────────


def test_two_answers_at_once_have_one_effect(desk: Any, server: Any, name: str) -> None:
    strategies = {"enqueue": (), "interrupt": (), "rollback": (), "reject": ()}

    def press_twice(strategy: str, _: Any) -> Any:
        thread = desk.ask_for(f"send {name} {strategy}")

        def press(_: int) -> None:
            with contextlib.suppress(httpx.HTTPError):  # the second is refused, or its drive is gone
                desk.say(thread, command={"resume": YES}, multitask_strategy=strategy, raise_error=False)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(press, range(2)))
        if desk.status(thread) != "idle":  # the second drive was stopped, and nobody went on
            desk.say(thread, input=None)
        return desk.state(thread)["status"]

    assert desk.each(press_twice, strategies) == dict.fromkeys(strategies, "succeeded")
    assert [server.effects()[f"send text of {name} {strategy}"] for strategy in strategies] == [1] * 4


def test_a_second_answer_does_not_answer_the_next_gate(desk: Any, server: Any, name: str) -> None:
    thread = desk.ask_for(f"twice {name}")
    first = desk.gate(thread)
    answer = {**YES, "request_id": first["request_id"]}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: desk.answer(thread, answer), range(2)))
    assert "another request" in desk.gate(thread)["request"]["problem"]
    assert server.effects()[f"slow_send text of {name}"] == 1
    assert server.effects()[f"send sent text of {name}"] == 0


def test_nine_slow_runs_do_not_keep_a_tenth_waiting(desk: Any, server: Any, name: str) -> None:
    pool = ThreadPoolExecutor(9)
    slow = [pool.submit(desk.ask_for, f"wait {name} {i}") for i in range(9)]
    for i in range(9):
        server.wait_for(f"slow {name} {i}")
    began = time.monotonic()
    thread = desk.ask_for(f"send {name}")
    took = time.monotonic() - began
    desk.gate(thread)
    ended = sum(server.effects()[f"slow {name} {i} ended"] for i in range(9))
    for each in slow:
        each.result()
    pool.shutdown()
    assert ended == 0, f"the quick run came to its gate after {took:.1f} s, when {ended} of the nine slow ones had ended"


def test_a_cancelled_run_stops_after_what_is_in_flight_is_recorded(desk: Any, server: Any, python: AgentGraph, name: str) -> None:
    thread = desk.thread()
    run = desk.runs.create(thread, GRAPH, input={"goal": f"long {name}"})
    server.wait_for(f"slow {name} 0")
    desk.runs.cancel(thread, run["run_id"])
    server.until(lambda: desk.status(thread) != "busy", "the end of the cancelled run", 10)
    seen = python.get(desk.state(thread)["run_id"])
    assert seen.status == "interrupted"
    assert {step: result.status for step, result in seen.results.items()} == {"s0": "succeeded"}
    time.sleep(0.3)
    assert server.effects()[f"slow {name} 1"] == 0
    desk.say(thread, input=None)
    assert python.get(seen.id).status == "succeeded"
    assert [server.effects()[f"slow {name} {i}"] for i in range(4)] == [1, 1, 1, 1]


def test_a_drive_that_replaces_another_waits_for_what_is_in_flight(desk: Any, server: Any, name: str) -> None:
    """The server starts it at once; without waiting it would find the run busy."""
    strategies = {"interrupt": (), "rollback": ()}

    def replace(strategy: str, _: Any) -> Any:
        thread = desk.ask_for(f"twice {name} {strategy}")
        desk.runs.create(thread, GRAPH, command={"resume": YES})
        server.wait_for(f"slow_send text of {name} {strategy}")
        came = desk.say(thread, input=human("and now?"), multitask_strategy=strategy, raise_error=False)
        return came.get("__error__") or desk.gate(thread)["request"]["step_id"]

    assert desk.each(replace, strategies) == dict.fromkeys(strategies, "second")
    effects = server.effects()
    assert [effects[f"slow_send text of {name} {strategy}"] for strategy in strategies] == [1, 1]
    assert [effects[f"send sent text of {name} {strategy}"] for strategy in strategies] == [0, 0]


# ── the server and plain Python on one store ──────────────────────────────────────────────────────────────────────────


def test_a_run_paused_in_python_is_answered_through_the_server(desk: Any, server: Any, python: AgentGraph, name: str) -> None:
    run = python.run(f"send {name}")
    thread = desk.thread(thread_id=run.thread_id, graph_id=GRAPH)
    assert desk.threads.get_state(thread)["interrupts"][0]["value"]["request_id"] == run.requests[0].id
    assert desk.answer(thread, YES)["answer"] == f"sent text of {name}"
    assert python.get(run.id).status == "succeeded"
    assert server.effects()[f"send text of {name}"] == 1


def test_a_run_paused_in_the_server_is_answered_in_python(desk: Any, server: Any, python: AgentGraph, name: str) -> None:
    thread = desk.ask_for(f"send {name}")
    (run,) = [each for each in python.runs("paused") if each.thread_id == thread]
    assert python.resume(run, Approve()).answer == f"sent text of {name}"
    assert desk.state(thread)["status"] == "succeeded"
    assert desk.threads.get_state(thread)["next"] == []
    desk.answer(thread, YES)  # too late: there is nothing left to answer
    assert server.effects()[f"send text of {name}"] == 1


def test_a_run_that_python_drives_is_refused_to_the_server_and_the_other_way_round(
    desk: Any, server: Any, python: AgentGraph, name: str
) -> None:
    thread = desk.thread()
    with ThreadPoolExecutor(1) as pool:
        drive = pool.submit(desk.say, thread, input={"goal": f"long {name}"})
        server.wait_for(f"slow {name} 0")
        (run,) = [each for each in python.runs() if each.thread_id == thread]
        with pytest.raises(RunBusy, match=str(server.process.pid)):
            python.resume(run.id)
        drive.result()
    assert server.effects()[f"slow {name} 0"] == 1
    mine = python.run(f"twice {name}")
    desk.thread(thread_id=mine.thread_id, graph_id=GRAPH)
    with ThreadPoolExecutor(1) as pool:
        go = pool.submit(python.resume, mine, Approve())
        server.wait_for(f"slow_send text of {name}")
        refused = desk.say(mine.thread_id, input=None, raise_error=False)
        assert "RunBusy" in str(refused)
        paused = go.result()
    desk.say(mine.thread_id, input=None)
    assert desk.gate(mine.thread_id)["request_id"] == paused.requests[0].id
    assert server.effects()[f"slow_send text of {name}"] == 1


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_refused_is_said_and_the_thread_goes_on(desk: Any, name: str) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "names no goal": {"input": {"params": {}}},
        "max_steps": {"input": {"goal": "look"}, "context": {"max_steps": 0}},
    }

    def refuse(said: str, given: dict[str, Any]) -> tuple[bool, str, Any]:
        thread = desk.thread()
        refused = str(desk.say(thread, **given, raise_error=False))
        return said in refused, desk.status(thread), desk.say(thread, input={"goal": f"look {name}"})["answer"]

    assert desk.each(refuse, wrong) == dict.fromkeys(wrong, (True, "error", f"text of {name}"))


def test_a_copied_thread_inherits_no_run_and_no_permission_and_a_deleted_one_leaves_its_record(
    desk: Any, server: Any, python: AgentGraph, name: str
) -> None:
    thread = desk.ask_for(f"send {name}")
    desk.threads.copy(thread)
    (copy,) = {each["thread_id"] for each in desk.threads.search(limit=2)} - {thread}
    assert "has no run" in str(desk.say(copy, command={"resume": YES}, raise_error=False))
    assert desk.say(copy, input={"goal": f"look {name}"})["answer"] == f"text of {name}"
    assert desk.answer(thread, YES)["status"] == "succeeded"
    desk.threads.delete(thread)
    assert [each.status for each in python.runs() if each.thread_id == thread] == ["succeeded"]
    assert server.effects()[f"send text of {name}"] == 1


def test_a_jump_runs_nothing_and_the_thread_goes_on(desk: Any, server: Any, name: str) -> None:
    thread = desk.ask_for(f"send {name}")
    desk.say(thread, command={"goto": "execute"}, raise_error=False)  # beside the gate that waits: one of the two may find the run busy
    assert server.effects()[f"send text of {name}"] == 0
    desk.say(thread, input={"goal": f"send {name}"}, raise_error=False)
    assert desk.answer(thread, YES)["status"] == "succeeded"
    assert server.effects()[f"send text of {name}"] == 1
