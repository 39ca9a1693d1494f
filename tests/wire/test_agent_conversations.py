"""What an agent and its model have said, over a crash and over several conversations, and what the model may put into one reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage, message_to_dict
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from agent_graph import AgentGraph, Approve, Edit, Limits, Plan, Policy, Reject, tool
from agent_graph.checkpoints.conversations import Conversations
from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.ledger import Ledger
from agent_graph.errors import Interrupted
from agent_graph.execution.agent_step import _with_ids
from agent_graph.execution.inner_calls import MOST_CALLS
from agent_graph.execution.inner_made import Made
from agent_graph.identity import RunId, digest
from agent_graph.model_server import Asked, ModelServer, Reply, calls
from agent_graph.policy.permission import Rules
from agent_graph.policy.reasoned import not_followed_in
from agent_graph.testing import FakeClock, MemoryStore, ScriptedPlanner
from agent_graph.tools.registry import ToolRegistry
from agent_graph.verdicts import Request

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


@tool(risk="read_only", trusted_output=True)
def rules() -> str:
    """The rules of the house."""
    CALLS.append("rules")
    return "no dogs"


@tool(risk="write", recovery="idempotent", trusted_output=True)
def save(text: str) -> str:
    """Saves a text."""
    CALLS.append(("save", text))
    return f"saved {text}"


@tool(risk="write", trusted_output=True)
def post(text: str) -> str:
    """Posts a text."""
    CALLS.append(("post", text))
    return f"posted {text}"


RUNS: dict[str, Any] = {"rules": [{"verdict": "allow", "risks": ["read_only", "write"]}]}
SAVED_AFTER = {**RUNS, "order": [{"tools": ["post"], "followed_by": {"tools": ["save"]}}]}


@pytest.fixture
def says() -> Iterator[Callable[..., ModelServer]]:
    servers = []

    def started(*replies: Any) -> ModelServer:
        """It refuses what a real one refuses: a call that has no answer."""
        left = iter(replies)

        def said(asked: Asked) -> Reply:
            missing = unanswered(asked)
            return Reply(status=400, text=f"no answer to {missing}") if missing else next(left)

        servers.append(ModelServer(said))
        return servers[-1]

    yield started
    for server in servers:
        server.close()


def unanswered(asked: Asked) -> set[str]:
    wanted = {call["id"] for message in asked.messages for call in message.get("tool_calls") or ()}
    return wanted - {message.get("tool_call_id") for message in asked.messages}


def made(server: ModelServer, policy: Any = None, **more: Any) -> AgentGraph:
    rules_ = policy if isinstance(policy, Policy) else Policy.model_validate(policy or RUNS)
    given: dict[str, Any] = {"store": MemoryStore(), **more}
    model = ChatOpenAI(model="gpt-test", base_url=server.url, api_key=SecretStr("test"), timeout=10, max_retries=0)
    return AgentGraph([rules, save, post], models={"executor": {"model": model}}, policy=rules_, **given)


def work(*tools: str, **more: Any) -> dict[str, Any]:
    return {"id": "work", "agent": "Do what is needed.", "allowed_tools": list(tools), **more}


def plan(*steps: dict[str, Any], **more: Any) -> Plan:
    return Plan.model_validate({"goal": "g", "steps": list(steps), **more})


def finish(answer: Any, *claims: tuple[str, list[str]]) -> Reply:
    return calls(("finish", {"answer": answer, "claims": [{"text": text, "refs": refs} for text, refs in claims]}))


def told(asked: Asked) -> list[str]:
    """What the tools answered, in one request."""
    return [str(message["content"]) for message in asked.messages if message["role"] == "tool"]


def only(run: Any) -> Request:
    (request,) = run.requests
    return request  # type: ignore[no-any-return]


def approved(agent: AgentGraph, run: Any) -> Any:
    """Whatever is asked. A plan that was made anew after a failure comes from what failed, and its changes are asked for."""
    while run.status == "paused":
        run = agent.resume(run, Approve())
    return run


# ── on record ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_answers_to_one_reply_are_put_on_record_at_once(says: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, added = Conversations.add, []

    def add(self: Conversations, lease: Any, key: str, number: int, messages: Sequence[dict[str, Any]]) -> None:
        added.append((number, len(messages)))
        real(self, lease, key, number, messages)

    monkeypatch.setattr(Conversations, "add", add)
    server = says(calls(("save", {"text": "a"}), ("save", "{broken"), ("save", {"text": "b"})), finish("done"))
    assert made(server).run(plan=plan(work("save"))).status == "succeeded"
    assert added == [(0, 1), (1, 1), (2, 3), (5, 1)]


@pytest.mark.parametrize("broken", [False, True])
def test_a_reply_of_which_only_some_calls_were_answered_on_record_is_answered_before_the_model_is_asked(broken: bool, says: Any) -> None:
    """As a version that wrote one answer after the other left it when it was killed."""
    second: tuple[str, Any] = ("save", "{broken") if broken else ("save", {"text": "b"})
    server = says(calls(("save", {"text": "a"}), second), finish("done"))
    agent = made(server, Policy.default())
    run = agent.run(plan=plan(work("save")))
    key = digest(["conversation", run.id, "work", 0])[:32]
    (_, reply) = agent.store.conversations.of(RunId(run.id), key)
    (first, *_) = reply["said"]["data"]["tool_calls"]
    answer = message_to_dict(ToolMessage("work.1: succeeded", tool_call_id=first["id"]))
    lease = agent.store.leases.acquire(RunId(run.id), new_owner())
    agent.store.conversations.add(lease, key, 2, [{"said": answer, "worked": 0.1}])
    agent.store.leases.release(lease)
    run = approved(agent, run)
    assert (run.status, CALLS) == ("succeeded", [("save", "a")] if broken else [("save", "a"), ("save", "b")])
    assert [unanswered(asked) for asked in server.asked] == [set(), set()]


# ── order rules ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_must_follow_a_call_of_an_earlier_conversation_must_follow_in_the_next_one(says: Any) -> None:
    server = says(calls(("post", {"text": "a"})), finish("done"), calls(("save", {"text": "a"})), finish("done"))
    short, longer = (plan(work("post", "save", budget={"max_turns": most})) for most in (1, 5))
    agent = made(server, SAVED_AFTER, planner=ScriptedPlanner(short, longer))
    run = approved(agent, agent.run("g"))
    assert (run.status, CALLS) == ("succeeded", [("post", "a"), ("save", "a")])
    assert "work.1 was done, and a call of save must follow" in told(server.asked[2])[-1]


def test_what_must_come_before_a_call_may_have_been_done_in_an_earlier_conversation(says: Any) -> None:
    order = {**RUNS, "order": [{"tools": ["post"], "after": {"tools": ["save"]}}]}
    server = says(calls(("save", {"text": "a"})), calls(("post", {"text": "a"})), finish("done"))
    short, longer = (plan(work("post", "save", budget={"max_turns": most})) for most in (1, 5))
    agent = made(server, order, planner=ScriptedPlanner(short, longer))
    run = approved(agent, agent.run("g"))
    assert (run.status, CALLS) == ("succeeded", [("save", "a"), ("post", "a")])


def test_a_run_that_goes_on_without_an_agent_does_not_succeed_when_nothing_followed_its_call(says: Any) -> None:
    server = says(calls(("post", {"text": "a"})))
    run = made(server, SAVED_AFTER).run(plan=plan(work("post", "save", on_failure="continue", budget={"max_turns": 1})))
    assert run.diagnosis is not None
    assert (run.status, run.diagnosis.code, run.diagnosis.step_id) == ("failed", "order_violated", "work")


@pytest.mark.parametrize(("instead", "status"), [("rules", "failed"), ("save", "succeeded")])
def test_a_call_of_an_agent_that_was_planned_away_must_be_followed_by_a_step_after_it(instead: str, status: str, says: Any) -> None:
    args = {"text": "a"} if instead == "save" else {}
    first = plan(work("post", "save", budget={"max_turns": 1}))
    second = plan({"id": "other", "tool": instead, "args": args})
    agent = made(says(calls(("post", {"text": "a"}))), SAVED_AFTER, planner=ScriptedPlanner(first, second))
    run = approved(agent, agent.run("g"))
    assert (run.status, run.diagnosis.code if run.diagnosis else None) == (status, "order_violated" if status == "failed" else None)


# ── one reply ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_result_beside_a_call_that_cannot_be_read_is_not_taken(says: Any) -> None:
    early = ("finish", {"answer": "early", "claims": []})
    server = says(calls(early, ("save", "{broken")), calls(("save", {"text": "a"})), finish("done"))
    run = made(server).run(plan=plan(work("save"), answer={"$ref": "steps.work.output"}))
    assert (run.status, run.answer) == ("succeeded", "done")
    assert ["not JSON" in told(server.asked[1])[0], "call finish alone" in told(server.asked[1])[1]] == [True, True]


def test_claims_of_a_result_that_was_not_taken_are_forgotten(says: Any) -> None:
    server = says(
        calls(("post", {"text": "a"})),
        finish("all is saved", ("Everything was saved.", ["work.1"]), ("It rains.", [])),
        calls(("save", {"text": "a"})),
        "Only a was saved.",
    )
    run = made(server, SAVED_AFTER).run(plan=plan(work("post", "save"), answer={"$ref": "steps.work.output"}))
    assert (run.status, run.answer) == ("succeeded", "Only a was saved.")
    assert [each.criterion for each in run.results["work"].evidence] == ["claims"]


def test_more_calls_than_one_reply_may_hold_are_answered_and_not_made(says: Any) -> None:
    server = says(calls(*[("rules", {})] * (MOST_CALLS + 2)), calls(("save", {"text": "a"})), finish("done"))
    run = made(server).run(plan=plan(work("rules", "save")))
    assert (run.status, CALLS) == ("succeeded", [*["rules"] * MOST_CALLS, ("save", "a")])
    answers = told(server.asked[1])
    assert [f"may hold {MOST_CALLS} calls" in each for each in answers] == [False] * MOST_CALLS + [True] * 2
    assert f"work.{MOST_CALLS + 3}" in run.results, "each call has its number, made or not"


def test_the_same_reply_twice_is_two_replies(tmp_path: Path) -> None:
    """As a model gives them that numbers neither its replies nor its calls."""

    class Same(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **more: Any) -> Any:
            return self

    def said(name: str, **args: Any) -> AIMessage:
        return AIMessage(content="", id="same", tool_calls=[{"name": name, "args": args, "id": "call_0"}])

    model = Same(messages=iter([said("rules"), said("rules"), said("finish", answer="done", claims=[])]))
    with AgentGraph([rules], models={"executor": {"model": model}}, store=tmp_path / "runs.db") as agent:
        run = agent.run(plan=plan(work("rules")))
    assert (run.status, CALLS, list(run.results)) == ("succeeded", ["rules", "rules"], ["work.1", "work.2", "work"])


@pytest.mark.parametrize("given", [["call_1", None], [None, "call_0"], ["a", "a", "call_1"], ["", None, "call_0", "call_1"]])
def test_no_two_calls_of_a_reply_share_an_id(given: list[Any]) -> None:
    reply = AIMessage("", tool_calls=[{"name": "save", "args": {}, "id": call_id} for call_id in given])
    ids = [call["id"] for call in _with_ids(reply).tool_calls]
    assert (len(set(ids)), all(ids)) == (len(given), True)
    kept = [ids[at] == call_id for at, call_id in enumerate(given) if call_id and call_id not in given[:at]]
    assert all(kept), "an id that was given stays with its call"


# ── people ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("decisions", "made_calls"),
    [
        ([Approve()], [("save", "b")]),
        ([Reject(reason="no")], []),
        ([Edit(args={"text": "c"})], [("save", "c")]),
        ([Edit(args={"text": "a"})], [("save", "a")]),
    ],
)
def test_an_edited_call_whose_yes_ran_out_is_decided_anew(
    decisions: list[Any], made_calls: list[Any], says: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    clock = FakeClock(1_700_000_000.0)
    policy = Policy.model_validate({"rules": [{"verdict": "allow", "risks": ["read_only"]}], "approval_ttl_s": 60})
    agent = made(says(calls(("save", {"text": "a"})), finish("done")), policy, store=MemoryStore(clock=clock), clock=clock)
    run = agent.run(plan=plan(work("save")))
    clock.advance(50)
    with monkeypatch.context() as killed:
        killed.setattr(Ledger, "begin", die)
        with pytest.raises((KeyboardInterrupt, Interrupted)):
            agent.resume(run.id, Edit(args={"text": "b"}))
    clock.advance(100)
    run = agent.resume(run.id)
    for decision in decisions:
        assert only(run).args == {"text": "b"}
        run = agent.resume(run.id, decision)
    assert (run.status, CALLS) == ("succeeded", made_calls)


# ── a goal that was revised ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_agent_that_waits_begins_anew_when_a_parameter_of_its_task_is_another(says: Callable[..., ModelServer]) -> None:
    step = work("save", args={"who": {"$ref": "params.who"}})
    version = Plan.model_validate({"goal": "g", "steps": [step]})
    server = says(calls(("save", {"text": "for ann"})), calls(("save", {"text": "for bob"})), finish("done", ("done", ["work.2"])))
    asks = {"rules": [{"verdict": "allow", "risks": ["read_only"]}]}
    with made(server, asks, planner=ScriptedPlanner(version, version)) as agent:
        run = agent.run("g", params={"who": "ann"})
        assert only(run).args == {"text": "for ann"}
        run = agent.revise(run, params={"who": "bob"})
        assert only(run).args == {"text": "for bob"}
        assert "bob" in str(server.asked[1].messages)
        assert "for ann" not in str(server.asked[1].messages)
        run = agent.resume(run, Approve())
    assert (run.status, CALLS) == ("succeeded", [("save", "for bob")])


def test_what_must_follow_follows_a_call_that_happened_whatever_was_thought_of_its_answer() -> None:
    rules_of = Rules(tools=ToolRegistry([post, save]).specs, policy=Policy.model_validate(SAVED_AFTER), limits=Limits())
    failed, well = Made("work.1", "post", succeeded=False, happened=True), Made("work.2", "save", succeeded=True, happened=True)
    assert "work.1 was done" in not_followed_in([failed], rules_of)
    assert not_followed_in([failed, well], rules_of) == ""
    assert not_followed_in([failed._replace(happened=False)], rules_of) == ""


def test_what_an_agent_says_without_having_made_a_call_is_on_record_as_unsupported(says: Callable[..., ModelServer]) -> None:
    server = says("Everything is in order.")
    with made(server) as agent:
        run = agent.run(plan=plan(work("rules")))
    (claims,) = run.results["work"].evidence
    assert (run.status, claims.criterion, claims.holds) == ("succeeded", "claims", None)
    assert "[unsupported] the agent made no call" in claims.why
