"""A yes covers exactly what was shown: this run, this step, this tool with this schema, these arguments, once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Edit, NotDone, Plan, Reject, tool
from agent_graph.errors import DecisionConflict, UsageError
from agent_graph.identity import RunId, StepId, call_digest, new_id
from agent_graph.testing import ScriptedPlanner


class World:
    def __init__(self) -> None:
        self.sent: list[str] = []


@pytest.fixture
def world() -> World:
    return World()


def send_tool(world: World, *, urgent: bool = False) -> Any:
    if urgent:

        @tool(name="send", risk="external_communication", recovery="keyed")
        def send_now(to: str, urgent: bool = True) -> str:
            world.sent.append(f"{to} urgent={urgent}")
            return to

        return send_now

    @tool(risk="external_communication", recovery="keyed")
    def send(to: str) -> str:
        world.sent.append(to)
        return to

    return send


@tool(risk="read_only")
def whom(name: str = "ann") -> str:
    return name


@tool(risk="read_only")
def broken() -> None:
    raise OSError("no")


LATER: dict[str, Any] = {
    "goal": "tell them",
    "steps": [{"id": "who", "tool": "whom"}, {"id": "tell", "tool": "send", "args": {"to": {"$ref": "steps.who.output"}}}],
}
"""The call's arguments are known after a read: it has a card of its own."""


def test_a_tool_whose_schema_changed_since_is_asked_again(world: World, store_path: Path) -> None:
    with AgentGraph([whom, send_tool(world)], store=store_path) as agent:
        run = agent.run(Plan.model_validate(LATER))
        agent.store.approvals.decide(RunId(run.id), {run.requests[0].id: Approve()})
    with AgentGraph([whom, send_tool(world, urgent=True)], store=store_path) as other:
        again = other.resume(run.id)
        assert again.status == "paused"
        assert world.sent == []
        assert other.resume(again, Approve()).status == "succeeded"
    assert len(world.sent) == 1


def grant(
    agent: AgentGraph, of: Any, *, run: str | None = None, step: str | None = None, tool: str | None = None, args: Any = None
) -> None:
    """Put a yes to nearly the same call into the table, as somebody who replays rows would, and take the question away."""
    shown = of.requests[0]
    spec = agent.tools.specs[tool or shown.tool]
    bound = call_digest(RunId(run or of.id), StepId(step or shown.step_id), spec.name, spec.digest, args or shown.args)

    made = new_id()  # the row says the same in each of its places: else it would be refused for that

    def work(connection: Any) -> None:
        connection.execute(
            """INSERT INTO approvals (id, run_id, kind, digest, step_id, plan_version, request, verdict, decision, asked, decided, handled)
               SELECT ?, run_id, kind, ?, step_id, plan_version, json_set(request, '$.id', ?, '$.digest', ?), 'approve', '{"type": "approve"}', asked, asked, asked
               FROM approvals WHERE id = ?""",
            (made, bound, made, bound, shown.id),
        )
        connection.execute("UPDATE approvals SET closed = 1 WHERE id = ?", (shown.id,))

    agent.store.database.write(work)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "other",
    [{"run": "another-run"}, {"step": "another_step"}, {"tool": "whom"}, {"args": {"to": "bob"}}],
    ids=["another run", "another step", "another tool", "other arguments"],
)
def test_a_yes_for_nearly_the_same_call_does_not_cover_it(world: World, store_path: Path, other: Any) -> None:
    with AgentGraph([whom, send_tool(world)], store=store_path) as agent:
        run = agent.run(Plan.model_validate(LATER))
        grant(agent, run, **other)
        assert agent.resume(run.id).status == "paused"
    assert world.sent == []


def test_the_same_yes_under_its_own_digest_would_cover_it(world: World, store_path: Path) -> None:
    """That the four above fail for the right reason."""
    with AgentGraph([whom, send_tool(world)], store=store_path) as agent:
        run = agent.run(Plan.model_validate(LATER))
        grant(agent, run)
        assert agent.resume(run.id).status == "succeeded"
    assert world.sent == ["ann"]


def decide_at_once(agent: AgentGraph, run: str, request: str) -> tuple[list[str], list[str]]:
    """Four people at the same moment: what stood, and what the others were told."""
    together, stood, told = threading.Barrier(4), [], []

    def decide(decision: Any, name: str) -> None:
        together.wait()
        try:
            agent.store.approvals.decide(RunId(run), {request: decision}, name)
        except DecisionConflict as conflict:
            told.append(str(conflict))
        else:
            stood.append(str(decision.type))

    people = [(Approve(), "ann"), (Reject(reason="no"), "bob"), (Approve(), "cy"), (Reject(reason="no"), "di")]
    threads = [threading.Thread(target=decide, args=person) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return stood, told


def test_of_a_yes_and_a_no_at_once_one_stands_and_the_others_are_told(world: World, store_path: Path) -> None:
    with AgentGraph([whom, send_tool(world)], store=store_path) as agent:
        for _ in range(10):
            world.sent.clear()
            run = agent.run(Plan.model_validate(LATER))
            stood, told = decide_at_once(agent, run.id, run.requests[0].id)
            assert len(stood) == 1
            assert len(told) == 3
            assert all(
                "was decided before" in text and any(f"by {name} at" in text for name in ("ann", "bob", "cy", "di")) for text in told
            )
            done = agent.resume(run.id)
            assert (done.status, world.sent) == (("succeeded", ["ann"]) if stood == ["approve"] else ("failed", []))


def two_sends(second: str) -> Plan:
    return Plan.model_validate(
        {
            "goal": "tell both",
            "steps": [
                {"id": "look", "tool": "broken"},
                {"id": "one", "tool": "send", "args": {"to": "ann"}, "depends_on": ["look"]},
                {"id": "two", "tool": "send", "args": {"to": second}, "depends_on": ["look"]},
            ],
        }
    )


def test_a_replan_keeps_the_yes_of_steps_that_it_leaves_as_they_are_and_no_other(world: World, store_path: Path) -> None:
    first = two_sends("bob")
    second = Plan.model_validate(
        {**two_sends("carl").document(), "steps": [{"id": "look", "tool": "whom"}, *two_sends("carl").document()["steps"][1:]]}
    )
    with AgentGraph([whom, broken, send_tool(world)], planner=ScriptedPlanner(first, second), store=store_path) as agent:
        run = agent.run("tell both")
        run = agent.resume(run, Approve())  # to the first version, with its two calls
        assert run.status == "paused"
        asked = [call.args for request in run.requests for call in request.calls]
        assert {"to": "carl"} in asked
        assert {"to": "ann"} not in asked
        done = agent.resume(run, Approve())
    assert done.status == "succeeded"
    assert sorted(world.sent) == ["ann", "carl"]


def test_an_edit_back_to_what_was_shown_is_a_yes_to_it(world: World, store_path: Path) -> None:
    with AgentGraph([whom, send_tool(world)], store=store_path) as agent:
        run = agent.run(Plan.model_validate(LATER))
        done = agent.resume(run, Edit(args={"to": "ann"}))
    assert (done.status, world.sent) == ("succeeded", ["ann"])


def test_a_yes_is_for_all_attempts_of_its_call_and_for_no_later_one(world: World, store_path: Path) -> None:
    tries: list[str] = []

    @tool(risk="external_communication", recovery="keyed")
    def send(to: str) -> str:
        tries.append(to)
        if len(tries) == 1:
            raise NotDone("busy")
        return to

    plan = Plan.model_validate(
        {
            "goal": "tell",
            "steps": [
                {"id": "one", "tool": "send", "args": {"to": "ann"}, "max_attempts": 2},
                {"id": "two", "tool": "send", "args": {"to": {"$ref": "steps.one.output"}}},
            ],
        }
    )
    with AgentGraph([send], store=store_path) as agent:
        run = agent.resume(agent.run(plan), Approve())
        assert tries == ["ann", "ann"]
        assert run.status == "paused"  # the same arguments, in another step
        with pytest.raises(UsageError):
            agent.resume(agent.resume(run, Reject(reason="enough")).id, Approve())
    assert tries == ["ann", "ann"]
