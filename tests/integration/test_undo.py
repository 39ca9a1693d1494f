"""What a run that failed or was cancelled left behind: listed, and taken back by a run whose every call is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, NotDone, Plan, Policy, Reject, Undo, tool
from agent_graph.errors import UsageError
from agent_graph.state import Run


class Desk:
    """The world: what was opened and is not closed, and every call in order."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.calls: list[str] = []
        self.stuck = False


@pytest.fixture
def desk() -> Desk:
    return Desk()


def tools(desk: Desk) -> list[Any]:
    @tool(risk="write", recovery="keyed", undo=lambda args, output: Undo(tool="close", args={"number": output["number"]}))
    def open_ticket(title: str) -> dict[str, str]:
        desk.calls.append(f"open {title}")
        desk.open.append(title)
        return {"number": f"T-{title}"}

    @tool(risk="write", recovery="idempotent")
    def close(number: str) -> None:
        desk.calls.append(f"close {number}")
        if desk.stuck:
            raise NotDone("the desk is closed")
        desk.open.remove(number.removeprefix("T-"))

    @tool(risk="external_communication", recovery="keyed")
    def mail(to: str) -> None:
        desk.calls.append(f"mail {to}")

    @tool(risk="read_only")
    def fail() -> None:
        raise OSError("no")

    return [open_ticket, close, mail, fail]


PLAN = Plan.model_validate(
    {
        "goal": "open two and fail",
        "steps": [
            {"id": "one", "tool": "open_ticket", "args": {"title": "a"}},
            {"id": "two", "tool": "open_ticket", "args": {"title": "b"}, "depends_on": ["one"]},
            {"id": "tell", "tool": "mail", "args": {"to": "x"}, "depends_on": ["two"]},
            {"id": "last", "tool": "fail", "depends_on": ["tell"]},
        ],
    }
)


def failed(agent: AgentGraph) -> Run:
    run = agent.run(PLAN)
    assert run.status == "failed"
    return run


@pytest.fixture
def agent(desk: Desk, store_path: Path) -> Any:
    with AgentGraph(tools(desk), policy=Policy.allow_all(), store=store_path) as made:
        yield made


def test_a_failed_run_lists_what_landed_and_what_takes_it_back_the_last_first(agent: AgentGraph) -> None:
    run = failed(agent)
    assert [(effect.step_id, effect.undo) for effect in run.landed] == [
        ("tell", None),
        ("two", Undo(tool="close", args={"number": "T-b"})),
        ("one", Undo(tool="close", args={"number": "T-a"})),
    ]


def test_a_cancelled_run_lists_them_too_and_one_that_succeeded_does_not(agent: AgentGraph) -> None:
    later = {"id": "wait", "tool": "close", "args": {"number": {"$ref": "steps.two.output.number"}}, "approval": "required"}
    run = agent.run(Plan.model_validate({"goal": "go", "steps": [*PLAN.document()["steps"][:2], later]}))
    run = agent.resume(run, Approve())  # to the plan; the call of `wait` asks when its arguments are known
    assert run.status == "paused"
    assert run.landed == ()
    assert [effect.step_id for effect in agent.cancel(run.id).landed] == ["two", "one"]
    assert agent.run(PLAN.model_copy(update={"steps": PLAN.steps[:2]})).landed == ()


def test_nothing_is_undone_before_a_person_says_yes_whatever_the_policy_allows(agent: AgentGraph, desk: Desk) -> None:
    undoing = agent.undo(failed(agent).id)
    assert undoing.status == "paused"
    assert desk.open == ["a", "b"]


def test_effects_are_taken_back_in_reverse_order_after_a_yes(agent: AgentGraph, desk: Desk) -> None:
    undoing = agent.undo(failed(agent).id)
    done = agent.resume(undoing, Approve())
    assert done.status == "succeeded"
    assert desk.calls[-2:] == ["close T-b", "close T-a"]
    assert desk.open == []


def test_a_run_is_not_undone_twice(agent: AgentGraph, desk: Desk) -> None:
    run = failed(agent)
    undoing = agent.undo(run.id)
    with pytest.raises(UsageError, match=f"run {undoing.id} is undoing run {run.id} already"):
        agent.undo(run.id)
    agent.resume(undoing, Approve())
    with pytest.raises(UsageError, match="nothing that can be undone: it was taken back before"):
        agent.undo(run.id)


def test_what_an_undo_run_did_not_manage_is_left_for_the_next(agent: AgentGraph, desk: Desk) -> None:
    run = failed(agent)
    undoing = agent.undo(run.id)
    desk.stuck = True
    stuck = agent.resume(undoing, Approve())
    assert stuck.status == "paused"  # it asks whether to try again
    desk.stuck = False
    assert agent.resume(stuck, Reject(reason="later", stop=True)).status == "failed"
    again = agent.undo(run.id)
    assert agent.resume(again, Approve()).status == "succeeded"
    assert desk.open == []


def test_two_effects_that_the_same_call_takes_back_are_each_taken_back(store_path: Path) -> None:
    there, stuck = ["a", "b"], [False, True, False]

    @tool(risk="write", recovery="keyed", undo=lambda args, output: Undo(tool="less"))
    def more() -> None: ...

    @tool(risk="write", recovery="keyed")
    def less() -> None:
        if stuck.pop(0):
            raise NotDone("not now")
        there.pop()

    @tool(risk="read_only")
    def fail() -> None:
        raise OSError("no")

    steps = [{"id": "a", "tool": "more"}, {"id": "b", "tool": "more"}, {"id": "c", "tool": "fail", "depends_on": ["a", "b"]}]
    with AgentGraph([more, less, fail], policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(Plan.model_validate({"goal": "go", "steps": steps}))
        half = agent.resume(agent.undo(run.id), Approve())
        agent.resume(half, Reject(reason="later", stop=True))
        assert there == ["a"]
        assert agent.resume(agent.undo(run.id), Approve()).status == "succeeded"
    assert there == []


def test_a_run_that_goes_on_cannot_be_undone(agent: AgentGraph) -> None:
    made = PLAN.model_copy(update={"steps": (PLAN.steps[0].model_copy(update={"approval": "required"}),)})
    with pytest.raises(UsageError, match="has not ended; end it first with: agent-graph cancel"):
        agent.undo(agent.run(made).id)


@pytest.mark.parametrize("wrong", [lambda args, output: 1 / 0, lambda args, output: "close it"], ids=["raises", "says nonsense"])
def test_a_tool_that_cannot_say_how_it_is_undone_loses_no_outcome(store_path: Path, wrong: Any) -> None:
    @tool(risk="write", recovery="keyed", undo=wrong)
    def write() -> str:
        return "done"

    with AgentGraph([write], policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": "write"}]}))
        assert run.status == "succeeded"
        assert any("what would undo write could not be said" in getattr(event, "message", "") for event in agent.trace(run.id))


def test_undo_of_a_read_is_refused() -> None:
    from agent_graph.errors import InvalidToolError

    with pytest.raises(InvalidToolError, match="changes nothing that undo could take back"):

        @tool(risk="read_only", undo=lambda args, output: None)
        def read() -> None: ...
