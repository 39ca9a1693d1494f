"""LangChain tools, MCP servers' tools among them, called so that an error is an error.

A tool that is called with plain arguments may return its error as text; called with a tool call it says so in the message's ``status``
(langchain-core 1.7, langchain-mcp-adapters 0.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel

from agent_graph.tools.tool import ToolContext


@dataclass(frozen=True, slots=True)
class Described:
    args_schema: dict[str, Any]
    is_async: bool


def describe_langchain(tool: BaseTool) -> Described:
    shape = tool.tool_call_schema  # without the arguments that LangChain injects
    if isinstance(shape, dict):
        schema: dict[str, Any] = dict(shape)
    else:  # LangChain still takes models of pydantic 1
        schema = shape.model_json_schema() if issubclass(shape, BaseModel) else shape.schema()
    schema.setdefault("type", "object")
    schema.pop("description", None)
    only_async = isinstance(tool, StructuredTool) and tool.func is None and tool.coroutine is not None
    return Described(schema, only_async)


def call_langchain(tool: BaseTool, *, is_async: bool) -> Callable[[ToolContext, Mapping[str, Any]], Any]:
    # Without an error handler and an artifact, a plain call keeps the value as the tool made it instead of a text of it.
    plain = tool.response_format == "content" and not tool.handle_tool_error and not tool.handle_validation_error

    def request(context: ToolContext, args: Mapping[str, Any]) -> Any:
        if plain:
            return dict(args)
        return {"type": "tool_call", "id": context.idempotency_key or "call", "name": tool.name, "args": dict(args)}

    def read(value: Any) -> Any:
        if plain:
            return value
        if getattr(value, "status", "success") == "error":
            raise ToolException(str(value.content))
        artifact = getattr(value, "artifact", None)
        return artifact if artifact is not None else getattr(value, "content", value)

    if is_async:

        async def acall(context: ToolContext, args: Mapping[str, Any]) -> Any:
            return read(await tool.ainvoke(request(context, args)))

        return acall
    return lambda context, args: read(tool.invoke(request(context, args)))
