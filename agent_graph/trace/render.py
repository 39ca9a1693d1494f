"""Events, times and JSON values as lines of text. Nothing here writes ANSI, and whatever came from outside is made visible."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent_graph.events import (
    Decided,
    Done,
    Drafted,
    Event,
    IssueFound,
    Note,
    Observed,
    PlanMade,
    Replanned,
    Revised,
    RunStarted,
    StepFinished,
    StepStarted,
    Token,
    Waiting,
)
from agent_graph.identity import digest, sha256
from agent_graph.lookalikes import addresses, lookalikes, not_seen, texts, told
from agent_graph.trace.amounts import seconds
from agent_graph.visible import clipped, visible, visible_lines


def event_line(event: Event, since: float) -> str:
    """One line of a trace: seconds since the run began, phase, kind, step, details."""
    step = getattr(event, "step_id", None) or ""
    return f"{event.at - since:+9.2f}  {event.phase:<9}  {event.kind:<13}  {visible(step):<16}  {details(event)}".rstrip()


def details(event: Event) -> str:
    """What an event says beyond its kind and step, on one line."""
    match event:
        case RunStarted():
            return f"{'resumed' if event.resumed else 'started'}: {told(event.goal)}"
        case Replanned():
            return f"version {event.version} by {_author(event)}, {_steps(event)}, {_changes(event)}: {told(event.reason)}"
        case PlanMade():
            return f"version {event.version} by {_author(event)}, {_steps(event)}, digest {event.digest[:12]}"
        case IssueFound():
            return f"{event.severity} [{event.code}] {told(event.message)}" + (f" — {visible(event.fix)}" if event.fix else "")
        case StepStarted():
            return told(event.tool or "", name=True)
        case StepFinished():
            tries = f", attempt {event.attempts}" if event.attempts > 1 else ""
            error = f": [{visible(event.error.get('code'))}] {visible(event.error.get('message'))}" if event.error else ""
            return f"{event.status}{tries} in {seconds(event.seconds)}{error}"
        case Observed():
            found = "".join(f"; {visible(each.get('step_id'))}: {visible(each.get('message'))}" for each in event.deviations)
            return f"next {event.next}: {visible(event.why)}{found}"
        case Waiting():
            request = event.request
            return f"{request.get('kind')} {str(request.get('id'))[:8]}: {told(request.get('question') or request.get('reason'))}"
        case Decided():
            by = visible(event.decision.get("by") or "somebody unnamed")
            reason = event.decision.get("reason") or event.decision.get("text") or event.decision.get("outcome")
            return f"{event.decision.get('type')} by {by}" + (f": {visible(reason)}" if reason else "")
        case Revised():
            changed = ", ".join(
                f"{name}: {clipped(_scalar(event.before.get(name)), MOST_FLAT)} → {clipped(_scalar(value), 4 * MOST_FLAT)}"
                for name, value in event.after.items()
            )
            return f"by {visible(event.by or 'somebody unnamed')}: {told(changed)}"
        case Token():
            return f"{event.role}: {clipped(event.text, 2 * MOST_FLAT)}"
        case Drafted():
            return f"{event.number}. {told(str(event.step.get('id')))}  {told(str(event.step.get('tool') or event.step.get('kind')), name=True)}"
        case Note():
            return told(event.message)
        case Done():
            error = f": [{visible(event.error.get('code'))}] {visible(event.error.get('message'))}" if event.error else ""
            return f"{event.status}{error}"
        case _:
            return ""


def _changes(event: Replanned) -> str:
    """What stays, goes, is changed and is new, by name; of many, how many."""
    changed = [f"{step_id or 'the plan'} ({', '.join(fields)})" for step_id, fields in event.changed.items()]
    said = [f"{len(event.kept)} kept"]
    said += [
        f"{what} {visible(', '.join(names))}" if len(names) <= MOST_NAMED else f"{what} {len(names)} steps"
        for what, names in (("dropped", event.dropped), ("changed", changed), ("added", event.added))
        if names
    ]
    return ", ".join(said)


MOST_NAMED = 8
"""Steps that are named in one line."""


def _author(event: PlanMade) -> str:
    """Who made the plan; of a model's, with the version of the prompt."""
    return visible(event.created_by or "the planner") + (f" (prompt {event.prompt})" if event.prompt else "")


def _steps(event: PlanMade) -> str:
    count = event.count or len(event.steps)
    return f"{count} step{'s' if count != 1 else ''}"


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Remark(str):
    """A line about a value: that it is not what it seems, or what of it is left out. It stays where lines are left out."""

    __slots__ = ()


class LeftOut(Remark):
    """How much is not shown, and how to see it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much of a value is shown. Of a longer one its beginning and its end, how much is between them, and what leads somewhere in there."""

    everything: str
    """How to see all of it."""
    characters: int = 2_000
    """Of one text."""
    lines: int = 40
    """Of one text."""
    entries: int = 60
    """Lines of one argument: more than of one text, so that a long text is cut once."""
    arguments: int = 400
    """Lines of all arguments together."""

    MOST_ADDRESSES = 8


def argument_lines(args: Mapping[str, Any], indent: str, bound: Bound) -> Iterator[str]:
    """A call's arguments. A long one leaves room for the others; whatever is not shown is said, and bound by the same digest."""

    def each() -> Iterator[str]:
        for name, value in args.items():
            yield from shortened(value_lines({name: value}, indent, bound), bound.entries, f"{indent}  ", bound, value)

    yield from shortened(each(), bound.arguments, indent, bound, args)


def value_lines(value: Any, indent: str = "", bound: Bound | None = None) -> Iterator[str]:
    """A JSON value, complete and exact, for people: one entry to a line, and texts of several lines as they read, behind a bar.

    The bar is what keeps a text from passing for a line of ours. With a bound, of long texts beginning and end.
    """
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            named = visible(key) if bound is None else clipped(key, MOST_KEY)
            yield from _entry(f"{indent}{named}:", item, indent, bound)
            yield from (Remark(f"{indent}  ! the name {each}") for each in lookalikes(str(key), name=True))
    elif isinstance(value, list | tuple) and value:
        for item in value:
            yield from _entry(f"{indent}-", item, indent, bound)
    else:
        yield from _entry(indent[:-1], value, indent, bound) if isinstance(value, str) else (f"{indent}{_scalar(value)}",)


def _entry(head: str, item: Any, indent: str, bound: Bound | None) -> Iterator[str]:
    if isinstance(item, str):
        yield from _text(head, item, indent, bound)
        yield from (Remark(f"{indent}  ! {each}") for each in lookalikes(item))
    elif isinstance(item, Mapping | list | tuple) and item:
        flat = _flat(item)
        if flat is not None:
            yield f"{head} {flat}"
        else:
            yield head
            yield from value_lines(item, indent + "  ", bound)
    else:
        yield f"{head} {_scalar(item)}"


def text_lines(text: str, bound: Bound | None) -> Iterator[str]:
    """A text as it reads, line by line; of a long one its beginning, what is said of the rest, and its end."""
    if bound is None or not _is_long(text, bound):
        yield from visible_lines(text)
        return
    begin, end = _ends(text, bound)
    hidden = text[begin:end]
    yield from visible_lines(text[:begin])
    yield LeftOut(
        f"┆ {len(hidden):,} characters are not shown here, {hidden.count(LINE):,} line breaks among them; all of it: {bound.everything}; "
        f"SHA-256 of the whole text: {sha256(text)}"
    )
    yield from (Remark(f"┆ in what is not shown: {each}") for each in _hidden(hidden))
    yield from visible_lines(text[end:])


def _text(head: str, text: str, indent: str, bound: Bound | None) -> Iterator[str]:
    long = bound is not None and _is_long(text, bound)
    if not long and LINE not in text:
        yield f"{head} {_scalar(text)}"
        return
    count = text.count(LINE) + 1
    yield f"{head} ({count:,} line{'s' if count != 1 else ''}{f', {len(text):,} characters' if long else ''})"
    for line in text_lines(text, bound):
        yield type(line)(f"{indent}  {line}") if isinstance(line, Remark) else f"{indent}  │ {line}"


def _is_long(text: str, bound: Bound) -> bool:
    return len(text) > bound.characters or text.count(LINE) >= bound.lines


def _ends(text: str, bound: Bound) -> tuple[int, int]:
    """Where the beginning that is shown ends, and where the end that is shown begins: two thirds and one third of what is shown."""
    begin, end = min(bound.characters * 2 // 3, len(text)), max(0, len(text) - bound.characters // 3)
    head, tail = bound.lines * 2 // 3, bound.lines // 3
    places = [place for place, each in enumerate(text[:begin]) if each == LINE]
    if len(places) >= head:
        begin = places[head - 1]
    places = [place for place, each in enumerate(text[end:], end) if each == LINE]
    if len(places) >= tail:
        end = places[-tail] + 1
    return begin, max(begin, end)


def _hidden(text: str) -> Iterator[str]:
    """What a person must know of a text that is not shown."""
    found = addresses(text)
    if found:
        more = f" and {len(found) - Bound.MOST_ADDRESSES} more" if len(found) > Bound.MOST_ADDRESSES else ""
        yield ", ".join(clipped(each, 80) for each in found[: Bound.MOST_ADDRESSES]) + more
    if found_unseen := not_seen(text):
        yield found_unseen


def shortened(lines: Iterable[str], most: int, indent: str, bound: Bound, value: Any) -> Iterator[str]:
    """The first and the last of them, and what was said of those between."""
    last: deque[str] = deque()
    shown, hidden, characters = 0, 0, 0
    kept: list[str] = []
    for line in lines:
        if shown < most * 2 // 3:
            shown += 1
            yield line
            continue
        last.append(line)
        if len(last) > most - most * 2 // 3:
            dropped = last.popleft()
            if isinstance(dropped, Remark):
                kept.append(dropped)
            else:
                hidden, characters = hidden + 1, characters + len(dropped.strip())
    if hidden:
        yield LeftOut(
            f"{indent}┆ {hidden:,} lines of {characters:,} characters are not shown here; all of it: {bound.everything}; "
            f"digest of the whole: {digest(value)}"
        )
        yield from (each for each in kept[:MOST_KEPT])
        if len(kept) > MOST_KEPT:
            yield Remark(f"{indent}┆ and {len(kept) - MOST_KEPT:,} more remarks like these")
    else:
        yield from kept
    yield from last


MOST_KEY = 200
"""Columns of the name of an argument."""

MOST_FLAT = 60
"""Characters of a structure that stands on one line."""

MOST_KEPT = 12
"""Remarks about lines that are not shown."""

LINE = "\n"


def _flat(value: Any) -> str | None:
    """A small structure on one line."""
    if _weight(value, MOST_FLAT) < 0:
        return None
    said = _scalar(value)
    return said if len(said) <= MOST_FLAT and not any(map(lookalikes, texts(value))) else None


def _weight(value: Any, room: int) -> int:
    """What is left of the room when the value is in it; below 0 when it does not fit. Looks at no more than fits."""
    if isinstance(value, Mapping | list | tuple):
        for each in value.items() if isinstance(value, Mapping) else value:
            room = _weight(each, room - 1)
            if room < 0:
                return room
        return room
    return room - len(value) if isinstance(value, str) else room


def _scalar(value: Any) -> str:
    return visible(json.dumps(value, ensure_ascii=False, default=str))
