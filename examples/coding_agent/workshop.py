"""Where the agent works: a clone of the project that it may write to, its tests in a sandbox, and a commit that goes back after a yes."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from agent_graph import Absent, Landed, NotDone, ToolContext, tool
from agent_graph.tools.files import files_tools
from agent_graph.tools.shell import shell_tool

TESTS = "python3 -B -m unittest"
BASE, BRANCH = "origin/main", "agent/fix"
TRAILER = "Effect"
FILES = {"list_files", "read_file", "search_files", "write_file", "make_folder"}
"""Nothing to delete with: were there a tool that can do more than write, no agent step would be given one that writes (docs/modes.md)."""


class Diff(TypedDict):
    text: str
    files: list[str]


class Commit(TypedDict):
    commit: str
    branch: str


def workshop(project: Path, scratch: Path) -> list[Any]:
    """The tools, on a Git repository and a clone of it that is made when it is not there."""
    if not scratch.exists():
        _git(project, "clone", "--quiet", ".", str(scratch))

    @tool(risk="read_only")
    def show_diff() -> Diff:
        """What was changed in the clone since it was made, as a diff. Empty: nothing was."""
        _git(scratch, "add", "--intent-to-add", ".")  # or new files would be missing; it stays in the clone
        return {"text": _git(scratch, "diff", BASE), "files": _git(scratch, "diff", "--name-only", BASE).split()}

    def landed(context: ToolContext, message: str, diff: str) -> Landed | Absent:
        """The probe: the branch of the project is asked, since the commit carries the effect's key."""
        del message, diff  # the key stands for the call
        said = _git(project, "log", "--branches", "--format=%H", "--grep", f"{TRAILER}: {context.idempotency_key}").split()
        return Landed({"commit": said[0], "branch": BRANCH}) if said else Absent()

    @tool(risk="write", probe=landed, settle=5.0)
    def commit(
        context: ToolContext,
        message: Annotated[str, Field(min_length=10, max_length=72, description="One line, in the imperative.")],
        diff: Annotated[str, Field(min_length=1, description="Exactly what is committed: `text` of show_diff.")],
    ) -> Commit:
        """Commit the change to a branch of the project. Refused when the clone does not hold exactly this change any more."""
        now: Diff = show_diff()
        if now["text"] != diff:
            raise NotDone(f"the clone has another change than the one that was agreed to ({_short(now['text'])}, not {_short(diff)})")
        key = f"{TRAILER}: {context.idempotency_key}"
        if not _git(scratch, "log", "--format=%H", "--grep", key):  # else a crash came between commit and push
            _git(scratch, "commit", "--quiet", "--all", "-m", message, "-m", key)
        _git(scratch, "push", "--quiet", "origin", f"HEAD:refs/heads/{BRANCH}")
        return {"commit": _git(scratch, "rev-parse", "HEAD").strip(), "branch": BRANCH}

    run_tests = shell_tool([TESTS], cwd=scratch, risk="read_only", ok_codes=(0, 1), name="run_tests")
    files = [each for each in files_tools(scratch) if each.name in FILES]
    return [*files, run_tests, show_diff, commit]


def make_project(source: Path, project: Path) -> None:
    """The source as a Git repository of its own."""
    project.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file():
            (project / file.name).write_bytes(file.read_bytes())
    _git(project, "init", "--quiet", "--initial-branch=main")
    _git(project, "add", ".")
    _git(project, "commit", "--quiet", "-m", "As it came")


def _git(folder: Path, *words: str) -> str:
    """Raises NotDone with what Git said. No configuration of this machine has a say, and no hook runs."""
    said = subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", "-c", "user.name=agent-graph", "-c", "user.email=agent@example.invalid", *words],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"},
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode:
        raise NotDone(f"git {words[0]}: {said.stderr.strip()[-500:]}")
    return said.stdout


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
