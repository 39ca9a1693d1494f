"""Every way in which a planner's model or its server can go wrong, in one table: how many requests are sent, what the run says, and that
nothing ran which was not valid. Each fault is met twice, once that passes and once that stays, with and without somebody who watches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from werkzeug import Response

from agent_graph import AgentGraph, tool
from agent_graph.events import Token
from agent_graph.identity import RunId
from agent_graph.models.roles import Models

from .conftest import ModelServer, Scripted, as_stream, call_of, completion, events, failure, plan_reply, tool_step

CALLS: list[str] = []


@tool(risk="read_only")
def find(text: str, most: int = 5) -> dict[str, Any]:
    """Finds notes that hold the text."""
    CALLS.append(f"find {text}")
    return {"notes": [text]}


@tool(risk="write", recovery="idempotent")
def save(title: str) -> str:
    """Saves a note."""
    CALLS.append(f"save {title}")
    return title


GOOD = plan_reply(tool_step("look", "find", {"text": "cpu", "most": None}))
TIMEOUT = 0.3


def by_call(arguments: str) -> Response:
    return completion(None, finish_reason="tool_calls", tool_calls=call_of("reply", arguments))


def silent() -> Response:
    time.sleep(TIMEOUT * 2)
    return completion(GOOD)


def chunks_of(reply: Response) -> list[dict[str, Any]]:
    lines = as_stream(reply).get_data(as_text=True).split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def cut_in_the_middle() -> Response:
    """The words of a whole plan, and neither a reason why it ended nor an end."""
    return events(*chunks_of(completion(GOOD))[:-2], done=False)


def lost_in_the_middle() -> Response:
    """The connection ends before the length that the server announced."""
    sent = events(*chunks_of(completion(GOOD))[:2], done=False).get_data()
    return Response([sent], content_type="text/event-stream", headers={"Content-Length": str(len(sent) + 500)})


@dataclass(frozen=True)
class Fault:
    reply: Scripted
    """What the server does instead of a good reply."""
    says: str
    """In the error of the run when it stays."""
    good: Any = field(default_factory=lambda: completion(GOOD))
    """What comes after it, when it passes."""
    told: str = ""
    """To the model, in the next request. Empty: the very same request is sent again."""
    requests: int = 3
    """When it stays: by what a client repeats, or by how often a model is asked for one reply."""
    given: dict[str, Any] = field(default_factory=dict)
    """Beside the model."""
    streams: bool | None = None
    """True: only when somebody watches, False: only when nobody does."""


WAIT = {"Retry-After": "0.05"}
FAULTS = {
    "unknown tool": Fault(completion(plan_reply(tool_step("x", "drop_table", {}))), 'there is no tool "drop_table"', told="[unknown_tool]"),
    "wrong types": Fault(
        completion(plan_reply(tool_step("x", "find", {"text": 7, "most": "many"}))),
        '"many" is not an integer',
        told='"many" is not an integer',
    ),
    "malformed JSON": Fault(completion(json.dumps(GOOD)[:-9]), "the reply is not JSON", told="the reply is not JSON"),
    "truncated": Fault(completion(json.dumps(GOOD)[:80], finish_reason="length"), "cut off at the limit", told="write a shorter one"),
    "whole, and yet said to be truncated": Fault(
        completion(GOOD, finish_reason="length"), "cut off at the limit", told="write a shorter one"
    ),
    "refusal": Fault(completion(None, refusal="I cannot help with that."), "you refused: I cannot help", told="you refused: I cannot help"),
    "held back": Fault(completion("", finish_reason="content_filter"), "content filter", told="content filter"),
    "429 with Retry-After": Fault(failure(429, **WAIT), "429"),
    "500": Fault(failure(500, **WAIT), "500"),
    "timeout": Fault(silent, "imed out"),
    "refused by the server": Fault(failure(400), "400", requests=1),
    "empty": Fault(completion(""), "the reply is empty", told="the reply is empty"),
    "empty tool call": Fault(by_call(""), "the reply is empty", told="the reply is empty"),
    "empty call as the method": Fault(
        by_call(""), "the document is not", told="the document is not", good=by_call(json.dumps(GOOD)), given={"method": "function_calling"}
    ),
    "call without arguments": Fault(
        by_call("{}"),
        "the document is not",
        told="the document is not",
        good=by_call(json.dumps(GOOD)),
        given={"method": "function_calling"},
    ),
    "call with half its arguments": Fault(
        by_call(json.dumps(GOOD)[:60]),
        "are not JSON",
        told="are not JSON",
        good=by_call(json.dumps(GOOD)),
        given={"method": "function_calling"},
    ),
    "call with a number that JSON has not": Fault(
        by_call(json.dumps(GOOD).replace('"cpu"', "NaN")),
        "are not JSON",
        told="are not JSON",
        good=by_call(json.dumps(GOOD)),
        given={"method": "function_calling"},
    ),
    "no structured output: prose": Fault(
        completion("Certainly! I would look first."),
        "the reply is not JSON",
        told="the reply is not JSON",
        good=completion(f"Here it is:\n```json\n{json.dumps(GOOD)}\n```"),
        given={"method": "plain"},
    ),
    "no structured output: half a plan": Fault(
        completion(json.dumps(GOOD)[:-9]), "the reply is not JSON", told="the reply is not JSON", given={"method": "plain"}
    ),
    "no reason why it ended": Fault(completion(GOOD, finish_reason=None), "broke off", told="broke off"),
    "streaming cut off": Fault(cut_in_the_middle, "broke off", told="broke off", streams=True),
    "streaming lost": Fault(lost_in_the_middle, "broke off", told="broke off", streams=True),
}


def cases(*, watched: bool) -> list[str]:
    return [name for name, fault in FAULTS.items() if fault.streams is None or fault.streams == watched]


def agent_of(server: ModelServer, store: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> AgentGraph:
    CALLS.clear()
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    planner = {"model": "openai:gpt-test", "timeout_s": TIMEOUT if fault.reply is silent else 10, **fault.given}
    return AgentGraph([find, save], models=Models.of({"planner": planner}), store=store)


def again(reply: Scripted) -> Callable[[], Response]:
    """The same each time; a response can be sent once."""
    if not isinstance(reply, Response):
        return reply
    text, status, headers = reply.get_data(), reply.status_code, dict(reply.headers)
    return lambda: Response(text, status=status, headers=headers)


def run(agent: AgentGraph, *, watched: bool) -> Any:
    if not watched:
        return agent.run("look")
    seen = list(agent.stream("look"))
    return agent.get(seen[0].run_id)


@pytest.mark.parametrize("watched", [False, True], ids=["unwatched", "watched"])
def test_a_valid_plan_takes_one_request(watched: bool, server: ModelServer, store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.says(GOOD)
    with agent_of(server, store_path, Fault(completion(GOOD), ""), monkeypatch) as agent:
        came = run(agent, watched=watched)
    assert (came.status, CALLS, len(server.bodies)) == ("succeeded", ["find cpu"], 1)
    assert server.bodies[0].get("stream", False) is watched


EACH = pytest.mark.parametrize(
    ("name", "watched"),
    [
        pytest.param(name, watched, id=f"{name}-{'watched' if watched else 'unwatched'}")
        for watched in (False, True)
        for name in cases(watched=watched)
    ],
)


@EACH
def test_a_fault_that_passes_costs_one_request_more(
    name: str, watched: bool, server: ModelServer, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[name]
    server.says(again(fault.reply), again(fault.good))
    with agent_of(server, store_path, fault, monkeypatch) as agent:
        came = run(agent, watched=watched)
    if fault.requests == 1:
        assert (came.status, CALLS, len(server.bodies)) == ("failed", [], 1)
        return
    assert (came.status, CALLS, len(server.bodies)) == ("succeeded", ["find cpu"], 2)
    assert all(body.get("stream", False) is watched for body in server.bodies)
    if fault.told:
        assert fault.told in server.messages(1)[-1][1]
        assert server.messages(1)[:2] == server.messages(0), "what is cached stays the same bytes"
    else:
        assert server.bodies[1] == server.bodies[0]
    if fault.reply is not silent and "Retry-After" in dict(getattr(fault.reply, "headers", {})):
        assert server.arrived[1] - server.arrived[0] >= float(WAIT["Retry-After"])


@EACH
def test_a_fault_that_stays_ends_the_run_with_what_it_was_and_nothing_is_called(
    name: str, watched: bool, server: ModelServer, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[name]
    server.says(*[again(fault.reply)] * 9)
    with agent_of(server, store_path, fault, monkeypatch) as agent:
        came = run(agent, watched=watched)
        spent = agent.store.usage.of(RunId(came.id))["planner"]
    assert (came.status, came.error.code, came.plan) == ("failed", "planner_failed", None)
    assert fault.says in came.error.message
    assert (CALLS, len(server.bodies)) == ([], fault.requests)
    assert spent.requests == (1 if fault.says in ("429", "500", "400", "imed out") else 3)


def test_the_words_of_a_reply_are_told_as_they_come_and_are_in_no_trace(
    server: ModelServer, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.says(again(completion(json.dumps(GOOD)[:-9])), GOOD)
    with agent_of(server, store_path, Fault(completion(GOOD), ""), monkeypatch) as agent:
        seen = list(agent.stream("look"))
        kept = agent.trace(seen[0].run_id)
        used = agent.store.usage.of(RunId(seen[0].run_id))["planner"]
    words = [event for event in seen if isinstance(event, Token)]
    assert "".join(event.text for event in words) == json.dumps(GOOD)[:-9] + json.dumps(GOOD)
    assert [event.text for event in words if event.begins] == [words[0].text, words[3].text]
    assert {(event.role, event.run_id) for event in words} == {("planner", seen[0].run_id)}
    assert not [event for event in kept if isinstance(event, Token)]
    assert (used.requests, used.input_tokens, used.output_tokens) == (2, 200, 40), "what is streamed is counted as it is otherwise"
