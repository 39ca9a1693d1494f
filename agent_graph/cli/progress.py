"""What is seen of a run while it runs: a checklist that changes in place on a terminal, lines where it is piped, nothing for a program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol, Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.cli.checklist import Style, rows, summary
from agent_graph.cli.output import Out, folded
from agent_graph.cli.program import command
from agent_graph.cli.writing import Writing
from agent_graph.events import (
    Done,
    Drafted,
    Event,
    IssueFound,
    Observed,
    PlanMade,
    Replanned,
    RunStarted,
    StepFinished,
    StepStarted,
    Token,
    Waiting,
)
from agent_graph.lookalikes import told
from agent_graph.trace.amounts import seconds
from agent_graph.trace.checklist import Checklist
from agent_graph.trace.render import details
from agent_graph.visible import clipped, visible

MOST_LISTED = 40
"""Steps of a plan that are listed in lines."""


class Progress(Protocol):
    stopping: bool
    """Set when the person has pressed Ctrl-C: what is in flight is waited for."""
    draws: bool
    """Whether it says so by itself."""

    def see(self, event: Event) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def progress(out: Out, checklist: Checklist) -> Progress:
    if out.json:
        return Nothing()
    return OnTerminal(out, checklist) if out.terminal else Lines(out, checklist)


class Nothing:
    stopping = False
    draws = False

    def see(self, event: Event) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Lines:
    """One line per event, in the order in which they came."""

    stopping = False
    draws = False

    def __init__(self, out: Out, checklist: Checklist) -> None:
        self._out = out
        self._checklist = checklist
        self._began: float | None = None
        self._listed = checklist.version

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def see(self, event: Event) -> None:
        self._checklist.see(event)
        if self._began is None:
            self._began = event.at
        match event:
            case RunStarted():
                self._out.say(f"run {event.run_id}: {details(event)}")
                self._listed = self._listed if event.resumed else 0
            case PlanMade():
                self._plan(event)
            case StepStarted():
                self._line(event, "started", event.step_id, details(event))
            case StepFinished():
                self._line(event, event.status, event.step_id, details(event).removeprefix(event.status).lstrip(", "))
            case Observed() if event.next != "replan" and not event.deviations:
                pass  # that the next step is the next one goes without saying
            case IssueFound():
                self._line(event, event.severity, event.step_id or "", details(event).removeprefix(event.severity).lstrip())
            case Done() | Token() | Drafted():
                pass  # what follows says it at length, and whole
            case Waiting():
                self._line(event, "waits", str(event.request.get("step_id") or ""), details(event))
            case _:
                self._line(event, event.kind.replace("_", " "), getattr(event, "step_id", None) or "", details(event))

    def _line(self, event: Event, what: str, step: str, said: str) -> None:
        since = max(0.0, event.at - (self._began or event.at))  # a decision is older than the drive that acts on it
        self._out.say(f"  {since:8.2f} s  {what:<10}  {visible(step):<12}  {said}".rstrip())

    def _plan(self, event: PlanMade) -> None:
        done = self._checklist.counts["succeeded"]
        said = f"{len(event.steps)} step{'s' if len(event.steps) != 1 else ''}" + (f", {done} done before" if done else "")
        why = f": {told(event.reason)}" if isinstance(event, Replanned) and event.reason else ""
        self._out.say(f"plan version {event.version}, {said}{why}")
        if event.version == self._listed:
            return
        self._listed = event.version
        items = list(self._checklist.items.values())
        ids = max((len(item.id) for item in items[:MOST_LISTED]), default=0)
        whats = max((len(item.what) for item in items[:MOST_LISTED]), default=0)
        for item in items[:MOST_LISTED]:
            self._out.say(f"  {item.id:<{ids}}  {visible(item.what):<{min(whats, 40)}}  {told(item.description)}".rstrip())
        if len(items) > MOST_LISTED:
            everything = command("show", event.run_id, store=self._out.store or DEFAULT_PATH)
            self._out.say(f"  … and {len(items) - MOST_LISTED} more; all of them: {everything}")


class OnTerminal:
    """The plan as a checklist, drawn anew a few times a second; its last state stays on the screen."""

    draws = True

    def __init__(self, out: Out, checklist: Checklist) -> None:
        self.stopping = False
        self._out = out
        self._checklist = checklist
        self._goal = ""
        self._began = time.time()
        self._over = False
        self._writing = Writing()
        self._live = Live(get_renderable=self._picture, console=out.console, refresh_per_second=8, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._live.stop()

    def see(self, event: Event) -> None:
        self._writing.see(event)
        self._checklist.see(event)
        match event:
            case Token() if event.step_id in self._checklist.items:
                item = self._checklist.items[event.step_id]
                if item.standing == "running":
                    item.note = self._writing.note_of(event.step_id)
            case RunStarted():
                self._goal = event.goal
            case Replanned():
                self._note(f"plan version {event.version}: {event.reason}")
            case IssueFound():
                self._note(details(event))
            case _ if event.kind == "note":
                self._note(details(event))
            case _:
                pass

    def _note(self, said: str) -> None:
        for part in folded(f"  {visible(said)}", self._out.console.width):
            self._live.console.print(Text(part, style="yellow"), soft_wrap=True)

    def _picture(self) -> RenderableType:
        """Computed at each refresh, in the thread that draws: an event costs the run nothing but a change of state."""
        width = self._out.width
        style = Style(
            width=width,
            unicode=self._out.unicode,
            most=max(4, self._out.console.height - 6),
            now=None if self._over else time.time(),
        )
        head = Text(clipped(told(self._goal), width), style="bold", no_wrap=True)
        foot = Text(clipped(self._foot(), width), style="dim", no_wrap=True)
        return Group(head, *rows(self._checklist, style), *self._drafted(style), foot, *self._answer(width))

    def _drafted(self, style: Style) -> Iterator[Text]:
        """The steps of a plan that is not there yet, behind those that are."""
        drafted = self._writing.drafted
        if drafted and not self._over:
            room = max(2, style.most - len(self._checklist.items))
            yield from rows(Checklist({item.id: item for item in drafted[-room:]}), style)

    def _answer(self, width: int) -> Iterator[Text]:
        """The end of the answer, as it is written."""
        most = max(2, self._out.console.height // 3)
        if not self._over and (lines := [part for line in self._writing.last_lines(most) for part in folded(f"  {line}", width)]):
            yield Text()
            yield from (Text(line, no_wrap=True) for line in lines[-most:])

    def _foot(self) -> str:
        if not self._checklist.items or self._writing.planned:
            return self._planning() if not self._over else ""
        said = summary(self._checklist)
        if self.stopping and not self._over:
            return f"  stopping: waits for the call in flight (Ctrl-C again stops at once); {said}"
        return f"  {said}, {seconds(time.time() - self._began)}"

    def _planning(self) -> str:
        drafted, planned = len(self._writing.drafted), self._writing.planned
        if drafted:
            return f"  planning … {drafted} step{'s' if drafted != 1 else ''} so far"
        return f"  planning … {planned:,} characters so far" if planned else "  planning …"
