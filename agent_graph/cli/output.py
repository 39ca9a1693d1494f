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
from rich.cells import cell_len, set_cell_size
from rich.console import Console as RichConsole
from rich.text import Text

from agent_graph.cli.program import program
from agent_graph.visible import columns, visible, visible_lines

WIDEST = 120
"""Columns beyond which a line is no longer easy to read."""

LABEL = 9
"""Columns of what stands before a fact."""


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
        """Our own words and what is visible already. On a terminal, a line that is longer than the screen goes on behind a bar: the rest of
        a text from outside must not pass for a line of ours. A line that is a command stays whole, so that it can be copied."""
        width = self.columns
        whole = width is None or columns(text) <= width or text.lstrip().startswith(program())
        for part in (text,) if whole else folded(text, width or WIDEST):
            self.console.print(Text(part, style=style), soft_wrap=True)

    def text(self, text: object, style: str = "") -> None:
        """Text of several lines that came from outside."""
        for line in visible_lines(text):
            self.say(line, style)

    def document(self, value: Any) -> None:
        """The JSON document of this command."""
        self.documents.append(value)


def dumped(value: Any) -> str:
    """JSON that any reader takes, and that may be looked at on a terminal: indented, and what would be obeyed or not be seen stands there as
    an escape, which a reader turns back into what it was."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return visible(json.dumps(plain, indent=2, ensure_ascii=False, default=str), keep="\n", escape=_as_json)


def _as_json(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def folded(line: str, width: int) -> Iterator[str]:
    """The line in parts that fit. Each further part stands behind a bar: a long text must not pass for a line of ours."""
    indent = len(line) - len(line.lstrip(" │"))
    bar = " " * min(max(indent, LABEL), width // 2) + "┆ "
    head = ""
    while cell_len(head + line) > width:
        room = max(1, width - cell_len(head))
        part = set_cell_size(line, room).rstrip(" ") if cell_len(line[:room]) > room else line[:room]
        part = line[: max(1, len(part))]
        at_space = part.rfind(" ") + 1
        if at_space > len(part) // 2 and part[:at_space].strip(" │"):
            part = part[:at_space]
        yield head + part
        line, head = line[len(part) :], bar
    if line or not head:
        yield head + line


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
