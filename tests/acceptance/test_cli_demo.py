"""The demo: from the question to the ticket, through two real processes or with a person at the gate."""

from __future__ import annotations

import re
import sqlite3
from typing import Any

import pexpect  # type: ignore[import-untyped]

Cli = Any  # tests/acceptance/conftest.py


def tickets(cli: Cli) -> list[str]:
    desk = sqlite3.connect(cli.folder / ".agent-graph" / "demo-tickets.db")
    try:
        return [row[0] for row in desk.execute("SELECT title FROM tickets ORDER BY number")]
    finally:
        desk.close()


def test_one_process_asks_another_approves_and_the_ticket_is_there_once(cli: Cli) -> None:
    done = cli.run("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "process A" in done.stdout
    assert "ended with exit code 3" in done.stdout
    first, second = re.findall(r"process [AB] \((\d+)\)", done.stdout)
    assert first != second
    shown = re.findall(r"^  \S*agent.graph resume \S+ --approve", done.stdout, re.MULTILINE)
    assert len(shown) == 1, "the command that is run next is the one that was printed"
    assert "# ec2_cpu_utilization_825cc2: 2 findings" in done.stdout
    assert "INC-0001" in done.stdout
    assert len(tickets(cli)) == 1


def test_a_second_demo_is_a_run_of_its_own_and_says_so(cli: Cli) -> None:
    assert cli.run("demo").returncode == 0
    again = cli.run("demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 ticket of earlier demos" in again.stdout
    assert "INC-0002" in again.stdout
    assert len(tickets(cli)) == 2


def test_on_a_terminal_the_person_is_asked(cli: Cli) -> None:
    program, *args = cli.argv("demo")
    child = pexpect.spawn(program, args, cwd=str(cli.folder), env=cli.environment(), encoding="utf-8", timeout=60, dimensions=(50, 120))
    try:
        child.expect(r"q\(uit, decide later\): ")
        child.sendline("y")
        child.expect("On the desk")
        child.expect(pexpect.EOF)
    finally:
        child.close()
    assert child.exitstatus == 0
    assert len(tickets(cli)) == 1
