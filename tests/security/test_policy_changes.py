"""A policy that was changed while a run waited, or after its process died, counts from then on; what was decided under the old one is looked at again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Plan, Policy, Reject, Resolve, Rule, Run
from agent_graph.events import Note
from agent_graph.identity import RunId
from tests.security.till import DENY, MILD, NOTE, PAY, PAY_LATER, WHO, WHY, Till, plan

OPEN = Policy.allow_all()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    made = Till(tmp_path)
    yield made
    assert made.paid == []


def begun(till: Till, store_path: Path, made: Plan, *, decide: bool = False) -> Run:
    """A run under the mild policy that waits at its gate; ``decide``: the yes is on record, and nobody has acted on it."""
    with AgentGraph(till.tools, policy=MILD, store=store_path) as agent:
        run = agent.run(made)
        assert run.status == "paused"
        if decide:
            agent.store.approvals.decide(RunId(run.id), {run.requests[0].id: Approve(by="ann")})
        return run


def blamed(run: Run) -> None:
    assert run.status == "failed"
    assert run.error is not None
    assert WHY in run.error.message


@pytest.mark.parametrize("made", [plan(PAY), plan(WHO, PAY_LATER)], ids=["yes to the plan", "yes to the call"])
def test_a_yes_that_was_given_before_the_denial_pays_nothing(till: Till, store_path: Path, made: Plan) -> None:
    run = begun(till, store_path, made, decide=True)
    with AgentGraph(till.tools, policy=DENY, store=store_path) as agent:
        blamed(agent.resume(run.id))


@pytest.mark.parametrize("made", [plan(PAY), plan(WHO, PAY_LATER)], ids=["yes to the plan", "yes to the call"])
def test_a_yes_that_is_given_after_the_denial_pays_nothing(till: Till, store_path: Path, made: Plan) -> None:
    run = begun(till, store_path, made)
    with AgentGraph(till.tools, policy=DENY, store=store_path) as agent:
        blamed(agent.resume(run.id, Approve()))


def test_a_grant_that_was_written_and_not_used_pays_nothing_after_the_denial(till: Till, store_path: Path) -> None:
    """The plan was approved with the payment in it; another gate came before the payment."""
    last = {**PAY, "depends_on": ["note"]}
    asks = Policy(name="asks", rules=(Rule(verdict="allow", risks=("read_only",)),))
    with AgentGraph(till.tools, policy=asks, store=store_path) as agent:
        run = agent.run(plan(WHO, {**NOTE, "args": {"text": {"$ref": "steps.who.output"}}}, last))
        run = agent.resume(run, Approve())  # to the plan, with its payment
        assert [request.tool for request in run.requests] == ["note"]
    with AgentGraph(till.tools, policy=DENY, store=store_path) as agent:
        blamed(agent.resume(run, Approve()))


def test_the_change_is_said_in_the_trace(till: Till, store_path: Path) -> None:
    run = begun(till, store_path, plan(WHO, PAY_LATER), decide=True)
    with AgentGraph(till.tools, policy=DENY, store=store_path) as agent:
        agent.resume(run.id)
        said = [event.message for event in agent.trace(run.id) if isinstance(event, Note)]
    assert any("the policy was changed" in message and MILD.digest[:12] in message and DENY.digest[:12] in message for message in said)


def test_a_milder_policy_does_not_answer_for_the_person_who_said_no(till: Till, store_path: Path) -> None:
    run = begun(till, store_path, plan(WHO, PAY_LATER))
    with AgentGraph(till.tools, policy=OPEN, store=store_path) as agent:
        ended = agent.resume(run.id, Reject(reason="too much", by="ann"))
    assert ended.error is not None
    assert "too much" in ended.error.message


def test_a_tool_whose_risk_was_raised_needs_a_new_yes(till: Till, store_path: Path) -> None:
    """The tool declares more now than when it was approved: that yes was to another tool."""
    from agent_graph import tool

    @tool(name="note", risk="money", recovery="blind")
    def dear_note(text: str) -> str:
        till.noted.append(text)
        return text

    asks = Policy(rules=(Rule(verdict="allow", risks=("read_only",)),))
    with AgentGraph(till.tools, policy=asks, store=store_path) as agent:
        run = agent.run(plan(WHO, {**NOTE, "args": {"text": {"$ref": "steps.who.output"}}}))
        agent.store.approvals.decide(RunId(run.id), {run.requests[0].id: Approve()})
    tools = [each for each in till.tools if each.name != "note"]
    with AgentGraph([*tools, dear_note], policy=asks, store=store_path) as agent:
        again = agent.resume(run.id)
    assert (again.status, till.noted) == ("paused", [])


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from agent_graph import AgentGraph, tool
    from agent_graph.plan import Plan
    from agent_graph.policy.rules import Policy

    @tool(risk="money", recovery=sys.argv[2], price="amount")
    def transfer(to: str, amount: int) -> str:
        os.kill(os.getpid(), signal.SIGKILL)  # before anything was sent

    plan = {"goal": "settle the bill", "steps": [{"id": "pay", "tool": "transfer", "args": {"to": "ann", "amount": 10}}]}
    AgentGraph([transfer], policy=Policy.allow_all(), store=sys.argv[1]).run(Plan.model_validate(plan), run_id="the-run")
"""


def killed_in_the_call(store_path: Path, recovery: str) -> None:
    import textwrap

    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(store_path), recovery], cwd=ROOT, check=False)
    assert ended.returncode == -9


def with_recovery(till: Till, recovery: Any) -> list[Any]:
    from agent_graph import tool

    @tool(risk="money", recovery=recovery, price="amount")
    def transfer(to: str, amount: int) -> str:
        with till.file.open("a", encoding="utf-8") as log:
            log.write(f"{to} {amount}\n")
        return "paid"

    return [transfer]


@pytest.mark.parametrize("recovery", ["keyed", "idempotent"])
def test_a_payment_that_was_cut_off_is_not_sent_again_after_the_denial(till: Till, store_path: Path, recovery: str) -> None:
    killed_in_the_call(store_path, recovery)
    with AgentGraph(with_recovery(till, recovery), policy=DENY, store=store_path) as agent:
        run = agent.resume("the-run")
        assert [request.kind for request in run.requests] == ["in_doubt"]
        assert WHY in run.requests[0].reason
        blamed(agent.resume(run, Resolve(outcome="absent")))


def test_a_payment_that_was_cut_off_is_sent_again_where_nobody_denies_it(tmp_path: Path, store_path: Path) -> None:
    """That the test above would notice."""
    till = Till(tmp_path)
    killed_in_the_call(store_path, "keyed")
    with AgentGraph(with_recovery(till, "keyed"), policy=OPEN, store=store_path) as agent:
        assert agent.resume("the-run").status == "succeeded"
    assert till.paid == ["ann 10"]
