"""A model as planner on the command line: over HTTP to a server on loopback, and in two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import ModelServer, plan_reply, tool_step

TOOLS = '''
from agent_graph import tool

@tool(risk="external_communication", recovery="idempotent")
def send(to: str) -> str:
    """Send a message."""
    open("sent.log", "a").write(to + "\\n")
    return f"sent to {to}"
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "my_tools.py").write_text(TOOLS)
    return tmp_path


def cli(place: Path, server: ModelServer, *args: str, key: str | None = "test") -> tuple[int, Any, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    env |= {"OPENAI_BASE_URL": server.url} | ({"OPENAI_API_KEY": key} if key else {})
    done = subprocess.run(
        [sys.executable, "-m", "agent_graph", *args, "--json"], cwd=place, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def test_a_model_plans_in_one_process_and_replans_in_another(place: Path, server: ModelServer) -> None:
    server.says(plan_reply(tool_step("tell", "send", {"to": "ann"})), plan_reply(tool_step("tell", "send", {"to": "bob"})))
    code, run, _ = cli(place, server, "run", "tell somebody", "--planner", "openai:gpt-test", "--tools", "my_tools.py")
    assert (code, run["status"], run["requests"][0]["calls"][0]["args"]) == (3, "paused", {"to": "ann"})
    code, run, _ = cli(place, server, "resume", run["id"], "--reject", "not Ann")
    assert (code, run["plan"]["version"], run["requests"][0]["calls"][0]["args"]) == (3, 2, {"to": "bob"})
    assert "not Ann" in json.dumps(server.bodies[1]["messages"])
    code, run, _ = cli(place, server, "resume", run["id"], "--approve")
    assert (code, run["status"], run["answer"]) == (0, "succeeded", "sent to bob")
    assert (place / "sent.log").read_text() == "bob\n"
    assert len(server.bodies) == 2


def test_a_model_without_a_key_is_wrong_usage_that_says_what_to_set(place: Path, server: ModelServer) -> None:
    code, said, _ = cli(place, server, "run", "tell somebody", "--planner", "openai:gpt-test", "--tools", "my_tools.py", key=None)
    assert code == 2
    assert "OPENAI_API_KEY" in said["error"]["message"]
    assert server.bodies == []


def test_a_model_without_a_goal_is_wrong_usage(place: Path, server: ModelServer) -> None:
    code, said, _ = cli(place, server, "run", "--planner", "openai:gpt-test", "--tools", "my_tools.py")
    assert code == 2
    assert "say what is wanted" in said["error"]["message"]
