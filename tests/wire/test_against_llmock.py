"""The same planner against a second server, which makes its own replies from the schema it was sent and judges how faults were met."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llmock.pytest_plugin import LLMock

from agent_graph import AgentGraph, tool
from agent_graph.tools.tool import Tool

from .conftest import plan_reply, tool_step


@tool(risk="read_only")
def find(text: str, most: int = 5) -> dict[str, Any]:
    """Finds notes."""
    return {"count": len(text[:most])}


@tool(risk="read_only")
def ping() -> str:
    """Says that it is there."""
    return "pong"


FIND = plan_reply(tool_step("look", "find", {"text": "cpu", "most": None}))


def run(store_path: Path, tools: Sequence[Tool] = (find,)) -> Any:
    with AgentGraph(tools, planner="openai:gpt-4o", store=store_path) as agent:
        return agent.run("look")


def test_a_plan_end_to_end(llmock: LLMock, store_path: Path) -> None:
    llmock.reply(json.dumps(FIND))
    assert run(store_path).status == "succeeded"
    assert len(llmock.requests) == 1


def test_the_server_accepts_the_schema_and_what_it_invents_from_it_has_the_right_shape(llmock: LLMock, store_path: Path) -> None:
    """Left alone, llmock invents a document that matches the schema. Only the text that should hold JSON is found wanting."""
    done = run(store_path, [ping])
    assert (done.status, done.error.code) == ("failed", "planner_failed")
    _, _, problem = done.error.message.partition("the last one: ")
    assert problem.startswith("steps[0].expected_output: the text is not JSON")
    assert [request.status for request in llmock.requests] == [200, 200, 200]


@pytest.mark.parametrize("fault", ["rate_limit", "fail"])
def test_faults_are_met_as_the_server_wants_them_met(llmock: LLMock, store_path: Path, fault: str) -> None:
    if fault == "rate_limit":
        llmock.rate_limit(retry_after=0.2)
    else:
        llmock.fail(500)
    llmock.reply(json.dumps(FIND))
    assert run(store_path).status == "succeeded"
    assert len(llmock.requests) == 2
    llmock.assert_resilient()
