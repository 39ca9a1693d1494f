"""What ``--help`` of each command says, held against files that a person has read. ``UPDATE_HELP=1 pytest …`` writes them anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent_graph.cli.app import COMMANDS

HELP = Path(__file__).with_name("help")
NAMES = ["agent-graph", *COMMANDS]


def help_of(name: str) -> str:
    words = [] if name == "agent-graph" else [name]
    environment = {**os.environ, "COLUMNS": "100", "PYTHONUTF8": "1", "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "agent_graph", *words, "--help"], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_each_command_is_as_it_was_read(name: str) -> None:
    file = HELP / f"{name}.txt"
    said = help_of(name)
    if os.environ.get("UPDATE_HELP"):
        file.write_text(said, encoding="utf-8")
    assert said == file.read_text(encoding="utf-8"), "if it is right so, write it anew with UPDATE_HELP=1"


def test_every_snapshot_is_of_a_command() -> None:
    assert {file.stem for file in HELP.glob("*.txt")} == set(NAMES)


def test_a_bare_call_is_a_request_for_help() -> None:
    done = subprocess.run([sys.executable, "-m", "agent_graph"], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout.startswith("Usage: agent-graph")) == (0, True)
