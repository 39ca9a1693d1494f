"""docs/store.md lists each finding of doctor, and no other; its numbers are those of the code, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from agent_graph.checkpoints.retention import DEFAULT
from agent_graph.cli.app import app

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "store.md").read_text(encoding="utf-8")
LOOKS = ("changes.py", "health.py", "standing.py")


def test_each_finding_is_documented_and_each_documented_one_exists() -> None:
    code = "\n".join((ROOT / "agent_graph" / "checkpoints" / name).read_text(encoding="utf-8") for name in LOOKS)
    found = set(re.findall(r'code="(\w+)"|_broken\(file, "(\w+)"', code))
    listed = PAGE.split("| finding |")[1].split("\n\n")[0]
    assert {one or other for one, other in found} == {
        name for line in listed.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    }


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    kept = PAGE.split("| which | how many |")[1].split("\n\n")[0]
    assert f"| {DEFAULT.checkpoints}, and its first one |" in kept
    assert f"| {DEFAULT.drives} |" in kept
    assert (
        f"once in {DEFAULT.every} checkpoints, so that there are at most {DEFAULT.drives + 1 + DEFAULT.checkpoints + DEFAULT.every}" in PAGE
    )


def test_the_commands_of_the_page_are_understood() -> None:
    program = typer.main.get_command(app)
    lines = [line.split()[1:] for line in PAGE.splitlines() if line.startswith("agent-graph ")]
    assert lines
    for name, *words in lines:
        program.get_command(typer.Context(program), name).make_parser(typer.Context(program)).parse_args(list(words))  # type: ignore[attr-defined]
