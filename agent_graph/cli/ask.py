"""Asking the person at the terminal. An answer that makes no sense is asked again; no answer leaves the run waiting."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from typing import Any

from agent_graph.cli.card import show_card
from agent_graph.cli.edit import as_document, as_plan, difference, editor, in_editor, read_edited
from agent_graph.cli.output import Out
from agent_graph.errors import InvalidDocument
from agent_graph.policy.answers import WrongAnswer, value_in
from agent_graph.state import Run
from agent_graph.verdicts import Approve, Decision, Edit, Reject, Request, Resolve, Respond


def choice(request: Request, answer: str) -> str:
    """A choice may be given by its number, unless that is a choice itself."""
    if answer in request.choices or not answer.isdecimal() or not 1 <= int(answer) <= len(request.choices):
        return answer
    return request.choices[int(answer) - 1]


class Later(Exception):
    """The person does not want to decide now."""


@dataclass(frozen=True, slots=True)
class Asker:
    out: Out
    store: str | None = None
    """As the person named it."""

    def ask(self, run: Run, request: Request, problem: str | None = None) -> Decision:
        """Show the card and ask until there is a decision. Raises Later when the person leaves."""
        if problem is None:
            show_card(self.out, run, request, more=len(run.requests) - 1, store=self.store)
        else:
            self.wrong(problem)
        try:
            match request.kind:
                case "question" if not request.choices_are_verbs:
                    return self.question(request)
                case "in_doubt":
                    return self.in_doubt()
                case _:
                    return self.verdict(run, request)
        except (KeyboardInterrupt, EOFError):
            self.out.say()
            raise Later from None

    # ── yes, no, edit ─────────────────────────────────────────────────────────────────────────────────────────────────

    def verdict(self, run: Run, request: Request) -> Decision:
        verbs = request.choices_are_verbs
        again = "Does it hold" if request.criterion is not None else "Try it again"
        what = again if verbs else "Run this plan" if request.kind == "plan" else f"Call {request.tool} with these arguments"
        edit = "" if verbs else "  e(dit)"
        draft: str | None = None
        while True:
            answer = self.line(f"{what}?  y(es)  n(o){edit}  q(uit, decide later): ").strip().lower()
            match answer:
                case "y" | "yes":
                    return Approve()
                case "n" | "no":
                    return Reject(reason=self.line("Why not? (empty: no reason): ").strip())
                case "q" | "quit":
                    raise Later
                case "e" | "edit" if not verbs:
                    edited, draft = self.edit(run, request, draft)
                    if edited is not None:
                        return edited
                case "":
                    self.wrong("nothing was entered")
                case _:
                    self.wrong(f"{answer!r} is none of y, n{'' if verbs else ', e'}, q")

    def edit(self, run: Run, request: Request, draft: str | None) -> tuple[Edit | None, str | None]:
        """The edit, if there is one, and the text to go on from, if it was not right."""
        before: Any = dict(request.args or {}) if request.kind == "step" else run.plan.document() if run.plan is not None else {}
        text, ending = as_document(before)
        command = editor()
        entered: str | None = None
        if command is not None:
            entered = in_editor(
                command, draft or text, ending, "Change the values, save and leave. What you save is shown before it counts."
            )
            if entered is None:
                self.wrong(f"the editor {command[0]} could not be run, or failed; set EDITOR to another one")
        if entered is None:
            entered, ending = self.line("New values as one line of JSON (empty: back): ").strip(), ".json"
            if not entered:
                return None, None
        try:
            after = read_edited(entered, ending)
            made = Edit(args=after) if request.kind == "step" else Edit(plan=as_plan(after))
        except InvalidDocument as error:
            self.wrong(str(error))
            return None, entered if ending != ".json" else None
        lines = difference(before, after)
        if not lines:
            self.wrong("nothing was changed")
            return None, None
        for line, style in lines:
            self.out.say(line, style)
        return (made, None) if self.yes("Run it so?  y(es)  n(o, back): ") else (None, entered if ending != ".json" else None)

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def question(self, request: Request) -> Decision:
        hint = f"1–{len(request.choices)} or the text" if request.choices else "a line of text"
        takes = "" if request.proposed is None else ":y takes the proposed value; "
        while True:
            answer = self.line(f"Your answer ({hint}; {takes}:q decides later, :n refuses to answer): ").strip()
            if answer == ":q":
                raise Later
            if answer == ":n":
                return Reject(reason=self.line("Why not? (empty: no reason): ").strip())
            if answer == ":y" and request.proposed is not None:
                return Approve()
            text = choice(request, answer)
            try:
                value_in(text, request)
            except WrongAnswer as error:
                self.wrong(str(error))
            else:
                return Respond(text=text)

    def in_doubt(self) -> Decision:
        while True:
            answer = self.line("Did it happen?  l(anded)  a(bsent)  q(uit, decide later): ").strip().lower()
            match answer:
                case "l" | "landed":
                    return Resolve(outcome="landed", output=self.output())
                case "a" | "absent":
                    return Resolve(outcome="absent")
                case "q" | "quit":
                    raise Later
                case _:
                    self.wrong("look it up in the system that was called, then say l (it happened) or a (it did not)")

    def output(self) -> Any:
        """What the call would have returned."""
        while True:
            text = self.line("What did it return, as JSON? (empty: nothing): ").strip()
            try:
                return json.loads(text) if text else None
            except ValueError:
                self.wrong('that is not JSON; a text stands in quotes: "sent"')

    # ── one line ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def yes(self, prompt: str) -> bool:
        while True:
            match self.line(prompt).strip().lower():
                case "y" | "yes":
                    return True
                case "n" | "no":
                    return False
                case _:
                    self.wrong("say y or n")

    def line(self, prompt: str) -> str:
        """One line of the person's. What was typed before the question was seen is no answer to it."""
        _forget_typed()
        self.out.console.print(prompt, end="", style="bold", soft_wrap=True)
        self.out.console.file.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")

    def wrong(self, why: str) -> None:
        self.out.text(why, "red")


def _forget_typed() -> None:
    try:
        import termios
    except ImportError:  # Windows
        return
    with contextlib.suppress(termios.error, OSError, ValueError):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
