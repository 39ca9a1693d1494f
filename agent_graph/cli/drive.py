"""Driving a run from the command line: show what happens, ask at the gates, stop cleanly on Ctrl-C."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from agent_graph.cli import signals
from agent_graph.cli.ask import Asker, Later
from agent_graph.cli.checklist import checklist_of
from agent_graph.cli.exits import INTERRUPTED
from agent_graph.cli.outcome import report_outcome, say_resumable
from agent_graph.cli.output import Out
from agent_graph.cli.progress import progress
from agent_graph.errors import DecisionConflict, InvalidDecision, NothingPending, RunFinished
from agent_graph.events import Event
from agent_graph.identity import RunId
from agent_graph.runs import read_run
from agent_graph.state import Run
from agent_graph.verdicts import Request
from agent_graph.visible import visible

if TYPE_CHECKING:
    from agent_graph.agent import AgentGraph


class Driver:
    """One run in the hands of one command."""

    def __init__(self, out: Out, agent: AgentGraph, run_id: RunId, store: str, by: str | None) -> None:
        self.out = out
        self.agent = agent
        self.run_id = run_id
        self.store = store
        """As the person named it."""
        self.by = by

    def run(self) -> Run:
        return read_run(self.agent.store, self.run_id)

    def to_the_end(self, events: Iterator[Event] | None, only: str | None = None) -> int:
        """Drive, and ask as long as somebody answers. ``only``: the id of the one request to ask about. Returns the exit code."""
        if events is not None and (code := self.drive(events)) is not None:
            return code
        run = self.run()
        while self.out.asks and run.status == "paused":
            request = next((one for one in run.requests if only in (None, one.id)), None)
            if request is None:
                break
            try:
                going_on = self.answered(run, request)
            except Later:
                return report_outcome(self.out, self.run(), self.store, cards=False)
            if going_on is not None and (code := self.drive(going_on)) is not None:
                return code
            run = self.run()
        return report_outcome(self.out, run, self.store)

    def answered(self, run: Run, request: Request) -> Iterator[Event] | None:
        """Ask until the decision is on record. None when it was decided elsewhere in the meantime. Raises Later."""
        problem: str | None = None
        while True:
            decision = Asker(self.out, self.store).ask(run, request, problem)
            try:
                return self.agent.stream_resume(run.id, {request.id: cast("Any", decision)}, by=self.by)
            except InvalidDecision as error:
                problem = str(error)
            except (DecisionConflict, NothingPending, RunFinished) as error:
                self.out.text(error, "yellow")
                return None

    def drive(self, events: Iterator[Event]) -> int | None:
        """Until the run has ended or waits. Returns an exit code only after Ctrl-C."""
        checklist = checklist_of(self.agent.store, self.run())
        try:
            with progress(self.out, checklist) as shown:
                try:
                    with signals.announced(shown), closing(cast("Any", events)):
                        for event in events:
                            shown.see(event)
                finally:
                    checklist.items = checklist_of(self.agent.store, self.run()).items  # the last picture is the ledger's
        except KeyboardInterrupt:
            run = self.run()
            if run.finished:
                return None  # it was the last call
            if run.status == "running":  # after a second Ctrl-C this process still holds the run, for the moments that are left to it
                run = run.model_copy(update={"status": "interrupted", "owner": None})
            if self.out.json:
                self.out.document(run)
            else:
                self.out.say()
                say_resumable(self.out, run.id, self.store)
            return INTERRUPTED
        return None


def login_name() -> str | None:
    """Who sits at the terminal."""
    with contextlib.suppress(Exception):  # a container without a user of this number
        return visible(getpass.getuser())
    return None
