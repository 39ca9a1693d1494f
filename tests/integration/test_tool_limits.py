"""How many calls of a tool are made at once, and how fast they follow: over all runs of an agent."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Plan, Policy, tool


class Side:
    """Calls side by side, and when each began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = self.most = 0
        self.begun: list[float] = []

    def call(self, seconds: float = 0.03) -> None:
        with self._lock:
            self.begun.append(time.monotonic())
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(seconds)
        with self._lock:
            self.now -= 1


def plan(name: str, steps: int, **more: Any) -> Plan:
    return Plan.model_validate({"goal": "go", "steps": [{"id": f"s{n}", "tool": name, "args": {"n": n}, **more} for n in range(steps)]})


@pytest.fixture
def side() -> Side:
    return Side()


def declared(side: Side, **more: Any) -> Any:
    @tool(name="work", **more)
    def work(n: int) -> int:
        side.call()
        return n

    return work


def side_by_side(agent: AgentGraph, runs: int, made: Plan) -> list[str]:
    async def all_of_them() -> list[str]:
        return [run.status for run in await asyncio.gather(*(agent.arun(made) for _ in range(runs)))]

    return asyncio.run(all_of_them())


@pytest.mark.parametrize(
    ("more", "most"),
    [
        ({"risk": "write"}, 1),
        ({"risk": "write", "parallel": 2}, 2),
        ({"risk": "read_only", "parallel": 3}, 3),
    ],
    ids=["a write alone", "two writes", "three reads"],
)
def test_calls_of_all_runs_of_an_agent_share_the_places_of_their_tool(store_path: Path, side: Side, more: Any, most: int) -> None:
    with AgentGraph([declared(side, **more)], policy=Policy.allow_all(), store=store_path) as agent:
        assert side_by_side(agent, 4, plan("work", 4)) == ["succeeded"] * 4
    assert len(side.begun) == 16
    assert side.most == most


def test_a_run_that_waits_for_a_place_goes_on_as_soon_as_there_is_one(store_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    @tool(risk="write")
    def hold(n: int) -> int:
        if not inside.is_set():
            inside.set()
            go_on.wait(10)
        return n

    with AgentGraph([hold], policy=Policy.allow_all(), store=store_path) as agent:
        first = threading.Thread(target=agent.run, args=(plan("hold", 1),))
        first.start()
        inside.wait(10)
        came: list[Any] = []
        second = threading.Thread(target=lambda: came.append((agent.run(plan("hold", 1)), time.monotonic())))
        second.start()
        time.sleep(0.3)
        assert not came
        freed = time.monotonic()
        go_on.set()
        first.join(10)
        second.join(10)
    done, at = came[0]
    assert done.status == "succeeded"
    assert at - freed < 0.9  # woken, not found by the look once a second


def test_a_rate_spaces_the_calls_of_all_runs(store_path: Path, side: Side) -> None:
    with AgentGraph([declared(side, risk="read_only", rate=20.0)], store=store_path) as agent:
        assert side_by_side(agent, 2, plan("work", 5)) == ["succeeded"] * 2
    assert len(side.begun) == 10
    begun = sorted(side.begun)
    assert begun[-1] - begun[0] >= 9 / 20 * 0.95


def test_a_rate_holds_for_another_attempt_too(store_path: Path) -> None:
    begun: list[float] = []

    @tool(risk="read_only", rate=4.0)
    def flaky(n: int) -> int:
        begun.append(time.monotonic())
        raise OSError("not now")

    with AgentGraph([flaky], store=store_path) as agent:
        agent.run(plan("flaky", 1, max_attempts=3))
    assert len(begun) == 3
    assert begun[-1] - begun[0] >= 0.45


def test_the_first_call_of_a_slow_rate_does_not_wait(store_path: Path, side: Side) -> None:
    with AgentGraph([declared(side, risk="read_only", rate=0.01)], store=store_path) as agent:
        before = time.monotonic()
        assert agent.run(plan("work", 1)).status == "succeeded"
        assert time.monotonic() - before < 5


def test_a_stop_does_not_wait_for_a_rate(store_path: Path, side: Side) -> None:
    with AgentGraph([declared(side, risk="read_only", rate=0.01)], store=store_path) as agent:
        before = time.monotonic()
        for event in agent.stream(plan("work", 2)):
            if event.kind == "step_finished":
                break
        assert time.monotonic() - before < 5
        assert agent.runs()[0].status == "interrupted"


def test_a_place_is_given_back_when_its_call_fails_in_every_way(store_path: Path) -> None:
    calls: list[int] = []

    @tool(risk="write", recovery="idempotent")
    def fails(n: int) -> int:
        calls.append(n)
        raise (OSError("ambiguous"), SystemExit(1), ValueError("no"))[n % 3]

    with AgentGraph([fails], policy=Policy.allow_all(), store=store_path) as agent:
        agent.run(plan("fails", 3, on_failure="continue"))
        agent.run(plan("fails", 3, on_failure="continue"))
        assert not any(agent.deps.slots._taken.values())
    assert len(calls) == 18  # three sends each, as it is safe to send again
