"""Order rules hold at the end as they hold in the plan: what was to be verified and was not is no success, whoever took the verification away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Plan, Policy, Rule, tool
from agent_graph.policy.matching import Match, OrderRule
from agent_graph.testing import ScriptedPlanner

PAID: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    PAID.clear()


@tool(risk="read_only", trusted_output=True)
def check(payee: str) -> bool:
    """Whether a payee is known."""
    if payee == "nobody":
        raise LookupError("no such payee")
    return payee == "ann"


@tool(risk="money", recovery="keyed", price=1)
def pay(to: str) -> str:
    """Pay."""
    PAID.append(to)
    return "paid"


@tool(risk="read_only", trusted_output=True)
def statement(broken: bool = False) -> list[str]:
    """What was paid."""
    if broken:
        raise OSError("the bank does not answer")
    return PAID


TOOLS = [check, pay, statement]
POLICY = Policy(
    rules=(Rule(verdict="allow", tools=("*",)),),
    order=(
        OrderRule(risks=("money",), after=Match(tools=("check",)), name="payees are checked"),
        OrderRule(risks=("money",), followed_by=Match(tools=("statement",)), name="payments are verified"),
    ),
)
CHECK: dict[str, Any] = {"id": "check", "tool": "check", "args": {"payee": "ann"}}
PAY: dict[str, Any] = {"id": "pay", "tool": "pay", "args": {"to": "ann"}, "depends_on": ["check"]}
VERIFY: dict[str, Any] = {"id": "verify", "tool": "statement", "depends_on": ["pay"]}


def plan(*steps: dict[str, Any], **more: Any) -> Plan:
    return Plan.model_validate({"goal": "pay Ann", "steps": steps, **more})


class Once(ScriptedPlanner):
    can_replan = False


def ended(store_path: Path, made: Plan) -> tuple[str, str]:
    with AgentGraph(TOOLS, planner=Once(made), policy=POLICY, store=store_path) as agent:
        run = agent.run("pay Ann")
        return run.status, "" if run.error is None else run.error.code + " " + run.error.message


def test_checked_paid_and_verified(store_path: Path) -> None:
    """That the others fail for the right reason."""
    assert ended(store_path, plan(CHECK, PAY, VERIFY)) == ("succeeded", "")
    assert PAID == ["ann"]


@pytest.mark.parametrize(
    "steps",
    [
        [PAY | {"depends_on": []}, VERIFY],
        [CHECK, PAY | {"depends_on": []}, VERIFY],
        [PAY | {"depends_on": []}, CHECK | {"depends_on": ["pay"]}, VERIFY],
    ],
    ids=["no check", "a check that it does not wait for", "a check that comes after"],
)
def test_a_payment_without_its_check_before_it_is_refused_in_the_plan(store_path: Path, steps: list[dict[str, Any]]) -> None:
    status, said = ended(store_path, plan(*steps))
    assert status == "failed"
    assert "payees are checked" in said
    assert PAID == []


@pytest.mark.parametrize(
    "check",
    [CHECK | {"when": "1 > 2"}, CHECK | {"args": {"payee": "nobody"}, "on_failure": "continue"}],
    ids=["a check that was skipped", "a check that failed"],
)
def test_a_payment_whose_check_did_not_succeed_is_not_made(store_path: Path, check: dict[str, Any]) -> None:
    status, said = ended(store_path, plan(check, PAY, VERIFY))
    assert status == "failed"
    assert "order_violated" in said
    assert PAID == []


@pytest.mark.parametrize(
    "steps", [[CHECK, PAY], [CHECK, PAY, VERIFY | {"depends_on": []}]], ids=["no verification", "one that does not wait for it"]
)
def test_a_payment_without_its_verification_after_it_is_refused_in_the_plan(store_path: Path, steps: list[dict[str, Any]]) -> None:
    status, said = ended(store_path, plan(*steps))
    assert status == "failed"
    assert "payments are verified" in said
    assert PAID == []


@pytest.mark.parametrize(
    ("verify", "more"),
    [
        (VERIFY | {"when": "1 > 2"}, {}),
        (VERIFY | {"args": {"broken": True}, "on_failure": "continue"}, {}),
        (VERIFY, {"stop_when": "steps.pay.status == 'succeeded'"}),
        (VERIFY | {"when": "steps.pay.output != 'paid'"}, {}),
    ],
    ids=["skipped", "failed", "stopped before it", "on a condition that never holds"],
)
def test_a_payment_that_was_not_verified_is_no_success(store_path: Path, verify: dict[str, Any], more: dict[str, Any]) -> None:
    status, said = ended(store_path, plan(CHECK, PAY, verify, **more))
    assert status == "failed"
    assert "order_violated payments are verified: step pay was done" in said


def test_a_payment_that_was_not_made_needs_no_verification(store_path: Path) -> None:
    status, said = ended(store_path, plan(CHECK, PAY | {"when": "1 > 2"}, VERIFY | {"when": "steps.pay.status == 'succeeded'"}))
    assert (status, said) == ("succeeded", "")
