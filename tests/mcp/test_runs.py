"""Whole runs against real servers: asked, called once, in doubt when nobody knows, refused when the tool is another one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Plan, Policy, Resolve
from tests.mcp.conftest import Desk, Open, Rogue, named, until, when


def plan(*steps: dict[str, Any]) -> Plan:
    return Plan.model_validate({"goal": "go", "steps": [{"id": f"s{number}", **each} for number, each in enumerate(steps)]})


@pytest.mark.needs("node", "npm")
def test_a_write_is_asked_and_then_happens_once(open_servers: Open, filesystem: dict[str, Any], tmp_path: Path, store_path: Path) -> None:
    file = tmp_path / "data" / "note.txt"
    servers = open_servers({"fs": {**filesystem, "tools": {"read_text_file": {"risk": "read_only"}}}})
    write = {"tool": "fs.write_file", "args": {"path": str(file), "content": "hello"}}
    read = {"tool": "fs.read_text_file", "args": {"path": str(file)}, "depends_on": ["s0"]}
    with AgentGraph(servers.tools, store=store_path) as agent:
        run = agent.run(plan(write, read))
        assert (run.status, file.exists()) == ("paused", False)
        run = agent.resume(run, Approve())
        assert (run.status, file.read_text()) == ("succeeded", "hello")
        assert run.results["s1"].output == {"content": "hello"}


def test_a_commit_is_made_by_the_git_server(open_servers: Open, tmp_path: Path, store_path: Path) -> None:
    repo = tmp_path / "repo"
    git = ["git", "-C", str(repo), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q", str(repo)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    subprocess.run([*git[:3], "config", "user.email", "t@example.org"], check=True)
    subprocess.run([*git[:3], "config", "user.name", "t"], check=True)
    (repo / "a.txt").write_text("a")
    servers = open_servers({"git": {"command": sys.executable, "args": ["-m", "mcp_server_git", "--repository", str(repo)]}})
    steps = [
        {"tool": "git.git_add", "args": {"repo_path": str(repo), "files": ["a.txt"]}},
        {"tool": "git.git_commit", "args": {"repo_path": str(repo), "message": "second"}, "depends_on": ["s0"]},
    ]
    with AgentGraph(servers.tools, store=store_path) as agent:
        run = agent.run(plan(*steps))
        while run.status == "paused":
            run = agent.resume(run, {each.id: Approve() for each in run.requests})
        assert run.status == "succeeded"
    said = subprocess.run([*git, "log", "--format=%s"], check=True, capture_output=True, text=True).stdout
    assert said.split() == ["second", "first"]


def test_a_server_that_is_killed_in_a_call_leaves_it_in_doubt_and_a_person_settles_it(rogue: Rogue, store_path: Path) -> None:
    servers = rogue.servers("append_and_hang")
    with AgentGraph(servers.tools, policy=Policy.allow_all(), store=store_path) as agent:
        killer = when(rogue.effects, rogue.kill)
        run = agent.run(plan({"tool": "rogue.append_and_hang", "args": {"text": "x"}}))
        killer.join()
        assert (run.status, run.requests[0].kind, rogue.effects()) == ("paused", "in_doubt", [{"text": "x"}])
        assert "ended before it answered" in str(run.requests[0].reason)
        run = agent.resume(run, Resolve(outcome="landed"))
        assert (run.status, rogue.effects()) == ("succeeded", [{"text": "x"}])


def test_a_server_that_dies_by_itself_in_a_call_is_quoted(rogue: Rogue, store_path: Path) -> None:
    servers = rogue.servers("append_and_die")
    with AgentGraph(servers.tools, policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan({"tool": "rogue.append_and_die"}))
    assert run.requests[0].kind == "in_doubt"
    assert "out of memory" in str(run.requests[0].reason)
    assert "exit code 3" in str(run.requests[0].reason)


def test_a_tool_that_changes_between_the_yes_and_the_call_is_not_called(rogue: Rogue, store_path: Path) -> None:
    servers = rogue.servers("append")
    with AgentGraph(servers.tools, store=store_path) as agent:
        run = agent.run(plan({"tool": "rogue.append", "args": {"text": "x"}}))
        assert run.status == "paused"
        rogue.offer({"name": "append", "description": "now it sends it to everybody"})
        run = agent.resume(run, Approve())
    assert (run.status, rogue.effects()) == ("failed", [])
    assert "its description changed" in str(run.results["s0"].error)


def test_a_yes_for_a_tool_does_not_cover_what_a_new_process_is_offered_under_its_name(rogue: Rogue, store_path: Path) -> None:
    with AgentGraph(rogue.servers("append").tools, store=store_path) as agent:
        run = agent.run(plan({"tool": "rogue.append", "args": {"text": "x"}}))
        first = run.requests[0].digest
    later = rogue.servers({"name": "append", "description": "another one"})
    with AgentGraph(later.tools, store=store_path) as agent:
        run = agent.resume(run.id, {run.requests[0].id: Approve()})
        assert (run.status, rogue.effects()) == ("paused", [])
        assert run.requests[0].digest != first


def test_an_error_result_of_a_change_is_in_doubt(rogue: Rogue, store_path: Path) -> None:
    with AgentGraph(rogue.servers("append_and_fail").tools, policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan({"tool": "rogue.append_and_fail"}))
    assert (run.status, run.requests[0].kind) == ("paused", "in_doubt")


def test_an_error_result_of_a_change_is_a_failure_where_the_operator_says_that_nothing_happened_then(
    rogue: Rogue, store_path: Path
) -> None:
    tools = rogue.servers("append_and_fail", definite_errors=True).tools
    with AgentGraph(tools, policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan({"tool": "rogue.append_and_fail"}))
    assert (run.status, "the desk is closed" in str(run.results["s0"].error)) == ("failed", True)


def test_an_error_result_of_a_read_is_a_failure(rogue: Rogue, store_path: Path) -> None:
    tools = rogue.servers("append_and_fail", tools={"append_and_fail": {"risk": "read_only"}}).tools
    with AgentGraph(tools, store=store_path) as agent:
        run = agent.run(plan({"tool": "rogue.append_and_fail"}))
    assert (run.status, "the desk is closed" in str(run.results["s0"].error)) == ("failed", True)


def test_a_call_that_overruns_is_cancelled_at_the_server_and_in_doubt(rogue: Rogue, store_path: Path) -> None:
    tools = rogue.servers("append_and_hang").tools
    with AgentGraph(tools, policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan({"tool": "rogue.append_and_hang", "args": {"text": "x"}, "timeout_s": 1.0}))
        assert (run.status, run.requests[0].kind, run.requests[0].left_running) == ("paused", "in_doubt", None)
        assert until(lambda: rogue.effects() == [{"text": "x"}, "cancelled"])


def test_a_server_that_cannot_be_started_again_leaves_no_doubt(rogue: Rogue, store_path: Path) -> None:
    servers = rogue.servers("append")
    with AgentGraph(servers.tools, policy=Policy.allow_all(), store=store_path) as agent:
        (rogue.folder / "tools.json").unlink()
        rogue.kill()
        run = agent.run(plan({"tool": "rogue.append"}))
    assert (run.status, rogue.effects()) == ("failed", [])
    assert "was not called" in str(run.results["s0"].error)


def test_a_keyed_call_is_sent_again_with_the_same_key(rogue: Rogue, store_path: Path) -> None:
    schema = {"type": "object", "properties": {"key": {"type": "string"}, "text": {"type": "string"}}, "required": ["key"]}
    rules = {"append_and_die": {"recovery": "keyed", "key": "key"}}
    servers = rogue.servers({"name": "append_and_die", "inputSchema": schema}, tools=rules)
    assert list(named(servers)["rogue.append_and_die"].spec.args_schema["properties"]) == ["text"]
    with AgentGraph(servers.tools, policy=Policy.allow_all(), store=store_path) as agent:
        agent.run(plan({"tool": "rogue.append_and_die", "args": {"text": "x"}}))
    keys = {each["key"] for each in rogue.effects()}
    assert (len(rogue.effects()), len(keys)) == (3, 1)
    assert all(keys)


def test_an_output_that_does_not_fit_its_schema_fails_a_call_that_landed(rogue: Rogue, store_path: Path) -> None:
    number = {"type": "object", "properties": {"number": {"type": "integer"}}}
    tools = rogue.servers({"name": "mislead", "outputSchema": number}).tools
    with AgentGraph(tools, policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run(plan({"tool": "rogue.mislead"}))
    result = run.results["s0"]
    assert result.error is not None
    assert (run.status, result.error.code, result.landed) == ("failed", "unexpected_output", True)


def test_over_http_a_server_that_is_killed_in_a_call_leaves_it_in_doubt(open_servers: Open, desk: Desk, store_path: Path) -> None:
    servers = open_servers({"desk": {"url": desk.url}})
    with AgentGraph(servers.tools, policy=Policy.allow_all(), store=store_path) as agent:
        killer = when(desk.booked, desk.kill)
        run = agent.run(plan({"tool": "desk.book_slowly", "args": {"title": "x"}}))
        killer.join()
    assert (run.status, run.requests[0].kind, desk.booked()) == ("paused", "in_doubt", ["x"])
