"""The address that is connected to is the one that was checked, whatever the name says a moment later."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from pytest_httpserver import HTTPServer

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.tools.http import http_tools
from agent_graph.tools.tool import ToolContext

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address of this machine unless somebody adds it")

ALLOWED = ["127.0.0.2/32"]
"""Loopback stands for the public here: one of its addresses is allowed, and all others are as private as they are."""


class Names:
    """A resolver that is asked like any other, and gives the next of its answers each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[HTTPServer, HTTPServer]]:
    """At one port of two addresses."""
    with HTTPServer(host="127.0.0.2") as outside, HTTPServer(host="127.0.0.1", port=outside.port) as inside:
        yield outside, inside


@pytest.fixture
def outside(servers: tuple[HTTPServer, HTTPServer]) -> HTTPServer:
    """What may be asked."""
    servers[0].clear()
    servers[0].expect_request("/").respond_with_data("outside")
    return servers[0]


@pytest.fixture
def inside(servers: tuple[HTTPServer, HTTPServer]) -> HTTPServer:
    """What may not be."""
    servers[1].clear()
    servers[1].expect_request("/").respond_with_data("inside")
    return servers[1]


def ask(server: HTTPServer, names: Names, path: str = "/", **more: Any) -> str:
    made = http_tools(
        [f"http://api.test:{server.port}", f"http://other.test:{server.port}"], **{"private": ALLOWED, "resolve": names, **more}
    )[0]
    found = asyncio.run(made.call(ToolContext(), {"url": f"http://api.test:{server.port}{path}"}))
    return str(found["text"])


def test_a_name_is_resolved_once_and_its_second_answer_does_not_count(outside: HTTPServer, inside: HTTPServer) -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    assert ask(outside, names) == "outside"
    assert names.asked == ["api.test"]
    assert inside.log == []


def test_a_name_that_has_come_to_lead_inside_is_refused(outside: HTTPServer, inside: HTTPServer) -> None:
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    ask(outside, names)
    with pytest.raises(NotDone, match=r"api\.test leads to 127\.0\.0\.1, this machine"):
        ask(outside, names)
    assert inside.log == []


@pytest.mark.parametrize(
    "answer", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "::1"], ["127.0.0.2", "::ffff:127.0.0.2"]]
)
def test_one_refused_address_among_others_refuses_the_name(outside: HTTPServer, inside: HTTPServer, answer: list[str]) -> None:
    with pytest.raises(NotDone, match="leads to"):
        ask(outside, Names(answer))
    assert outside.log == inside.log == []


@pytest.mark.parametrize(
    "answer",
    [[], ["not an address"], ["fe80::1%lo"], ["169.254.169.254"], ["0.0.0.0"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"]],  # noqa: S104  # nothing is bound
)
def test_an_answer_that_is_no_public_address_is_refused(outside: HTTPServer, answer: list[str]) -> None:
    with pytest.raises(NotDone, match=r"leads to|no address"):
        ask(outside, Names(answer))
    assert outside.log == []


def test_a_redirect_to_another_name_is_resolved_and_checked_by_itself(outside: HTTPServer, inside: HTTPServer) -> None:
    outside.expect_request("/hop").respond_with_data("", status=302, headers={"Location": f"http://other.test:{outside.port}/"})
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    with pytest.raises(NotDone, match=r"other\.test leads to 127\.0\.0\.1"):
        ask(outside, names, "/hop")
    assert names.asked == ["api.test", "other.test"]
    assert inside.log == []


def test_the_server_is_told_the_name_and_not_the_address(outside: HTTPServer) -> None:
    assert ask(outside, Names(["127.0.0.2"])) == "outside"
    assert outside.log[0][0].headers["Host"] == f"api.test:{outside.port}"


def test_the_next_address_of_a_name_is_tried_when_nobody_listens_at_the_first(outside: HTTPServer) -> None:
    assert ask(outside, Names(["127.0.0.3", "127.0.0.2"]), private=["127.0.0.2/31"]) == "outside"


def test_the_private_addresses_of_this_machine_are_refused_without_a_word_of_the_operator(inside: HTTPServer) -> None:
    """With the system's own resolver."""
    made = http_tools([f"http://localhost:{inside.port}"])[0]
    with pytest.raises(NotDone, match="localhost leads to"):
        asyncio.run(made.call(ToolContext(), {"url": f"http://localhost:{inside.port}/"}))
    made = http_tools([f"http://127.0.0.1:{inside.port}"])[0]
    with pytest.raises(NotDone, match=r"127\.0\.0\.1 is 127\.0\.0\.1, this machine"):
        asyncio.run(made.call(ToolContext(), {"url": f"http://127.0.0.1:{inside.port}/"}))
    assert inside.log == []


def test_a_name_that_is_not_known_is_said() -> None:
    made = http_tools(["nothing.invalid"])[0]
    with pytest.raises(NotDone, match=r"nothing\.invalid has no address"):
        asyncio.run(made.call(ToolContext(), {"url": "https://nothing.invalid/"}))


# ── TLS: the certificate is the name's, though the address is connected to ────────────────────────────────────────────


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def ask_tls(certificate: trustme.LeafCert, trusted: Path | None, host: str = "api.test") -> tuple[str, list[str | None]]:
    said: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.sni_callback = lambda _, name, __: said.append(name)
    with HTTPServer(host="127.0.0.2", ssl_context=context) as server:
        server.expect_request("/").respond_with_data("encrypted")
        made = http_tools([f"{host}:{server.port}"], private=ALLOWED, resolve=Names(["127.0.0.2"]), ca_file=trusted)[0]
        found = asyncio.run(made.call(ToolContext(), {"url": f"https://{host}:{server.port}/"}))
        return str(found["text"]), said


def test_the_certificate_is_asked_for_and_checked_by_name(authority: trustme.CA, trusted: Path) -> None:
    assert ask_tls(authority.issue_cert("api.test"), trusted) == ("encrypted", ["api.test"])


def test_the_certificate_of_another_name_is_refused_and_nothing_is_sent(authority: trustme.CA, trusted: Path) -> None:
    with pytest.raises(NotDone, match=r"nothing was sent.*not valid for 'api\.test'"):
        ask_tls(authority.issue_cert("127.0.0.2", "evil.test"), trusted)


def test_a_certificate_that_nobody_vouches_for_is_refused(authority: trustme.CA) -> None:
    with pytest.raises(NotDone, match="CERTIFICATE_VERIFY_FAILED"):
        ask_tls(authority.issue_cert("api.test"), None)


def test_an_address_is_checked_by_the_certificate_s_addresses(authority: trustme.CA, trusted: Path) -> None:
    certificate = authority.issue_cert("127.0.0.2")
    assert ask_tls(certificate, trusted, "127.0.0.2")[0] == "encrypted"


def test_certificates_that_cannot_be_read_are_said_when_the_tool_is_made(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(InvalidToolError, match=r"ca_file .*no\.pem cannot be read"):
        http_tools(["api.test"], ca_file=tmp_path / "no.pem")
