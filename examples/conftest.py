"""Each example is run as it is meant to be: a process of its own, no key, no network; and once more for each decision."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).parent
collect_ignore = ["coding_agent/project"]
"""Its test is the one that fails."""
WRONG_USE = 2
_RUN = re.compile(r"^run ([0-9a-f-]{36})", re.MULTILINE)


@dataclass
class Example:
    """``calls``: what each process wrote, oldest first."""

    name: str
    folder: Path
    calls: list[str] = field(default_factory=list)
    begun: dict[str, Example] = field(default_factory=dict)

    def __call__(self, *words: str, code: int) -> str:
        """``python examples/NAME/run.py WORDS``. Asserts the exit code, and that only errors go to stderr; returns what was written."""
        env = {**os.environ, "LANGSMITH_TRACING": "false"}
        command = [sys.executable, "-W", "error", str(HERE / self.name / "run.py"), *words, "--folder", str(self.folder)]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
        assert bool(done.stderr) == (code == WRONG_USE)
        self.calls.append(done.stdout)
        return done.stdout + done.stderr

    def begin(self) -> str:
        """What the first process writes, up to where a person is asked. It is the same each time, so it is run once and its folder copied."""
        if self.name not in self.begun:
            first = Example(self.name, self.folder.with_name(f"{self.folder.name}-first"))
            first.folder.mkdir()
            first(code=3)
            self.begun[self.name] = first
        first = self.begun[self.name]
        shutil.copytree(first.folder, self.folder, dirs_exist_ok=True)
        self.calls += first.calls
        return first.calls[0]

    @property
    def run(self) -> str:
        """The id of the run that the last process spoke of."""
        return str(_RUN.findall(self.calls[-1])[-1])


@pytest.fixture(scope="session")
def begun() -> dict[str, Example]:
    return {}


@pytest.fixture
def example(tmp_path: Path, begun: dict[str, Example], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Example]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AGENT_GRAPH_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return lambda name: Example(name, tmp_path, begun=begun)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """As in tests/conftest.py, which adds up what was not run."""
    absent = [program for mark in item.iter_markers("needs") for program in mark.args if shutil.which(program) is None]
    if absent and os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(f"{', '.join(absent)} not found: add its Debian package to .ci/run", pytrace=False)
    if absent:
        item.user_properties += [("needs", program) for program in absent]
        pytest.skip(f"needs {', '.join(absent)}")
