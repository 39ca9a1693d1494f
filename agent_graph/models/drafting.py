"""A plan as far as its model has written it: the steps that are whole, found in JSON that is still being written.

Only to be shown. What counts is the reply when it has come whole and was checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from agent_graph.events import Drafted, Event, Token
from agent_graph.plan import KINDS

Tell = Callable[[Event], None]

PLANS = frozenset({"planner", "replanner"})
"""Roles whose words are a plan."""

MOST_SAID = 400
"""Characters of a value of a step that is shown."""

MOST_STEP = 200_000
"""Characters of one step; a longer one is not shown before the plan is there."""


def drafts(tell: Tell | None, run_id: str) -> Tell | None:
    """``tell`` for whoever asks a model for a plan: beside its words, each step of the plan as soon as it is whole. None stays None."""
    if tell is None:
        return None
    steps = StepsInText()
    number = 0

    def told(event: Event) -> None:
        nonlocal number
        tell(event)
        if not isinstance(event, Token) or event.role not in PLANS:
            return
        if event.begins:
            steps.begin()
            number = 0
        for step in steps.feed(event.text):
            number += 1
            tell(Drafted(run_id=run_id, at=event.at, step=step, number=number))

    return told


class StepsInText:
    """Reads one JSON document that comes in pieces, and gives each object of the list ``steps`` once it is whole.

    Text before the document is passed over, as its reader does. What is no JSON gives nothing and raises nothing.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Another document begins."""
        self._open: list[str] = []
        """Brackets that are open."""
        self._in_text = False
        self._escaped = False
        self._text: list[str] = []
        """Characters of the text that is being read, while it may be a key."""
        self._key = ""
        """The last text at the depth of ``steps`` or above: its key, when a bracket follows."""
        self._list_at = 0
        """How many brackets are open inside of ``steps``; 0: not there."""
        self._step: list[str] | None = None
        self._long = 0
        self._over = False

    def feed(self, text: str) -> Iterator[dict[str, Any]]:
        for character in text:
            if self._over:
                return
            if self._step is not None:
                self._keep(character)
            if self._in_text:
                self._in_a_text(character)
            elif character == '"' and self._open:
                self._in_text, self._text = True, []
            elif character in "{[" and (self._open or character == "{"):
                self._enter(character)
            elif character in "}]" and self._open:
                yield from self._leave()

    def _keep(self, character: str) -> None:
        self._long += 1
        if self._long <= MOST_STEP and self._step is not None:
            self._step.append(character)

    def _in_a_text(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._in_text = False
            if self._step is None:
                self._key = "".join(self._text)
        elif self._step is None and len(self._text) < len("steps") + 1:
            self._text.append(character)

    def _enter(self, bracket: str) -> None:
        self._open.append(bracket)
        if self._step is not None:
            return
        if self._list_at and bracket == "{" and len(self._open) == self._list_at + 1:
            self._step, self._long = ["{"], 1
        elif bracket == "[" and self._key == "steps" and "[" not in self._open[:-1]:
            self._list_at = len(self._open)
        self._key = ""

    def _leave(self) -> Iterator[dict[str, Any]]:
        self._open.pop()
        if self._step is not None and len(self._open) == self._list_at:
            written, self._step = "".join(self._step), None
            if self._long <= MOST_STEP and (step := _outline(written)) is not None:
                yield step
        elif self._list_at > len(self._open):
            self._list_at = 0
        self._over = not self._open


def _outline(written: str) -> dict[str, Any] | None:
    """What of a step is shown before it was checked."""
    try:
        step = json.loads(written)
    except (ValueError, RecursionError):
        return None
    if isinstance(step.get("do"), dict):
        step = {**step, **step["do"]}
    does = step["do"] if isinstance(step.get("do"), dict) else step
    kind = next((each for each in KINDS if does.get(each)), "tool")
    tool, description = _said(does.get("tool")) or None, _said(step.get("description"))
    return {"id": _said(step.get("id")), "kind": kind, "tool": tool, "description": description}


def _said(value: Any) -> str:
    return value[:MOST_SAID] if isinstance(value, str) else ""
