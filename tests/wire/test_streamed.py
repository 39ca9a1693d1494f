"""A plan and an answer over real HTTP, piece by piece: who watches sees them as they are written, and they are counted once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, tool
from agent_graph.events import Drafted, Event, PlanMade, Token
from agent_graph.model_server import ModelServer, Reply

from .conftest import plan_reply, tool_step


@tool(risk="read_only")
def look(name: str) -> str:
    """Look something up."""
    return f"{name} was seen"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with ModelServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        yield server


def agent(tmp_path: Path, **more: Any) -> AgentGraph:
    return AgentGraph([look], store=tmp_path / "runs.db", **more)


PLAN = plan_reply(tool_step("a", "look", {"name": "ann"}), tool_step("b", "look", {"name": "bob"}))


def drafted(seen: list[Event]) -> list[tuple[int, str]]:
    return [(event.number, event.step["id"]) for event in seen if isinstance(event, Drafted)]


def test_each_step_is_drafted_before_the_plan_is_whole(tmp_path: Path, model: ModelServer) -> None:
    model.says(Reply(text=json.dumps(PLAN), pause_s=0.02))
    with agent(tmp_path, planner="openai:m") as graph:
        seen: list[Event] = []
        at: dict[type[Event], float] = {}
        for event in graph.stream("look them up"):
            seen.append(event)
            at.setdefault(type(event), time.monotonic())
    assert drafted(seen) == [(1, "a"), (2, "b")]
    assert at[PlanMade] - at[Drafted] > 0.1, "the first step was there long before the plan"
    assert seen[-1].kind == "done"
    assert [asked.body.get("stream") for asked in model.asked] == [True]


def test_a_streamed_plan_is_counted_as_one_that_came_at_once(tmp_path: Path, model: ModelServer) -> None:
    model.says(PLAN, PLAN)
    with agent(tmp_path, planner="openai:m") as graph:
        (streamed,) = {event.run_id for event in graph.stream("look them up")}
        at_once = graph.run("look them up")
        first, second = graph.get(streamed).usage["planner"], at_once.usage["planner"]
        assert isinstance(first, dict)
        assert isinstance(second, dict)
        assert {**first, "seconds": 0} == {**second, "seconds": 0}
        assert first["input_tokens"]
    assert [bool(asked.body.get("stream")) for asked in model.asked] == [True, False]


def test_a_stream_that_breaks_off_is_asked_again_and_its_draft_is_begun_anew(tmp_path: Path, model: ModelServer) -> None:
    whole = json.dumps(PLAN)
    model.says(Reply(text=whole[: len(whole) * 3 // 4], finish_reason=None), PLAN)
    with agent(tmp_path, planner="openai:m") as graph:
        seen = list(graph.stream("look them up"))
    assert drafted(seen) == [(1, "a"), (1, "a"), (2, "b")]
    assert sum(event.begins for event in seen if isinstance(event, Token)) == 2
    assert seen[-1].kind == "done"
    assert len(model.asked) == 2


def test_what_was_drafted_and_not_valid_never_runs(tmp_path: Path, model: ModelServer) -> None:
    wrong = plan_reply(tool_step("a", "look", {"name": "ann"}), tool_step("b", "destroy", {"name": "bob"}))
    model.says(wrong, wrong, wrong)
    with agent(tmp_path, planner="openai:m") as graph:
        seen = list(graph.stream("look them up"))
        run = graph.get(seen[-1].run_id)
    assert (run.status, run.plan, run.results) == ("failed", None, {})
    assert len(model.asked) == 3


def test_the_answer_comes_as_words_while_it_is_written(tmp_path: Path, model: ModelServer) -> None:
    claims = [
        {"text": "Ann was seen.", "refs": ["steps.a.output"], "quote": "ann was seen"},
        {"text": 'So was "Bob".', "refs": ["steps.b.output"]},
    ]
    model.says(PLAN, Reply(text=json.dumps({"claims": [{"quote": None, **claim} for claim in claims]}), pause_s=0.01))
    with agent(tmp_path, planner="openai:m", models={"summarizer": "openai:s"}) as graph:
        seen = list(graph.stream("look them up"))
        answer = graph.get(seen[-1].run_id).answer
    words = "".join(event.text for event in seen if isinstance(event, Token) and event.role == "summarizer")
    assert words == 'Ann was seen.\nSo was "Bob".'
    assert isinstance(answer, dict)
    assert "Ann was seen." in str(answer)
