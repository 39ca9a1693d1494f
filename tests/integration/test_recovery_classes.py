"""What each recovery class does when it landed and the reply was lost, and how long ``Absent`` is not believed. Effects are counted in the world."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agent_graph import Absent, AgentGraph, Landed, NotDone, Plan, Policy, ToolContext, tool
from agent_graph.plan import Recovery
from agent_graph.state import Run


class World:
    """A system that knows the keys of what it was sent."""

    def __init__(self, *, lose: int = 1) -> None:
        self.sent = 0
        """Calls that reached it."""
        self.effects: list[str] = []
        self._lose = lose
        self._keys: set[str] = set()

    def send(self, key: str, *, dedupes: bool = False) -> str:
        self.sent += 1
        if not (dedupes and key in self._keys):
            self.effects.append(key)
        self._keys.add(key)
        if self.sent <= self._lose:
            raise OSError("the reply was lost")
        return "sent"

    def probe(self, key: str) -> Landed | Absent:
        return Landed("found") if key in self._keys else Absent()


def run(store_path: Path, declared: Any, **step: Any) -> Run:
    plan = Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": "send", "max_attempts": 3, **step}]})
    with AgentGraph([declared], policy=Policy.allow_all(), store=store_path) as agent:
        return agent.run(plan)


@pytest.mark.parametrize(
    ("recovery", "sent", "effects", "status"),
    [("keyed", 2, 1, "succeeded"), ("idempotent", 2, 2, "succeeded"), ("probeable", 1, 1, "succeeded"), ("blind", 1, 1, "paused")],
)
def test_it_landed_and_the_reply_was_lost_although_retries_are_allowed(
    store_path: Path, recovery: Recovery, sent: int, effects: int, status: str
) -> None:
    world = World()

    def probe(context: ToolContext) -> Landed | Absent:
        return world.probe(context.idempotency_key)

    @tool(risk="write", recovery=recovery, probe=probe if recovery == "probeable" else None)
    def send(context: ToolContext) -> str:
        return world.send(context.idempotency_key, dedupes=recovery == "keyed")

    done = run(store_path, send)
    assert (world.sent, len(world.effects), done.status) == (sent, effects, status)
    if status == "paused":
        asked = done.requests[0]
        assert (asked.kind, asked.idempotency_key, asked.args) == ("in_doubt", world.effects[0], {})
        assert asked.sent_at is not None


@pytest.mark.parametrize("recovery", ["keyed", "idempotent", "probeable", "blind"])
def test_a_definite_failure_is_tried_again_whatever_the_class_and_no_more_often_than_allowed(store_path: Path, recovery: Recovery) -> None:
    calls: list[str] = []

    @tool(risk="write", recovery=recovery, probe=Absent if recovery == "probeable" else None, definite=[PermissionError])
    def send() -> str:
        calls.append("call")
        raise (NotDone, PermissionError)[len(calls) % 2]("not sent")

    done = run(store_path, send)
    assert (len(calls), done.status) == (3, "failed")
    assert done.results["a"].error is not None
    assert (done.results["a"].error.code, done.results["a"].attempts) == ("tool_failed", 3)


def landing_late(seconds: float, effects: list[float], settle: float) -> Any:
    """A queue that takes the message, loses the reply at once, and delivers later."""

    @tool(name="send", risk="write", probe=lambda: Landed("found") if effects else Absent(), timeout=0.2, settle=settle)
    def send() -> str:
        threading.Timer(seconds, lambda: effects.append(time.monotonic())).start()
        raise OSError("the reply was lost")

    return send


def test_absent_is_not_believed_before_the_effect_had_time_to_settle(store_path: Path) -> None:
    effects: list[float] = []
    done = run(store_path, landing_late(0.6, effects, settle=5.0))
    time.sleep(1.0)  # what was sent again would land by now
    assert (done.status, done.results["a"].output, len(effects)) == ("succeeded", "found", 1)


def test_a_tool_that_says_it_settles_at_once_is_taken_at_its_word(store_path: Path) -> None:
    """The other side: that the test above would notice."""
    effects: list[float] = []
    run(store_path, landing_late(1.0, effects, settle=0.0))
    time.sleep(1.5)
    assert len(effects) > 1


KILLED = """
    import os, signal, subprocess, sys
    from pathlib import Path
    from agent_graph import Absent, AgentGraph, Landed, Plan, Policy, tool

    WORLD = Path(sys.argv[2])

    @tool(risk="write", probe=lambda: Landed("found") if WORLD.exists() else Absent(), timeout=0.3, settle=4.0)
    def send() -> str:
        subprocess.Popen(["sh", "-c", f"sleep 2; echo sent >> {WORLD}"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.kill(os.getpid(), signal.SIGKILL)

    with AgentGraph([send], policy=Policy.allow_all(), store=sys.argv[1]) as agent:
        waiting = agent.runs()
        if waiting:
            print(agent.resume(waiting[0].id).status)
        else:
            agent.run(Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": "send"}]}))
"""


def test_what_lands_after_the_kill_of_its_driver_is_waited_for_by_the_next(store_path: Path, tmp_path: Path) -> None:
    script, world = tmp_path / "script.py", tmp_path / "world.log"
    script.write_text(textwrap.dedent(KILLED))

    def drive() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, script, store_path, world], capture_output=True, text=True, timeout=60, check=False)

    assert drive().returncode == -9
    assert not world.exists()
    assert drive().stdout == "succeeded\n"
    time.sleep(0.5)
    assert world.read_text() == "sent\n"
