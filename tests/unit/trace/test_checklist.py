"""How steps stand: from the ledger, and from there on by events."""

from __future__ import annotations

from typing import Any

from agent_graph.events import Decided, PlanMade, Replanned, StepFinished, StepStarted, Waiting
from agent_graph.identity import Digest
from agent_graph.plan import Goal, Plan, Step
from agent_graph.state import Run
from agent_graph.trace.checklist import Checklist
from agent_graph.verdicts import Diagnosis, Failure, Request, StepResult

STEPS = [
    {"id": "a", "kind": "tool", "tool": "look", "description": "", "needs": []},
    {"id": "b", "kind": "tool", "tool": "send", "needs": ["a"]},
]
ABOUT: dict[str, Any] = {"run_id": "r", "at": 1.0}


def run(**more: Any) -> Run:
    plan = Plan(goal="g", version=2, parent=1, steps=(Step(id="a", tool="look"), Step(id="b", tool="send"), Step(id="c", ask="why?")))
    return Run(id="r", thread_id="r", status="running", goal=Goal(text="g"), plan=plan, created=0, updated=1, **more)


def made() -> Checklist:
    checklist = Checklist()
    checklist.see(PlanMade(**ABOUT, version=1, digest="d", steps=STEPS))
    return checklist


def standings(checklist: Checklist) -> dict[str, str]:
    return {item.id: item.standing for item in checklist.items.values()}


def test_the_calls_of_an_agent_stand_below_its_step_and_are_not_counted() -> None:
    checklist = made()
    checklist.see(StepStarted(**ABOUT, step_id="a", plan_version=1))
    for call in ("a.1", "a.2", "a.10"):
        checklist.see(StepStarted(**ABOUT, step_id=call, plan_version=1, tool="read"))
    checklist.see(StepFinished(**ABOUT, step_id="a.1", plan_version=1, status="succeeded"))
    checklist.see(StepStarted(**ABOUT, step_id="nobody.1", plan_version=1, tool="read"))
    assert [(item.id, item.what, item.standing) for item in checklist.items.values()] == [
        ("a", "look", "running"),
        ("a.1", "read", "succeeded"),
        ("a.2", "read", "running"),
        ("a.10", "read", "running"),
        ("b", "send", "waiting"),
    ]
    assert dict(checklist.counts) == {"running": 1, "waiting": 1}


def test_the_ledger_has_the_calls_of_an_agent_too() -> None:
    results = {each: StepResult(step_id=each, status="succeeded", plan_version=2) for each in ("a", "a.1", "b")}
    checklist = Checklist.of(run(results=results))
    assert list(checklist.items) == ["a", "a.1", "b", "c"]
    assert checklist.counts["succeeded"] == 2


def test_a_step_runs_and_ends() -> None:
    checklist = made()
    checklist.see(StepStarted(**ABOUT, step_id="a", plan_version=1))
    assert standings(checklist) == {"a": "running", "b": "waiting"}
    checklist.see(StepFinished(**ABOUT, step_id="a", plan_version=1, status="failed", seconds=2.0, error={"code": "x", "message": "no"}))
    assert standings(checklist) == {"a": "failed", "b": "waiting"}
    assert (checklist.items["a"].seconds, checklist.items["a"].note) == (2.0, "no")


def test_a_step_that_waits_for_a_person_goes_on_after_a_yes() -> None:
    checklist = made()
    checklist.see(Waiting(**ABOUT, request={"kind": "step", "step_id": "b"}))
    assert standings(checklist)["b"] == "asks"
    checklist.see(Decided(**ABOUT, request_id="q", step_id="b", decision={"type": "approve"}))
    assert standings(checklist)["b"] == "waiting"


def test_a_new_plan_version_keeps_what_ended_well_and_tries_the_rest_again() -> None:
    checklist = made()
    checklist.see(StepFinished(**ABOUT, step_id="a", plan_version=1, status="succeeded"))
    checklist.see(StepFinished(**ABOUT, step_id="b", plan_version=1, status="failed", error={"message": "no"}))
    checklist.see(Replanned(**ABOUT, version=2, digest="d", steps=[*STEPS, {"id": "c", "kind": "ask"}]))
    assert standings(checklist) == {"a": "succeeded", "b": "waiting", "c": "waiting"}


def test_the_ledger_says_what_was_done_and_what_waits() -> None:
    request = Request(id="q", run_id="r", kind="step", digest=Digest("d"), reason="why", asked=1.0, step_id="b", tool="send")
    result = StepResult(step_id="a", status="succeeded", started=1.0, finished=3.5)
    checklist = Checklist.of(run(results={"a": result}, requests=(request,)), begun=["c"])
    assert standings(checklist) == {"a": "succeeded", "b": "asks", "c": "begun"}
    assert checklist.items["a"].seconds == 2.5


def test_a_failure_of_an_older_version_is_tried_again() -> None:
    failed = StepResult(step_id="a", status="failed", error=Failure(code="x", message="no"), plan_version=1)
    assert standings(Checklist.of(run(results={"a": failed})))["a"] == "waiting"


def test_the_step_that_ended_the_run_is_marked() -> None:
    why = Diagnosis(code="rejected", cause="human", message="step b was rejected", step_id="b")
    checklist = Checklist.of(run(error=why))
    assert (checklist.items["b"].standing, checklist.items["b"].note) == ("blocked", "step b was rejected")
