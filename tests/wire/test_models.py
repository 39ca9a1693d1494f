"""Models by role, over real HTTP: what each is sent, whom it is credited to, who is asked when one cannot be, and what bounds it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from pytest_httpserver import HTTPServer
from werkzeug import Response

from agent_graph import AgentGraph, Limits, Plan, Price, UsageError, tool
from agent_graph.errors import Interrupted, ModelError
from agent_graph.events import Event, Note, Token
from agent_graph.identity import RunId
from agent_graph.models.client import Asking, RoleClient
from agent_graph.models.clients import Clients
from agent_graph.models.roles import Models
from agent_graph.plan import Step
from agent_graph.records import Usage

from .conftest import ModelServer, chat_openai, completion, failure, metered, plan_reply, tool_step

HELLO = [HumanMessage("hello")]


@tool(risk="read_only")
def find(text: str) -> dict[str, str]:
    """Finds a note."""
    if text.startswith("broken"):
        raise OSError("the index is down")
    return {"note": text}


LOOK = plan_reply(tool_step("look", "find", {"text": "cpu"}))
FAILS = plan_reply(tool_step("fails", "find", {"text": "broken"}))
FAILS_TOO = plan_reply(tool_step("fails_too", "find", {"text": "broken as well"}))


@pytest.fixture(autouse=True)
def _environment(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)


@pytest.fixture
def other(httpserver: HTTPServer) -> ModelServer:
    """A second server, at another address."""
    made = ModelServer(httpserver.url_for("/other/v1"))
    httpserver.expect_request("/other/v1/chat/completions", method="POST").respond_with_handler(made.answer)
    return made


def client(role: Any = "executor", **given: Any) -> RoleClient:
    return Clients(Models.of({role: {"model": "openai:gpt-test", **given}})).of(role)


# ── what reaches the wire ─────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_role_is_set_to_is_in_its_requests(server: ModelServer) -> None:
    server.says("hi")
    client(temperature=0.25, reasoning_effort="low", max_reply_tokens=77).text(HELLO)
    (body,) = server.bodies
    assert body["model"] == "gpt-test"
    assert (body["temperature"], body["reasoning_effort"], body["max_completion_tokens"]) == (0.25, "low", 77)


def test_what_is_not_set_is_left_to_the_server(server: ModelServer) -> None:
    server.says("hi")
    client().text(HELLO)
    assert server.bodies[0].keys() == {"model", "messages", "stream"}


def test_a_role_may_have_an_address_and_a_key_of_its_own(server: ModelServer, other: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "for the other one")
    other.says("hi")
    assert client(base_url=other.url, key_from="OTHER_KEY").text(HELLO) == "hi"
    assert (len(server.bodies), len(other.bodies)) == (0, 1)
    assert other.headers[0]["Authorization"] == "Bearer for the other one"


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTHER_KEY", raising=False)
    with pytest.raises(UsageError, match="role executor: its key_from names the environment variable OTHER_KEY, which is not set"):
        client(key_from="OTHER_KEY")


def test_a_try_ends_at_the_role_s_timeout_and_is_repeated_as_often_as_it_says(server: ModelServer, store_path: Path) -> None:
    def slow() -> Response:
        time.sleep(0.5)
        return completion("hi")

    server.says(slow, slow, slow)
    with metered(store_path) as meter:
        with pytest.raises(ModelError, match=r"could not be asked: .*Timeout"):
            client(timeout_s=0.1, max_retries=1).text(HELLO, Asking(meter=meter))
        used = meter.roles()["executor"]
    assert len(server.bodies) == 2
    assert (used.requests, used.input_tokens, used.unpriced) == (1, 4, 1), "a server that kept silent may have read it"


def test_a_model_object_takes_the_length_of_its_reply_from_the_role(server: ModelServer, store_path: Path) -> None:
    server.says("hi", "hi")
    judge = Clients(Models.of({"judge": {"model": chat_openai(server), "max_reply_tokens": 50}})).of("judge")
    judge.text(HELLO)
    with metered(store_path) as meter:
        judge.text(HELLO, Asking(meter=meter))
    assert [body["max_completion_tokens"] for body in server.bodies] == [50, 50]


def test_the_method_follows_what_the_model_supports_and_may_be_set(server: ModelServer) -> None:
    def method(model: str, **given: Any) -> str:
        return Clients(Models.of({"judge": {"model": model, **given}})).of("judge").method

    assert method("openai:gpt-4o") == "json_schema"
    assert method("openai:a-model-of-somebody") == "json_schema"
    assert method("openai:gpt-4") == "function_calling", "it calls tools, and has no structured output"
    assert method("openai:gpt-3.5-turbo") == "plain"
    assert method("openai:gpt-4o", method="function_calling") == "function_calling"


# ── who is asked, and whom it is credited to ──────────────────────────────────────────────────────────────────────────


def test_each_role_asks_its_own_model_and_has_its_own_account(server: ModelServer, store_path: Path) -> None:
    server.says(FAILS, LOOK)
    models = {"planner": "openai:big", "replanner": {"model": "openai:small", "temperature": 0}}
    with AgentGraph([find], models=models, store=store_path) as agent:
        run = agent.run("look")
    assert run.status == "succeeded"
    assert [body["model"] for body in server.bodies] == ["big", "small"]
    assert [(entry["role"], entry["model"], entry["plan_version"]) for entry in run.usage_entries] == [
        ("planner", "openai:big", 1),
        ("replanner", "openai:small", 2),
    ]
    assert set(run.usage) == {"planner", "replanner"}


def test_without_a_replanner_the_planner_revises_on_its_own_account(server: ModelServer, store_path: Path) -> None:
    server.says(FAILS, LOOK)
    with AgentGraph([find], models={"planner": "openai:big"}, store=store_path) as agent:
        run = agent.run("look")
    assert [(entry["role"], entry["plan_version"], entry["requests"]) for entry in run.usage_entries] == [
        ("planner", 1, 1),
        ("planner", 2, 1),
    ]


def test_a_replanner_revises_what_a_planner_of_the_old_form_made(server: ModelServer, store_path: Path) -> None:
    server.says(FAILS, LOOK)
    with AgentGraph([find], planner="openai:big", models={"replanner": "openai:small"}, store=store_path) as agent:
        assert agent.run("look").status == "succeeded"
    assert [body["model"] for body in server.bodies] == ["big", "small"]


def test_a_step_may_name_its_model_and_its_specialist() -> None:
    models = {
        "executor": {"model": "openai:cheap", "max_asks": 2},
        "specialists": {"writer": {"model": "openai:fluent", "description": "writes", "max_requests": 3}},
    }
    clients = Clients(Models.of(models))

    def asked(**more: Any) -> RoleClient:
        return clients.of_step(Step.model_validate({"id": "a", "model": "write", **more}))

    assert asked().name == "openai:cheap"
    assert asked() is clients.of("executor")
    assert (asked(use_model="openai:dear").name, asked(use_model="openai:dear").max_asks) == ("openai:dear", 2)
    writer = asked(executor="writer")
    assert (writer.name, writer.role, writer.bounds.max_requests) == ("openai:fluent as writer", "executor", 3)
    assert asked(executor="writer", use_model="openai:dear").name == "openai:dear as writer"
    with pytest.raises(UsageError, match="specialist 'poet', whom there is not; there is writer"):
        asked(executor="poet")


def test_a_role_without_a_model_says_what_to_give() -> None:
    clients = Clients(Models())
    with pytest.raises(UsageError, match=r"role judge has no model: give .*AGENT_GRAPH_JUDGE_MODEL"):
        clients.of("judge")
    with pytest.raises(UsageError, match="step 'a' needs an executor's model"):
        clients.of_step(Step(id="a", model="write"))


# ── a fallback ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_fallback_is_asked_after_the_retries_and_the_trace_says_so(server: ModelServer, other: ModelServer, store_path: Path) -> None:
    server.says(*[failure(503, **{"Retry-After": "0.02"}) for _ in range(9)])
    other.says(LOOK)
    planner = {"model": "openai:first", "max_retries": 1, "fallback": {"model": "openai:second", "base_url": other.url}}
    with AgentGraph([find], models={"planner": planner}, store=store_path) as agent:
        run = agent.run("look")
        notes = [event.message for event in agent.trace(run.id) if isinstance(event, Note)]
    assert run.status == "succeeded"
    assert (len(server.bodies), len(other.bodies)) == (2, 1)
    assert [note for note in notes if "openai:first could not be asked" in note and "openai:second is asked instead" in note]
    assert [(entry["model"], entry["requests"], entry["input_tokens"]) for entry in run.usage_entries] == [
        ("openai:first", 1, 0),
        ("openai:second", 1, 100),
    ]


def test_a_fallback_without_structured_output_is_given_the_schema_in_words(
    server: ModelServer, other: ModelServer, store_path: Path
) -> None:
    server.says(failure(401))
    other.says(f"Here you are: {json.dumps(LOOK)}")
    planner = {"model": "openai:first", "fallback": {"model": "openai:second", "base_url": other.url, "method": "plain"}}
    with AgentGraph([find], models={"planner": planner}, store=store_path) as agent:
        assert agent.run("look").status == "succeeded"
    assert "response_format" not in other.bodies[0]
    assert '"enum": ["find"]' in other.messages(0)[-1][1]


def test_a_model_that_could_not_be_asked_rests_while_there_is_a_fallback(server: ModelServer, other: ModelServer) -> None:
    server.says(failure(401), failure(401))
    other.says("one", "two")
    asked = client(fallback={"model": "openai:second", "base_url": other.url})
    assert (asked.text(HELLO), asked.text(HELLO)) == ("one", "two")
    assert len(server.bodies) == 1


def test_when_neither_can_be_asked_both_are_named(server: ModelServer, other: ModelServer) -> None:
    server.says(failure(401))
    other.says(failure(404))
    with pytest.raises(ModelError, match=r"(?s)openai:gpt-test could not be asked.*401.*Nor its fallback: openai:second.*404"):
        client(fallback={"model": "openai:second", "base_url": other.url}).text(HELLO)


def test_while_it_rests_it_is_asked_all_the_same_when_the_fallback_cannot_be(server: ModelServer, other: ModelServer) -> None:
    server.says(failure(401), "back again")
    other.says("one", failure(401))
    asked = client(fallback={"model": "openai:second", "base_url": other.url})
    assert (asked.text(HELLO), asked.text(HELLO)) == ("one", "back again")


# ── an executor that reasons ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"model": "openai:gpt-5-mini"}, True),
        ({"model": "openai:gpt-5-mini", "reasoning_effort": "low"}, False),
        ({"model": "openai:gpt-5-mini", "reasoning_effort": "high"}, True),
        ({"model": "openai:o9-unheard-of"}, True),
        ({"model": "openai:gpt-4o"}, False),
        ({"model": "openai:gpt-test"}, False),
    ],
)
def test_an_executor_that_reasons_is_remarked_on_once_with_the_reason(
    spec: dict[str, Any], said: bool, server: ModelServer, store_path: Path
) -> None:
    server.says("one", "two")
    executor = Clients(Models.of({"executor": spec})).of("executor")
    with metered(store_path) as meter:
        executor.text(HELLO, Asking(meter=meter))
        executor.text(HELLO, Asking(meter=meter))
        found = [note for note in meter.notes() if "reasons before it writes" in note]
    assert len(found) == (1 if said else 0)


def test_a_specialist_that_reasons_is_remarked_on_by_its_name(server: ModelServer, store_path: Path) -> None:
    server.says("one", "two")
    specialists = {"writer": {"model": "openai:gpt-5", "description": "writes"}}
    clients = Clients(Models.of({"executor": "openai:gpt-4o", "specialists": specialists}))
    with metered(store_path) as meter:
        clients.of("executor").text(HELLO, Asking(meter=meter))
        clients.of_step(Step(id="a", model="x", executor="writer")).text(HELLO, Asking(meter=meter))
        (note,) = meter.notes()
    assert note.startswith("specialist writer is openai:gpt-5, a model that reasons")


def test_a_text_that_was_cut_off_is_asked_for_again_with_the_reason(server: ModelServer) -> None:
    server.says(completion("too lo", finish_reason="length"), "short")
    assert client().text(HELLO) == "short"
    assert server.messages(1)[:1] == server.messages(0)
    assert "write a shorter one" in server.messages(1)[-1][1]


def test_a_note_of_a_request_is_told_to_whoever_watches_too(server: ModelServer, store_path: Path) -> None:
    server.says(failure(401), LOOK)
    with AgentGraph([find], models={"planner": {"model": "openai:first", "fallback": "openai:second"}}, store=store_path) as agent:
        seen = list(agent.stream("look"))
    assert len([event for event in seen if isinstance(event, Note) and "is asked instead" in event.message]) == 1


def test_a_planner_may_reason(server: ModelServer, store_path: Path) -> None:
    server.says("one")
    planner = Clients(Models.of({"planner": "openai:gpt-5"})).of("planner")
    with metered(store_path) as meter:
        planner.text(HELLO, Asking(meter=meter))
        assert meter.notes() == []


# ── what is counted ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_cached_and_reasoning_tokens_are_counted_and_priced(server: ModelServer, store_path: Path) -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 150},
    }
    server.says(completion("hi", usage=usage), completion("hi", usage=usage))
    limits = Limits(prices={"openai:gpt-test": Price(input=10, cached=1, output=100)})
    with metered(store_path, limits) as meter:
        client().text(HELLO, Asking(meter=meter, step_id="draft"))
        client().text(HELLO, Asking(meter=meter, step_id="draft", tell=lambda _: None))
        (entry,) = meter.entries()
    assert (entry.role, entry.model, entry.step_id, entry.plan_version) == ("executor", "openai:gpt-test", "draft", 3)
    used = entry.used
    assert (used.requests, used.input_tokens, used.cached_tokens, used.output_tokens, used.reasoning_tokens) == (2, 2000, 800, 400, 300)
    assert used.money == pytest.approx(2 * (600 * 10 + 400 * 1 + 200 * 100) / 1e6)
    assert used.seconds > 0


def test_prices_that_providers_publish_are_used_where_the_limits_have_none(server: ModelServer, store_path: Path) -> None:
    server.says("one", "two")
    clients = Clients(Models.of({"executor": "openai:gpt-4o", "judge": "openai:gpt-test"}))
    with metered(store_path) as meter:
        clients.of("executor").text(HELLO, Asking(meter=meter))
        clients.of("judge").text(HELLO, Asking(meter=meter))
        found = meter.roles()
    assert found["executor"].money == pytest.approx(100 * 2.5e-6 + 20 * 10e-6)
    assert found["judge"].money == 0.0
    assert (found["executor"].unpriced, found["judge"].unpriced) == (0, 1)


def test_what_a_server_does_not_say_is_guessed_and_said_so(server: ModelServer, store_path: Path) -> None:
    server.says(completion("x" * 400, usage=None))
    with metered(store_path) as meter:
        client().text([HumanMessage("y" * 4000)], Asking(meter=meter))
        used = meter.roles()["executor"]
        assert [note for note in meter.notes() if "does not say how many tokens" in note]
    assert 1000 <= used.input_tokens < 1010
    assert 100 <= used.output_tokens < 110
    assert used.unpriced == 1


def test_entries_add_up_to_the_roles_and_the_roles_to_the_run(server: ModelServer, store_path: Path) -> None:
    server.says(FAILS, FAILS_TOO, LOOK)
    limits = Limits(prices={"openai:*": Price(input=3, output=15)})
    models = {"planner": "openai:big", "replanner": "openai:small"}
    with AgentGraph([find], models=models, limits=limits, store=store_path) as agent:
        run = agent.run("look")
        spent = agent.deps.store.usage.of(RunId(run.id))
    assert run.status == "succeeded"
    for role, used in run.usage.items():
        assert isinstance(used, dict)
        for name in Usage.__dataclass_fields__:
            mine = [entry[name] for entry in run.usage_entries if entry["role"] == role]
            assert sum(mine) == pytest.approx(used[name])  # type: ignore[arg-type]
    assert sum(each.requests for each in spent.values()) == len(server.bodies) == 3
    assert sum(each.money for each in spent.values()) == pytest.approx(3 * (100 * 3 + 20 * 15) / 1e6)


def test_what_an_older_store_counted_by_role_alone_still_adds_up(server: ModelServer, store_path: Path) -> None:
    server.says("hi")
    with metered(store_path) as meter:
        with closing(sqlite3.connect(store_path)) as before, before:
            columns = "run_id, role, requests, input_tokens, output_tokens, money, unpriced"
            before.execute(f"INSERT INTO usage ({columns}) VALUES (?, 'executor', 4, 40, 8, 0.5, 0)", (meter._lease.run_id,))
        client().text(HELLO, Asking(meter=meter))
        entries, used = meter.entries(), meter.roles()["executor"]
    assert [(entry.model, entry.plan_version, entry.used.requests) for entry in entries] == [("", 0, 4), ("openai:gpt-test", 3, 1)]
    assert (used.requests, used.input_tokens, used.output_tokens, used.money) == (5, 140, 28, 0.5)


# ── other providers, and what is streamed ─────────────────────────────────────────────────────────────────────────────


def test_a_model_of_another_provider_is_made_by_langchain_with_the_same_settings(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure = ModelServer(httpserver.url_for("/openai/deployments/ours/"))
    httpserver.expect_request("/openai/deployments/ours/chat/completions", method="POST").respond_with_handler(azure.answer)
    for name, value in {"AZURE_OPENAI_ENDPOINT": httpserver.url_for("/"), "OPENAI_API_VERSION": "2024-10-21"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.setenv("OUR_AZURE", "secret-of-azure")
    azure.says("hi", "hi")
    made = Clients(Models.of({"judge": {"model": "azure_openai:ours", "key_from": "OUR_AZURE", "temperature": 0.5, "max_reply_tokens": 9}}))
    assert made.of("judge").text(HELLO) == "hi"
    assert made.of("judge").text(HELLO, Asking(tell=lambda _: None)) == "hi"
    assert (azure.bodies[0]["temperature"], azure.bodies[0]["max_completion_tokens"]) == (0.5, 9)
    assert azure.bodies[1]["stream_options"] == {"include_usage": True}
    assert azure.headers[0]["Api-Key"] == "secret-of-azure"


def test_a_setting_that_a_provider_has_no_place_for_is_refused_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "langchain_groq"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from langchain_core.language_models.fake_chat_models import FakeListChatModel\n"
        "class ChatGroq(FakeListChatModel):\n    model: str = ''\n    responses: list[str] = ['hi']\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert Clients(Models.of({"judge": "groq:small"})).of("judge").text(HELLO) == "hi"
    with pytest.raises(UsageError, match="role judge: LangChain's ChatGroq takes no max_retries, temperature; leave it out"):
        Clients(Models.of({"judge": {"model": "groq:small", "temperature": 0, "max_retries": 1}})).of("judge")


def test_the_key_of_a_role_is_kept_out_of_what_is_written_down(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_LLM", "hunter2-hunter2")

    @tool(risk="read_only")
    def leak() -> str:
        """Says too much."""
        return "it is hunter2-hunter2"

    models = {"executor": {"model": "openai:x", "fallback": {"model": "openai:y", "key_from": "OUR_LLM"}}}
    plan = Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": "leak"}]})
    with AgentGraph([leak], models=models, store=store_path) as agent:
        assert "hunter2" not in str(agent.run(plan).results["a"].output)


def test_a_streamed_reply_that_does_not_end_is_given_up(server: ModelServer) -> None:
    def drip() -> Any:
        for _ in range(100):
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [DRIP]}
            yield f"data: {json.dumps(chunk)}\n\n".encode()
            time.sleep(0.05)

    server.says(lambda: Response(drip(), content_type="text/event-stream"))
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"still coming after 0\.3 seconds"):
        client(timeout_s=0.3).text(HELLO, Asking(tell=lambda _: None))
    assert time.monotonic() - began < 2
    assert len(server.bodies) == 1


DRIP = {"index": 0, "delta": {"role": "assistant", "content": "la "}, "finish_reason": None}


def test_a_turn_whose_call_came_only_in_part_calls_nothing(server: ModelServer) -> None:
    half = [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"text": "everything", "only": "a'}}]
    server.says(*[completion(None, finish_reason="tool_calls", tool_calls=half)] * 2)
    for asking in (Asking(), Asking(tell=lambda _: None)):
        turn = client().turn(HELLO, [], asking)
        assert turn.tool_calls == []
        assert [call["name"] for call in turn.invalid_tool_calls] == ["find"]


def test_a_model_that_calls_no_tools_says_so_instead_of_answering_without(server: ModelServer) -> None:
    asked = RoleClient(GenericFakeChatModel(messages=iter([AIMessage("hi")])), "executor")
    with pytest.raises(ModelError, match="model:GenericFakeChatModel calls no tools"):
        asked.turn(HELLO, [{"type": "function", "function": {"name": "find", "parameters": {}}}])


def test_a_stream_that_is_lost_is_no_reply_of_a_model_that_never_says_why_it_ended() -> None:
    class Lost(GenericFakeChatModel):
        def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
            yield ChatGenerationChunk(message=AIMessageChunk(content="half of "))
            raise ConnectionError("the line went dead")

    asked = RoleClient(Lost(messages=iter([])), "executor", max_asks=2)
    with pytest.raises(ModelError, match=r"was asked 2 times .*broke off before its end \(ConnectionError\)"):
        asked.text(HELLO, Asking(tell=lambda _: None))


def test_whoever_is_told_may_end_it(server: ModelServer, store_path: Path) -> None:
    def enough(_: Event) -> None:
        raise Interrupted("enough")

    server.says("one two three")
    with metered(store_path) as meter:
        with pytest.raises(Interrupted):
            client().text(HELLO, Asking(meter=meter, tell=enough))
        assert meter.roles()["executor"].requests == 1


def test_whoever_watches_hears_the_words_of_their_step_and_not_the_arguments_of_calls(server: ModelServer) -> None:
    call = [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"text": "x"}'}}]
    server.says(completion("Let me look.", finish_reason="tool_calls", tool_calls=call))
    heard: list[Event] = []
    turn = client().turn(HELLO, [], Asking(run_id="r", step_id="draft", tell=heard.append))
    assert [(call["name"], call["args"]) for call in turn.tool_calls] == [("find", {"text": "x"})]
    words = [event for event in heard if isinstance(event, Token)]
    assert len(words) == 3
    assert ("".join(word.text for word in words), words[0].step_id, words[0].role) == ("Let me look.", "draft", "executor")
