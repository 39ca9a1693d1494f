"""A criterion that code cannot check, from the command line: each command is a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = '''
from agent_graph import tool

@tool(risk="write", recovery="blind")
def draft(to: str) -> dict:
    """Drafts a letter."""
    with open("drafted", "a") as drafted:
        drafted.write(to + "\\n")
    return {"text": f"Dear {to}"}
'''

LETTER = """
name: letter
goal: Write to Ann
steps:
  - {id: draft, tool: draft, args: {to: Ann}, success_criteria: [{judge: the letter is kind}]}
template: "Sent: {{ steps.draft.output.text }}"
"""

POLICY = "{name: open, rules: [{verdict: allow, tools: [draft]}]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("tools.py", TOOLS), ("letter.yaml", LETTER), ("policy.yaml", POLICY)):
        (tmp_path / name).write_text(text)
    return tmp_path


def agent_graph(folder: Path, *words: str) -> tuple[int, str]:
    came = subprocess.run(
        [sys.executable, "-m", "agent_graph", *words, "--store", "runs.db"], cwd=folder, capture_output=True, text=True, check=False
    )
    return came.returncode, came.stdout


def begun(folder: Path) -> str:
    code, said = agent_graph(folder, "run", "letter.yaml", "--tools", "tools.py", "--policy", "policy.yaml", "--json")
    run = json.loads(said)
    assert (code, run["status"], run["requests"][0]["criterion"]) == (3, "paused", "the letter is kind")
    return str(run["id"])


def test_who_looks_is_shown_what_it_is_about_and_how_to_answer(folder: Path) -> None:
    _, said = agent_graph(folder, "show", begun(folder))
    assert "Does this hold?" in said
    assert "output.text = Dear Ann" in said
    assert "--approve" in said
    assert "# it holds" in said


def test_a_yes_ends_the_run_with_its_answer_and_nothing_is_drafted_twice(folder: Path) -> None:
    run = begun(folder)
    code, said = agent_graph(folder, "resume", run, "--approve", "--by", "bob", "--json")
    done = json.loads(said)
    assert (code, done["status"], done["answer"]) == (0, "succeeded", "Sent: Dear Ann")
    assert done["results"]["draft"]["evidence"][0]["by"] == "person:bob"
    assert (folder / "drafted").read_text() == "Ann\n"


def test_a_no_fails_the_step_for_the_reason_given(folder: Path) -> None:
    code, said = agent_graph(folder, "resume", begun(folder), "--reject", "too short", "--json")
    done = json.loads(said)
    assert (code, done["status"], done["error"]["code"]) == (1, "failed", "criteria_unmet")
    assert "too short" in done["error"]["message"]
