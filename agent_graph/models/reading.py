"""The JSON in a reply: the arguments of its calls, and its document, by how the model was held to its schema."""

from __future__ import annotations

import json
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.tool import invalid_tool_call, tool_call

from agent_graph.models.replies import WrongReply, parse_first
from agent_graph.models.roles import Method
from agent_graph.models.whole import EMPTY


def strictly(message: AIMessage) -> AIMessage:
    """The message with only those calls whose arguments are one whole JSON object, that can be stored; the others are its invalid ones.

    LangChain completes what is missing at the end of the arguments of a streamed call, and half of what was meant is not what was meant.
    """
    pieces = message.tool_call_chunks if isinstance(message, AIMessageChunk) else []
    written = [(piece["name"], piece["args"] or "{}", piece["id"]) for piece in pieces]
    written = written or [(call["name"], json.dumps(call["args"], default=str), call["id"]) for call in message.tool_calls]
    good, bad = [], [*message.invalid_tool_calls] if not pieces else []
    for name, args, call_id in written:
        try:
            value, end = parse_first(args.strip())
            whole = isinstance(value, dict) and not args.strip()[end:]
        except ValueError:
            whole = False
        if whole and name:
            good.append(tool_call(name=name, args=value, id=call_id))
        else:
            bad.append(invalid_tool_call(name=name, args=args, id=call_id, error="the arguments are not one whole JSON object"))
    plain = message_chunk_to_message(message) if isinstance(message, AIMessageChunk) else message
    return cast("AIMessage", plain.model_copy(update={"tool_calls": good, "invalid_tool_calls": bad}))


def document_of(message: AIMessage, method: Method) -> Any:
    """The JSON document of a whole reply. Raises WrongReply."""
    if method == "function_calling" and message.tool_calls:
        return message.tool_calls[0]["args"]
    if method == "function_calling" and message.invalid_tool_calls:
        raise WrongReply([f"the arguments of the call are not JSON: {str(message.invalid_tool_calls[0].get('args'))[:200]!r}"])
    text = str(message.text).strip()
    if not text:
        raise WrongReply([EMPTY])
    if method != "json_schema":  # in prose, or in a fence; the first object, whole
        text = text[max(0, text.find("{")) :]
    try:
        document, end = parse_first(text)
    except ValueError as error:
        raise WrongReply([f"the reply is not JSON: {error}"]) from None
    if method == "json_schema" and text[end:].strip():
        raise WrongReply([f"there is more after the JSON document: {text[end:].strip()[:100]!r}"])
    return document
