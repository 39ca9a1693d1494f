"""A planner or a step asks: free text, a choice, a value to confirm. The run waits, and goes on with the answer as what a person has said."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command

from agent_graph import AgentGraph, Approve, Goal, Plan, Question, Reject, Respond, Step, tool
from agent_graph.errors import InvalidDecision, InvalidPlan
from agent_graph.events import Decided
from agent_graph.state import Run
from agent_graph.testing import ScriptedPlanner

SENT: list[Any] = []


@tool(risk="read_only")
def read_mail() -> dict[str, Any]:
    """Read the newest mail."""
    return {"sender": "eve@example.org", "rooms": ["blue", "red"], "seats": [4, 8], "none": []}


@tool(risk="read_only", trusted_output=True)
def read_desk() -> dict[str, Any]:
    """Read our own desk."""
    return {"limit": 250}


@tool(risk="write", recovery="idempotent")
def keep(value: Any) -> Any:
    """Keep a value."""
    SENT.append(value)
    return value


TOOLS = [read_mail, read_desk, keep]


@pytest.fixture(autouse=True)
def _nothing_sent() -> None:
    SENT.clear()


def ref(text: str) -> dict[str, str]:
    return {"$ref": text}


def ask(args: dict[str, Any] | None = None, **more: Any) -> Step:
    return Step(id="q", ask="Which one?", args=args or {}, **more)


def plan(*steps: Step, **more: Any) -> Plan:
    return Plan(goal="settle it", steps=steps, **more)


def asked(tmp_path: Path, *steps: Step) -> tuple[AgentGraph, Run]:
    graph = AgentGraph(TOOLS, store=tmp_path / "runs.db")
    run = graph.run(plan=plan(Step(id="mail", tool="read_mail"), Step(id="desk", tool="read_desk"), *steps))
    assert run.status == "paused"
    return graph, run


# ── a step asks ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("args", "decision", "output"),
    [
        ({}, Respond(text="blue"), "blue"),
        ({"choices": ["a", "b"]}, Respond(text="b"), "b"),
        ({"choices": ["a", "b"]}, Respond(text=" B "), "b"),
        ({"choices": ref("steps.mail.output.rooms")}, Respond(text="red"), "red"),
        ({"choices": ref("steps.mail.output.seats")}, Respond(text="8"), 8),
        ({"value": "eu-west-1"}, Approve(), "eu-west-1"),
        ({"value": "eu-west-1"}, Respond(text="us-east-1"), "us-east-1"),
        ({"value": ref("steps.desk.output.limit")}, Approve(), 250),
        ({"value": ref("steps.desk.output.limit")}, Respond(text="300"), 300),
        ({"value": {"to": "ann", "n": 1}}, Approve(), {"to": "ann", "n": 1}),
        ({"choices": ref("steps.mail.output.seats"), "value": 4}, Approve(), 4),
    ],
)
def test_the_answer_is_the_steps_output_and_has_its_type(tmp_path: Path, args: Any, decision: Any, output: Any) -> None:
    graph, run = asked(tmp_path, ask(args))
    with graph:
        run = graph.resume(run, decision)
        assert (run.status, run.results["q"].output) == ("succeeded", output)
        assert type(run.results["q"].output) is type(output)


@pytest.mark.parametrize(
    ("step", "decision", "said"),
    [
        (ask({"choices": ["a", "b"]}), Respond(text="c"), "choose one of: a, b"),
        (ask({"value": 250}), Respond(text="much"), "give a number"),
        (ask({"value": "eu-west-1"}), Respond(text="yes"), "approve takes"),
        (ask(), Approve(), "respond, reject"),
        (ask(expected_output={"type": "integer", "maximum": 9}), Respond(text="12"), "does not fit"),
    ],
)
def test_an_answer_that_is_none_is_refused_with_the_reason_and_the_question_stays(
    tmp_path: Path, step: Step, decision: Any, said: str
) -> None:
    graph, run = asked(tmp_path, step)
    with graph:
        with pytest.raises(InvalidDecision, match=said):
            graph.resume(run, decision)
        assert graph.get(run.id).requests == run.requests


def test_an_expected_output_says_what_an_answer_must_be(tmp_path: Path) -> None:
    graph, run = asked(tmp_path, ask(expected_output={"type": "integer"}))
    with graph:
        assert run.requests[0].expects == {"type": "integer"}
        assert graph.resume(run, Respond(text="12")).results["q"].output == 12


def test_what_came_from_outside_is_shown_so_before_a_person_makes_it_their_own(tmp_path: Path) -> None:
    graph, run = asked(tmp_path, ask({"value": ref("steps.mail.output.sender")}))
    with graph:
        (request,) = run.requests
        assert request.proposed == "eve@example.org"
        assert [(source.label, source.into, source.excerpt) for source in request.sources] == [
            ("untrusted", "args.value", "eve@example.org")
        ]
        run = graph.resume(run, Approve())
        made = run.results["q"].provenance
        assert made is not None
        assert (made.source, made.trusted) == ("person", True)


def test_the_answer_reaches_a_write_as_trusted_input(tmp_path: Path) -> None:
    """The same value straight from the mail is a value from outside; by way of a person it is theirs."""
    straight, own = (
        Step(id="one", tool="keep", args={"value": ref("steps.mail.output.sender")}),
        ask({"value": ref("steps.mail.output.sender")}),
    )
    graph, run = asked(tmp_path, straight, own, Step(id="two", tool="keep", args={"value": ref("steps.q.output")}))
    with graph:
        question = next(request for request in run.requests if request.kind == "question")
        run = graph.resume(run.id, {question.id: Approve()})
        sources = {request.step_id: [source.label for source in request.sources] for request in run.requests}
        assert sources == {"one": ["untrusted"], "two": []}


def test_what_is_not_for_everybody_stays_so_after_a_yes(tmp_path: Path) -> None:
    with AgentGraph(TOOLS, store=tmp_path / "runs.db") as graph:
        goal = Goal(text="settle it", params={"iban": "DE00"}, sensitive=("iban",))
        run = graph.run(plan=Plan(goal=goal, steps=(ask({"value": ref("params.iban")}),)))
        run = graph.resume(run, Approve())
        made = run.results["q"].provenance
        assert made is not None
        assert made.sensitive


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"choices": ref("steps.mail.output.none")}, "invalid_arguments"),
        ({"choices": ref("steps.mail.output.sender")}, "invalid_arguments"),
        ({"value": ref("steps.mail.output.nothing")}, "invalid_arguments"),
        ({"choices": ["a"], "value": ref("steps.mail.output.sender")}, "invalid_arguments"),
    ],
)
def test_what_cannot_be_asked_fails_the_step_and_asks_nobody(tmp_path: Path, args: Any, code: str) -> None:
    with AgentGraph(TOOLS, store=tmp_path / "runs.db") as graph:
        run = graph.run(plan=plan(Step(id="mail", tool="read_mail"), ask(args, on_failure="fail")))
        failed = run.results["q"].error
        assert failed is not None
        assert (run.status, run.requests, failed.code) == ("failed", (), code)


def test_a_plan_whose_question_takes_other_arguments_is_refused(tmp_path: Path) -> None:
    with AgentGraph(TOOLS, store=tmp_path / "runs.db") as graph, pytest.raises(InvalidPlan, match="no arguments but choices and value"):
        graph.run(plan=plan(ask({"options": ["a"]})))


def test_what_an_answer_will_be_is_held_against_where_it_goes(tmp_path: Path) -> None:
    @tool(risk="read_only")
    def add(n: int) -> int:
        """Add one."""
        return n + 1

    def with_value(args: dict[str, Any]) -> Plan:
        return plan(Step(id="desk", tool="read_desk"), ask(args), Step(id="add", tool="add", args={"n": ref("steps.q.output")}))

    with AgentGraph([*TOOLS, add], store=tmp_path / "runs.db") as graph:
        for fits in ({"value": 3}, {"choices": [1, 2]}, {"value": ref("steps.desk.output.limit")}):
            graph.validate(with_value(fits))
        for wrong in ({}, {"value": "three"}, {"choices": ["a"]}):
            with pytest.raises(InvalidPlan, match="gives string, but integer is wanted"):
                graph.validate(with_value(wrong))


def test_other_steps_go_on_while_a_question_waits(tmp_path: Path) -> None:
    graph, run = asked(tmp_path, ask(), Step(id="after", tool="read_desk", depends_on=("mail",)))
    with graph:
        assert run.results["after"].status == "succeeded"


def test_an_answer_is_recorded_with_who_gave_it(tmp_path: Path) -> None:
    graph, run = asked(tmp_path, ask({"value": 250}))
    with graph:
        graph.resume(run, Approve(), by="olga")
        (decided,) = [event for event in graph.trace(run.id) if isinstance(event, Decided)]
        assert decided.decision == {"type": "respond", "text": "250", "by": "olga"}


def test_a_question_is_bound_to_what_it_showed(tmp_path: Path) -> None:
    """The same words with another value to confirm are another question: what was said of the first is no answer to the second."""
    planner = ScriptedPlanner(plan(ask({"value": 250})), plan(ask({"value": 300})))
    with AgentGraph(TOOLS, planner=planner, store=tmp_path / "runs.db") as graph:
        run = graph.resume(graph.run("settle it"), Reject(reason="too little"))
        assert [(request.question, request.proposed) for request in run.requests] == [("Which one?", 300)]


# ── a planner asks ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("question", "decision", "answer"),
    [
        (Question("Which one?"), Respond(text="blue"), "blue"),
        (Question("Which one?", choices=("blue", "red")), Respond(text="Red"), "red"),
        (Question("Which one?", proposed="blue"), Approve(), "blue"),
        (Question("How many?", proposed=4), Approve(), "4"),
        (Question("How many?", proposed=4), Respond(text="5"), "5"),
    ],
)
def test_a_planner_is_given_the_answer(tmp_path: Path, question: Question, decision: Any, answer: str) -> None:
    planner = ScriptedPlanner(question, plan(Step(id="desk", tool="read_desk")))
    with AgentGraph(TOOLS, planner=planner, store=tmp_path / "runs.db") as graph:
        run = graph.run("settle it")
        assert (run.status, run.plan, run.requests[0].proposed) == ("paused", None, question.proposed)
        assert graph.resume(run, decision).status == "succeeded"
        assert planner.contexts[-1].answers == {question.text: answer}


def test_a_planner_may_ask_again_while_it_replans(tmp_path: Path) -> None:
    @tool(risk="read_only")
    def broken() -> str:
        """Always fails."""
        raise ValueError("no such room")

    planner = ScriptedPlanner(
        plan(Step(id="a", tool="broken")), Question("Which room?", proposed="red"), plan(Step(id="b", tool="read_desk"))
    )
    with AgentGraph([*TOOLS, broken], planner=planner, store=tmp_path / "runs.db") as graph:
        run = graph.run("settle it")
        assert run.requests[0].question == "Which room?"
        assert graph.resume(run, Approve()).status == "succeeded"
        assert planner.contexts[-1].answers == {"Which room?": "red"}


def test_who_does_not_want_to_answer_says_so(tmp_path: Path) -> None:
    graph, run = asked(tmp_path, ask({"value": 250}, on_failure="fail"))
    with graph:
        run = graph.resume(run, Reject(reason="ask somebody else"))
        assert run.status == "failed"
        assert "ask somebody else" in str(run.error)


# ── chat UIs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "reply",
    [
        {"decisions": [{"type": "approve"}]},
        [{"type": "accept", "args": None}],
        "approve",
        {"type": "approve"},
        {"decisions": [{"type": "edit", "edited_action": {"name": "answer_question", "args": {"answer": "250"}}}]},
        [{"type": "edit", "args": {"action": "answer_question", "args": {"answer": 250}}}],
        [{"type": "response", "args": "250"}],
        {"decisions": [{"type": "respond", "message": "250"}]},
        "250",
    ],
)
def test_each_shape_in_which_a_ui_confirms_a_value_is_read(tmp_path: Path, reply: Any) -> None:
    graph, run = asked(tmp_path, ask({"value": 250}))
    with graph:
        config: Any = {"configurable": {"thread_id": run.thread_id}}
        (interrupt,) = graph.graph.get_state(config).interrupts
        shown = interrupt.value["review_configs"][0]["allowed_decisions"]
        assert shown == ["approve", "respond", "edit", "reject"]
        assert interrupt.value["action_requests"][0]["args"]["answer"] == "250"
        graph.graph.invoke(Command(resume=reply), config)
        assert graph.get(run.id).results["q"].output == 250


def test_a_ui_is_told_what_was_wrong_and_shown_the_question_again(tmp_path: Path) -> None:
    graph, run = asked(tmp_path, ask({"choices": ["reject", "wait"]}))
    with graph:
        config: Any = {"configurable": {"thread_id": run.thread_id}}
        graph.graph.invoke(Command(resume="perhaps"), config)
        (interrupt,) = graph.graph.get_state(config).interrupts
        assert "choose one of: reject, wait" in interrupt.value["action_requests"][0]["description"]
        graph.graph.invoke(Command(resume="reject"), config)  # a choice of that name, and no verdict
        assert graph.get(run.id).results["q"].output == "reject"


def test_it_works_in_an_event_loop(tmp_path: Path) -> None:
    async def both() -> Run:
        with AgentGraph(TOOLS, store=tmp_path / "runs.db") as graph:
            run = await graph.arun(plan=plan(ask({"value": 250})))
            return await graph.aresume(run, Approve())

    assert asyncio.run(both()).results["q"].output == 250
