"""Gates from Python: what is asked, what each answer leads to, and that nothing runs without a matching yes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Edit, Plan, Policy, Question, Reject, Resolve, Respond, Step, tool
from agent_graph.errors import AmbiguousDecision, DecisionConflict, InvalidDecision, NothingPending, RunFinished
from agent_graph.policy.rules import Rule
from agent_graph.testing import ScriptedPlanner


class World:
    """What the tools did, counted outside of our store."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.reads = 0

    def tools(self) -> list[Any]:
        world = self

        @tool(risk="read_only")
        def look(name: str = "x") -> dict[str, str]:
            """Look something up."""
            world.reads += 1
            return {"name": name, "address": f"{name}@example.org"}

        @tool(risk="external_communication", recovery="idempotent")
        def send(to: str, text: str) -> str:
            """Send a message."""
            world.sent.append((to, text))
            return f"sent to {to}"

        return [look, send]


@pytest.fixture
def world() -> World:
    return World()


def agent(world: World, store: Path, **more: Any) -> AgentGraph:
    return AgentGraph(world.tools(), store=store / "runs.db", **more)


def literal() -> Plan:
    return Plan(goal="tell them", steps=(Step(id="look", tool="look"), Step(id="send", tool="send", args={"to": "ann", "text": "hi"})))


def derived() -> Plan:
    return Plan(
        goal="tell them",
        steps=(
            Step(id="look", tool="look", args={"name": "ann"}),
            Step(id="send", tool="send", args={"to": {"$ref": "steps.look.output.address"}, "text": "hi"}),
        ),
    )


def two_calls() -> Plan:
    return Plan(
        goal="tell both",
        steps=(
            Step(id="look", tool="look", args={"name": "ann"}),
            Step(id="one", tool="send", args={"to": {"$ref": "steps.look.output.address"}, "text": "1"}),
            Step(id="two", tool="send", args={"to": {"$ref": "steps.look.output.address"}, "text": "2"}),
        ),
    )


def test_known_arguments_are_asked_with_the_plan_before_anything_runs(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path) as graph:
        run = graph.run(plan=literal())
        assert (run.status, world.reads, world.sent) == ("paused", 0, [])
        (request,) = run.requests
        assert request.kind == "plan"
        assert [(call.tool, call.args) for call in request.calls] == [("send", {"to": "ann", "text": "hi"})]
        run = graph.resume(run.id, Approve())
        assert (run.status, world.sent) == ("succeeded", [("ann", "hi")])


def test_arguments_that_come_from_a_step_are_asked_when_they_are_known(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path) as graph:
        run = graph.run(plan=derived())
        (request,) = run.requests
        assert (request.kind, request.args, world.reads, world.sent) == ("step", {"to": "ann@example.org", "text": "hi"}, 1, [])
        assert graph.resume(run, Approve()).status == "succeeded"
        assert (world.reads, world.sent) == (1, [("ann@example.org", "hi")])


def test_one_yes_covers_one_call(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path) as graph:
        run = graph.run(plan=two_calls())
        assert {request.step_id for request in run.requests} == {"one", "two"}
        with pytest.raises(AmbiguousDecision, match=run.requests[0].id):
            graph.resume(run.id, Approve())
        first = next(request for request in run.requests if request.step_id == "one")
        run = graph.resume(run.id, {first.id: Approve()})
        assert (run.status, world.sent) == ("paused", [("ann@example.org", "1")])
        assert graph.resume(run.id, Approve()).status == "succeeded"
        assert [text for _, text in world.sent] == ["1", "2"]


def test_the_run_that_was_shown_carries_its_requests(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path) as graph:
        run = graph.run(plan=two_calls())
        assert graph.resume(run, Approve()).status == "succeeded"
        assert sorted(text for _, text in world.sent) == ["1", "2"]


def test_a_rejected_call_never_runs(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path) as graph:
        run = graph.resume(graph.run(plan=derived()), Reject(reason="not now"), by="ann")
        assert (run.status, world.sent) == ("failed", [])
        assert run.error is not None
        assert (run.error.code, run.error.cause, run.error.step_id) == ("rejected", "human", "send")
        assert "ann: not now" in run.error.message


def test_a_rejection_reaches_the_replanner_with_its_reason(world: World, tmp_path: Path) -> None:
    calmer = Plan(goal="x", steps=(Step(id="look", tool="look", args={"name": "ann"}), Step(id="again", tool="look", args={"name": "bob"})))
    planner = ScriptedPlanner(derived(), calmer)
    with agent(world, tmp_path, planner=planner) as graph:
        run = graph.resume(graph.run("tell them"), Reject(reason="too loud"))
        assert (run.status, world.sent) == ("succeeded", [])
        assert "too loud" in planner.contexts[1].reason  # type: ignore[attr-defined]
        assert run.plan is not None
        assert (run.plan.version, run.plan.parent) == (2, 1)


def test_reject_and_stop_asks_no_planner(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(derived(), derived())
    with agent(world, tmp_path, planner=planner) as graph:
        run = graph.resume(graph.run("tell them"), Reject(reason="no", stop=True))
        assert (run.status, len(planner.contexts), world.sent) == ("failed", 1, [])


def test_an_edited_call_runs_as_edited_and_only_so(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path) as graph:
        run = graph.resume(graph.run(plan=derived()), Edit(args={"to": "bob", "text": "hello"}), by="ann")
        assert (run.status, world.sent) == ("succeeded", [("bob", "hello")])
        assert run.plan is not None
        assert (run.plan.version, run.plan.created_by, run.plan.by_id["send"].args) == (2, "ann", {"to": "bob", "text": "hello"})


def test_an_edit_that_does_not_fit_the_tool_is_refused_and_nothing_is_decided(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path) as graph:
        run = graph.run(plan=derived())
        with pytest.raises(InvalidDecision, match="text"):
            graph.resume(run, Edit(args={"to": "bob", "text": 7}))
        assert graph.get(run.id).requests == run.requests
        assert graph.resume(run, Approve()).status == "succeeded"


def test_an_edited_plan_is_the_one_that_runs(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path, policy=Policy(rules=(Rule(verdict="allow", risks=("read_only",)),), review_plans=True)) as graph:
        run = graph.run(plan=literal())
        edited = Plan(goal="tell them", steps=(Step(id="send", tool="send", args={"to": "zoe", "text": "hey"}),))
        run = graph.resume(run, Edit(plan=edited))
        assert (run.status, world.reads, world.sent) == ("succeeded", 0, [("zoe", "hey")])


def test_a_reviewed_plan_waits_although_it_only_reads(world: World, tmp_path: Path) -> None:
    reads = Plan(goal="look", steps=(Step(id="look", tool="look"),))
    with agent(world, tmp_path, policy=Policy(rules=(Rule(verdict="allow", risks=("read_only",)),), review_plans=True)) as graph:
        run = graph.run(plan=reads)
        assert (run.status, world.reads) == ("paused", 0)
        assert graph.resume(run, Approve()).status == "succeeded"


def test_required_approval_asks_although_the_policy_allows(world: World, tmp_path: Path) -> None:
    plan = Plan(goal="tell", steps=(Step(id="send", tool="send", args={"to": "a", "text": "b"}, approval="required"),))
    with agent(world, tmp_path, policy=Policy.allow_all()) as graph:
        assert graph.run(plan=plan).status == "paused"
        assert world.sent == []


def test_the_planners_question_is_asked_and_its_answer_planned_with(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(
        Question("Whom?", choices=("ann", "bob")),
        lambda context: Plan(goal="x", steps=(Step(id="look", tool="look", args={"name": context.answers["Whom?"]}),)),
    )
    with agent(world, tmp_path, planner=planner) as graph:
        run = graph.run("look somebody up")
        assert (run.status, run.requests[0].kind, run.requests[0].question) == ("paused", "question", "Whom?")
        with pytest.raises(InvalidDecision, match="ann, bob"):
            graph.resume(run, Respond(text="carl"))
        run = graph.resume(run, Respond(text="bob"))
        assert (run.status, run.answer) == ("succeeded", {"name": "bob", "address": "bob@example.org"})


def test_a_planner_that_only_asks_is_stopped(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(*[Question(f"And {n}?") for n in range(20)])
    with agent(world, tmp_path, planner=planner, on_waiting=lambda _: Respond(text="yes")) as graph:
        run = graph.run("something")
        assert run.error is not None
        assert (run.status, run.error.code) == ("failed", "questions_exhausted")


def test_a_step_can_ask_and_its_answer_is_its_output(world: World, tmp_path: Path) -> None:
    plan = Plan(
        goal="look up",
        steps=(
            Step(id="who", ask="Who is it?", success_criteria=("size(output) > 0",)),
            Step(id="look", tool="look", args={"name": {"$ref": "steps.who.output"}}),
        ),
    )
    with agent(world, tmp_path) as graph:
        run = graph.run(plan=plan)
        assert run.requests[0].question == "Who is it?"
        run = graph.resume(run, Respond(text="eve"))
        assert (run.status, run.answer) == ("succeeded", {"name": "eve", "address": "eve@example.org"})


def test_an_effect_in_doubt_is_asked_and_not_repeated_when_it_landed(tmp_path: Path) -> None:
    calls: list[int] = []

    @tool(risk="money")
    def pay(amount: int) -> str:
        calls.append(amount)
        raise ConnectionError("the line went dead")

    with AgentGraph([pay], store=tmp_path / "runs.db") as graph:
        run = graph.run(plan=Plan(goal="pay", steps=(Step(id="pay", tool="pay", args={"amount": 5}),)), run_id=None)
        run = graph.resume(run, Approve())
        (request,) = run.requests
        assert (run.status, request.kind, request.tool, request.args) == ("paused", "in_doubt", "pay", {"amount": 5})
        assert request.idempotency_key
        assert request.sent_at
        run = graph.resume(run, Resolve(outcome="landed", output="receipt 7"))
        assert (run.status, run.answer, calls) == ("succeeded", "receipt 7", [5])


def test_an_effect_in_doubt_is_made_again_when_it_is_absent(tmp_path: Path) -> None:
    calls: list[int] = []

    @tool(risk="money")
    def pay(amount: int) -> str:
        calls.append(amount)
        if len(calls) == 1:
            raise ConnectionError("the line went dead")
        return "receipt 8"

    with AgentGraph([pay], store=tmp_path / "runs.db") as graph:
        run = graph.resume(graph.run(plan=Plan(goal="pay", steps=(Step(id="pay", tool="pay", args={"amount": 5}),))), Approve())
        run = graph.resume(run, Resolve(outcome="absent"))
        assert (run.status, run.answer, calls) == ("succeeded", "receipt 8", [5, 5])


def test_the_first_decision_stands(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path) as graph:
        run = graph.run(plan=derived())
        graph.store.approvals.decide(run.id, {run.requests[0].id: Reject(reason="no")}, "ann")  # type: ignore[arg-type]
        with pytest.raises(DecisionConflict, match="reject by ann"):
            graph.resume(run, Approve())
        assert graph.resume(run.id).status == "failed"
        assert world.sent == []


def test_a_decision_when_nothing_waits_is_refused(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path) as graph:
        done = graph.resume(graph.run(plan=derived()), Approve())
        with pytest.raises(RunFinished, match="succeeded"):
            graph.resume(done.id, Approve())
        waiting = graph.run(plan=derived())
        graph.store.approvals.decide(waiting.id, {waiting.requests[0].id: Approve()})  # type: ignore[arg-type]
        with pytest.raises(NothingPending):
            graph.resume(waiting.id, Approve())


def test_the_hook_answers_while_the_run_goes_on(world: World, tmp_path: Path) -> None:
    shown: list[str] = []

    def hook(run: Any) -> Any:
        shown.append(run.requests[0].tool)
        return {run.requests[0].id: Approve(by="hook")}

    with agent(world, tmp_path, on_waiting=hook) as graph:
        assert graph.run(plan=derived()).status == "succeeded"
    assert shown == ["send"]


def test_a_hook_without_sense_leaves_the_run_paused(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path, on_waiting=lambda _: Respond(text="?")) as graph:
        run = graph.run(plan=derived())
        assert (run.status, world.sent) == ("paused", [])


def test_an_expired_yes_is_asked_again(world: World, tmp_path: Path) -> None:
    from agent_graph.testing import FakeClock

    clock = FakeClock()
    policy = Policy.default().model_copy(update={"approval_ttl_s": 60.0})
    with agent(world, tmp_path, policy=policy, clock=clock) as graph:
        run = graph.run(plan=derived())
        clock.advance(61)
        with pytest.raises(NothingPending, match="expired"):
            graph.resume(run, Approve())
        again = graph.resume(run.id)
        assert (again.status, world.sent) == ("paused", [])
        assert again.requests[0].id != run.requests[0].id
        assert graph.resume(again, Approve()).status == "succeeded"


def test_an_answer_with_half_a_character_is_refused_with_words() -> None:
    with pytest.raises(ValueError, match="half a character"):
        Respond(text="yes \ud83d")
