"""The config: which programs are started and to whom keys are sent is said there, and what cannot be meant is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph.errors import InvalidDocument, UsageError
from agent_graph.tools.mcp import MCPServers


def load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> MCPServers:
    (tmp_path / "mcp.yaml").write_text(text)
    return MCPServers.load(tmp_path / "mcp.yaml", environment=environment or {"PATH": "/usr/bin"})


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("{command: a, url: 'https://b'}", "one of the two"),
        ("{}", "one of the two"),
        ("{url: 'http://example.org/mcp'}", "use https, or say plain_http: true"),
        ("{url: 'http://127.0.0.1.example.org/mcp'}", "use https"),
        ("{url: 'https://me:pw@example.org'}", "no place for a password"),
        ("{url: 'file:///etc/passwd'}", "begins with https://"),
        ("{url: 'https://b', headers: {Authorization: 'Bearer abc'}}", "looks like a secret"),
        ("{url: 'https://b', headers: {X-Api-Key: abc}}", "looks like a secret"),
        ("{url: 'https://b', headers: {\"X\\ny\": abc}}", "cannot be sent as a header"),
        ("{url: 'https://b', args: [x]}", "args, env and cwd are for a command"),
        ("{command: a, headers: {X: y}}", "headers and plain_http are for a url"),
        ("{command: a, env: {TOKEN: abc}}", "env"),
        ("{command: a, env: ['TOKEN=abc']}", "env"),
        ("{command: a, shell: true}", "not known here"),
        ("{command: a, tools: {t: {recovery: probeable}}}", "needs a probe"),
        ("{command: a, tools: {t: {recovery: keyed}}}", "belong together"),
        ("{command: a, tools: {t: {risk: harmless}}}", "risk"),
        ("{command: a, timeout: 0}", "timeout"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path: Path, server: str, said: str) -> None:
    with pytest.raises(InvalidDocument, match=f"(?s)mcp.yaml, line 2.*{said}"):
        load(tmp_path, f"servers:\n  desk: {server}\n")


@pytest.mark.parametrize("text", ["servers: {}", "servers: {'a b': {command: x}}", "pins: mcp.lock\nservers: {a: {command: x}}", "[]"])
def test_a_config_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidDocument, match=r"mcp\.yaml"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("server", "environment", "said"),
    [
        ("{url: 'https://b', headers: {Authorization: 'Bearer ${DESK}'}}", {}, "needs the variable DESK"),
        ("{url: 'https://b', headers: {Authorization: '${DESK}'}}", {"DESK": "a\r\nX: y"}, "no header can carry it"),
        ("{command: a, env: [DESK]}", {}, "is to get DESK"),
    ],
)
def test_a_variable_that_is_not_set_or_cannot_be_sent_is_told_before_anything_is_started(
    tmp_path: Path, server: str, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        load(tmp_path, f"servers: {{desk: {server}}}", {"PATH": "/usr/bin", **environment})


def test_the_values_of_headers_are_handed_out_as_secrets(tmp_path: Path) -> None:
    text = "servers: {desk: {url: 'https://b', headers: {Authorization: 'Bearer ${DESK}', X-Team: ops}}}"
    assert load(tmp_path, text, {"DESK": "abcdef", "OTHER": "x"}).secrets == {"DESK": "abcdef"}


def test_a_config_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mcp.yaml").write_text("servers: {desk: {command: a}}")
    (tmp_path / "mcp.yaml").chmod(0o666)
    with pytest.raises(UsageError, match="everybody on this machine may write it"):
        MCPServers.load(tmp_path / "mcp.yaml")


def test_http_without_encryption_has_to_be_wanted(tmp_path: Path) -> None:
    for server in ("{url: 'http://example.org', plain_http: true}", "{url: 'http://[::1]:80/mcp'}"):
        assert list(load(tmp_path, f"servers: {{desk: {server}}}").config.servers) == ["desk"]


def test_a_file_of_two_lines_gives_the_command_line_its_tools(tmp_path: Path, rogue: Any) -> None:
    import sys

    from agent_graph.tools.registry import load_tools
    from tests.mcp.conftest import SERVERS

    rogue.offer("append")
    (tmp_path / "mcp.yaml").write_text(f"servers: {{rogue: {{command: {sys.executable}, args: [{SERVERS / 'rogue.py'}, {rogue.folder}]}}}}")
    (tmp_path / "desk_tools.py").write_text(
        f"from agent_graph.tools.mcp import MCPServers\nTOOLS = MCPServers.load({str(tmp_path / 'mcp.yaml')!r}).tools\n"
    )
    assert [each.name for each in load_tools(str(tmp_path / "desk_tools.py"))] == ["rogue.append"]
