"""Where things are printed: a person's terminal, a pipe, or one JSON document for a program."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import typer
from pydantic import BaseModel
from rich.console import Console as RichConsole
from rich.text import Text

from agent_graph.visible import visible_lines

WIDEST = 120
"""Columns beyond which a line is no longer easy to read."""


STYLES: dict[str, str] = {
    "succeeded": "bold green",
    "failed": "bold red",
    "cancelled": "bold",
    "paused": "bold yellow",
    "running": "bold blue",
    "interrupted": "bold yellow",
}
"""By a run's status."""


class Console(RichConsole):
    def on_broken_pipe(self) -> None:
        """Rich would end the process here, in the middle of a run."""
        raise  # noqa: PLE0704  # it is called from the except block


@dataclass
class Out:
    """One command's way to speak. Under ``json`` nothing is printed but the document at the end."""

    json: bool = False
    documents: list[Any] = field(default_factory=list)
    run_id: str | None = None
    """The run that the command is about, once it is known, and its store: said when something goes wrong."""
    store: str = ""

    @classmethod
    def of(cls, context: typer.Context, *, as_json: bool = False) -> Out:
        """The one of this call of the program."""
        out: Out = context.obj
        out.json = as_json
        return out

    def about(self, run_id: str, store: str) -> None:
        self.run_id, self.store = run_id, store

    @cached_property
    def terminal(self) -> bool:
        """Whether a person sees this as it is drawn."""
        return not self.json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    @cached_property
    def asks(self) -> bool:
        """Whether a person is there to be asked."""
        return not self.json and sys.stdin.isatty() and sys.stdout.isatty()

    @cached_property
    def console(self) -> Console:
        # Not FORCE_COLOR: what is piped is plain. NO_COLOR is rich's own.
        return Console(force_terminal=self.terminal, highlight=False, markup=False, emoji=False, quiet=self.json)

    @property
    def columns(self) -> int | None:
        """How many there are, where lines would be broken at them; None where they are not."""
        return self.console.width if sys.stdout.isatty() else None

    @property
    def width(self) -> int:
        return min(self.console.width, WIDEST) if self.terminal else WIDEST

    @cached_property
    def unicode(self) -> bool:
        return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")

    def say(self, text: str = "", style: str = "") -> None:
        """Our own words and what is visible already. Long lines are left to the terminal, so that they can be copied."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    def text(self, text: object, style: str = "") -> None:
        """Text of several lines that came from outside."""
        for line in visible_lines(text):
            self.say(line, style)

    def document(self, value: Any) -> None:
        """The JSON document of this command."""
        self.documents.append(value)


def dumped(value: Any) -> str:
    """JSON that any reader takes: indented, and without a lone surrogate that could not be encoded."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(plain, indent=2, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode("utf-8")


@contextlib.contextmanager
def only_documents_on_stdout(*, wanted: bool) -> Iterator[None]:
    """While a command runs, whatever a tool or a library prints goes to stderr, also from below Python."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
