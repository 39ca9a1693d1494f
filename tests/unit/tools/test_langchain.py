"""LangChain's tools as ours: arguments that it injects are hidden, and an error stays an error."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, ToolException
from langchain_core.tools import tool as langchain_tool

from agent_graph.errors import InvalidToolError
from agent_graph.tools.tool import ToolContext, tool

CONTEXT = ToolContext(idempotency_key="k")


@langchain_tool
def add(a: int, b: int, caller: Annotated[str, InjectedToolArg] = "s") -> dict[str, int]:
    """Add two numbers."""
    del caller
    return {"sum": a + b}


def test_it_is_described_without_what_langchain_injects() -> None:
    made = tool(add, risk="read_only")
    assert (made.name, made.spec.description) == ("add", "Add two numbers.")
    assert list(made.spec.args_schema["properties"]) == ["a", "b"]
    assert made.spec.args_schema["type"] == "object"
    assert not made.is_async


def test_its_value_is_kept_as_the_tool_made_it() -> None:
    assert tool(add, risk="read_only").call(CONTEXT, {"a": 1, "b": 2}) == {"sum": 3}


def test_a_tool_that_says_nothing_is_a_blind_write() -> None:
    assert (tool(add).spec.risk, tool(add).spec.recovery) == ("write", "blind")


def test_an_error_that_langchain_turns_into_text_is_an_error_again() -> None:
    def fail(text: str) -> str:
        """Fail."""
        raise ToolException(f"no {text}")

    made = tool(StructuredTool.from_function(fail, handle_tool_error=True), risk="read_only")
    with pytest.raises(ToolException, match="no luck"):
        made.call(CONTEXT, {"text": "luck"})


def test_of_content_and_artifact_the_artifact_is_the_output() -> None:
    def both(text: str) -> tuple[str, dict[str, Any]]:
        """Both."""
        return "for the model", {"text": text}

    made = tool(StructuredTool.from_function(both, response_format="content_and_artifact"), risk="read_only")
    assert made.call(CONTEXT, {"text": "x"}) == {"text": "x"}


def test_a_tool_that_is_only_async_is_called_so() -> None:
    async def fetch(text: str) -> str:
        """Fetch."""
        return text

    made = tool(StructuredTool.from_function(coroutine=fetch), risk="read_only")
    assert made.is_async
    assert asyncio.run(made.call(CONTEXT, {"text": "x"})) == "x"


def test_a_subclass_without_arguments_works() -> None:
    class Ping(BaseTool):
        name: str = "ping"
        description: str = "Ping."

        def _run(self) -> str:
            return "pong"

    made = tool(Ping(), risk="read_only")
    assert made.spec.args_schema["properties"] == {}
    assert made.call(CONTEXT, {}) == "pong"


def test_a_wrapped_tool_is_not_called_as_a_function() -> None:
    with pytest.raises(TypeError, match="wraps a LangChain tool"):
        tool(add)(1, 2)
    with pytest.raises(InvalidToolError):
        tool(tool(add), risk="read_only")
