"""What an operations desk can ask: logs, deployments, past incidents. The metrics and the ticket desk are agent-graph's own."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, with_config
from typing_extensions import TypedDict

from agent_graph import Tool, tool
from agent_graph.examples import tools as bundled

DATA = Path(__file__).parent / "data"

Service = Annotated[str, Field(description="Such as checkout.")]
Since = Annotated[str, Field(description="ISO 8601 with a zone, such as 2014-03-18T20:00:00Z.")]


class Line(TypedDict):
    at: str
    service: str
    level: str
    message: str


class Deployment(TypedDict):
    at: str
    service: str
    version: str
    change: str


class PastIncident(TypedDict):
    id: str
    at: str
    service: str
    symptom: str
    title: str
    cause: str
    remedy: str


@with_config(extra="ignore")
class Span(TypedDict):
    start: str
    until: str


class Preceded(TypedDict):
    start: str
    until: str
    deployments: list[Deployment]
    """The nearest first."""


@tool(risk="read_only")
def search_logs(service: Service, level: Literal["error", "warn", "info"], since: Since, until: Since, most: int = 50) -> list[Line]:
    """Lines of a service's log at one level, within a span of time, oldest first. An empty list: nothing was logged at that level."""
    begin, end = datetime.fromisoformat(since), datetime.fromisoformat(until)
    found = [each for each in _read("logs") if each["service"] == service and each["level"] == level and begin <= _at(each) < end]
    return [_plain(each, Line) for each in found[:most]]


@tool(risk="read_only")
def list_deployments(service: Service, since: Since, until: Since) -> list[Deployment]:
    """What was deployed of a service within a span of time, oldest first."""
    begin, end = datetime.fromisoformat(since), datetime.fromisoformat(until)
    return [_plain(each, Deployment) for each in _read("deployments") if each["service"] == service and begin <= _at(each) < end]


@tool(risk="read_only", trusted_output=True)  # as far as its arguments are
def deployments_before(
    windows: Annotated[list[Span], Field(description="Windows in which a metric was unusual: `windows` of find_outlier_windows.")],
    deployments: Annotated[list[Deployment], Field(description="Output of list_deployments.")],
    minutes: Annotated[float, Field(gt=0, description="How long before a window's start a deployment still counts.")] = 30.0,
) -> list[Preceded]:
    """For each window the deployments in the minutes before it began. Coming before is a lead, not a cause."""
    found = []
    for window in windows:
        start, reach = datetime.fromisoformat(window["start"]), timedelta(minutes=minutes)
        near = [each for each in deployments if start - reach <= _at(each) <= start]
        found.append(Preceded(start=window["start"], until=window["until"], deployments=near[::-1]))
    return found


@tool(risk="read_only")
def find_past_incidents(service: Service, symptom: Literal["latency", "errors", "cpu"]) -> list[PastIncident]:
    """Incidents of a service that began with the same symptom, newest first, each with its cause and remedy."""
    found = [each for each in _read("past-incidents") if each["service"] == service and each["symptom"] == symptom]
    return [_plain(each, PastIncident) for each in reversed(found)]


def tools(desk: Path) -> list[Tool]:
    """These, the metrics and reports that come with agent-graph, and a ticket desk in the file ``desk``."""
    wanted = {"find_outlier_windows", "compare_with_other_days", "render_report", "open_ticket", "find_ticket"}
    return [
        search_logs,
        list_deployments,
        deployments_before,
        find_past_incidents,
        *(each for each in bundled(desk) if each.name in wanted),
    ]


def _read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def _at(entry: Any) -> datetime:
    return datetime.fromisoformat(entry["at"])


def _plain(entry: dict[str, Any], kind: Any) -> Any:
    return {name: entry[name] for name in kind.__annotations__}
