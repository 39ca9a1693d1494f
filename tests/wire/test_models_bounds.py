"""What bounds the requests to models: of the run, of a role, of a specialist, of a step; also when threads ask side by side."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from werkzeug import Response

from agent_graph import AgentGraph, Limits, Price, RoleLimits, tool
from agent_graph.errors import BudgetExceeded
from agent_graph.models.client import Asking, RoleClient
from agent_graph.models.clients import Clients
from agent_graph.models.roles import Models
from agent_graph.plan import Step, StepBudget

from .conftest import ModelServer, completion, failure, metered, plan_reply, tool_step

HELLO = [HumanMessage("hello")]
PRICES = {"openai:*": Price(input=10, output=100)}


@pytest.fixture(autouse=True)
def _environment(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)


def client(role: Any = "executor", **given: Any) -> RoleClient:
    return Clients(Models.of({role: {"model": "openai:gpt-test", **given}})).of(role)


@pytest.mark.parametrize(
    ("own", "limits", "says"),
    [
        ({"max_requests": 1}, {}, "role executor has made 1 of 1 requests"),
        ({"max_tokens": 380}, {}, "not left of 380 tokens of role executor"),
        ({"max_money": 0.027}, {"prices": PRICES}, "not left of money 0.027 of role executor"),
        ({"max_requests": 9}, {"roles": {"executor": RoleLimits(max_requests=1)}}, "role executor has made 1 of 1 requests"),
        ({"max_requests": 1}, {"roles": {"executor": RoleLimits(max_requests=9)}}, "role executor has made 1 of 1 requests"),
        ({"max_tokens": 9_000}, {"max_tokens": 380}, "not left of 380 tokens of the run"),
        ({"max_tokens": 380}, {"max_tokens": 9_000}, "not left of 380 tokens of role executor"),
        ({}, {"max_money": 0.027, "prices": PRICES}, "not left of money 0.027 of the run"),
    ],
)
def test_the_tightest_bound_holds_and_is_named(
    own: dict[str, Any], limits: dict[str, Any], says: str, server: ModelServer, store_path: Path
) -> None:
    server.says("one", "two")
    asked = client(**own)
    with metered(store_path, Limits(**limits)) as meter:
        asked.text(HELLO, Asking(meter=meter))
        with pytest.raises(BudgetExceeded, match=says):
            asked.text(HELLO, Asking(meter=meter))
    assert len(server.bodies) == 1


def test_a_role_s_own_bound_ends_its_run_with_the_reason(server: ModelServer, store_path: Path) -> None:
    @tool(risk="read_only")
    def find(text: str) -> str:
        """Finds a note."""
        raise OSError("the index is down")

    server.says(*[plan_reply(tool_step(name, "find", {"text": name})) for name in ("one", "two", "three")])
    with AgentGraph([find], models={"planner": {"model": "openai:gpt-test", "max_requests": 2}}, store=store_path) as agent:
        run = agent.run("look")
    assert run.error is not None
    assert (run.status, run.error.code) == ("failed", "budget_exceeded")
    assert "role planner has made 2 of 2 requests" in run.error.message
    assert len(server.bodies) == 2


def test_a_specialist_s_bound_counts_what_it_was_asked_alone(server: ModelServer, store_path: Path) -> None:
    server.says("one", "two", "three")
    specialists = {name: {"model": "openai:gpt-test", "description": name, "max_requests": 1} for name in ("writer", "reader")}
    clients = Clients(Models.of({"executor": "openai:gpt-test", "specialists": specialists}))

    def ask(executor: str | None) -> None:
        clients.of_step(Step(id="a", model="x", executor=executor)).text(HELLO, Asking(meter=meter, step_id="a"))

    with metered(store_path) as meter:
        ask(None)
        ask("writer")
        ask("reader")
        with pytest.raises(BudgetExceeded, match="specialist writer has made 1 of 1 requests"):
            ask("writer")
        assert {entry.model: entry.used.requests for entry in meter.entries()} == {
            "openai:gpt-test": 1,
            "openai:gpt-test as writer": 1,
            "openai:gpt-test as reader": 1,
        }


def test_a_step_s_budget_counts_what_was_asked_for_it_over_all_plan_versions(server: ModelServer, store_path: Path) -> None:
    server.says("one", "two", "three")
    budget = StepBudget(max_tokens=500)
    with metered(store_path) as meter:
        client().text(HELLO, Asking(meter=meter, step_id="draft", budget=budget))
        client().text(HELLO, Asking(meter=meter, step_id="other", budget=budget))
        meter._version += 1
        client().text(HELLO, Asking(meter=meter, step_id="draft", budget=budget))
        with pytest.raises(BudgetExceeded, match="not left of 500 tokens of step draft"):
            client().text([HumanMessage("h" * 100)], Asking(meter=meter, step_id="draft", budget=budget))


def test_under_a_bound_no_more_is_asked_for_than_the_model_can_write(server: ModelServer, store_path: Path) -> None:
    server.says("one", "two", "three")
    clients = Clients(Models.of({"executor": "openai:gpt-4.1", "judge": "openai:unheard-of"}))
    with metered(store_path, Limits(max_tokens=1_000_000)) as meter:
        for role in ("executor", "judge"):
            clients.of(role).text(HELLO, Asking(meter=meter))
    assert [body["max_completion_tokens"] for body in server.bodies] == [32_768, 16_384]


def test_a_role_s_longest_reply_holds_without_any_bound_and_under_one(server: ModelServer, store_path: Path) -> None:
    server.says("one", "two")
    asked = client(max_reply_tokens=300)
    with metered(store_path) as meter:
        asked.text(HELLO, Asking(meter=meter))
    with metered(store_path, Limits(max_tokens=10_000)) as meter:
        asked.text(HELLO, Asking(meter=meter))
    assert [body["max_completion_tokens"] for body in server.bodies] == [300, 300]


def test_the_calls_that_are_in_the_conversation_and_the_tools_count_as_input(server: ModelServer, store_path: Path) -> None:
    call = {"name": "find", "args": {"text": "z" * 5_000}, "id": "c1"}
    with metered(store_path, Limits(max_tokens=5_000)) as meter:
        with pytest.raises(BudgetExceeded, match="may read 5"):
            client().turn([*HELLO, AIMessage("", tool_calls=[call])], (), Asking(meter=meter))
        with pytest.raises(BudgetExceeded, match="may read 6"):
            client().turn(HELLO, [_described("y" * 6_000)], Asking(meter=meter))
    assert server.bodies == []


def _described(text: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": "find", "description": text, "parameters": parameters}}


def test_threads_that_ask_side_by_side_stay_within_the_tokens_of_the_run(server: ModelServer, store_path: Path) -> None:
    def slow() -> Response:
        time.sleep(0.05)
        return completion("hi", usage={"prompt_tokens": 10, "completion_tokens": 990, "total_tokens": 1000})

    server.says(*[slow] * 20)
    asked = client(max_reply_tokens=990)

    def ask(_: int) -> bool:
        try:
            asked.text(HELLO, Asking(meter=meter))
        except BudgetExceeded:
            return False
        return True

    with metered(store_path, Limits(max_tokens=5_200)) as meter, ThreadPoolExecutor(8) as pool:
        went = list(pool.map(ask, range(8)))
        used = meter.roles()["executor"]
    assert sum(went) == len(server.bodies) == 5
    assert used.input_tokens + used.output_tokens == 5_000


def test_requests_that_fit_together_go_side_by_side(server: ModelServer, store_path: Path) -> None:
    together = threading.Barrier(3, timeout=5)

    def at_once() -> Response:
        together.wait()
        return completion("hi")

    server.says(*[at_once] * 3)
    asked = client(max_reply_tokens=500)
    with metered(store_path, Limits(max_tokens=100_000)) as meter, ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: asked.text(HELLO, Asking(meter=meter)), range(3))) == ["hi"] * 3


def test_one_that_fits_only_when_another_used_less_than_it_may_waits_for_it(server: ModelServer, store_path: Path) -> None:
    first_is_there, go = threading.Event(), threading.Event()

    def held() -> Response:
        first_is_there.set()
        assert go.wait(5)
        return completion("one")

    server.says(held, "two")
    with metered(store_path, Limits(max_tokens=3_000)) as meter, ThreadPoolExecutor(2) as pool:
        first = pool.submit(client().text, HELLO, Asking(meter=meter))
        assert first_is_there.wait(5)
        second = pool.submit(client().text, HELLO, Asking(meter=meter))
        time.sleep(0.2)
        assert (len(server.bodies), second.done()) == (1, False)
        go.set()
        assert (first.result(5), second.result(5)) == ("one", "two")


def test_a_request_under_way_is_one_of_those_that_may_be_made(server: ModelServer, store_path: Path) -> None:
    first_is_there, go = threading.Event(), threading.Event()

    def held() -> Response:
        first_is_there.set()
        assert go.wait(5)
        return completion("one")

    server.says(held, "two")
    asked = client(max_requests=1)
    with metered(store_path) as meter, ThreadPoolExecutor(1) as pool:
        first = pool.submit(asked.text, HELLO, Asking(meter=meter))
        assert first_is_there.wait(5)
        with pytest.raises(BudgetExceeded, match="has made 1 of 1 requests"):
            asked.text(HELLO, Asking(meter=meter))
        go.set()
        assert first.result(5) == "one"


def test_a_request_that_failed_holds_nothing_back(server: ModelServer, store_path: Path) -> None:
    server.says(failure(400), "two")
    with metered(store_path, Limits(max_tokens=3_000, max_money=1, prices=PRICES)) as meter:
        with pytest.raises(Exception, match="400"):
            client().text(HELLO, Asking(meter=meter))
        assert client().text(HELLO, Asking(meter=meter)) == "two"
        assert meter._budget.money_left() == pytest.approx(1 - (100 * 10 + 20 * 100) / 1e6)


def test_what_models_cost_is_not_left_for_tools(server: ModelServer, store_path: Path) -> None:
    @tool(risk="read_only", price=0.5)
    def look_up(text: str) -> str:
        """Costs money."""
        return text

    server.says(plan_reply(tool_step("look", "look_up", {"text": "a"})))
    dear = Limits(max_money=0.8, prices={"openai:*": Price(input=0, output=20_000)})
    with AgentGraph(
        [look_up], models={"planner": {"model": "openai:gpt-test", "max_reply_tokens": 30}}, limits=dear, store=store_path
    ) as agent:
        run = agent.run("look")
    assert run.error is not None
    assert (run.status, run.error.code) == ("failed", "budget_exceeded")
    assert run.results == {}
