"""A server that speaks OpenAI's protocol on loopback, replies as scripted, and keeps what it was sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.events import Note
from agent_graph.execution.budget import Budget
from agent_graph.execution.meter import Meter
from agent_graph.identity import RunId, new_id
from agent_graph.plan import Goal
from agent_graph.policy.limits import Limits
from agent_graph.policy.spending import Spent
from agent_graph.ports import SystemClock
from agent_graph.records import Usage, UsageEntry

Scripted = Response | Callable[[], Response]
USED: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def plan_reply(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A plan as a model in strict mode writes it."""
    said: dict[str, Any] = {
        "kind": "plan",
        "reason": "the shortest way",
        "assumptions": [],
        "steps": list(steps),
        "success_criteria": [],
        "stop_when": None,
        "answer": None,
    }
    return {"interpretation": {"intent": "what was said", "constraints": [], "missing": []}, "reply": {**said, **more}}


def a_step(name: str, do: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A step of any kind."""
    said: dict[str, Any] = {
        "id": name,
        "description": "",
        "do": do,
        "when": None,
        "depends_on": [],
        "expected_output": None,
        "allow_empty": True,
        "success_criteria": [],
        "approval": "auto",
        "on_failure": "replan",
    }
    return {**said, **more}


def tool_step(name: str, tool: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
    return a_step(name, {"tool": tool, "args": args}, **more)


def completion(
    content: Any,
    *,
    finish_reason: str | None = "stop",
    refusal: str | None = None,
    tool_calls: list[dict[str, Any]] | None = None,
    usage: dict[str, Any] | None = USED,
) -> Response:
    """What the server sends back; anything but a text is sent as JSON. ``usage``: None for a server that does not say."""
    text = content if isinstance(content, str | None) else json.dumps(content)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
    if tool_calls is not None:
        message["tool_calls"] = tool_calls
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-test",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
        **({"usage": usage} if usage is not None else {}),
    }
    return Response(json.dumps(body), content_type="application/json")


def as_stream(whole: Response, *, pieces: int = 3, usage: bool = True) -> Response:
    """A completion as the server sends it to who asked for a stream: in pieces, the reason why it ended, what it used."""
    body = json.loads(whole.get_data())
    (choice,) = body["choices"]
    message = choice["message"]
    base = {"id": body["id"], "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    text = message.get("content") or ""
    size = max(1, -(-len(text) // pieces))
    deltas += [{"content": text[at : at + size]} for at in range(0, len(text), size)]
    deltas += [{"refusal": message["refusal"]}] if message.get("refusal") else []
    for index, call in enumerate(message.get("tool_calls") or []):
        said = call["function"]["arguments"]
        half = len(said) // 2
        start = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": said[:half]}}
        deltas += [{"tool_calls": [start]}, {"tool_calls": [{"index": index, "function": {"arguments": said[half:]}}]}]
    chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    if choice["finish_reason"] is not None:
        chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    if usage and "usage" in body:
        chunks.append({**base, "choices": [], "usage": body["usage"]})
    return events(*chunks)


def events(*chunks: dict[str, Any], done: bool = True) -> Response:
    """Server-sent events, as the server writes them. ``done``: to the end."""
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + ("data: [DONE]\n\n" if done else "")
    return Response(text, content_type="text/event-stream")


def failure(status: int, **headers: str) -> Response:
    body = {"error": {"message": f"scripted {status}", "type": "server_error", "param": None, "code": None}}
    return Response(json.dumps(body), status=status, headers=headers, content_type="application/json")


def call_of(name: str, arguments: str) -> list[dict[str, Any]]:
    return [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}]


@dataclass
class ModelServer:
    """``bodies``: each request as it came; who asks for a stream gets the reply as one. A request beyond the script is answered with 418,
    which no client repeats.
    """

    url: str
    script: list[Scripted] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def says(self, *replies: Any) -> None:
        """Texts and documents are whole replies; a response, or a function that makes one, is sent as it is."""
        self.script += [one if isinstance(one, Response) or callable(one) else completion(one) for one in replies]

    def answer(self, request: Request) -> Response:
        self.bodies.append(json.loads(request.get_data()))
        self.arrived.append(time.monotonic())
        self.headers.append(dict(request.headers))
        try:
            said = self.script.pop(0)
        except IndexError:
            return failure(418)
        response = said if isinstance(said, Response) else said()
        streams = self.bodies[-1].get("stream") and response.status_code == 200 and response.mimetype == "application/json"
        wanted = self.bodies[-1].get("stream_options") or {}
        return as_stream(response, usage=bool(wanted.get("include_usage"))) if streams else response

    @property
    def left(self) -> int:
        return len(self.script)

    def messages(self, index: int) -> list[tuple[str, str]]:
        return [(message["role"], message["content"]) for message in self.bodies[index]["messages"]]

    def schema(self, index: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.bodies[index]["response_format"]["json_schema"]["schema"]
        return found


@pytest.fixture(scope="session")
def make_httpserver() -> Iterator[HTTPServer]:
    """As the plugin's, but it answers requests side by side."""
    with HTTPServer(threaded=True) as made:
        yield made


@pytest.fixture
def server(httpserver: HTTPServer) -> ModelServer:
    made = ModelServer(httpserver.url_for("/v1"))
    httpserver.expect_request("/v1/chat/completions", method="POST").respond_with_handler(made.answer)
    return made


def chat_openai(server: ModelServer, **more: Any) -> Any:
    given: dict[str, Any] = {"model": "gpt-test", "base_url": server.url, "api_key": "test", "timeout": 10, "max_retries": 2, **more}
    return ChatOpenAI(**given)


class RealMeter(Meter):
    """The meter of a run of its own, which a test may look into."""

    def entries(self) -> list[UsageEntry]:
        return self._store.usage.entries(self._lease.run_id)

    def roles(self) -> dict[str, Usage]:
        return self._store.usage.of(self._lease.run_id)

    def notes(self) -> list[str]:
        return [event.message for event in self._store.events.of(self._lease.run_id) if isinstance(event, Note)]


@contextmanager
def metered(path: Path, limits: Limits | None = None, *, plan_version: int = 3) -> Iterator[RealMeter]:
    limits, clock, run_id = limits or Limits(), SystemClock(), RunId(new_id())
    store = SqliteStore(path)
    store.runs.create(run_id, Goal(text="go"), thread_id=run_id, planner="test", policy="test")
    lease = store.leases.acquire(run_id, new_owner())
    try:
        yield RealMeter(store, lease, limits, plan_version, budget=Budget(limits, Spent(), clock), clock=clock)
    finally:
        store.close()
