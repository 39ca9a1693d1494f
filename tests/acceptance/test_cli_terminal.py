"""The command line on a terminal: a checklist, the card, and a person who answers, hesitates, or leaves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest

Cli = Any  # tests/acceptance/conftest.py
RUN = "11111111-1111-4111-8111-111111111111"
SEND = ("run", "--plan", "send.yaml", "--tools", "ops.py", "--id", RUN)
PROMPT = r"q\(uit, decide later\): "


class Person:
    """Somebody in front of a terminal."""

    def __init__(self, cli: Cli, *words: str, **environment: str) -> None:
        program, *args = cli.argv(*words)
        self.child = pexpect.spawn(
            program, args, cwd=str(cli.folder), env=cli.environment(**environment), encoding="utf-8", timeout=60, dimensions=(40, 110)
        )
        self.seen = ""

    def expect(self, what: str) -> None:
        self.child.expect(what)
        self.seen += self.child.before + self.child.after

    def types(self, text: str) -> None:
        self.child.sendline(text)

    def leaves(self) -> int:
        """Until the program has ended: its exit code."""
        self.child.expect(pexpect.EOF)
        self.seen += self.child.before
        self.child.close()
        assert self.child.exitstatus is not None
        return int(self.child.exitstatus)

    @property
    def text(self) -> str:
        """What was printed, without the terminal's own sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)


@pytest.fixture
def people(cli: Cli) -> Iterator[Any]:
    """Makes persons, and sends them home at the end."""
    made: list[Person] = []

    def person(*words: str, **environment: str) -> Person:
        made.append(Person(cli, *words, **environment))
        return made[-1]

    yield person
    for one in made:
        one.child.close(force=True)


def test_a_yes_at_the_gate_goes_on(cli: Cli, people: Any) -> None:
    person = people(*SEND)
    person.expect(PROMPT)
    assert cli.happened() == Counter({"look ann": 1})
    for fact in ("May this call be made?", "tell her", "external_communication", "ann@example.org", "digest", "key", RUN):
        assert fact in person.text
    assert "\\x1b[31mAnn \\u202eback" in person.text
    assert "\u202e" not in person.seen
    person.types("y")
    assert person.leaves() == 0
    assert "✓ tell" in person.text
    assert "Ann was told." in person.text
    assert cli.happened()["send ann@example.org"] == 1


def test_an_answer_that_makes_no_sense_is_asked_again(cli: Cli, people: Any) -> None:
    person = people(*SEND)
    for answer in ("maybe", ""):
        person.expect(PROMPT)
        person.types(answer)
    person.expect(PROMPT)
    assert "'maybe' is none of y, n, e, q" in person.text
    assert "nothing was entered" in person.text
    person.types("n")
    person.expect("Why not")
    person.types("not today")
    assert person.leaves() == 1
    assert "not today" in person.text
    assert cli.happened()["send ann@example.org"] == 0


@pytest.mark.parametrize("how", ["q", "ctrl-c", "ctrl-d"])
def test_leaving_at_the_gate_leaves_the_run_waiting(cli: Cli, people: Any, how: str) -> None:
    person = people(*SEND)
    person.expect(PROMPT)
    match how:
        case "q":
            person.types("q")
        case "ctrl-c":
            person.child.sendintr()
        case _:
            person.child.sendeof()
    assert person.leaves() == 3
    assert f"resume {RUN} --approve" in person.text
    assert cli.json("show", RUN)["status"] == "paused"
    again = people("resume", RUN)
    again.expect(PROMPT)
    assert "ann@example.org" in again.text
    again.types("yes")
    assert again.leaves() == 0


def test_an_edit_is_shown_as_a_difference_and_runs_as_it_was_edited(cli: Cli, people: Any) -> None:
    cli.write("editor.sh", '#!/bin/sh\nsed -i "s/ann@/bob@/" "$1"\n')
    (cli.folder / "editor.sh").chmod(0o700)
    person = people(*SEND, EDITOR="./editor.sh")
    person.expect(PROMPT)
    person.types("e")
    person.expect(r"n\(o, back\): ")
    assert '-  "to": "ann@example.org"' in person.text
    assert '+  "to": "bob@example.org"' in person.text
    assert "\\u202eback" in person.text, "what an editor would not show stands there as an escape"
    person.types("y")
    assert person.leaves() == 0
    assert cli.happened() == Counter({"look ann": 1, "send bob@example.org": 1})


def test_an_edit_without_an_editor_is_a_line_of_json(cli: Cli, people: Any) -> None:
    person = people(*SEND, EDITOR="", VISUAL="")
    person.expect(PROMPT)
    person.types("e")
    person.expect("one line of JSON")
    person.types('{"to": 7}')
    person.expect(r"n\(o, back\): ")
    person.types("y")
    person.expect("invalid_arguments")
    person.expect(PROMPT)
    person.types("e")
    person.expect("one line of JSON")
    person.types('{"to": "cy", "text": "hi"}')
    person.expect(r"n\(o, back\): ")
    person.types("y")
    assert person.leaves() == 0
    assert cli.happened()["send cy"] == 1


def test_a_question_takes_a_choice_by_number_or_a_text(cli: Cli, people: Any) -> None:
    cli.write("ask.yaml", "goal: ask\nsteps:\n  - {id: q, ask: 'Which region?'}\nanswer: {$ref: steps.q.output}\n")
    person = people("run", "--plan", "ask.yaml", "--tools", "ops.py", "--id", RUN)
    person.expect("Your answer")
    assert "Which region?" in person.text
    person.types("")
    person.expect("an empty answer is no answer")
    person.expect("Your answer")
    person.types("north")
    assert person.leaves() == 0
    assert cli.json("show", RUN)["answer"] == "north"


def test_two_gates_are_asked_one_after_the_other(cli: Cli, people: Any) -> None:
    steps = "\n".join(f"  - {{id: t{i}, tool: send, args: {{to: {{$ref: steps.who.output.address}}, text: m{i}}}}}" for i in (1, 2))
    cli.write("two.yaml", f"goal: two\nsteps:\n  - {{id: who, tool: look, args: {{name: ann}}}}\n{steps}\n")
    person = people("run", "--plan", "two.yaml", "--tools", "ops.py", "--id", RUN)
    person.expect(PROMPT)
    assert "1 more waits" in person.text
    person.types("y")
    person.expect(PROMPT)
    assert cli.happened()["send ann@example.org"] == 1
    person.types("y")
    assert person.leaves() == 0
    assert cli.happened()["send ann@example.org"] == 2


def test_what_happened_is_said_by_the_person(cli: Cli, people: Any) -> None:
    cli.write("blind.yaml", "goal: change\nsteps:\n  - {id: b, tool: blind, args: {name: x}}\n")
    cli.write("allow.yaml", "name: open\nrules: [{verdict: allow, tools: ['*']}]\n")
    cli.run("run", "--plan", "blind.yaml", "--tools", "ops.py", "--policy", "allow.yaml", "--id", RUN, KILL="blind")
    person = people("resume", RUN)
    person.expect("Did it happen")
    person.types("perhaps")
    person.expect("look it up")
    person.expect("Did it happen")
    person.types("l")
    person.expect("as JSON")
    person.types("x")
    person.expect("that is not JSON")
    person.types('"x"')
    assert person.leaves() == 0
    assert cli.happened() == Counter({"blind x": 1})


def test_ctrl_c_while_steps_run_stops_after_the_call_in_flight(cli: Cli, people: Any) -> None:
    person = people("run", "--plan", "slow.yaml", "--tools", "ops.py", "--id", RUN)
    cli.wait_for("look n1")
    person.child.sendintr()
    assert person.leaves() == 130
    assert f"resume {RUN}" in person.text
    assert "✓ s1" in person.text.rpartition("look at five")[2], "the last picture shows the call that was waited for"
    assert cli.run("resume", RUN).returncode == 0
    assert set(cli.happened().values()) == {1}


def test_a_decision_made_elsewhere_while_the_card_is_shown_stands(cli: Cli, people: Any) -> None:
    person = people(*SEND)
    person.expect(PROMPT)
    assert cli.run("resume", RUN, "--approve", "--by", "bo").returncode == 0
    person.types("y")
    assert person.leaves() == 0
    assert "has ended" in person.text
    assert "Ann was told." in person.text
    assert cli.happened()["send ann@example.org"] == 1


def test_a_large_plan_fits_the_screen(cli: Cli, people: Any) -> None:
    steps = "\n".join(f"  - {{id: s{i:03}, tool: look, args: {{name: n{i}}}}}" for i in range(300))
    cli.write("large.yaml", f"goal: look at many\nsteps:\n{steps}\n")
    person = people("run", "--plan", "large.yaml", "--tools", "ops.py", "--id", RUN)
    assert person.leaves() == 0
    last = person.text.rpartition("look at many")[2]
    assert last.count("✓") <= 40
    assert "300 succeeded" in last


def test_no_color_is_respected(cli: Cli, people: Any) -> None:
    person = people(*SEND, NO_COLOR="1")
    person.expect(PROMPT)
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", person.seen) is None
    person.types("q")
    assert person.leaves() == 3
