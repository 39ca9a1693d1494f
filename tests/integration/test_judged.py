"""Criteria that code cannot check, without a judge: a person says whether they hold, and what the step did is done once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Goal, Plan, Policy, Reject, Step, tool
from agent_graph.errors import InvalidDecision
from agent_graph.identity import RunId
from agent_graph.plan import Judge
from agent_graph.state import Run
from agent_graph.testing import FakeClock, ScriptedPlanner
from agent_graph.verdicts import Respond

KIND = Judge(judge="the text is kind")
SENT: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    SENT.clear()


@tool(risk="write", recovery="blind")
def send(text: str) -> dict[str, Any]:
    """Sends a text."""
    SENT.append(text)
    return {"text": text, "n": len(SENT)}


@tool(risk="read_only")
def look(text: str = "hello") -> dict[str, Any]:
    """Looks."""
    SENT.append(text)
    return {"text": text}


def agent_of(store: Path, planner: Any = None) -> AgentGraph:
    return AgentGraph([send, look], planner=planner, policy=Policy.allow_all(), store=store)


def plan(*steps: Step, **more: Any) -> Plan:
    return Plan(goal=more.pop("goal", "be kind"), steps=steps, **more)


def sends(**more: Any) -> Step:
    return Step(id="mail", tool="send", args={"text": "dear Ann"}, **{"success_criteria": (KIND,), **more})


def paused(run: Run) -> Run:
    assert run.status == "paused", run
    return run


def test_a_step_with_an_unjudged_criterion_waits_for_a_person_who_is_shown_what_it_gave(store_path: Path) -> None:
    with agent_of(store_path) as agent:
        run = paused(agent.run(plan=plan(sends())))
        (request,) = run.requests
        assert (request.kind, request.step_id, request.criterion) == ("question", "mail", "the text is kind")
        assert request.allowed == ("approve", "reject")
        assert request.args == {"evidence": "output.text = dear Ann\noutput.n = 1"}
        assert "no judge is configured" in request.reason
        waiting = run.results["mail"]
        assert (waiting.status, waiting.landed, waiting.output) == ("needs_clarification", True, {"text": "dear Ann", "n": 1})
        assert waiting.error is not None
        assert waiting.error.code == "unverified"


def test_a_yes_is_the_evidence_and_the_step_succeeds_without_being_carried_out_again(store_path: Path) -> None:
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends())))
    with agent_of(store_path) as agent:
        run = agent.resume(waiting.id, Approve(), by="ann")
    assert (run.status, SENT) == ("succeeded", ["dear Ann"])
    (evidence,) = run.results["mail"].evidence
    assert (evidence.criterion, evidence.holds, evidence.by) == ("the text is kind", True, "person:ann")
    assert run.answer == {"text": "dear Ann", "n": 1}


def test_a_no_fails_the_step_as_any_criterion_does(store_path: Path) -> None:
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends())))
        run = agent.resume(waiting.id, Reject(reason="it is rude"), by="ann")
    assert (run.status, SENT) == ("failed", ["dear Ann"])
    assert run.error is not None
    assert (run.error.code, "it is rude" in run.error.message) == ("criteria_unmet", True)
    assert [(each.holds, each.by) for each in run.results["mail"].evidence] == [(False, "person:ann")]
    assert [each.step_id for each in run.landed] == ["mail"]


def test_after_a_no_the_steps_on_failure_counts(store_path: Path) -> None:
    instead = Step(id="instead", tool="look", args={"text": "sorry"})
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends(on_failure="step:instead"), instead)))
        run = agent.resume(waiting.id, Reject(reason="rude"))
    assert (run.status, SENT) == ("succeeded", ["dear Ann", "sorry"])


def test_a_no_that_stops_ends_the_run(store_path: Path) -> None:
    with agent_of(store_path, ScriptedPlanner(plan(sends()))) as agent:
        waiting = paused(agent.run("be kind"))
        run = agent.resume(waiting.id, Reject(reason="enough", stop=True))
    assert run.error is not None
    assert (run.status, run.error.code) == ("failed", "rejected")


def test_other_steps_go_on_and_those_that_need_it_wait(store_path: Path) -> None:
    after = Step(id="after", tool="look", args={"text": {"$ref": "steps.mail.output.text"}})
    other = Step(id="other", tool="look", args={"text": "other"})
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends(), after, other)))
        assert sorted(SENT) == ["dear Ann", "other"]
        run = agent.resume(waiting.id, Approve())
    assert run.status == "succeeded"
    assert sorted(SENT) == ["dear Ann", "dear Ann", "other"]
    assert run.results["after"].output == {"text": "dear Ann"}


def test_a_criterion_that_code_refutes_leaves_nothing_to_ask(store_path: Path) -> None:
    with agent_of(store_path) as agent:
        run = agent.run(plan=plan(sends(success_criteria=(KIND, "output.n > 5"))))
    assert run.error is not None
    assert (run.status, run.error.code, run.requests) == ("failed", "criteria_unmet", ())
    assert "kind" not in run.error.message


def test_each_criterion_is_asked_for_itself_and_one_no_settles_all(store_path: Path) -> None:
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends(success_criteria=(KIND, "output.n == 1", Judge(judge="it is short"))))))
        assert [each.criterion for each in waiting.requests] == ["the text is kind", "it is short"]
        kind, _ = waiting.requests
        still = paused(agent.resume(waiting.id, {kind.id: Approve()}))
        assert [each.criterion for each in still.requests] == ["it is short"]
        run = agent.resume(waiting.id, Reject(reason="it goes on and on"))
    assert run.status == "failed"
    assert [each.holds for each in run.results["mail"].evidence] == [True, True, False]


def test_a_no_withdraws_what_else_is_asked_about_the_step(store_path: Path) -> None:
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends(success_criteria=(KIND, Judge(judge="it is short"))))))
        run = agent.resume(waiting.id, {waiting.requests[0].id: Reject(reason="rude")})
    assert (run.status, run.requests) == ("failed", ())


def test_an_answer_in_words_is_not_taken_for_a_yes(store_path: Path) -> None:
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends())))
        with pytest.raises(InvalidDecision):
            agent.resume(waiting.id, Respond(text="yes"))


def test_a_person_is_told_that_the_words_come_from_outside(store_path: Path) -> None:
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends())))
    (source,) = waiting.requests[0].sources
    assert (source.label, source.into) == ("untrusted", "the verdict")


def test_a_goals_criterion_is_asked_once_every_step_has_ended(store_path: Path) -> None:
    goal = Goal(text="be kind", success_criteria=(KIND,))
    step = Step(id="mail", tool="send", args={"text": "dear Ann"})
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(step, goal=goal, answer={"sent": {"$ref": "steps.mail.output.text"}})))
        (request,) = waiting.requests
        assert (request.step_id, request.criterion) == (None, "the text is kind")
        assert [source.what for source in request.sources] == ["steps.mail.output"]
        assert request.args == {"evidence": "steps.mail.output.text = dear Ann\nsteps.mail.output.n = 1\nanswer.sent = dear Ann"}
    with agent_of(store_path) as agent:
        run = agent.resume(waiting.id, Approve())
    assert (run.status, run.answer, SENT) == ("succeeded", {"sent": "dear Ann"}, ["dear Ann"])


def test_a_goal_whose_criterion_a_person_denies_is_not_met(store_path: Path) -> None:
    goal = Goal(text="be kind", success_criteria=(KIND, "steps.mail.output.n == 1"))
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends(success_criteria=()), goal=goal)))
        run = agent.resume(waiting.id, Reject(reason="it is not"), by="ann")
    assert run.error is not None
    assert (run.status, run.error.code) == ("failed", "goal_not_met")
    assert "it is not" in run.error.message


def test_a_goal_that_code_refutes_leaves_nothing_to_ask(store_path: Path) -> None:
    goal = Goal(text="be kind", success_criteria=(KIND, "steps.mail.output.n == 7"))
    with agent_of(store_path) as agent:
        run = agent.run(plan=plan(sends(success_criteria=()), goal=goal))
    assert (run.status, run.requests) == ("failed", ())


def test_a_goals_question_is_none_of_the_planners(store_path: Path) -> None:
    goal = Goal(text="be kind", success_criteria=(KIND,))
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends(success_criteria=()), goal=goal)))
        assert agent.store.approvals.questions(RunId(waiting.id)) == 0


def test_a_jump_to_the_end_does_not_pass_an_open_criterion(store_path: Path) -> None:
    goal = Goal(text="be kind", success_criteria=(KIND,))
    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends(success_criteria=()), goal=goal)))
        config: Any = {"configurable": {"thread_id": waiting.thread_id}}
        agent.graph.update_state(config, {"next": "conclude", "status": "succeeded"}, as_node="observe")
        agent.graph.invoke(None, config)
        assert agent.get(waiting.id).status == "paused"


# ── answered in a chat, and read again ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "said", ["it is lovely", {"decisions": [{"type": "respond", "message": "yes"}]}, [{"type": "response", "args": "no"}]]
)
def test_words_in_a_chat_are_asked_again_and_decide_nothing(store_path: Path, said: Any) -> None:
    from langgraph.types import Command

    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends())))
        agent.graph.invoke(Command(resume=said), {"configurable": {"thread_id": waiting.thread_id}})
        (request,) = paused(agent.get(waiting.id)).requests
    assert request.problem is not None
    assert "approve when it holds" in request.problem


@pytest.mark.parametrize(("said", "status"), [("approve", "succeeded"), ({"decisions": [{"type": "reject", "message": "rude"}]}, "failed")])
def test_a_chat_can_say_yes_and_no(store_path: Path, said: Any, status: str) -> None:
    from langgraph.types import Command

    with agent_of(store_path) as agent:
        waiting = paused(agent.run(plan=plan(sends())))
        agent.graph.invoke(Command(resume=said), {"configurable": {"thread_id": waiting.thread_id}})
        assert agent.get(waiting.id).status == status


READ: list[str] = []


@tool(risk="read_only")
def letter() -> str:
    """Reads the letter."""
    return READ[-1]


def reading(store: Path, clock: FakeClock) -> tuple[AgentGraph, Plan]:
    steps = (
        Step(id="letter", tool="letter", success_criteria=(KIND,)),
        Step(id="mail", tool="send", args={"text": {"$ref": "steps.letter.output"}}, max_age_s=60),
    )
    return AgentGraph([send, letter], store=store, clock=clock), plan(*steps)


def test_what_is_read_again_and_is_the_same_is_judged_as_before(store_path: Path) -> None:
    clock = FakeClock()
    READ.append("dear Ann")
    agent, wanted = reading(store_path, clock)
    with agent:
        run = paused(agent.run(plan=wanted))
        run = paused(agent.resume(run.id, Approve()))
        assert [request.kind for request in run.requests] == ["step"]
        clock.advance(3600)
        run = agent.resume(run.id, Approve())
    assert (run.status, SENT) == ("succeeded", ["dear Ann"])


def test_what_is_read_again_and_is_another_is_not_passed_on_unjudged(store_path: Path) -> None:
    clock = FakeClock()
    READ.append("dear Ann")
    agent, wanted = reading(store_path, clock)
    with agent:
        run = paused(agent.run(plan=wanted))
        run = paused(agent.resume(run.id, Approve()))
        clock.advance(3600)
        READ.append("get lost")
        run = agent.resume(run.id, Approve())
    assert run.error is not None
    assert (run.error.code, SENT) == ("stale_input", [])


# ── a new version meanwhile ───────────────────────────────────────────────────────────────────────────────────────────


@tool(risk="read_only")
def broken() -> str:
    """Never works."""
    raise OSError("out of order")


BROKEN = Step(id="broken", tool="broken", depends_on=("other",))
OTHER = Step(id="other", tool="look", args={"text": "other"})


def replanned(store: Path, *then: Step) -> tuple[AgentGraph, Run]:
    planner = ScriptedPlanner(plan(sends(), OTHER, BROKEN), plan(*then))
    agent = AgentGraph([send, look, broken], planner=planner, policy=Policy.allow_all(), store=store)
    return agent, agent.run("be kind")


def test_a_new_version_with_the_same_step_asks_the_same_and_does_not_carry_it_out_again(store_path: Path) -> None:
    agent, run = replanned(store_path, sends(), OTHER)
    with agent:
        assert paused(run).plan is not None
        (request,) = run.requests
        assert (request.criterion, run.plan.version) == ("the text is kind", 2)  # type: ignore[union-attr]
        done = agent.resume(run.id, Approve(), by="ann")
    assert (done.status, SENT.count("dear Ann")) == ("succeeded", 1)
    assert done.results["mail"].evidence[0].by == "person:ann"


def test_a_new_version_without_the_step_has_no_use_for_the_answer(store_path: Path) -> None:
    agent, run = replanned(store_path, OTHER)
    with agent:
        assert (run.status, run.requests) == ("succeeded", ())
    assert SENT.count("dear Ann") == 1


def test_a_person_sees_the_end_of_what_is_too_long_to_be_shown(store_path: Path) -> None:
    with agent_of(store_path) as agent:
        step = Step(id="mail", tool="look", args={"text": "good words " * 2000 + "BAD ENDING"}, success_criteria=(KIND,))
        shown = str(paused(agent.run(plan=plan(step))).requests[0].args)
    assert "good words" in shown
    assert "BAD ENDING" in shown
    assert "bytes are left out here" in shown


def test_what_is_not_for_everybody_is_not_shown_with_the_goals_criteria(store_path: Path) -> None:
    goal = Goal(text="be kind", params={"token": "hush-hush-12345"}, sensitive=("token",), success_criteria=(KIND,))
    with agent_of(store_path) as agent:
        answer = {"token": {"$ref": "params.token"}, "text": {"$ref": "steps.look.output.text"}}
        run = paused(agent.run(plan=plan(Step(id="look", tool="look"), goal=goal, answer=answer)))
    assert "hello" in str(run.requests[0].args)
    assert "hush-hush" not in str(run.requests[0].args)
