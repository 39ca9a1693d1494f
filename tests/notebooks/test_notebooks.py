"""The notebooks run from top to bottom, without a key and without a network; what is committed is what a run shows.

``UPDATE_SNAPSHOTS=1 make test PYTEST_ARGS=tests/notebooks`` runs them and writes their outputs anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
UPDATE = os.environ.get("UPDATE_SNAPSHOTS") == "1"
LIMIT_S = 60
"""For one cell; far more than any needs, so that only a cell that hangs is ended by it."""

STARTUP = '''
def _watch():
    """Nothing but this machine may be reached; what tries is written down, since whoever tries may swallow the error."""
    import os, sys

    allowed = {"127.0.0.1", "::1", "localhost", "", None}

    def hook(event, args):
        if event == "socket.connect" and isinstance(args[1], tuple):
            host = args[1][0]
        elif event == "socket.getaddrinfo":
            host = args[0]
        else:
            return
        if host not in allowed:
            with open(os.environ["TRIED"], "a") as tried:
                tried.write(f"{event} {host}\\n")
            raise OSError(f"a notebook must run without a network, and this one tried to reach {host!r}")

    sys.addaudithook(hook)


_watch()
del _watch
'''


class ThisPython(AsyncKernelManager):
    """A kernel of the interpreter of these tests, whatever kernels are registered on the machine."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python")


def load(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def execute(path: Path, place: Path) -> Any:
    """The notebook as it is after a run in an empty environment. The run ends with the first cell that fails."""
    startup = place / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00-watch.py").write_text(STARTUP)
    secrets = re.compile(r"API_KEY|TOKEN|SECRET|^(?:LANGCHAIN|LANGSMITH|OPENAI|AGENT_GRAPH)_")
    kept = {name: value for name, value in os.environ.items() if not secrets.search(name)}
    env = kept | {"IPYTHONDIR": str(place / "ipython"), "TMPDIR": str(place), "TRIED": str(place / "tried")}
    notebook = load(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        kernel_manager_class=ThisPython,
        timeout=LIMIT_S,
        record_timing=False,
        resources={"metadata": {"path": str(place)}},
    )
    asyncio.run(client.async_execute(env=env))
    return notebook


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """By path; each notebook is run once."""

    @cache
    def run(path: Path) -> Any:
        place = tmp_path_factory.mktemp(path.stem)
        notebook = execute(path, place)
        tried = place / "tried"
        assert not tried.exists(), tried.read_text()
        if UPDATE:
            write(path, notebook)
        return notebook

    return run


def write(path: Path, notebook: Any) -> None:
    """As it is committed: outputs, but no moments, no kernel's version, and no plain text where there is better: a run's is ten times as long."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            if not RICH.isdisjoint(output.get("data", {})):
                output["data"].pop("text/plain", None)
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook, indent=1, ensure_ascii=False)  # type: ignore[no-untyped-call]
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def code_cells(notebook: Any) -> dict[str, Any]:
    return {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}


def said(cell: Any) -> str:
    """All that a cell shows, as text: the best of each output."""
    return "".join(output.get("text") or best(output.get("data", {})) for output in cell.outputs)


def best(shown: dict[str, str]) -> str:
    return next((shown[kind] for kind in (*sorted(RICH), "text/plain") if kind in shown), "")


RICH = frozenset({"text/html", "text/markdown"})


def settled(text: str) -> list[str]:
    """What stays the same from run to run, whatever was first among the steps that run side by side."""
    for pattern, name in CHANGING:
        text = pattern.sub(name, text)
    return sorted(text.splitlines())


CHANGING = (
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "DIGEST"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)"), "MOMENT"),
    (re.compile(r">\d+\.\d\d</td>"), ">SECONDS</td>"),
)
ABSOLUTE = re.compile(r"(?<![\w.:<-])/(?:tmp|var|private|home|Users|root|usr|opt|work)/")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["01_first_run", "02_approvals", "03_plain_langgraph"]


def test_a_notebook_runs_from_top_to_bottom_and_writes_nothing_to_stderr(path: Path, executed: Any) -> None:
    cells = code_cells(executed(path))
    assert [cell.execution_count for cell in cells.values()] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells.values() for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []


def test_what_is_committed_is_what_a_run_shows(path: Path, executed: Any) -> None:
    fresh = code_cells(executed(path))
    committed = code_cells(load(path))
    assert any(cell.outputs for cell in committed.values())
    for name, cell in committed.items():
        assert cell.execution_count == fresh[name].execution_count, f"{name}: {AGAIN}"
        assert settled(said(cell)) == settled(said(fresh[name])), f"{name}: {AGAIN}"


AGAIN = "write the outputs anew with UPDATE_SNAPSHOTS=1 make test PYTEST_ARGS=tests/notebooks, and read the difference"


def test_what_is_committed_names_no_machine_and_no_moment(path: Path) -> None:
    notebook = load(path)
    assert sorted(notebook.metadata) == ["kernelspec", "language_info"]
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.metadata == {}
        assert not ABSOLUTE.search(str(cell.get("outputs", "")))
    assert path.stat().st_size < 60_000


def test_the_first_run_ends_with_one_ticket_and_one_order(executed: Any) -> None:
    cells = code_cells(executed(FOLDER / "01_first_run.ipynb"))
    assert "<b>paused</b>" in said(cells["run"])
    assert said(cells["nothing-yet"]) == "False"
    assert "<b>succeeded</b>" in said(cells["approve"])
    assert "INC-0001" in said(cells["ticket"])
    assert said(cells["evidence"]).count("holds |") == 3
    assert "'by': 'ann'" in said(cells["trace"])
    assert (said(cells["killed"]), said(cells["interrupted"])) == ("-9", "'interrupted'")
    assert said(cells["once"]).strip() == "1 order in the book"


def test_each_kind_of_answer_leads_where_the_text_says(executed: Any) -> None:
    cells = code_cells(executed(FOLDER / "02_approvals.ipynb"))
    assert '"text" is a required property' in said(cells["edit-refused"])
    assert said(cells["edit"]).strip() == "succeeded [('ann@example.org', 'The server is down.')]"
    assert "too loud" in said(cells["reject-reason"])
    assert "sent: []" in said(cells["reject-reason"])
    assert said(cells["reject-stop-run"]).startswith("failed | rejected")
    assert "carl@example.org" in said(cells["respond-answer"])
    assert "2 requests" in said(cells["two"])
    assert said(cells["two-one"]).strip().endswith("waits: ['mail_ann']")
    assert said(cells["two-rest"]).count("@example.org") == 2
    assert "<b>waits</b>: in_doubt" in said(cells["doubt"])
    assert said(cells["doubt-landed"]).strip() == "succeeded | receipt 7 | calls: [40]"


def test_in_plain_langgraph_each_goal_is_carried_out_once(executed: Any) -> None:
    cells = code_cells(executed(FOLDER / "03_plain_langgraph.ipynb"))
    assert said(cells["again"]) == said(cells["resume"]).split(", ", 2)[2].removesuffix(")") == "['text of a']"
    assert "step_finished fetch succeeded" in said(cells["stream"])
    assert re.findall(r"text of \w", said(cells["end-sent"])) == [f"text of {goal}" for goal in "abcdefgH"]


def test_a_notebook_that_reaches_out_is_stopped(tmp_path: Path) -> None:
    reaching = tmp_path / "reaching.ipynb"
    source = "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)"  # an address that nobody has (RFC 5737)
    cell: dict[str, Any] = {"cell_type": "code", "id": "reach", "metadata": {}, "execution_count": None, "outputs": [], "source": source}
    reaching.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}))
    with pytest.raises(CellExecutionError, match="without a network"):
        execute(reaching, tmp_path)
    assert "192.0.2.1" in (tmp_path / "tried").read_text()
