"""The incident, as somebody would run it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_graph.checkpoints.store import SqliteStore
from agent_graph.events import PlanMade
from agent_graph.identity import RunId


def tickets(folder: Path) -> list[tuple[str, str]]:
    if not (folder / "tickets.db").exists():
        return []
    with sqlite3.connect(folder / "tickets.db") as desk:
        found: list[tuple[str, str]] = desk.execute("SELECT title, body FROM tickets").fetchall()
    desk.close()
    return found


def test_empty_logs_lead_to_the_latency_and_the_ticket_waits_for_a_yes(example: Callable[[str], Any], tmp_path: Path) -> None:
    incident = example("incident")
    said = incident.begin()
    assert "open_ticket (write)" in said
    assert "2014-03-18 22:36 to 2014-03-18 22:46" in said
    assert tickets(tmp_path) == []
    with SqliteStore(tmp_path / "runs.db") as store:
        versions = [event for event in store.events.of(RunId(incident.run)) if isinstance(event, PlanMade)]
        first, second = (store.runs.plan(RunId(incident.run), event.version) for event in versions)
    assert first is not None
    assert second is not None
    assert [step.tool for step in first.plan.steps][:2] == ["search_logs", "list_deployments"]
    assert "find_outlier_windows" in [step.tool for step in second.plan.steps]
    assert "latency" in second.plan.reason

    done = incident(incident.run, "--approve", code=0)
    assert "INC-0001" in done
    ((title, body),) = tickets(tmp_path)
    assert title == "checkout was slow without an error"
    assert "checkout 2.14.0. Connection pool" in body
    assert "INC-0012" in body


def test_without_a_yes_no_ticket_is_opened(example: Callable[[str], Any], tmp_path: Path) -> None:
    incident = example("incident")
    incident.begin()
    said = incident(incident.run, "--reject", "somebody is at it already", code=1)
    assert "somebody is at it already" in said
    assert tickets(tmp_path) == []
