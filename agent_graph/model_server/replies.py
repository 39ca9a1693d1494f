"""What a scripted model says, and how OpenAI's protocol writes that: at once, or piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_graph.model_server.asked import Asked

BYTES_PER_TOKEN = 4
"""Usage is reported by this rule of thumb: no tokenizer is at hand."""
PIECE = 24
"""Characters in one chunk of a streamed reply."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server says. ``calls``: (tool, arguments) each; arguments that are a text are sent as they are, JSON or not."""

    text: str | None = None
    calls: tuple[tuple[str, Any], ...] = ()
    refusal: str | None = None
    finish_reason: str | None = "stop"
    """None: the reply, or its stream, ends without one."""
    status: int = 200
    """Anything else: an error of the server's, with ``text`` as its message."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Seconds before it is sent."""
    pause_s: float = 0.0
    """Seconds between two pieces of a stream."""
    cached_tokens: int = 0
    reasoning_tokens: int = 0


Said = Reply | str | Mapping[str, Any]
"""A text or a document is a whole reply."""


def calls(*wanted: tuple[str, Any], text: str | None = None) -> Reply:
    """A reply that calls tools: ``calls(("read_file", {"path": "a.md"}))``."""
    return Reply(text=text, calls=wanted, finish_reason="tool_calls")


def failure(status: int, message: str = "as scripted", **headers: str) -> Reply:
    """An error of the server's: ``failure(429, **{"Retry-After": "1"})``."""
    return Reply(text=message, status=status, headers=headers)


def reply_of(said: Said) -> Reply:
    if isinstance(said, Reply):
        return said
    return Reply(text=said if isinstance(said, str) else json.dumps(said, ensure_ascii=False))


def problem(message: str) -> bytes:
    return _written({"error": {"message": message, "type": "scripted", "param": None, "code": None}})


def _head(asked: Asked, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-scripted", "object": kind, "created": 1, "model": asked.body.get("model", "scripted")}


def completion(asked: Asked, said: Reply) -> bytes:
    """All of it at once."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": said.refusal}
    if said.calls:
        message["tool_calls"] = _calls(asked, said.calls)
    choice = {"index": 0, "message": message, "finish_reason": said.finish_reason, "logprobs": None}
    return _written({**_head(asked, "chat.completion"), "choices": [choice], "usage": _usage(asked, said)})


def chunks(asked: Asked, said: Reply) -> Iterator[bytes]:
    """The same as server-sent events, in small pieces."""
    head = _head(asked, "chat.completion.chunk")

    def line(delta: dict[str, Any], reason: str | None = None) -> bytes:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})

    yield line({"role": "assistant", "content": ""})
    for start in range(0, len(said.text or ""), PIECE):
        yield line({"content": (said.text or "")[start : start + PIECE]})
    if said.refusal:
        yield line({"refusal": said.refusal})
    for index, call in enumerate(_calls(asked, said.calls)):
        arguments = call["function"].pop("arguments")
        yield line({"tool_calls": [{"index": index, **call, "function": {**call["function"], "arguments": ""}}]})
        for start in range(0, len(arguments), PIECE):
            yield line({"tool_calls": [{"index": index, "function": {"arguments": arguments[start : start + PIECE]}}]})
    if said.finish_reason is None:
        return  # it broke off
    yield line({}, said.finish_reason)
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        yield _event({**head, "choices": [], "usage": _usage(asked, said)})
    yield b"data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + _written(data) + b"\n\n"


def _written(value: Any) -> bytes:
    return json.dumps(value).encode()


def _calls(asked: Asked, wanted: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    so_far = sum(len(message.get("tool_calls") or ()) for message in asked.messages)
    return [
        {
            "id": f"call_{so_far + index}",
            "type": "function",
            "function": {"name": name, "arguments": args if isinstance(args, str) else json.dumps(args, ensure_ascii=False)},
        }
        for index, (name, args) in enumerate(wanted, 1)
    ]


def _usage(asked: Asked, said: Reply) -> dict[str, Any]:
    written = len((said.text or "").encode()) + sum(len(json.dumps(call).encode()) for call in said.calls)
    read, wrote = -(-len(asked.input) // BYTES_PER_TOKEN), -(-written // BYTES_PER_TOKEN)
    return {
        "prompt_tokens": read,
        "completion_tokens": wrote,
        "total_tokens": read + wrote,
        "prompt_tokens_details": {"cached_tokens": said.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": said.reasoning_tokens},
    }
