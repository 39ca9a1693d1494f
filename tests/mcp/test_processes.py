"""The programs behind the sessions: one for many calls, opened again when it died, and gone when we are."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent_graph.errors import NotDone, UsageError
from agent_graph.tools.mcp_results import ConnectionLost
from agent_graph.tools.tool import Tool, ToolContext
from tests.mcp.conftest import SERVERS, Rogue, is_gone, named, until


def call(tool: Tool, **args: object) -> object:
    return asyncio.run(tool.call(ToolContext(), args))


def test_one_process_serves_all_calls_from_threads_and_event_loops(rogue: Rogue) -> None:
    tool = rogue.tool("append")

    async def several() -> None:
        await asyncio.gather(*(tool.call(ToolContext(), {"text": str(number)}) for number in range(5)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: call(tool, text=str(number)), range(8)))
    asyncio.run(several())
    assert (len(rogue.effects()), len(rogue.pids())) == (13, 1)


def test_a_server_that_died_between_calls_is_started_again(rogue: Rogue) -> None:
    tool = rogue.tool("append")
    call(tool, text="1")
    rogue.kill()
    call(tool, text="2")
    assert (rogue.effects(), len(rogue.pids())) == ([{"text": "1"}, {"text": "2"}], 2)


def test_a_server_that_died_in_a_call_is_started_again_for_the_next(rogue: Rogue) -> None:
    servers = rogue.servers("append_and_die", "append")
    tools = named(servers)
    with pytest.raises(ConnectionLost):
        call(tools["rogue.append_and_die"])
    assert call(tools["rogue.append"], text="x") == 'done {"text": "x"}'


def test_close_ends_a_server_that_does_not_want_to_with_what_it_started(rogue: Rogue) -> None:
    servers = rogue.servers("append", mode="stubborn")
    assert servers.tools
    assert len(rogue.pids()) == 2
    servers.close()
    assert until(lambda: all(is_gone(pid) for pid in rogue.pids()))


def test_a_server_of_a_host_that_is_killed_ends_with_all_that_it_started(rogue: Rogue, tmp_path: Path) -> None:
    rogue.offer("append")
    config = tmp_path / "mcp.json"
    server = {"command": sys.executable, "args": [str(SERVERS / "rogue.py"), str(rogue.folder), "stubborn"]}
    config.write_text(json.dumps({"servers": {"rogue": server}}))
    code = f"import os\nfrom agent_graph.tools.mcp import MCPServers\nMCPServers.load({str(config)!r}).tools\nos.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(rogue.pids()) == 2
    assert until(lambda: all(is_gone(pid) for pid in rogue.pids()))


def test_a_host_that_ends_without_closing_leaves_nothing_behind_and_says_nothing(rogue: Rogue, tmp_path: Path) -> None:
    rogue.offer("append")
    config = tmp_path / "mcp.yaml"
    config.write_text(f"servers: {{rogue: {{command: {sys.executable}, args: [{SERVERS / 'rogue.py'}, {rogue.folder}, greet]}}}}")
    code = f"from agent_graph.tools.mcp import MCPServers\nservers = MCPServers.load({str(config)!r})\nprint(len(servers.tools))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\n", "")  # nor does the SDK print a traceback, for a server that greets on its stdout
    assert "it sent what is no message" in (tmp_path / ".agent-graph" / "mcp" / "rogue.log").read_text()
    assert until(lambda: all(is_gone(pid) for pid in rogue.pids()))


def test_a_server_is_given_the_variables_that_are_named_and_no_others(rogue: Rogue) -> None:
    environment = {"PATH": os.environ["PATH"], "DESK_TOKEN": "s3cret-token", "HOME": "elsewhere", "OTHER": "no"}
    servers = rogue.servers("environment", env=["DESK_TOKEN"], environment=environment)
    given = call(named(servers)["rogue.environment"])
    assert isinstance(given, dict)
    assert given.keys() - {"LC_CTYPE"} == {"PATH", "DESK_TOKEN"}  # Python itself sets LC_CTYPE


def test_no_shell_reads_the_command(rogue: Rogue, tmp_path: Path) -> None:
    rogue.offer("append")
    servers = rogue.servers(
        "append", args=[str(SERVERS / "rogue.py"), str(rogue.folder), f"; touch {tmp_path}/owned; $(touch {tmp_path}/owned)"]
    )
    assert servers.tools
    assert not (tmp_path / "owned").exists()


def test_what_it_writes_to_stderr_is_in_a_bounded_private_log_without_secrets_and_not_on_the_terminal(
    rogue: Rogue, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    environment = {"PATH": os.environ["PATH"], "DESK_TOKEN": "s3cret-token"}
    servers = rogue.servers("shout", env=["DESK_TOKEN"], environment=environment)
    call(named(servers)["rogue.shout"])
    servers.close()
    logs = sorted((tmp_path / "logs").iterdir())
    assert capfd.readouterr().err == ""
    assert len(logs) == 2
    assert all(log.stat().st_size <= 1_000_000 and log.stat().st_mode & 0o077 == 0 for log in logs)
    said = "".join(log.read_text() for log in logs)
    assert "the key is [redacted: DESK_TOKEN]" in said
    assert "s3cret" not in said


def test_a_message_that_never_ends_ends_the_server_and_not_the_host(rogue: Rogue) -> None:
    tool = rogue.tool("flood")
    with pytest.raises(ConnectionLost, match="more than 16,777,216 bytes"):
        call(tool)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"command": "there-is-no-such-program"}, "there is no program 'there-is-no-such-program'"),
        ({"args": ["-c", "import sys; sys.exit('no licence')"]}, "no licence"),
        ({"mode": "mute", "connect_timeout": 0.5}, "did not begin to speak within 0.5 s"),
        ({"mode": "endless"}, "its list goes on after"),
        ({"cwd": "nowhere"}, "nowhere"),
    ],
    ids=["no program", "it ends at once", "it says nothing", "a list without end", "no folder"],
)
def test_a_server_that_cannot_be_used_is_refused_in_words(rogue: Rogue, server: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _ = rogue.servers("append", **server).tools  # type: ignore[arg-type]


def test_a_server_that_hangs_at_the_question_for_its_tools_leaves_no_doubt(rogue: Rogue) -> None:
    tool = rogue.tool("append")
    os.kill(rogue.pids()[0], signal.SIGSTOP)
    try:
        with pytest.raises(NotDone, match="was not ready in time"):
            asyncio.run(tool.call(ToolContext(deadline=time.time() + 1), {}))
    finally:
        os.kill(rogue.pids()[0], signal.SIGCONT)
    assert rogue.effects() == []


def test_two_threads_that_ask_for_the_tools_at_once_start_one_server(rogue: Rogue) -> None:
    servers = rogue.servers("append")
    threads = [threading.Thread(target=lambda: servers.tools) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(rogue.pids()) == 1
