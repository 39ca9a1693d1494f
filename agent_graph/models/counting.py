"""How much a request sends, and what it used, as servers and LangChain say it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.utils.function_calling import convert_to_openai_tool

from agent_graph.records import Usage

BYTES_PER_TOKEN = 4
"""As a rule of thumb, for servers that do not say."""
OF_A_MESSAGE = 8
"""Tokens that a message takes beside its words, at most: its role and what parts it from the next."""


def size_of(messages: Sequence[BaseMessage], schema: dict[str, Any] | None = None, tools: Sequence[Any] = ()) -> int:
    """Of a request, in bytes: what its input counts in tokens at worst."""
    size = sum(_bytes(message.content) + OF_A_MESSAGE for message in messages)
    size += sum(_bytes(message.tool_calls) for message in messages if isinstance(message, AIMessage) and message.tool_calls)
    size += sum(_bytes(convert_to_openai_tool(each)) for each in tools)
    return size + (_bytes(schema) if schema is not None else 0)


def _bytes(value: Any) -> int:
    return len((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)).encode(errors="replace"))


def used_of(usage: Any) -> Usage | None:
    """Of one request: ``usage`` as LangChain has it, or as OpenAI has it in an error. None when it does not say."""
    read = _part(usage, "input_token_details", "prompt_tokens_details")
    written = _part(usage, "output_token_details", "completion_tokens_details")
    found = Usage(
        input_tokens=_tokens(usage, "input_tokens", "prompt_tokens"),
        output_tokens=_tokens(usage, "output_tokens", "completion_tokens"),
        cached_tokens=_tokens(read, "cache_read", "cached_tokens"),
        reasoning_tokens=_tokens(written, "reasoning", "reasoning_tokens"),
    )
    return found if found.input_tokens or found.output_tokens else None


def guessed(sent: int, came: int = 0) -> Usage:
    """Of a request of so many bytes whose server does not say what it used. Its price is not known."""
    return Usage(input_tokens=-(-sent // BYTES_PER_TOKEN), output_tokens=-(-came // BYTES_PER_TOKEN), unpriced=1)


def _part(of: Any, *names: str) -> Any:
    return next((found for name in names if (found := of.get(name) if isinstance(of, dict) else getattr(of, name, None)) is not None), None)


def _tokens(of: Any, *names: str) -> int:
    found = _part(of, *names)
    return found if isinstance(found, int) and found >= 0 else 0
