"""``http_get`` and ``http_send`` against real servers of this machine: what is sent, what comes back, and what a failure says."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.tools.http import http_tools
from agent_graph.tools.http_exchange import HttpFailed
from agent_graph.tools.tool import Tool, ToolContext

CONTEXT = ToolContext(run_id="r", step_id="s", idempotency_key="key-1")


def tools(server: HTTPServer, **more: Any) -> dict[str, Tool]:
    made = http_tools([f"http://127.0.0.1:{server.port}"], **{"private": True, "methods": ["GET", "HEAD", "POST", "DELETE"], **more})
    return {each.name: each for each in made}


def call(made: Tool, url: str, **args: Any) -> dict[str, Any]:
    found: dict[str, Any] = asyncio.run(made.call(CONTEXT, {"url": url, **args}))
    return found


def test_json_comes_as_json(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/a", query_string="q=1").respond_with_json({"n": [1, None]}, headers={"ETag": "x", "X-Other": "y"})
    found = call(tools(httpserver)["http_get"], httpserver.url_for("/a?q=1").replace("localhost", "127.0.0.1"))
    assert (found["status"], found["json"], found["text"], found["truncated"]) == (200, {"n": [1, None]}, "", False)
    assert found["headers"]["etag"] == "x"
    assert "x-other" not in found["headers"]


@pytest.fixture
def at(httpserver: HTTPServer) -> str:
    return f"http://127.0.0.1:{httpserver.port}"


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"caf\xc3\xa9", "text/plain", "café"),
        (b"caf\xe9", "text/plain; charset=iso-8859-1", "café"),
        (b"caf\xe9", "text/plain; charset=no-such-thing", "caf\ufffd"),
        (b"eJw=", "text/plain; charset=zip", "eJw="),
        (b'{"a": NaN}', "application/json", '{"a": NaN}'),
        (b'{"a": ', "application/json", '{"a": '),
        (b"[" * 50_000, "application/json", "[" * 50_000),
        (b"\x89PNG\0\0", "image/png", ""),
    ],
)
def test_what_is_no_json_comes_as_text(httpserver: HTTPServer, at: str, body: bytes, kind: str, text: str) -> None:
    httpserver.expect_request("/").respond_with_response(Response(body, content_type=kind))
    found = call(tools(httpserver)["http_get"], at)
    assert (found["json"], found["text"]) == (None, text)


def test_a_head_has_no_body(httpserver: HTTPServer, at: str) -> None:
    httpserver.expect_request("/", method="HEAD").respond_with_data("hello")
    assert call(tools(httpserver)["http_get"], at, method="HEAD")["headers"]["content-length"] == "5"


def test_an_answer_that_is_a_failure_fails_the_read(httpserver: HTTPServer, at: str) -> None:
    httpserver.expect_request("/").respond_with_data("no such thing", status=404)
    with pytest.raises(HttpFailed, match="answered 404: no such thing"):
        call(tools(httpserver)["http_get"], at)


def test_the_environment_s_proxies_are_not_used(httpserver: HTTPServer, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    httpserver.expect_request("/").respond_with_data("direct")
    assert call(tools(httpserver)["http_get"], at)["text"] == "direct"


def test_the_environment_s_netrc_is_not_read(httpserver: HTTPServer, at: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password correct-horse\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    httpserver.expect_request("/").respond_with_handler(lambda request: Response(request.headers.get("Authorization", "none")))
    assert call(tools(httpserver)["http_get"], at)["text"] == "none"


def test_no_cookie_is_kept(httpserver: HTTPServer, at: str) -> None:
    """Not from one call to the next, and not over a redirect."""

    def answer(request: Request) -> Response:
        said = Response(request.headers.get("Cookie", "none"), status=302 if request.path == "/hop" else 200, headers={"Location": "/"})
        said.set_cookie("session", "stolen")
        return said

    httpserver.expect_request("/").respond_with_handler(answer)
    httpserver.expect_request("/hop").respond_with_handler(answer)
    made = tools(httpserver)["http_get"]
    assert [call(made, at)["text"], call(made, at)["text"], call(made, f"{at}/hop")["text"]] == ["none"] * 3


def test_a_host_that_is_not_listed_is_not_asked(httpserver: HTTPServer) -> None:
    with pytest.raises(NotDone, match="is not among the hosts"):
        call(tools(httpserver)["http_get"], f"http://127.0.0.2:{httpserver.port}/")
    with pytest.raises(NotDone, match="is not among the hosts"):
        call(tools(httpserver)["http_get"], f"http://127.0.0.1:{httpserver.port + 1}/")
    assert httpserver.log == []


def test_a_method_that_is_not_allowed_is_not_among_the_arguments(httpserver: HTTPServer, at: str) -> None:
    made = tools(httpserver, methods=["GET", "POST"])
    assert made["http_send"].spec.args_schema["properties"]["method"]["const"] == "POST"
    with pytest.raises(NotDone):
        call(made["http_send"], at, method="DELETE")
    assert httpserver.log == []


def test_only_the_tools_whose_methods_are_allowed_are_made(httpserver: HTTPServer) -> None:
    assert list(tools(httpserver, methods=["GET"])) == ["http_get"]
    assert list(tools(httpserver, methods=["POST"])) == ["http_send"]


def test_a_read_counts_as_going_out_since_an_address_can_carry_anything(httpserver: HTTPServer) -> None:
    spec = tools(httpserver)["http_get"].spec
    assert (spec.risk, spec.outbound, spec.trusted_output) == ("read_only", True, False)


# ── redirects ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_redirect_within_the_list_is_followed(httpserver: HTTPServer, at: str) -> None:
    httpserver.expect_request("/a").respond_with_data("", status=301, headers={"Location": "b?c=1"})
    httpserver.expect_request("/b", query_string="c=1").respond_with_data("here")
    found = call(tools(httpserver)["http_get"], f"{at}/a")
    assert (found["text"], found["url"]) == ("here", f"{at}/b?c=1")


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/",
        "http://169.254.169.254/latest/",
        "file:///etc/passwd",
        "//u@127.0.0.1:{port}/",
        "http://2130706433:{port}/",
    ],
)
def test_a_redirect_is_looked_at_like_a_first_address(httpserver: HTTPServer, at: str, location: str) -> None:
    httpserver.expect_request("/a").respond_with_data("", status=302, headers={"Location": location.format(port=httpserver.port)})
    with pytest.raises(NotDone, match="redirects to"):
        call(tools(httpserver)["http_get"], f"{at}/a")
    assert len(httpserver.log) == 1


def test_redirects_are_bounded(httpserver: HTTPServer, at: str) -> None:
    httpserver.expect_request("/a").respond_with_data("", status=302, headers={"Location": "/a"})
    with pytest.raises(HttpFailed, match="more than 2 times"):
        call(tools(httpserver, max_redirects=2)["http_get"], f"{at}/a")
    assert len(httpserver.log) == 3


def test_what_is_sent_is_not_sent_on_by_a_redirect(httpserver: HTTPServer, at: str) -> None:
    httpserver.expect_request("/a").respond_with_data("", status=307, headers={"Location": "/b"})
    with pytest.raises(NotDone, match="to be sent to '/b'"):
        call(tools(httpserver)["http_send"], f"{at}/a", json_body={})
    assert len(httpserver.log) == 1


# ── sending ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_sent_carries_its_idempotency_key(httpserver: HTTPServer, at: str) -> None:
    httpserver.expect_request("/", method="POST").respond_with_handler(
        lambda request: Response(
            json.dumps([request.headers["Idempotency-Key"], request.headers["Content-Type"], request.json]), content_type="application/json"
        )
    )
    assert call(tools(httpserver)["http_send"], at, json_body={"a": "ü"})["json"] == ["key-1", "application/json", {"a": "ü"}]


def test_text_is_sent_as_what_it_is_said_to_be(httpserver: HTTPServer, at: str) -> None:
    httpserver.expect_request("/", method="POST").respond_with_handler(
        lambda request: Response(f"{request.content_type}: {request.get_data(as_text=True)}")
    )
    assert call(tools(httpserver)["http_send"], at, text_body="<a/>", content_type="application/xml")["text"] == "application/xml: <a/>"


def test_sending_is_blind_unless_the_operator_says_that_keys_are_honoured(httpserver: HTTPServer) -> None:
    assert tools(httpserver)["http_send"].spec.recovery == "blind"
    assert tools(httpserver, honours_keys=True)["http_send"].spec.recovery == "keyed"
    assert tools(httpserver)["http_send"].spec.risk == "external_communication"


def test_nothing_is_sent_without_a_key(httpserver: HTTPServer, at: str) -> None:
    with pytest.raises(NotDone, match="idempotency key"):
        asyncio.run(tools(httpserver)["http_send"].call(ToolContext(), {"url": at}))
    assert httpserver.log == []


@pytest.mark.parametrize(
    ("status", "certain"),
    [(400, True), (401, True), (404, True), (422, True), (429, True), (408, False), (409, False), (500, False), (503, False)],
)
def test_a_refusal_is_certain_and_a_failure_is_not(httpserver: HTTPServer, at: str, status: int, certain: bool) -> None:
    httpserver.expect_request("/", method="POST").respond_with_data("why", status=status)
    with pytest.raises(NotDone if certain else HttpFailed, match=f"answered {status}: why"):
        call(tools(httpserver)["http_send"], at)


def test_nothing_was_sent_when_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        made = http_tools([f"http://127.0.0.1:{port}"], private=True, methods=["POST"])[0]
        with pytest.raises(NotDone, match="nothing was sent"):
            call(made, f"http://127.0.0.1:{port}/")


def test_nothing_is_sent_that_is_too_large(httpserver: HTTPServer, at: str) -> None:
    with pytest.raises(NotDone, match="nothing was sent"):
        call(tools(httpserver)["http_send"], at, text_body="x" * ((1 << 20) + 1))
    assert httpserver.log == []


@pytest.mark.parametrize(
    "headers", [{"Host": "x"}, {"Content-Length": "1"}, {"a b": "x"}, {"A": "x\r\nB: y"}, {"Transfer-Encoding": "chunked"}]
)
def test_a_header_that_decides_where_a_message_goes_or_ends_cannot_be_set(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidToolError, match="header"):
        http_tools(["api.example.org"], headers=headers)
