"""What the tested servers run: tools whose effects are counted in a file of their own, and a planner that does what the goal says.

Loaded by ``langgraph dev`` in the way in which a user's own module is, and by the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agent_graph import AgentGraph, ToolContext, tool
from agent_graph.events import Token
from agent_graph.graph import Graph, build_graph
from agent_graph.models.drafting import drafts
from agent_graph.plan import Goal, Plan, Step
from agent_graph.ports import PlanningContext, Question, ReplanningContext
from agent_graph.threads import on_own_thread


def _say(line: str) -> None:
    """Outside the store, so that what is counted is what happened and not what was recorded."""
    with Path(os.environ["WORLD_LOG"]).open("a", encoding="utf-8") as log:
        log.write(line + "\n")


@tool(risk="read_only")
async def look(name: str) -> str:
    """Look a text up."""
    await asyncio.sleep(0.01)
    return f"text of {name}"


@tool(risk="write", recovery="idempotent")
def send(text: str) -> str:
    """Send a text."""
    _say(f"send {text}")
    return f"sent {text}"


@tool(risk="write", recovery="idempotent")
async def post(text: str) -> str:
    """Send a text, without blocking."""
    await asyncio.sleep(0.01)
    await asyncio.to_thread(_say, f"post {text}")
    return f"posted {text}"


@tool(risk="read_only")
def slow(name: str, seconds: float) -> str:
    """Takes its time, on the thread that calls it."""
    _say(f"slow {name}")
    time.sleep(seconds)
    _say(f"slow {name} ended")
    return name


@tool(risk="write", recovery="keyed")
def slow_send(ctx: ToolContext, text: str, seconds: float) -> str:
    """Send a text; the effect comes first, then the wait for its receipt. The receiver deduplicates by key."""
    world = Path(os.environ["WORLD_LOG"])
    if f"key {ctx.idempotency_key}" not in (world.read_text(encoding="utf-8") if world.exists() else ""):
        _say(f"slow_send {text}\nkey {ctx.idempotency_key}")
    time.sleep(seconds)
    return f"sent {text}"


@tool(risk="write")
def slow_blind(text: str, seconds: float) -> str:
    """Send a text to somebody who cannot be asked whether it came."""
    _say(f"slow_blind {text}")
    time.sleep(seconds)
    return f"sent {text}"


@tool(risk="write", recovery="idempotent")
def book(day: str, seats: int, window: bool, extras: list[str] | None = None) -> str:
    """Book seats."""
    _say(f"book {day} {seats!r} {window!r} {extras!r}")
    return f"booked {seats} on {day}"


@tool(risk="money", recovery="idempotent")
def pay(amount: int, to: str) -> str:
    """Pay somebody."""
    _say(f"pay {amount} {to}")
    return f"paid {amount} to {to}"


TOOLS = [look, send, post, slow, slow_send, slow_blind, book, pay]


class DoAsTold:
    """The first word of the goal says which plan."""

    name = "do-as-told"
    can_replan = False

    def complete(self, goal: Goal) -> Goal:
        return goal

    def plan(self, context: PlanningContext) -> Plan | Question:
        what, _, name = context.goal.text.partition(" ")
        if what == "talk":
            talk(context, name)
        if what == "ask":
            answer = context.answers.get("To whom?")
            return Question("To whom?") if answer is None else Plan(goal=context.goal, steps=_send(f"to {answer}"))
        return Plan(goal=context.goal, steps=PLANS[what](name))

    def replan(self, context: ReplanningContext) -> Any:
        raise NotImplementedError


def talk(context: PlanningContext, name: str) -> None:
    """As the clients of two models do: a plan while it is made, an answer while it is written."""
    tell = drafts(context.tell, context.run_id)
    said = {"planner": {"steps": [{"id": "look", "tool": "look"}]}, "summarizer": {"claims": [{"text": f"It is about {name}."}]}}
    for role, document in said.items():
        text = json.dumps(document)
        for place in range(0, len(text), 9):
            if tell is not None:
                tell(Token(run_id=context.run_id, at=time.time(), role=role, text=text[place : place + 9], begins=place == 0))


def _send(name: str, to: str = "send") -> tuple[Step, ...]:
    return (
        Step(id="look", tool="look", args={"name": name}),
        Step(id="send", description="Send what was found.", tool=to, args={"text": {"$ref": "steps.look.output"}}),
    )


def _twice(name: str) -> tuple[Step, ...]:
    return (
        Step(id="look", tool="look", args={"name": name}),
        Step(id="first", tool="slow_send", args={"text": {"$ref": "steps.look.output"}, "seconds": 1.2}),
        Step(id="second", tool="send", args={"text": {"$ref": "steps.first.output"}}),
    )


def _long(name: str) -> tuple[Step, ...]:
    steps = [Step(id="s0", tool="slow", args={"name": f"{name} 0", "seconds": 1.5})]
    steps += [Step(id=f"s{i}", tool="slow", args={"name": f"{name} {i}", "seconds": 0.05}, depends_on=(f"s{i - 1}",)) for i in range(1, 4)]
    return tuple(steps)


PLANS: dict[str, Any] = {
    "send": _send,
    "post": lambda name: _send(name, "post"),
    "twice": _twice,
    "long": _long,
    "wait": lambda name: (Step(id="wait", tool="slow", args={"name": name, "seconds": 3.0}),),
    "look": lambda name: (Step(id="look", tool="look", args={"name": name}),),
    "talk": lambda name: (Step(id="look", tool="look", args={"name": name}),),
    "confirm": lambda name: (
        Step(id="seats", ask="How many seats?", args={"value": 2}),
        Step(id="look", tool="look", args={"name": name}, depends_on=("seats",)),
    ),
    "blind": lambda name: (
        Step(id="look", tool="look", args={"name": name}),
        Step(id="blind", tool="slow_blind", args={"text": {"$ref": "steps.look.output"}, "seconds": 1.2}),
    ),
    "book": lambda name: (
        Step(id="look", tool="look", args={"name": name}),
        Step(id="book", tool="book", args={"day": {"$ref": "steps.look.output"}, "seats": 2, "window": True}),
    ),
    "plan": lambda name: (
        Step(id="a", tool="book", args={"day": name, "seats": 1, "window": True}),
        Step(id="b", tool="send", args={"text": name}),
    ),
    "pay": lambda name: (
        Step(id="look", tool="look", args={"name": name}),
        Step(id="pay", tool="pay", args={"amount": 10, "to": {"$ref": "steps.look.output"}}),
    ),
}


def make_agent(store: str | Path) -> AgentGraph:
    return AgentGraph(TOOLS, planner=DoAsTold(), store=store)


@functools.cache
def _agent() -> AgentGraph:
    return make_agent(os.environ["WORLD_STORE"])


def _graph() -> Graph:
    return build_graph(_agent().deps)  # anew for each request: what drives share is in the agent's parts


def _saver() -> Any:
    return _agent().store.checkpointer()


async def graph() -> Graph:
    return await on_own_thread(_graph)


@contextlib.asynccontextmanager
async def checkpointer() -> AsyncIterator[Any]:
    yield await on_own_thread(_saver)
