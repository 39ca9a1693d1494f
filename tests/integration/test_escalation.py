"""A policy may want a person to know of a call that failed at every attempt, before the planner tries another way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, NotDone, Plan, Policy, Reject, Rule, tool
from agent_graph.plan import Risk
from agent_graph.ports import GiveUp
from agent_graph.testing import ScriptedPlanner


def agent(store_path: Path, calls: list[str], error: Exception, escalate: tuple[Risk, ...], recovery: Any = "keyed") -> AgentGraph:
    @tool(risk="money", recovery=recovery)
    def pay() -> str:
        calls.append("pay")
        if len(calls) <= 3:
            raise error
        return "paid"

    policy = Policy(rules=(Rule(verdict="allow", tools=("*",)),), escalate=escalate)
    plan = Plan.model_validate({"goal": "pay", "steps": [{"id": "a", "tool": "pay", "max_attempts": 3}]})
    return AgentGraph([pay], planner=ScriptedPlanner(plan, GiveUp("no other way")), policy=policy, store=store_path)


@pytest.mark.parametrize("error", [NotDone("declined"), OSError("the line went dead")], ids=["definite", "ambiguous, sent again"])
def test_a_call_that_failed_at_every_attempt_is_put_before_a_person(store_path: Path, error: Exception) -> None:
    calls: list[str] = []
    with agent(store_path, calls, error, ("money",)) as made:
        run = made.run("pay")
        assert run.status == "paused"
        assert "failed after 3 attempts" in run.requests[0].reason
        assert run.requests[0].allowed == ("approve", "reject")
        assert made.resume(run, Approve()).status == "succeeded"
    assert len(calls) == 4


def test_a_no_goes_to_the_planner(store_path: Path) -> None:
    calls: list[str] = []
    with agent(store_path, calls, NotDone("declined"), ("money",)) as made:
        done = made.resume(made.run("pay"), Reject(reason="leave it"))
    assert done.status == "failed"
    assert len(calls) == 3


def test_without_such_a_policy_the_planner_is_asked_at_once(store_path: Path) -> None:
    with agent(store_path, [], NotDone("declined"), ("deletion",)) as made:
        assert made.run("pay").status == "failed"
