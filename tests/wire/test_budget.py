"""What a model may be asked, over real HTTP: a request whose worst case would overrun is not sent, and what was used adds up over processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_graph import AgentGraph, Limits, Price, RoleLimits, tool
from agent_graph.state import Run

from .conftest import ModelServer, chat_openai, plan_reply, tool_step


@tool(risk="read_only")
def find(text: str) -> dict[str, str]:
    """Finds a note."""
    if text == "broken":
        raise OSError("the index is down")
    return {"note": text}


LOOK = plan_reply(tool_step("look", "find", {"text": "cpu"}))
FAILS = plan_reply(tool_step("fails", "find", {"text": "broken"}))


def run(server: ModelServer, store: Path, limits: Limits) -> Run:
    with AgentGraph([find], planner=chat_openai(server), limits=limits, store=store) as agent:
        return agent.run("look")


def assert_stopped(came: Run, *words: str) -> None:
    assert came.error is not None
    assert (came.status, came.error.code, came.error.cause) == ("failed", "budget_exceeded", "budget")
    assert [word for word in words if word not in came.error.message] == []


def test_what_was_used_is_credited_to_the_role(server: ModelServer, store_path: Path) -> None:
    server.says(FAILS, LOOK)
    came = run(server, store_path, Limits(prices={"model:gpt-*": Price(input=10, output=100)}))
    assert came.status == "succeeded"
    used = came.usage["planner"]
    assert isinstance(used, dict)
    assert {name: used[name] for name in ("requests", "input_tokens", "output_tokens", "money", "unpriced")} == {
        "requests": 2,
        "input_tokens": 200,
        "output_tokens": 40,
        "money": pytest.approx(0.006),
        "unpriced": 0,
    }


def test_a_price_that_is_not_known_is_not_zero(server: ModelServer, store_path: Path) -> None:
    server.says(LOOK)
    assert run(server, store_path, Limits()).usage["planner"]["unpriced"] == 1  # type: ignore[index, call-overload]


def test_without_a_bound_the_length_of_a_reply_is_the_server_s(server: ModelServer, store_path: Path) -> None:
    server.says(LOOK)
    run(server, store_path, Limits())
    assert "max_completion_tokens" not in server.bodies[0]
    assert "max_tokens" not in server.bodies[0]


def test_a_reply_may_be_as_long_as_the_tokens_that_are_left(server: ModelServer, store_path: Path) -> None:
    server.says(LOOK)
    assert run(server, store_path, Limits(max_tokens=100_000)).status == "succeeded"
    sent = sum(len(message["content"].encode()) for message in server.bodies[0]["messages"])
    most = server.bodies[0]["max_completion_tokens"]
    assert 0 < most <= 100_000 - sent


def test_a_request_that_may_not_fit_is_not_sent(server: ModelServer, store_path: Path) -> None:
    came = run(server, store_path, Limits(max_tokens=500))
    assert_stopped(came, "role planner may read", "Spent: 0 calls")
    assert server.bodies == []


def test_the_second_request_is_refused_when_the_role_may_make_one(server: ModelServer, store_path: Path) -> None:
    server.says(FAILS, LOOK)
    came = run(server, store_path, Limits(roles={"planner": RoleLimits(max_requests=1)}))
    assert_stopped(came, "role planner has made 1 of 1 requests", "planner: 1 request, 120 tokens", "find: 1 call in 1")
    assert len(server.bodies) == 1


def test_money_is_refused_before_it_is_spent(server: ModelServer, store_path: Path) -> None:
    server.says(FAILS, LOOK)
    dear = Limits(max_money=1.0, prices={"model:gpt-test": Price(input=1, output=3_700)})
    came = run(server, store_path, dear)
    assert_stopped(came, "that is not left of money 1", "money 0.0741")
    assert len(server.bodies) == 1


def test_a_model_without_a_price_is_not_asked_when_money_is_bounded(server: ModelServer, store_path: Path) -> None:
    came = run(server, store_path, Limits(max_money=1.0))
    assert_stopped(came, "the price of model:gpt-test is not known")
    assert server.bodies == []
