"""What an agent and its model have said, over a crash and over several conversations, and what the model may put into one reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage, message_to_dict

from agent_graph import AgentGraph, Approve, Plan, Policy, tool
from agent_graph.checkpoints.conversations import Conversations
from agent_graph.checkpoints.leases import new_owner
from agent_graph.identity import RunId, digest
from agent_graph.model_server import Asked, ModelServer, Reply, calls
from agent_graph.testing import MemoryStore
from agent_graph.verdicts import Request

from .conftest import chat_openai

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
    return AgentGraph([rules, save, post], models={"executor": {"model": chat_openai(server)}}, policy=rules_, **given)


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
    while run.status == "paused":
        run = agent.resume(run, Approve())
    assert (run.status, CALLS) == ("succeeded", [("save", "a")] if broken else [("save", "a"), ("save", "b")])
    assert [unanswered(asked) for asked in server.asked] == [set(), set()]
