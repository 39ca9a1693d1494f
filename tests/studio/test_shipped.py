"""What is shipped: langgraph.json with studio.py, the script of docs/studio.md, and ``agent-graph studio``."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve
from agent_graph.examples import blueprints, tools

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "studio.md"
YES = {"decisions": [{"type": "approve"}]}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_script_in_the_docs_runs_as_it_stands_against_the_shipped_server(make_server: Any, tmp_path: Path) -> None:
    server = make_server(json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8")))
    (script,) = [block for block in blocks("python") if "get_sync_client" in block]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "LANGGRAPH_URL": server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "find succeeded" in ran.stdout
    assert "Approve the call" in ran.stdout
    assert re.search(r"^succeeded \S+$", ran.stdout, re.MULTILINE)
    assert server.blocked() == []
    with server.desk() as desk:
        (assistant,) = desk.assistants.search(graph_id="agent-graph")
        assert assistant["description"]
        assert desk.assistants.get_schemas(assistant["assistant_id"])["input_schema"] is not None


def test_the_module_in_the_docs_is_served_as_it_stands(make_server: Any, tmp_path: Path) -> None:
    (module,) = [block for block in blocks("python") if block.startswith("# my_agent.py")]
    (configured,) = [json.loads(block) for block in blocks("json") if "my_agent.py" in block]
    own = module.replace("[...]", "[shout]").replace("plan.yaml", str(tmp_path / "plan.yaml")).replace("runs.db", str(tmp_path / "runs.db"))
    own = own.replace(
        "agent = ",
        'from agent_graph import tool\n\n\n@tool(risk="read_only")\ndef shout(text: str) -> str:\n    "Shout."\n    return text.upper()\n\n\nagent = ',
    )
    (tmp_path / "plan.yaml").write_text(
        "name: shout\ngoal: Shout.\nparams:\n  text: {description: What.}\nsteps:\n"
        "  - id: shout\n    tool: shout\n    args: {text: {$ref: params.text}}\n"
    )
    server = make_server(configured, {"my_agent.py": own})
    with server.desk() as desk:
        done = desk.say(desk.thread(), input={"goal": "Shout.", "params": {"text": "hello"}})
        assert done["answer"] == "HELLO"


# ── agent-graph studio ────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def studio(folder: Path, *args: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "agent_graph", "studio", *args],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # the server that it has started ends with it


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_shows_what_waits_in_the_store_and_ends_with_ctrl_c(
    folder: Path, no_network: dict[str, str], free_port: int, desk_at: Any
) -> None:
    investigate = blueprints()["investigate-metric"]
    with AgentGraph(tools(), planner=investigate, store="runs.db") as agent:
        paused = agent.run(params={"series": "ec2_cpu_utilization_825cc2"})
        ended = agent.resume(agent.run(params={"series": "ec2_cpu_utilization_825cc2"}), Approve())
        agent.graph.invoke(
            {"goal": "Why?", "params": {"series": "ec2_cpu_utilization_825cc2"}}, {"configurable": {"thread_id": "not a UUID"}}
        )
    with studio(folder, "--store", "runs.db", "--port", str(free_port), env=no_network) as process:
        assert process.stdout is not None
        said = "".join(iter(process.stdout.readline, "Ctrl-C ends it; runs stay in the store\n"))
        assert f"https://smith.langchain.com/studio/?baseUrl=http://127.0.0.1:{free_port}" in said
        assert "2 of the store; 1 wait for a person" in said
        assert "1 left out: their thread is not a UUID" in said
        with desk_at(f"http://127.0.0.1:{free_port}") as desk:
            (found,) = desk.threads.search(status="interrupted")  # as Agent Inbox looks for them
            assert found["thread_id"] == paused.thread_id
            assert desk.gate(paused.thread_id)["request_id"] == paused.requests[0].id
            assert desk.state(ended.thread_id)["status"] == "succeeded"
            assert desk.answer(paused.thread_id, YES)["status"] == "succeeded"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert "Traceback" not in err
    with AgentGraph(tools(), planner=investigate, store="runs.db") as agent:
        assert agent.get(paused.id).status == "succeeded"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--planner", "no-such-file.yaml"], "no-such-file.yaml: there is no such file"),
        (["--tools", "no_such_module"], "there is no module 'no_such_module'"),
        (["--policy", "no-such-policy.yaml"], "no-such-policy.yaml"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(folder: Path, args: list[str], said: str) -> None:
    with studio(folder, *args) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert list(folder.iterdir()) == []
