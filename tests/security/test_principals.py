"""For whom a run acts, and who may say yes to it: looked at before the run, at the answer, and once more at the call."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command

from agent_graph import AgentGraph, Approve, Edit, InvalidPlan, Plan, Policy, Reject, Rule, Run, tool
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import NotAnApprover
from agent_graph.identity import RunId
from agent_graph.policy.matching import ApproverRule, Principal

CALLS: list[str] = []
MAY = {"cara": ["mail.*", "books"], "dan": ["books"]}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


@tool(risk="read_only", trusted_output=True)
def whom() -> str:
    """Who is meant."""
    return "ann"


@tool(risk="external_communication", recovery="idempotent", scopes=["mail.send"])
def send(to: str) -> str:
    """Send something."""
    CALLS.append(f"send {to}")
    return "sent"


@tool(risk="money", recovery="keyed", price="amount")
def pay(to: str, amount: int = 1) -> str:
    """Pay."""
    CALLS.append(f"pay {to}")
    return "paid"


@tool(risk="write", recovery="idempotent")
def note(text: str) -> str:
    """Write something down."""
    CALLS.append(f"note {text}")
    return text


TOOLS = [whom, send, pay, note]
READS = Rule(verdict="allow", risks=("read_only",))


def plan(*steps: dict[str, Any]) -> Plan:
    return Plan.model_validate({"goal": "do it", "steps": [{"id": "who", "tool": "whom"}, *steps]})


SEND = plan({"id": "send", "tool": "send", "args": {"to": {"$ref": "steps.who.output"}}})
PAY = plan({"id": "pay", "tool": "pay", "args": {"to": {"$ref": "steps.who.output"}}})
PAY_AT_ONCE = plan({"id": "pay", "tool": "pay", "args": {"to": "ann"}})

# ── scopes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("principal", [None, "dan", "nobody we know"])
def test_what_the_principal_may_not_is_refused_before_the_run(store_path: Path, principal: str | None) -> None:
    with AgentGraph(TOOLS, policy=Policy.allow_all(), principals=MAY, store=store_path) as agent:
        with pytest.raises(InvalidPlan, match="missing_scope"):
            agent.run(SEND, principal=principal)


def test_a_pattern_of_scopes_is_enough(store_path: Path) -> None:
    with AgentGraph(TOOLS, policy=Policy.allow_all(), principals=MAY, store=store_path) as agent:
        assert agent.run(SEND, principal="cara").status == "succeeded"
    assert CALLS == ["send ann"]


def test_a_scope_that_was_taken_away_while_the_run_waited_is_missed_at_the_call(store_path: Path) -> None:
    may = {"cara": {"mail.send"}}
    policy = Policy(rules=(READS,), self_approval=("external_communication",))
    with AgentGraph(TOOLS, policy=policy, principals=lambda name: may[name], store=store_path) as agent:
        run = agent.run(SEND, principal="cara")
        may["cara"].clear()
        ended = agent.resume(run, Approve(by="ann"))
    assert ended.error is not None
    assert (ended.error.code, ended.error.cause) == ("missing_scope", "policy")
    assert CALLS == []


def test_a_scope_that_is_taken_away_while_the_run_goes_on_is_missed_at_the_next_call(store_path: Path) -> None:
    may = {"cara": {"mail.send"}}

    @tool(risk="write", recovery="idempotent")
    def revoke() -> None:
        may["cara"].clear()

    made = plan({"id": "gone", "tool": "revoke"}, {"id": "send", "tool": "send", "args": {"to": "ann"}, "depends_on": ["gone"]})
    with AgentGraph([*TOOLS, revoke], policy=Policy.allow_all(), principals=lambda name: may[name], store=store_path) as agent:
        ended = agent.run(made, principal="cara")
    assert ended.error is not None
    assert ended.error.code == "missing_scope"
    assert CALLS == []


def test_the_hosts_word_on_scopes_stands_over_the_policys(store_path: Path) -> None:
    generous = Policy.allow_all().model_copy(update={"principals": {"dan": Principal(scopes=("*",))}})
    with AgentGraph(TOOLS, policy=generous, principals=MAY, store=store_path) as agent:
        with pytest.raises(InvalidPlan, match="missing_scope"):
            agent.run(SEND, principal="dan")


def test_a_yes_does_not_stand_in_for_a_scope(store_path: Path) -> None:
    with AgentGraph(TOOLS, policy=Policy(rules=(READS,)), principals={"dan": ["mail.send"]}, store=store_path) as agent:
        run = agent.run(SEND, principal="dan")
        agent.store.approvals.decide(RunId(run.id), {run.requests[0].id: Approve(by="ann")})
    with AgentGraph(TOOLS, policy=Policy(rules=(READS,)), principals=MAY, store=store_path) as agent:
        ended = agent.resume(run.id)
    assert ended.error is not None
    assert "mail.send" in ended.error.message
    assert CALLS == []


# ── the requester ─────────────────────────────────────────────────────────────────────────────────────────────────────

ASKS = Policy(name="four eyes", rules=(READS,))


@pytest.fixture(params=[PAY, PAY_AT_ONCE], ids=["call", "plan"])
def waiting(store_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[AgentGraph, Run]]:
    """A run for Cara that waits for a yes to a payment."""
    with AgentGraph(TOOLS, policy=ASKS, store=store_path) as agent:
        run = agent.run(request.param, principal="cara")
        assert run.status == "paused"
        yield agent, run


def test_whoever_a_run_acts_for_does_not_approve_it(waiting: tuple[AgentGraph, Run]) -> None:
    agent, run = waiting
    for decision, by in ((Approve(by="cara"), None), (Approve(), "cara"), (Approve(by="cara"), "ann")):
        with pytest.raises(NotAnApprover, match="must be approved by somebody else"):
            agent.resume(run, decision, by=by)
    assert agent.get(run.id).status == "paused"
    assert agent.resume(run, Approve(by="ann")).status == "succeeded"


def test_a_yes_of_nobody_does_not_count_where_the_policy_minds(waiting: tuple[AgentGraph, Run]) -> None:
    agent, run = waiting
    with pytest.raises(NotAnApprover, match="must say whose it is"):
        agent.resume(run, Approve())
    assert CALLS == []


def test_they_may_always_say_no(waiting: tuple[AgentGraph, Run]) -> None:
    agent, run = waiting
    ended = agent.resume(run, Reject(reason="changed my mind", by="cara"))
    assert ended.status == "failed"
    assert CALLS == []


def test_their_edit_is_a_yes_too(store_path: Path) -> None:
    with AgentGraph(TOOLS, policy=ASKS, store=store_path) as agent:
        run = agent.run(PAY, principal="cara")
        with pytest.raises(NotAnApprover):
            agent.resume(run, Edit(args={"to": "cara", "amount": 1}, by="cara"))
    assert CALLS == []


@pytest.mark.parametrize("by", [{}, {"by": "cara"}], ids=["nobody", "the requester"])
def test_their_yes_in_a_chat_does_not_count_and_they_are_told(waiting: tuple[AgentGraph, Run], by: dict[str, str]) -> None:
    agent, run = waiting
    config: Any = {"configurable": {"thread_id": run.thread_id}}
    out = agent.graph.invoke(Command(resume={"type": "approve", "request_id": run.requests[0].id, **by}), config)
    assert "must" in out["__interrupt__"][0].value["request"]["problem"]
    assert agent.get(run.id).status == "paused"
    agent.graph.invoke(Command(resume={"type": "approve", "request_id": run.requests[0].id, "by": "ann"}), config)
    assert CALLS == ["pay ann"]


def test_their_yes_on_the_command_line_does_not_count(
    tmp_path: Path, store_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent_graph.cli import main
    from agent_graph.tools.registry import load_tools

    module = tmp_path / "ops_of_principals.py"
    module.write_text(
        "from pathlib import Path\nfrom agent_graph import tool\n"
        "@tool(risk='money', recovery='keyed')\n"
        "def pay(to: str, amount: int = 1) -> str:\n"
        f"    Path({str(tmp_path / 'paid')!r}).write_text(to)\n"
        "    return 'paid'\n",
        encoding="utf-8",
    )
    policy = tmp_path / "policy.yaml"
    policy.write_text("name: four eyes\n", encoding="utf-8")
    with AgentGraph(load_tools(str(module)), policy=ASKS, store=store_path) as agent:
        made = Plan.model_validate({"goal": "do it", "steps": [{"id": "pay", "tool": "pay", "args": {"to": "ann"}}]})
        run = agent.run(made, principal="cara")
    common = ["--tools", str(module), "--policy", str(policy), "--store", str(store_path)]
    monkeypatch.setenv("LOGNAME", "cara")  # who is asked for no name is the one who is logged in
    for by in (["--by", "cara"], []):
        assert main(["resume", run.id, "--approve", *by, *common]) == 2
        assert "somebody else" in capsys.readouterr().err
        assert not (tmp_path / "paid").exists()
    assert main(["resume", run.id, "--approve", "--by", "ann", *common]) == 0
    assert (tmp_path / "paid").read_text(encoding="utf-8") == "ann"


def test_risks_of_which_the_policy_says_so_may_be_approved_by_oneself(store_path: Path) -> None:
    policy = Policy(rules=(READS,), self_approval=("write",))
    made = plan(
        {"id": "note", "tool": "note", "args": {"text": {"$ref": "steps.who.output"}}}, {**PAY.steps[1].model_dump(exclude_defaults=True)}
    )
    with AgentGraph(TOOLS, policy=policy, store=store_path) as agent:
        run = agent.run(made, principal="cara")
        by_tool = {request.tool: request.id for request in run.requests}
        with pytest.raises(NotAnApprover):
            agent.resume(run.id, {each: Approve(by="cara") for each in by_tool.values()})
        agent.resume(run.id, {by_tool["note"]: Approve(by="cara")})
        assert agent.get(run.id).status == "paused"
    assert CALLS == ["note ann"]


def test_who_can_name_the_requester_otherwise_does_not_get_past(store_path: Path) -> None:
    """Names are the host application's, to the letter: another spelling is another person, who must be an approver by name."""
    policy = Policy(rules=(READS,), approvers=(ApproverRule(by=("ann",)),))
    with AgentGraph(TOOLS, policy=policy, store=store_path) as agent:
        run = agent.run(PAY, principal="cara")
        for name in ("Cara", "cara ", "саra", "*", "a*", ""):
            with pytest.raises(NotAnApprover):
                agent.resume(run, Approve(by=name))
    assert CALLS == []


# ── approvers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

BY_RISK = Policy(
    name="who may",
    rules=(READS,),
    approvers=(ApproverRule(risks=("money",), by=("cfo", "*@finance")), ApproverRule(risks=("write",), by=("*",))),
)


@pytest.mark.parametrize(("by", "may"), [("ann", False), ("cfo", True), ("bob@finance", True), ("cfo ", False)])
def test_who_may_approve_hangs_on_the_risk(store_path: Path, by: str, may: bool) -> None:
    with AgentGraph(TOOLS, policy=BY_RISK, store=store_path) as agent:
        run = agent.run(PAY)
        if may:
            assert agent.resume(run, Approve(by=by)).status == "succeeded"
        else:
            with pytest.raises(NotAnApprover, match="does not let"):
                agent.resume(run, Approve(by=by))
    assert len(CALLS) == may


def test_what_no_rule_of_approvers_names_nobody_approves(store_path: Path) -> None:
    with AgentGraph(TOOLS, policy=BY_RISK, principals={"x": ["*"]}, store=store_path) as agent:
        run = agent.run(SEND, principal="x")
        with pytest.raises(NotAnApprover):
            agent.resume(run, Approve(by="cfo"))


def test_a_yes_to_a_plan_is_a_yes_to_each_of_its_calls(store_path: Path) -> None:
    """Who may approve one of its calls does not approve the other along with it."""
    made = plan({"id": "note", "tool": "note", "args": {"text": "x"}}, {"id": "pay", "tool": "pay", "args": {"to": "ann"}})
    with AgentGraph(TOOLS, policy=BY_RISK, store=store_path) as agent:
        run = agent.run(made)
        with pytest.raises(NotAnApprover):
            agent.resume(run, Approve(by="ann"))
        assert agent.resume(run, Approve(by="cfo")).status == "succeeded"


def test_a_yes_of_somebody_who_may_no_longer_approve_pays_nothing(store_path: Path) -> None:
    with AgentGraph(TOOLS, policy=ASKS, store=store_path) as agent:
        run = agent.run(PAY)
        agent.store.approvals.decide(RunId(run.id), {run.requests[0].id: Approve(by="ann")})
    with AgentGraph(TOOLS, policy=BY_RISK, store=store_path) as agent:
        again = agent.resume(run.id)
        assert again.status == "paused"
        assert any("a yes does not count" in getattr(event, "message", "") for event in agent.trace(run.id))
        assert agent.resume(again, Approve(by="cfo")).status == "succeeded"
    assert CALLS == ["pay ann"]


def test_a_grant_of_an_approved_plan_is_void_when_its_giver_may_no_longer_give_it(store_path: Path) -> None:
    """The plan was approved with the payment in it; a call before it waited while the approvers were changed."""
    made = plan(
        {"id": "note", "tool": "note", "args": {"text": {"$ref": "steps.who.output"}}},
        {"id": "pay", "tool": "pay", "args": {"to": "ann"}, "depends_on": ["note"]},
    )
    with AgentGraph(TOOLS, policy=ASKS, store=store_path) as agent:
        run = agent.resume(agent.run(made), Approve(by="ann"))
        assert [request.tool for request in run.requests] == ["note"]
    with AgentGraph(TOOLS, policy=BY_RISK, store=store_path) as agent:
        again = agent.resume(run, Approve(by="ann"))
        assert again.status == "paused"
        assert CALLS in ([], ["note ann"])


def test_a_decision_that_was_recorded_past_us_is_void(store_path: Path) -> None:
    """Written with plain ``sqlite3``, as the requester's own yes."""
    with AgentGraph(TOOLS, policy=ASKS, store=SqliteStore(store_path, key=())) as agent:
        run = agent.run(PAY, principal="cara")
    now = time.time()
    with closing(sqlite3.connect(store_path)) as connection, connection:
        connection.execute(
            "UPDATE approvals SET verdict = 'approve', decision = ?, by = 'cara', decided = ? WHERE run_id = ?",
            (json.dumps({"type": "approve", "by": "cara"}), now, run.id),
        )
    with AgentGraph(TOOLS, policy=ASKS, store=SqliteStore(store_path, key=())) as agent:
        again = agent.resume(run.id)
        assert again.status == "paused"
        assert any("a yes does not count" in getattr(event, "message", "") for event in agent.trace(run.id))
    assert CALLS == []


# ── standing grants ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_may_not_approve_grants_nothing(store_path: Path) -> None:
    with AgentGraph(TOOLS, policy=BY_RISK, store=store_path) as agent:
        for by in ("ann", None):
            with pytest.raises(NotAnApprover):
                agent.grant("pay", when="true", by=by)
        assert agent.grants() == []


def test_a_standing_grant_of_somebody_who_may_no_longer_approve_covers_nothing(store_path: Path) -> None:
    with AgentGraph(TOOLS, policy=ASKS, store=store_path) as agent:
        agent.grant("pay", when="true", by="ann")
        assert agent.run(PAY).status == "succeeded"
    CALLS.clear()
    with AgentGraph(TOOLS, policy=BY_RISK, store=store_path) as agent:
        assert agent.run(PAY).status == "paused"
    assert CALLS == []


def test_a_standing_grant_does_not_cover_runs_for_its_giver(store_path: Path) -> None:
    with AgentGraph(TOOLS, policy=ASKS, store=store_path) as agent:
        agent.grant("pay", when="true", by="cara")
        assert agent.run(PAY, principal="cara").status == "paused"
        assert agent.run(PAY, principal="dan").status == "succeeded"


@pytest.mark.parametrize(
    "grant",
    [
        {"args": {"to": "bob", "amount": 1}},
        {"when": "call.args.amount < 1"},
        {"when": "call.args.nothing > 1"},
        {"when": "true", "principals": ["dan"]},
        {"when": "true", "until": 60.0},
    ],
    ids=["other arguments", "another amount", "a condition that fails", "another principal", "until yesterday"],
)
def test_a_standing_grant_covers_exactly_what_it_says(store_path: Path, grant: dict[str, Any]) -> None:
    from agent_graph.testing import FakeClock

    clock = FakeClock(now=0.0)
    with AgentGraph(TOOLS, policy=ASKS, store=store_path, clock=clock) as agent:
        agent.grant("pay", **grant, by="ann")
        clock.advance(3600)
        assert agent.run(PAY, principal="cara").status == "paused"
    assert CALLS == []


def test_a_standing_grant_that_was_revoked_while_the_run_waited_covers_nothing(store_path: Path) -> None:
    made = plan(
        {"id": "note", "tool": "note", "args": {"text": {"$ref": "steps.who.output"}}},
        {**PAY.steps[1].model_dump(exclude_defaults=True), "depends_on": ["note"]},
    )
    with AgentGraph(TOOLS, policy=ASKS, store=store_path) as agent:
        given = agent.grant("pay", when="true", by="ann")
        run = agent.run(made)
        agent.revoke(given.id, by="ann")
        assert agent.resume(run, Approve()).status == "paused"
    assert CALLS == ["note ann"]
