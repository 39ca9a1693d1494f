"""Looking is fast: help, lists and checks load neither LangGraph nor LangChain."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.identity import RunId
from agent_graph.plan import Goal, Plan, Step

LOADED = """
import contextlib, io, sys
from agent_graph.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
print(code, *sorted({"langgraph", "langchain_core", "langchain_openai", "langsmith", "openai"} & {name.split(".")[0] for name in sys.modules}))
"""


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with one run that has a plan."""
    path = tmp_path / "runs.db"
    with SqliteStore(path) as opened:
        run = opened.runs.create(RunId("11111111-1111-4111-8111-111111111111"), Goal(text="look"), thread_id="t").id
        lease = opened.leases.acquire(run, new_owner())
        opened.runs.add_plan(lease, Plan(goal="look", steps=(Step(id="a", tool="look"),)))
        opened.leases.release(lease)
    return str(path)


@pytest.mark.parametrize(
    "words", ["--help", "run --help", "run", "runs", "show 1111", "trace 1111", "draw 1111", "draw investigate-metric"]
)
def test_looking_does_not_load_langgraph(store: str, words: str) -> None:
    first = words.split()
    with_store = ["--store", store] if first[0] in ("runs", "show", "trace", "draw") else []
    done = subprocess.run([sys.executable, "-c", LOADED, *first, *with_store], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_checking_does_not_load_langgraph() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, "validate", "investigate-metric"], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("0", "")
