"""``agent-graph undo``, from the failed run to the world as it was, each step in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "11111111-1111-4111-8111-111111111111"

OPS = """
from pathlib import Path
from agent_graph import Undo, tool

def note(text):
    with Path("world.log").open("a") as log:
        log.write(text + "\\n")

@tool(risk="write", recovery="keyed", undo=lambda args, output: Undo(tool="drop", args={"name": args["name"]}))
def make(name: str) -> str:
    note(f"make {name}")
    return name

@tool(risk="deletion", recovery="idempotent")
def drop(name: str) -> None:
    note(f"drop {name}")

@tool(risk="read_only")
def fail() -> None:
    raise OSError("no such host")
"""

PLAN = """
goal: make two and fail
steps:
  - {id: one, tool: make, args: {name: a}}
  - {id: two, tool: make, args: {name: b}, depends_on: [one]}
  - {id: look, tool: fail, depends_on: [two]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ops.py").write_text(OPS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    assert cli(tmp_path, "run", "--plan", "plan.yaml", "--tools", "ops.py", "--id", RUN).returncode == 3
    assert cli(tmp_path, "resume", RUN, "--approve").returncode == 1
    return tmp_path


def cli(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent_graph", *words], cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def world(folder: Path) -> list[str]:
    return (folder / "world.log").read_text().split("\n")[:-1]


def test_a_failed_run_is_taken_back_after_a_yes(folder: Path) -> None:
    shown = cli(folder, "show", RUN).stdout
    assert "done all the same:" in shown
    assert f"undo {RUN}" in shown

    asked = cli(folder, "undo", RUN, "--json")
    assert asked.returncode == 3
    assert world(folder) == ["make a", "make b"]
    undoing = json.loads(asked.stdout)
    assert [call["tool"] for call in undoing["requests"][0]["calls"]] == ["drop", "drop"]

    assert cli(folder, "resume", undoing["id"], "--approve").returncode == 0
    assert world(folder) == ["make a", "make b", "drop b", "drop a"]

    again = cli(folder, "undo", RUN)
    assert again.returncode == 2
    assert "taken back before" in again.stderr


def test_what_cannot_be_undone_is_said_without_a_traceback(folder: Path) -> None:
    unknown = cli(folder, "undo", "2222")
    assert (unknown.returncode, "Traceback" in unknown.stderr) == (2, False)
    (folder / "ops.py").unlink()
    gone = cli(folder, "undo", RUN)
    assert (gone.returncode, "Traceback" in gone.stderr) == (2, False)
    assert "ops.py" in gone.stderr
    assert world(folder) == ["make a", "make b"]
