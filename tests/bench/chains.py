"""The plans and tools that are measured, as a user would write them: typed tools, references, a criterion of its own for each step."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypedDict

from agent_graph import Absent, AgentGraph, Limits, Plan, Policy, Rule, Step, ToolContext, tool
from agent_graph.checkpoints.store import SqliteStore

OUTPUT_BYTES = 200
"""Of each step's output as JSON."""

LIMITS = Limits(max_steps=10_000)

POLICY = Policy(
    name="default, and the bench's writes are allowed",
    rules=(*Policy.default().rules, Rule(verdict="allow", tools=("put_*", "work"))),
)
"""The default policy asks before every write; where writes are timed, no person should be."""


class Seen(TypedDict):
    n: int
    text: str


def seen(n: int) -> Seen:
    return {"n": n, "text": "x" * (OUTPUT_BYTES - len('{"n": , "text": ""}') - len(str(n)))}


@tool(risk="read_only")
def look(n: int, after: str) -> Seen:
    """Read something."""
    return seen(n)


@tool(risk="read_only")
async def look_async(n: int, after: str) -> Seen:
    """Read something."""
    return seen(n)


@tool(risk="write", recovery="keyed", trusted_output=True)
def put_keyed(ctx: ToolContext, n: int, after: str) -> Seen:
    """Write something; the receiver knows each key once."""
    return seen(n)


def _landed(ctx: ToolContext, n: int, after: str) -> Absent:
    return Absent()


@tool(risk="write", probe=_landed, trusted_output=True)
def put_probeable(ctx: ToolContext, n: int, after: str) -> Seen:
    """Write something that can be asked for."""
    return seen(n)


@tool(risk="write", recovery="keyed")
def release(n: int, after: str) -> Seen:
    """Write something that no rule allows, so that a person is asked."""
    return seen(n)


TOOLS = (look, look_async, put_keyed, put_probeable, release)


def chain(steps: int, tool_name: str, gate: int | None = None) -> Plan:
    """Each step takes the text of the one before it. The step ``gate`` asks a person, under the default policy."""
    return Plan(
        goal="Go along the chain",
        steps=tuple(
            Step(
                id=f"s{n}",
                description=f"Look at the next thing, number {n}.",
                tool="release" if n == gate else tool_name,
                args={"n": n, "after": {"$ref": f"steps.s{n - 1}.output.text"} if n else ""},
                success_criteria=(f"output.n == {n}",),
            )
            for n in range(steps)
        ),
        answer={"$ref": f"steps.s{steps - 1}.output.n"},
    )


def agent_at(
    path: Path, tools: Iterable[Any] = TOOLS, limits: Limits = LIMITS, policy: Policy | None = None
) -> tuple[AgentGraph, SqliteStore]:
    """An agent with its graph compiled, as one that serves its second run has."""
    store = SqliteStore(path)
    agent = AgentGraph(tools=tools, store=store, limits=limits, policy=policy)
    assert agent.graph is not None
    return agent, store


def warm(folder: Path, tool_name: str = "look") -> None:
    """What is paid once in a process, imports above all, is not a step's."""
    agent, _ = agent_at(folder / "warm.db", policy=POLICY)
    with agent:
        run = agent.run(plan=chain(3, tool_name))
        assert run.answer == 2, run
