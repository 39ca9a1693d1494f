"""A server that speaks OpenAI's protocol on loopback, replies as scripted, and keeps what it was sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

Scripted = Response | Callable[[], Response]


def plan_reply(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A plan as a model in strict mode writes it."""
    said: dict[str, Any] = {
        "kind": "plan",
        "reason": "the shortest way",
        "steps": list(steps),
        "success_criteria": [],
        "stop_when": None,
        "answer": None,
    }
    return {"reply": {**said, **more}}


def tool_step(name: str, tool: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": name,
        "description": "",
        "tool": tool,
        "args": args,
        "when": None,
        "depends_on": [],
        "expected_output": None,
        "success_criteria": [],
        "approval": "auto",
        "on_failure": "replan",
    }
    return {**said, **more}


def completion(
    content: Any,
    *,
    finish_reason: str | None = "stop",
    refusal: str | None = None,
    tool_calls: list[dict[str, Any]] | None = None,
) -> Response:
    """What the server sends back; anything but a text is sent as JSON."""
    text = content if isinstance(content, str | None) else json.dumps(content)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal}
    if tool_calls is not None:
        message["tool_calls"] = tool_calls
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-test",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    return Response(json.dumps(body), content_type="application/json")


def failure(status: int, **headers: str) -> Response:
    body = {"error": {"message": f"scripted {status}", "type": "server_error", "param": None, "code": None}}
    return Response(json.dumps(body), status=status, headers=headers, content_type="application/json")


def call_of(name: str, arguments: str) -> list[dict[str, Any]]:
    return [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}]


@dataclass
class ModelServer:
    """``bodies``: each request as it came. A request beyond the script is answered with 418, which no client repeats."""

    url: str
    script: list[Scripted] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)

    def says(self, *replies: Any) -> None:
        """Texts and documents are whole replies; a response, or a function that makes one, is sent as it is."""
        self.script += [one if isinstance(one, Response) or callable(one) else completion(one) for one in replies]

    def answer(self, request: Request) -> Response:
        self.bodies.append(json.loads(request.get_data()))
        self.arrived.append(time.monotonic())
        if not self.script:
            return failure(418)
        said = self.script.pop(0)
        return said if isinstance(said, Response) else said()

    @property
    def left(self) -> int:
        return len(self.script)

    def messages(self, index: int) -> list[tuple[str, str]]:
        return [(message["role"], message["content"]) for message in self.bodies[index]["messages"]]

    def schema(self, index: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.bodies[index]["response_format"]["json_schema"]["schema"]
        return found


@pytest.fixture
def server(httpserver: HTTPServer) -> ModelServer:
    made = ModelServer(httpserver.url_for("/v1"))
    httpserver.expect_request("/v1/chat/completions", method="POST").respond_with_handler(made.answer)
    return made


def chat_openai(server: ModelServer, **more: Any) -> Any:
    given: dict[str, Any] = {"model": "gpt-test", "base_url": server.url, "api_key": "test", "timeout": 10, "max_retries": 2, **more}
    return ChatOpenAI(**given)
