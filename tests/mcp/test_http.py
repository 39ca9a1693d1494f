"""Servers at an address: sessions, keys in headers, and answers that mean harm."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from agent_graph.errors import NotDone, UsageError
from agent_graph.tools.mcp_results import ConnectionLost, ToolFailed
from agent_graph.tools.tool import Tool, ToolContext
from tests.mcp.conftest import Desk, Open, named


def call(tool: Tool, **args: Any) -> Any:
    return asyncio.run(tool.call(ToolContext(), args))


def test_a_call_is_made_with_the_key_of_the_environment(open_servers: Open, desk: Desk) -> None:
    server = {"url": desk.url, "headers": {"Authorization": "Bearer ${DESK_TOKEN}"}}
    tools = named(open_servers({"desk": server}, {"DESK_TOKEN": "s3cret"}))
    assert call(tools["desk.book"], title="x") == {"booked": "x"}
    assert call(tools["desk.caller"]) == {"result": "Bearer s3cret"}
    assert desk.booked() == ["x"]


def test_a_server_that_was_started_anew_is_called_again(open_servers: Open, desk: Desk) -> None:
    tools = named(open_servers({"desk": {"url": desk.url}}))
    call(tools["desk.book"], title="1")
    desk.kill()
    with pytest.raises(NotDone, match="was not called"):
        call(tools["desk.book"], title="lost")
    desk.start()
    call(tools["desk.book"], title="2")
    assert desk.booked() == ["1", "2"]


def test_a_server_that_is_not_there_is_refused_in_words(open_servers: Open) -> None:
    with pytest.raises(UsageError, match="MCP server 'desk' cannot be reached"):
        _ = open_servers({"desk": {"url": "http://127.0.0.1:9/mcp"}}).tools


class Peer:
    """Speaks the protocol up to the call, which it answers as the test says."""

    def __init__(self, http: HTTPServer, answer: Any) -> None:
        self.calls = 0
        self.answer = answer
        http.expect_request("/mcp").respond_with_handler(self.respond)

    def respond(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(status=405)
        message = json.loads(request.data)
        match message.get("method"):
            case "initialize":
                body: Any = {
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "peer", "version": "1"},
                }
            case "tools/list":
                body = {"tools": [{"name": "go", "inputSchema": {"type": "object"}}]}
            case "tools/call":
                self.calls += 1
                made: Response = self.answer(message)
                return made
            case _ if "id" in message:
                error = {"code": -32601, "message": "no"}
                return Response(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}), 200, content_type="application/json")
            case _:
                return Response(status=202)
        return Response(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": body}), 200, content_type="application/json")


def result(message: dict[str, Any], text: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": text}]}}).encode()


def peer_tool(open_servers: Open, http: HTTPServer, answer: Any, **server: Any) -> tuple[Peer, Tool]:
    peer = Peer(http, answer)
    url = http.url_for("/mcp").replace("localhost", "127.0.0.1")
    return peer, named(open_servers({"peer": {"url": url, **server}}, {"KEY": "s3cret"}))["peer.go"]


def test_a_redirect_to_another_host_gets_neither_the_call_nor_the_key(open_servers: Open, httpserver: HTTPServer) -> None:
    asked: list[dict[str, str]] = []
    with HTTPServer(host="127.0.0.1") as thief:

        def take(request: Request) -> Response:
            asked.append(dict(request.headers))
            return Response(status=500)

        thief.expect_request("/").respond_with_handler(take)
        away = Response(status=307, headers={"Location": thief.url_for("/")})
        _, tool = peer_tool(open_servers, httpserver, lambda _: away, headers={"Authorization": "Bearer ${KEY}"})
        with pytest.raises(ToolFailed, match="not followed"):
            call(tool)
    assert asked == []


def test_an_answer_that_is_too_large_is_not_read_to_its_end(open_servers: Open, httpserver: HTTPServer) -> None:
    _, tool = peer_tool(
        open_servers, httpserver, lambda message: Response(result(message, "x" * (17 << 20)), 200, content_type="application/json")
    )
    with pytest.raises(ToolFailed, match="longer than 16,777,216 bytes"):
        call(tool)


def test_an_answer_that_unfolds_is_not_unfolded(open_servers: Open, httpserver: HTTPServer) -> None:
    def bomb(message: dict[str, Any]) -> Response:
        packed = gzip.compress(result(message, "x" * (17 << 20)))
        return Response(packed, 200, content_type="application/json", headers={"Content-Encoding": "gzip"})

    _, tool = peer_tool(open_servers, httpserver, bomb)
    with pytest.raises(ToolFailed, match="may unfold into anything"):
        call(tool)


@pytest.mark.parametrize("status", [500, 503, 404])
def test_a_call_whose_answer_is_an_http_error_is_made_once_and_not_taken_for_not_done(
    open_servers: Open, httpserver: HTTPServer, status: int
) -> None:
    peer, tool = peer_tool(open_servers, httpserver, lambda _: Response(status=status))
    with pytest.raises((ToolFailed, ConnectionLost)):
        call(tool)
    assert peer.calls == 1
