"""A credential is named in code, read from the environment at each call, told to its own origin, and stands nowhere else."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from agent_graph import AgentGraph, Plan, Policy, Resolve
from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.plan import Step
from agent_graph.tools.http import http_tools
from agent_graph.tools.http_exchange import HttpFailed
from agent_graph.tools.tool import Tool, ToolContext

SECRET = "tr0ub4dor/and+three=words"  # noqa: S105
HEADERS = {"Authorization": "Bearer {SHOP_ACCESS}"}
ENVIRONMENT = {"SHOP_ACCESS": SECRET}
"""A name that tells nobody that it is a secret's."""


def echo(request: Request) -> Response:
    """What a server may do with a credential: give it back, in more than one spelling."""
    got = request.headers.get("Authorization", "none")
    escaped = "".join(f"\\u{ord(each):04x}" for each in got)
    spelt = {"plain": got, "base64": base64.b64encode(got.encode()).decode(), got: 1, "escaped": escaped, f"a {escaped}": 1}
    body = json.dumps(spelt).replace("\\\\u", "\\u")
    status = int(request.args.get("status", "200"))
    return Response(
        body, status=status, content_type=request.args.get("type", "application/json"), headers={"ETag": got, "Location": f"/?{got}"}
    )


@pytest.fixture
def at(httpserver: HTTPServer) -> str:
    httpserver.expect_request("/").respond_with_handler(echo)
    return f"http://127.0.0.1:{httpserver.port}"


@pytest.fixture(scope="module")
def second() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1") as server:
        yield server


@pytest.fixture
def other(second: HTTPServer) -> HTTPServer:
    second.clear()
    second.expect_request("/").respond_with_handler(echo)
    return second


def call(made: Tool, url: str, **args: Any) -> dict[str, Any]:
    found: dict[str, Any] = asyncio.run(made.call(ToolContext(idempotency_key="k"), {"url": url, **args}))
    return found


def test_a_credential_is_sent_to_its_origin(httpserver: HTTPServer, at: str) -> None:
    call(http_tools([at], private=True, headers_from_env=HEADERS, environment=ENVIRONMENT)[0], at)
    assert httpserver.log[0][0].headers["Authorization"] == f"Bearer {SECRET}"


def test_a_bare_name_is_the_whole_header(httpserver: HTTPServer, at: str) -> None:
    call(http_tools([at], private=True, headers_from_env={"X-Api-Key": "SHOP_ACCESS"}, environment=ENVIRONMENT)[0], at)
    assert httpserver.log[0][0].headers["X-Api-Key"] == SECRET


def test_it_is_not_sent_to_another_origin_of_the_same_tool(at: str, other: HTTPServer) -> None:
    there = f"http://127.0.0.1:{other.port}"
    made = http_tools([at, there], private=True, headers_from_env={at: HEADERS}, environment=ENVIRONMENT)[0]
    assert call(made, there)["json"]["plain"] == "none"


@pytest.mark.parametrize("theirs", [{}, {"there": HEADERS}])
def test_it_is_dropped_by_a_redirect_to_another_origin(httpserver: HTTPServer, at: str, other: HTTPServer, theirs: dict[str, Any]) -> None:
    """The other origin's own is not sent either: a redirect does not speak in our name."""
    there = f"http://127.0.0.1:{other.port}"
    httpserver.expect_request("/hop").respond_with_data("", status=302, headers={"Location": f"{there}/"})
    given = {at: HEADERS} | ({there: HEADERS} if theirs else {})
    made = http_tools([at, there], private=True, headers_from_env=given, environment=ENVIRONMENT)[0]
    assert call(made, f"{at}/hop")["json"]["plain"] == "none"


def test_it_is_not_sent_again_after_a_way_through_another_origin(httpserver: HTTPServer, at: str, other: HTTPServer) -> None:
    there = f"http://127.0.0.1:{other.port}"
    httpserver.expect_request("/hop").respond_with_data("", status=302, headers={"Location": f"{there}/back"})
    other.expect_request("/back").respond_with_data("", status=302, headers={"Location": f"{at}/"})
    made = http_tools([at, there], private=True, headers_from_env={at: HEADERS}, environment=ENVIRONMENT)[0]
    assert call(made, f"{at}/hop")["json"]["plain"] == "none"


def test_it_is_read_at_each_call(httpserver: HTTPServer, at: str) -> None:
    environment = {"SHOP_ACCESS": "the first one"}
    made = http_tools([at], private=True, headers_from_env=HEADERS, environment=environment)[0]
    call(made, at)
    environment["SHOP_ACCESS"] = "the second one\n"
    call(made, at)
    assert [each[0].headers["Authorization"] for each in httpserver.log] == ["Bearer the first one", "Bearer the second one"]


@pytest.mark.parametrize(
    ("value", "why"),
    [("", "is not set"), ("a\r\nX: y", "cannot stand in a header"), ("schlüssel", "cannot stand in a header"), ("abc", "at least 4")],
)
def test_nothing_is_sent_with_a_credential_that_cannot_be(httpserver: HTTPServer, at: str, value: str, why: str) -> None:
    made = http_tools([at], private=True, headers_from_env=HEADERS, environment={"SHOP_ACCESS": value})[0]
    with pytest.raises(NotDone, match=f"SHOP_ACCESS.*{why}"):
        call(made, at)
    assert httpserver.log == []


@pytest.mark.parametrize(
    ("hosts", "given", "why"),
    [
        (["a.test", "b.test"], {"Authorization": "TOKEN"}, "which host each credential belongs to"),
        (["*.a.test"], {"Authorization": "TOKEN"}, "which host each credential belongs to"),
        (["*"], {"*": {"Authorization": "TOKEN"}}, "any host"),
        (["*.a.test"], {"*.a.test": {"Authorization": "TOKEN"}}, "any host"),
        (["a.test"], {"b.test": {"Authorization": "TOKEN"}}, "not one of hosts"),
        (["a.test"], {"Host": "TOKEN"}, "no header"),
        (["a.test"], {"Content-Length": "TOKEN"}, "no header"),
        (["a.test"], {"Authorization": "Bearer {}"}, "name environment variables"),
        (["a.test"], {"Authorization": "Bearer {TOKEN"}, "in braces"),
        (["a.test"], {"Authorization": "sk-live-the-value-itself"}, "name environment variables"),
    ],
)
def test_a_credential_that_belongs_to_nobody_in_particular_is_refused_when_the_tool_is_made(hosts: list[str], given: Any, why: str) -> None:
    with pytest.raises(InvalidToolError, match=why) as refused:
        http_tools(hosts, headers_from_env=given)
    assert "the-value-itself" not in str(refused.value)


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_what_comes_back_is_without_it_however_it_is_spelt(at: str, kind: str) -> None:
    made = http_tools([at], private=True, headers_from_env=HEADERS, environment=ENVIRONMENT)[0]
    found = json.dumps(call(made, f"{at}/?type={kind}"))
    assert SECRET not in found
    assert base64.b64encode(SECRET.encode()).decode()[4:-4] not in found
    if kind == "application/json":
        assert found.count("[redacted: SHOP_ACCESS]") >= 6


@pytest.mark.parametrize(("status", "kind"), [(500, HttpFailed), (403, NotDone), (307, NotDone)])
def test_a_failure_is_without_it(at: str, status: int, kind: type[Exception]) -> None:
    made = http_tools([at], private=True, methods=["POST"], headers_from_env=HEADERS, environment=ENVIRONMENT)[0]
    with pytest.raises(kind) as failed:
        call(made, f"{at}/?status={status}")
    assert SECRET not in str(failed.value)
    assert "[redacted: SHOP_ACCESS]" in str(failed.value)


def test_nothing_of_it_is_in_the_tool() -> None:
    made = http_tools(["a.test"], headers_from_env=HEADERS, environment=ENVIRONMENT)[0]
    assert SECRET not in repr(made) + made.spec.description + json.dumps(made.spec.args_schema)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_is_nowhere_after_a_run(
    at: str, store_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, method: str, status: int
) -> None:
    """Not in the store's file, the run, the trace, the events, what a person is shown and answers, the log."""
    caplog.set_level(logging.INFO)
    made = http_tools([at], private=True, methods=[method], headers_from_env=HEADERS, environment=ENVIRONMENT)[0]  # type: ignore[list-item]
    plan = Plan(goal="ask", steps=(Step(id="a", tool=made.name, args={"url": f"{at}/?status={status}"}),))
    with AgentGraph([made], store=store_path, policy=Policy.allow_all()) as agent:
        events = list(agent.stream(plan=plan))
        run = agent.get(events[0].run_id)
        shown = run.model_dump_json() + repr(events) + repr(agent.trace(run.id)) + repr(agent.deps) + run._repr_html_()
        if run.requests:
            shown += agent.resume(run, Resolve(outcome="landed")).model_dump_json()
    shown += "".join(capsys.readouterr()) + caplog.text
    with sqlite3.connect(store_path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    disk = b"".join(path.read_bytes() for path in sorted(store_path.parent.glob(store_path.name + "*")))
    assert "[redacted: SHOP_ACCESS]" in shown
    assert SECRET not in shown
    assert SECRET.encode() not in disk
    assert base64.b64encode(SECRET.encode())[4:-4] not in disk
