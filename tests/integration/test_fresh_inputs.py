"""``max_age_s``: what was read too long ago is read again before the step, and what has changed is asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Plan, tool
from agent_graph.state import Run
from agent_graph.testing import FakeClock


class World:
    def __init__(self) -> None:
        self.balance = 100
        self.reads = 0
        self.paid: list[int] = []
        self.down = False


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def agent(world: World, clock: FakeClock, store_path: Path) -> AgentGraph:
    @tool(risk="read_only")
    def rate() -> int:
        return 1

    @tool(risk="read_only")
    def balance(rate: int) -> int:
        world.reads += 1
        if world.down:
            raise OSError("the bank is closed")
        return world.balance * rate

    @tool(risk="money", recovery="idempotent")
    def pay(amount: int) -> int:
        world.paid.append(amount)
        return amount

    return AgentGraph([rate, balance, pay], store=store_path, clock=clock)


def plan(**more: Any) -> Plan:
    return Plan.model_validate(
        {
            "goal": "pay",
            "steps": [
                {"id": "rate", "tool": "rate"},
                {"id": "read", "tool": "balance", "args": {"rate": {"$ref": "steps.rate.output"}}},
                {"id": "pay", "tool": "pay", "args": {"amount": {"$ref": "steps.read.output"}}, **more},
            ],
        }
    )


def paused(made: AgentGraph, **more: Any) -> Run:
    run = made.run(plan(**more))
    assert run.status == "paused"
    return run


def test_a_value_that_is_too_old_and_has_changed_is_asked_again(world: World, clock: FakeClock, store_path: Path) -> None:
    with agent(world, clock, store_path) as made:
        run = paused(made, max_age_s=60)
        clock.advance(61)
        world.balance = 70
        again = made.resume(run, Approve())
        assert again.status == "paused"
        assert world.paid == []
        assert again.requests[0].args == {"amount": 70}
        assert again.requests[0].digest != run.requests[0].digest
        done = made.resume(again, Approve())
    assert done.status == "succeeded"
    assert world.paid == [70]
    assert done.results["read"].output == 70


def test_a_value_that_is_too_old_and_the_same_is_not_asked_again(world: World, clock: FakeClock, store_path: Path) -> None:
    with agent(world, clock, store_path) as made:
        run = paused(made, max_age_s=60)
        clock.advance(61)
        assert made.resume(run, Approve()).status == "succeeded"
        assert any("read again for step 'pay'" in getattr(event, "message", "") for event in made.trace(run.id))
    assert world.reads == 2
    assert world.paid == [100]


@pytest.mark.parametrize("more", [{"max_age_s": 60}, {}], ids=["still fresh", "no age given"])
def test_a_value_that_is_fresh_enough_is_not_read_again(world: World, clock: FakeClock, store_path: Path, more: Any) -> None:
    with agent(world, clock, store_path) as made:
        run = paused(made, **more)
        clock.advance(30 if more else 10_000)
        world.balance = 70
        assert made.resume(run, Approve()).status == "succeeded"
    assert world.reads == 1
    assert world.paid == [100]


def test_a_value_from_the_future_is_read_again(world: World, clock: FakeClock, store_path: Path) -> None:
    with agent(world, clock, store_path) as made:
        run = paused(made, max_age_s=60)
        clock.jump(-86_400)  # the clock was set back a day: nobody knows how old the value is
        made.resume(run, Approve())
    assert world.reads == 2


def test_what_cannot_be_read_again_blocks_the_step_and_keeps_what_was_read(world: World, clock: FakeClock, store_path: Path) -> None:
    with agent(world, clock, store_path) as made:
        run = paused(made, max_age_s=60)
        clock.advance(61)
        world.down = True
        done = made.resume(run, Approve())
    assert done.status == "failed"
    assert done.results["pay"].error is not None
    assert done.results["pay"].error.code == "stale_input"
    assert "the bank is closed" in done.results["pay"].error.message
    assert done.results["read"].status == "succeeded"
    assert world.paid == []


def test_a_read_that_wants_fresh_inputs_itself_is_read_again_with_them(world: World, clock: FakeClock, store_path: Path) -> None:
    with agent(world, clock, store_path) as made:
        document = plan(max_age_s=60).document()
        document["steps"][1]["max_age_s"] = 30
        run = made.run(Plan.model_validate(document))
        clock.advance(61)
        world.balance = 70
        again = made.resume(run, Approve())
        assert again.requests[0].args == {"amount": 70}
    assert world.reads == 2


def test_a_step_that_changes_something_is_never_made_again_for_freshness(clock: FakeClock, store_path: Path) -> None:
    made_again: list[str] = []

    @tool(risk="write", recovery="keyed")
    def order(what: str) -> str:
        made_again.append(what)
        return "order 1"

    @tool(risk="money", recovery="keyed")
    def pay(order: str) -> str:
        return order

    steps = [
        {"id": "order", "tool": "order", "args": {"what": "bread"}},
        {"id": "pay", "tool": "pay", "args": {"order": {"$ref": "steps.order.output"}}, "max_age_s": 1},
    ]
    with AgentGraph([order, pay], store=store_path, clock=clock) as agent:
        run = agent.run(Plan.model_validate({"goal": "buy", "steps": steps}))
        run = agent.resume(run, Approve())
        clock.advance(100)
        assert agent.resume(run, Approve()).status == "succeeded"
    assert made_again == ["bread"]
