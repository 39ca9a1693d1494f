"""Events, times and JSON values as lines of text. Nothing here writes ANSI, and whatever came from outside is made visible."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from agent_graph.events import (
    Decided,
    Done,
    Event,
    IssueFound,
    Note,
    Observed,
    PlanMade,
    Replanned,
    RunStarted,
    StepFinished,
    StepStarted,
    Waiting,
)
from agent_graph.trace.amounts import seconds
from agent_graph.visible import visible, visible_lines


def event_line(event: Event, since: float) -> str:
    """One line of a trace: seconds since the run began, phase, kind, step, details."""
    step = getattr(event, "step_id", None) or ""
    return f"{event.at - since:+9.2f}  {event.phase:<9}  {event.kind:<13}  {visible(step):<16}  {details(event)}".rstrip()


def details(event: Event) -> str:
    """What an event says beyond its kind and step, on one line."""
    match event:
        case RunStarted():
            return f"{'resumed' if event.resumed else 'started'}: {visible(event.goal)}"
        case Replanned():
            return (
                f"version {event.version} by {visible(event.created_by)}, {_steps(event)}, {len(event.kept)} kept: {visible(event.reason)}"
            )
        case PlanMade():
            return f"version {event.version} by {visible(event.created_by or 'the planner')}, {_steps(event)}, digest {event.digest[:12]}"
        case IssueFound():
            return f"{event.severity} [{event.code}] {visible(event.message)}" + (f" — {visible(event.fix)}" if event.fix else "")
        case StepStarted():
            return visible(event.tool or "")
        case StepFinished():
            tries = f", attempt {event.attempts}" if event.attempts > 1 else ""
            error = f": [{visible(event.error.get('code'))}] {visible(event.error.get('message'))}" if event.error else ""
            return f"{event.status}{tries} in {seconds(event.seconds)}{error}"
        case Observed():
            found = "".join(f"; {visible(each.get('step_id'))}: {visible(each.get('message'))}" for each in event.deviations)
            return f"next {event.next}: {visible(event.why)}{found}"
        case Waiting():
            request = event.request
            return f"{request.get('kind')} {str(request.get('id'))[:8]}: {visible(request.get('question') or request.get('reason'))}"
        case Decided():
            by = visible(event.decision.get("by") or "somebody unnamed")
            reason = event.decision.get("reason") or event.decision.get("text") or event.decision.get("outcome")
            return f"{event.decision.get('type')} by {by}" + (f": {visible(reason)}" if reason else "")
        case Note():
            return visible(event.message)
        case Done():
            error = f": [{visible(event.error.get('code'))}] {visible(event.error.get('message'))}" if event.error else ""
            return f"{event.status}{error}"
        case _:
            return ""


def _steps(event: PlanMade) -> str:
    count = event.count or len(event.steps)
    return f"{count} step{'s' if count != 1 else ''}"


def value_lines(value: Any, indent: str = "") -> Iterator[str]:
    """A JSON value, complete and exact, for people: one entry to a line, and texts of several lines as they read, behind a bar.

    The bar is what keeps a text from passing for a line of ours.
    """
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _entry(f"{indent}{visible(key)}:", item, indent)
    elif isinstance(value, list | tuple) and value:
        for item in value:
            yield from _entry(f"{indent}-", item, indent)
    else:
        yield f"{indent}{_scalar(value)}"


def _entry(head: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, str) and "\n" in item:
        lines = visible_lines(item)
        yield f"{head} ({len(lines)} lines)"
        yield from (f"{indent}  │ {line}" for line in lines)
    elif isinstance(item, Mapping | list | tuple) and item:
        flat = _scalar(item)
        if len(flat) <= 60:
            yield f"{head} {flat}"
        else:
            yield head
            yield from value_lines(item, indent + "  ")
    else:
        yield f"{head} {_scalar(item)}"


def _scalar(value: Any) -> str:
    return visible(json.dumps(value, ensure_ascii=False, default=str))
