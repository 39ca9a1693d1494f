"""The JSON document of a reply, by how the model was held to its schema."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage

from agent_graph.models.replies import WrongReply, parse_first
from agent_graph.models.roles import Method


def document_of(message: AIMessage, method: Method) -> Any:
    """The JSON document of a whole reply. Raises WrongReply."""
    if method == "function_calling" and message.tool_calls:
        return message.tool_calls[0]["args"]
    if method == "function_calling" and message.invalid_tool_calls:
        raise WrongReply([f"the arguments of the call are not JSON: {str(message.invalid_tool_calls[0].get('args'))[:200]!r}"])
    text = str(message.text).strip()
    if not text:
        raise WrongReply(["the reply is empty"])
    if method != "json_schema":  # in prose, or in a fence; the first object, whole
        text = text[max(0, text.find("{")) :]
    try:
        document, end = parse_first(text)
    except ValueError as error:
        raise WrongReply([f"the reply is not JSON: {error}"]) from None
    if method == "json_schema" and text[end:].strip():
        raise WrongReply([f"there is more after the JSON document: {text[end:].strip()[:100]!r}"])
    return document
