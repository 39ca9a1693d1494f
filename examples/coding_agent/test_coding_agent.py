"""The coding agent, as somebody would run it: what it changes stays in its clone until somebody has said yes to exactly that change."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("git", "bwrap")
FIXED, BROKEN = "total += int(amount)", "total = int(amount)"


def git(project: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, check=True).stdout


def test_the_change_is_committed_to_a_branch_after_a_yes_and_not_before(example: Callable[[str], Any], tmp_path: Path) -> None:
    agent, project = example("coding_agent"), tmp_path / "project"
    said = agent(code=3)
    assert f"+        {FIXED}" in said
    assert git(project, "branch", "--format=%(refname:short)").split() == ["main"]

    done = agent(agent.run, "--approve", code=0)
    assert "The tests pass now." in done
    assert FIXED in git(project, "show", "agent/fix:duration.py")
    assert BROKEN in git(project, "show", "main:duration.py")
    assert git(project, "diff", "--stat", "main", "agent/fix").strip().endswith("1 file changed, 1 insertion(+), 1 deletion(-)")


def test_another_change_than_the_one_that_was_shown_is_not_committed(example: Callable[[str], Any], tmp_path: Path) -> None:
    agent, project = example("coding_agent"), tmp_path / "project"
    agent(code=3)
    (tmp_path / "clone" / "duration.py").write_text("import os\n")
    said = agent(agent.run, "--approve", code=1)
    assert "another change than the one that was agreed to" in said
    assert git(project, "branch", "--format=%(refname:short)").split() == ["main"]
