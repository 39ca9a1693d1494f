"""A call that was given up at its deadline and still runs: nobody may say that it will not happen, and nothing overlaps with it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_graph import Absent, AgentGraph, Landed, Plan, Policy, Resolve, ToolContext, Unknown, tool
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import InvalidDecision
from agent_graph.state import Run


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def plan(name: str, timeout: float = 0.2) -> Plan:
    return Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": name, "timeout_s": timeout}]})


def until(what: Callable[[], Any]) -> bool:
    end = time.monotonic() + 10
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(what())


def hanging(gate: threading.Event, landed: list[str], **more: Any) -> Any:
    @tool(name="send", risk="write", **more)
    def send() -> str:
        gate.wait(30)
        landed.append("sent")
        return "sent"

    return send


def test_absent_is_neither_offered_nor_taken_while_the_call_runs_and_is_when_it_has_ended(store_path: Path, gate: threading.Event) -> None:
    landed: list[str] = []
    with AgentGraph([hanging(gate, landed)], policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan("send"))
        request = run.requests[0]
        assert request.outcomes == ("landed",)
        assert str(os.getpid()) in str(request.left_running)
        with pytest.raises(InvalidDecision, match=r"still runs in process .* so it may yet happen"):
            agent.resume(run, Resolve(outcome="absent"))
        gate.set()
        assert until(lambda: agent.get(run.id).requests[0].outcomes == ("landed", "absent"))
        assert landed == ["sent"]
        assert agent.resume(run.id, Resolve(outcome="landed", output="sent")).status == "succeeded"
    assert landed == ["sent"]


def test_landed_may_be_said_while_the_call_runs(store_path: Path, gate: threading.Event) -> None:
    with AgentGraph([hanging(gate, [])], policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan("send"))
        assert agent.resume(run, Resolve(outcome="landed", output="sent")).status == "succeeded"


def test_another_process_sees_that_it_runs(store_path: Path, gate: threading.Event) -> None:
    with AgentGraph([hanging(gate, [])], policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan("send"))
        with SqliteStore(store_path) as other:
            assert other.approvals.open(run.id)[0].left_running is not None  # type: ignore[arg-type]


def test_a_process_that_is_gone_runs_nothing(store_path: Path, gate: threading.Event) -> None:
    with AgentGraph([hanging(gate, [])], policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan("send"))
        agent.store.database.write(  # type: ignore[attr-defined]
            lambda connection: connection.execute("UPDATE effects SET left_by = json_set(left_by, '$.started', 1.0)")
        )
        assert agent.get(run.id).requests[0].outcomes == ("landed", "absent")


@pytest.mark.parametrize("recovery", ["idempotent", "keyed"])
def test_what_may_be_sent_again_is_not_while_the_first_call_runs(store_path: Path, gate: threading.Event, recovery: Any) -> None:
    landed: list[str] = []
    with AgentGraph([hanging(gate, landed, recovery=recovery)], policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan("send"))
        assert run.requests[0].kind == "in_doubt"
        again = agent.resume(run.id)
        assert again.status == "paused"
        gate.set()
        assert until(lambda: landed)
        assert until(lambda: agent.get(run.id).requests[0].left_running is None)


@pytest.mark.parametrize("said", [Absent(), Unknown("who knows")], ids=["absent", "unknown"])
def test_a_probe_that_finds_nothing_is_not_believed_while_the_call_runs(store_path: Path, gate: threading.Event, said: Any) -> None:
    landed: list[str] = []
    with AgentGraph([hanging(gate, landed, probe=lambda: said)], policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan("send"))
        assert run.requests[0].outcomes == ("landed",)
        assert agent.resume(run.id).status == "paused"
        gate.set()
        assert until(lambda: landed == ["sent"])
    assert landed == ["sent"]


def test_a_probe_that_finds_it_is_believed(store_path: Path, gate: threading.Event) -> None:
    with AgentGraph([hanging(gate, [], probe=lambda: Landed("sent"))], policy=Policy.allow_all(), store=store_path) as agent:
        assert agent.run(plan("send")).results["a"].output == "sent"


def test_an_async_call_that_ignores_its_cancellation_is_left_behind_too(store_path: Path) -> None:
    landed: list[str] = []

    @tool(risk="write")
    async def send() -> str:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue
        landed.append("sent")
        return "sent"

    with AgentGraph([send], policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan("send"))
        assert run.requests[0].outcomes == ("landed",)
        assert until(lambda: landed)
        assert until(lambda: agent.get(run.id).requests[0].outcomes == ("landed", "absent"))


def test_an_async_call_that_was_cancelled_in_time_is_over(store_path: Path) -> None:
    @tool(risk="write")
    async def send() -> None:
        await asyncio.sleep(60)

    with AgentGraph([send], policy=Policy.allow_all(), store=store_path) as agent:
        assert agent.run(plan("send")).requests[0].outcomes == ("landed", "absent")


def test_a_call_of_another_run_is_not_made_while_one_that_was_left_behind_runs(store_path: Path, gate: threading.Event) -> None:
    calls: list[str] = []

    @tool(risk="write", recovery="keyed")
    def send(context: ToolContext) -> None:
        calls.append(context.run_id)
        gate.wait(30)

    with AgentGraph([send], policy=Policy.allow_all(), store=store_path) as agent:
        agent.run(plan("send"))
        other: Run = agent.run(plan("send"))
    assert len(calls) == 1
    assert other.results["a"].error is not None
    assert "still running; the next one was not made" in other.results["a"].error.message
