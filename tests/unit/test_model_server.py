"""The scripted server, asked by the clients that are used with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI

from agent_graph import UsageError
from agent_graph.model_server import Asked, ModelServer, Reply, calls, data, failure

TOOLS = [{"type": "function", "function": {"name": "find", "description": "Sucht.", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as made:
        yield made


def model(server: ModelServer, **more: Any) -> ChatOpenAI:
    given: dict[str, Any] = {"model": "m", "base_url": server.url, "api_key": "none", "max_retries": 0, "timeout": 5, **more}
    return ChatOpenAI(**given)


def post(server: ModelServer, raw: bytes, path: str = "/chat/completions") -> httpx.Response:
    return httpx.post(server.url + path, content=raw)


def test_replies_come_one_after_another_and_then_no_more(server: ModelServer) -> None:
    server.says("one", {"two": 2})
    asked = model(server)
    assert asked.invoke("a").text == "one"
    assert json.loads(asked.invoke("b").text) == {"two": 2}
    with pytest.raises(openai.APIStatusError, match="the script is at its end") as caught:
        asked.invoke("c")
    assert (caught.value.status_code, len(server.asked), server.left) == (418, 3, 0)


def test_a_function_answers_from_the_request() -> None:
    def shout(asked: Asked) -> str:
        return asked.last.upper()

    with ModelServer(shout) as server:
        assert model(server).invoke("söße").text == "SÖSSE"
        with pytest.raises(UsageError, match="is a function"):
            server.says("more")


def test_a_script_that_fails_says_so_to_whoever_asked() -> None:
    def broken(asked: Asked) -> str:
        raise KeyError("nothing of the kind")

    with ModelServer(broken) as server:
        with pytest.raises(openai.APIStatusError, match="the script failed: KeyError: 'nothing of the kind'"):
            model(server).invoke("a")


def test_calls_of_tools_arrive_with_ids_of_their_own_and_their_results_are_found_again(server: ModelServer) -> None:
    server.says(calls(("find", {"text": "ä"}), ("find", {"text": "b"})), calls(("find", {})), "done")
    bound = model(server).bind_tools(TOOLS)
    first = bound.invoke("look")
    assert [call["args"] for call in first.tool_calls] == [{"text": "ä"}, {"text": "b"}]
    said = [HumanMessage("look"), first, *(ToolMessage(f"found {call['id']}", tool_call_id=call["id"]) for call in first.tool_calls)]
    second = bound.invoke(said)
    assert [call["id"] for call in [*first.tool_calls, *second.tool_calls]] == ["call_1", "call_2", "call_3"]
    assert server.asked[1].results == ["found call_1", "found call_2"]
    assert server.asked[1].tools == ["find"]
    server.says("again")
    bound.invoke([*said, AIMessage("done"), HumanMessage("and now?")])
    assert server.asked[2].results == []


@pytest.mark.parametrize("said", [Reply(text="nöt " * 30), calls(("find", {"text": "x" * 100}), ("find", {"n": 1}))], ids=["text", "calls"])
def test_a_stream_adds_up_to_what_comes_at_once(said: Reply, server: ModelServer) -> None:
    server.says(said, said)
    whole = model(server).bind_tools(TOOLS).invoke("a")
    streamed = model(server, streaming=True, stream_usage=True).bind_tools(TOOLS).invoke("a")
    assert isinstance(streamed, AIMessage)
    assert (streamed.text, streamed.tool_calls) == (whole.text, whole.tool_calls)
    assert streamed.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"]
    assert streamed.usage_metadata is not None
    assert whole.usage_metadata is not None
    assert streamed.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"] > 0


def test_a_stream_that_broke_off_has_no_finish_reason(server: ModelServer) -> None:
    server.says(Reply(text="half of", finish_reason=None))
    said = model(server, streaming=True, stream_usage=True).invoke("a")
    assert said.text == "half of"
    assert not said.response_metadata.get("finish_reason")
    assert said.usage_metadata is None


def test_a_failure_carries_status_and_headers_and_is_repeated_by_the_client(server: ModelServer) -> None:
    server.says(*[failure(429, "too fast", **{"Retry-After": "0.1"})] * 2, "now")
    refused = post(server, b"{}")
    assert (refused.status_code, refused.headers["Retry-After"], refused.json()["error"]["message"]) == (429, "0.1", "too fast")
    assert model(server, max_retries=1).invoke("a").text == "now"


def test_a_refusal_is_sent_as_one(server: ModelServer) -> None:
    server.says(Reply(refusal="no"))
    assert model(server).invoke("a").additional_kwargs["refusal"] == "no"


def test_a_reply_that_is_held_back_finds_nobody_waiting(server: ModelServer) -> None:
    server.says(Reply(text="late", delay_s=1.5))
    with pytest.raises(openai.APITimeoutError):
        model(server, timeout=0.5).invoke("a")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","messages":[{"role":"user","content":"\xc3\xa4 \\"tools\\": 1"}],"temperature":0.5,"tools":[{"a":1}]}',
        b'{ "tools" : [{"a":1}] , "stream":false,\n "messages" :[{"role":"user","content":"\xc3\xa4 \\"tools\\": 1"}] }',
    ],
)
def test_input_is_counted_in_the_bytes_that_came(raw: bytes, server: ModelServer) -> None:
    server.says("a")
    assert post(server, raw).status_code == 200
    assert server.asked[0].input == b'[{"a":1}][{"role":"user","content":"\xc3\xa4 \\"tools\\": 1"}]'
    assert server.sent == server.new == len(server.asked[0].input)


def test_the_form_that_a_reply_is_held_to_is_found(server: ModelServer) -> None:
    server.says({"n": 1}, "free")
    schema = {
        "title": "answer",
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    model(server).with_structured_output(schema, method="json_schema").invoke("a")
    model(server).invoke("b")
    assert [list(each.form.get("properties", {})) for each in server.asked] == [["n"], []]


def test_the_form_of_a_reply_is_input_too(server: ModelServer) -> None:
    server.says("a")
    post(server, b'{"messages":[],"response_format":{"type":"json_object"}}')
    assert server.asked[0].input == b'{"type":"json_object"}[]'


def test_what_an_earlier_request_began_with_is_not_new(server: ModelServer) -> None:
    server.says("a", "b")
    post(server, b'{"messages":["same","one"]}')
    post(server, b'{"messages":["same","two!"]}')
    assert server.sent == len('["same","one"]') + len('["same","two!"]')
    assert server.new == len('["same","one"]') + len('two!"]')


def test_what_a_prompt_delimits_as_data_is_found_with_what_it_is_of() -> None:
    told = 'Look:\n<data of="a.1">{"x": "\\u003cb>"}</data>\n<data of="tests">\ntwo\nlines\n</data> <data>nothing'
    assert data(told) == [("a.1", '{"x": "<b>"}'), ("tests", "two\nlines")]


def test_what_is_no_request_is_refused_in_words(server: ModelServer) -> None:
    server.says("a")
    for raw in (b"{", b"[1]", b"\xff"):
        assert "no JSON object" in post(server, raw).json()["error"]["message"]
    assert (server.left, server.asked) == (1, [])
    assert post(server, b"{}", "/embeddings").status_code == 404


def test_after_closing_nothing_answers() -> None:
    with ModelServer(["a"]) as server:
        pass
    with pytest.raises(httpx.ConnectError):
        post(server, b"{}")
