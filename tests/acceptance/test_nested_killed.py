"""A process that is killed inside of a nested plan: another one goes on there, and repeats nothing that ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, signal, sys
from pathlib import Path
from agent_graph import AgentGraph, Blueprint, Plan, Policy, tool

LOG = Path("log.txt")

@tool(risk="write", recovery="blind")
def append(text: str) -> str:
    "Appends."
    with LOG.open("a") as log:
        log.write(text + "\\n")
    return text

@tool(risk="read_only")
def look(after: str) -> str:
    "Kills its process the first time."
    if not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return after

inner = Blueprint.model_validate({
    "name": "inner", "goal": "g", "params": {"text": {}},
    "steps": [
        {"id": "first", "tool": "append", "args": {"text": {"$ref": "params.text"}}},
        {"id": "look", "tool": "look", "args": {"after": {"$ref": "steps.first.output"}}},
        {"id": "second", "tool": "append", "args": {"text": "b"}, "depends_on": ["look"]},
    ],
    "answer": {"$ref": "steps.look.output"},
})
plan = Plan.model_validate({"goal": "g", "steps": [{"id": "sub", "blueprint": "inner", "args": {"text": "a"}, "budget": {"max_calls": 3}}]})
with AgentGraph([append, look], blueprints=[inner] if len(sys.argv) == 1 else [], policy=Policy.allow_all(), store="runs.db") as agent:
    run = agent.run(plan=plan) if len(sys.argv) == 1 else agent.resume(agent.runs()[0].id)
    print(run.status, run.answer)
"""


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT, *args], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_a_run_that_was_killed_in_a_nested_plan_goes_on_there_in_a_process_that_does_not_know_the_blueprint(tmp_path: Path) -> None:
    assert python(tmp_path).returncode == -signal.SIGKILL
    assert (tmp_path / "log.txt").read_text() == "a\n"
    resumed = python(tmp_path, "resume")
    assert (resumed.stdout, resumed.stderr) == ("succeeded a\n", "")
    assert (tmp_path / "log.txt").read_text() == "a\nb\n"
