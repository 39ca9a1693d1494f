"""Which kind of trouble ends with which exit code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent_graph import cli
from agent_graph.cli import exit_code, main
from agent_graph.errors import (
    AgentGraphError,
    Interrupted,
    LeaseLost,
    PlannerError,
    RunBusy,
    StoreError,
    StoreTooNew,
    StoreUnreadable,
    UnknownRun,
    UsageError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError(), 2),
        (UnknownRun(), 2),
        (StoreUnreadable(), 2),
        (StoreTooNew(), 2),
        (StoreError(), 1),
        (PlannerError(), 1),
        (RunBusy(), 4),
        (LeaseLost(), 4),
        (Interrupted(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_exit_code_says_which_kind_it_was(error: AgentGraphError, code: int) -> None:
    assert exit_code(error) == code


def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("by \x1b zero")


def test_a_bug_is_short_and_says_how_to_see_more(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("AGENT_GRAPH_DEBUG", raising=False)
    monkeypatch.setattr("agent_graph.cli.run.list_blueprints", broken)
    assert main(["run"]) == 1
    printed = capsys.readouterr()
    assert "ZeroDivisionError: by \\x1b zero" in printed.err
    assert "AGENT_GRAPH_DEBUG=1" in printed.err
    assert "Traceback" not in printed.err
    monkeypatch.setenv("AGENT_GRAPH_DEBUG", "1")
    assert main(["run"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_error_is_the_document_under_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("agent_graph.cli.run.list_blueprints", broken)
    assert main(["run", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "ZeroDivisionError"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __import__("agent_graph").__version__
