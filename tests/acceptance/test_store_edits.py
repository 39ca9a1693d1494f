"""The file of a paused run is edited with plain SQLite, and the run is resumed by the real command: it stops, names the row, and calls nothing.

Every edit that is tried, with a key and without: tests/contracts/test_seals.py.
"""

from __future__ import annotations

import json
import shlex
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_graph import Reject
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.identity import RunId, StepId, effect_key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

Cli = Any  # tests/acceptance/conftest.py
RUN = "11111111-1111-4111-8111-111111111111"
KEY = "0123456789abcdef" * 4
SEALED = {"AGENT_GRAPH_STORE_KEY": KEY}

BANK = '''
import os
from pathlib import Path
from agent_graph import tool

@tool(risk="money", recovery="keyed")
def pay(to: str, amount: int) -> str:
    """Pay."""
    with Path("world.log").open("a") as log:
        log.write(f"pay {to} {amount}\\n")
    if os.environ.get("KILL") == to:
        os.kill(os.getpid(), 9)
    return "paid"
'''
PLAN = """
goal: pay
steps:
  - {id: first, tool: pay, args: {to: ann, amount: 10}}
  - {id: second, tool: pay, args: {to: bob, amount: 20}, depends_on: [first]}
"""


@pytest.fixture
def bank(cli: Cli) -> Cli:
    cli.write("ops.py", BANK)
    cli.write("pay.yaml", PLAN)
    return cli


def store(cli: Cli) -> Path:
    return Path(cli.folder / ".agent-graph" / "runs.db")


def paused(cli: Cli, **environment: str) -> None:
    done = cli.run("run", "--tools", "ops.py", "--plan", "pay.yaml", "--id", RUN, **environment)
    assert done.returncode == 3, done.stderr


def edit(cli: Cli, change: str | Callable[[sqlite3.Connection], Any]) -> None:
    with closing(sqlite3.connect(store(cli), isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        changed = connection.execute(change) if isinstance(change, str) else change(connection)
        assert changed.rowcount > 0


def refused(cli: Cli, *words: str, **environment: str) -> str:
    """The message. The command was refused, and no tool was called by it."""
    before = cli.happened()
    done = cli.run(*words, **environment)
    assert (done.returncode, cli.happened()) == (2, before), done.stderr
    return " ".join(str(done.stderr).split())


def harmless(connection: sqlite3.Connection) -> Any:
    """A person is shown small payments; the digests are those of the real ones."""
    row = connection.execute("SELECT id, request FROM approvals WHERE decided IS NULL").fetchone()
    request = json.loads(row["request"])
    for call in [request, *request.get("calls", [])]:
        if "args" in call:
            call["args"]["amount"] = 1
    if "idempotency_key" in request:
        request["idempotency_key"] = effect_key(RunId(RUN), StepId(request["step_id"]), "pay", request["args"])
    return connection.execute("UPDATE approvals SET request = ? WHERE id = ?", (json.dumps(request), row["id"]))


def test_a_yes_to_what_was_not_meant_pays_nothing(bank: Cli) -> None:
    paused(bank)
    edit(bank, harmless)
    said = refused(bank, "resume", RUN, "--approve")
    assert "of approvals" in said
    assert "was changed outside of agent-graph" in said
    assert bank.happened() == {}


def test_edited_arguments_are_not_sent_again_after_a_crash(bank: Cli) -> None:
    paused(bank)
    assert bank.run("resume", RUN, "--approve", KILL="ann").returncode == -9
    assert bank.happened() == {"pay ann": 1}
    edit(bank, "UPDATE effects SET args = replace(args, 'ann', 'eve')")
    said = refused(bank, "resume", RUN)
    assert "of effects" in said
    assert "no longer give its key" in said
    assert bank.happened() == {"pay ann": 1}


def test_a_no_that_was_made_a_yes_in_every_column_is_found_with_a_key(bank: Cli) -> None:
    paused(bank, **SEALED)
    with SqliteStore(store(bank), key=KEY) as opened:
        request = opened.approvals.open(RunId(RUN))[0]
        opened.approvals.decide(RunId(RUN), {request.id: Reject(stop=True)})
    edit(bank, "UPDATE approvals SET verdict = 'approve', decision = '{\"type\":\"approve\"}' WHERE verdict = 'reject'")
    said = refused(bank, "resume", RUN, **SEALED)
    assert f"the row {request.id} of approvals of run {RUN}" in said
    assert bank.happened() == {}
    listed = json.loads(bank.run("runs", "--json", **SEALED).stdout)
    assert RUN in json.dumps(listed)
    looked = bank.run("doctor", "--json", **SEALED)
    found = {finding["code"]: finding for finding in json.loads(looked.stdout)["findings"]}
    assert looked.returncode == 1
    assert (found["row_changed"]["run_id"], found["row_changed"]["about"]["table"]) == (RUN, "approvals")


def test_a_payment_whose_row_was_removed_is_not_made_again(bank: Cli) -> None:
    paused(bank, **SEALED)
    assert bank.run("resume", RUN, "--approve", KILL="bob", **SEALED).returncode in (3, -9)
    before = bank.happened()
    assert before["pay ann"] == 1
    edit(bank, "DELETE FROM effects")
    said = refused(bank, "resume", RUN, **SEALED)
    assert "removed from the store" in said
    assert bank.happened() == before


def test_a_sealed_store_without_its_key_is_looked_at_only_and_goes_on_with_it(bank: Cli) -> None:
    vault = shlex.join([sys.executable, "-c", f"print('{KEY}')"])
    paused(bank, AGENT_GRAPH_STORE_KEY_COMMAND=vault)
    assert bank.run("show", RUN).returncode == 0
    assert "sealed, and without its key it can only be looked at" in refused(bank, "resume", RUN, "--approve")
    done = bank.run("resume", RUN, "--approve", AGENT_GRAPH_STORE_KEY_COMMAND=vault)
    while done.returncode == 3:
        done = bank.run("resume", RUN, "--approve", AGENT_GRAPH_STORE_KEY_COMMAND=vault)
    assert done.returncode == 0, done.stderr
    assert bank.happened() == {"pay ann": 1, "pay bob": 1}


def test_a_store_is_sealed_by_doctor_and_not_by_the_way(bank: Cli) -> None:
    paused(bank)
    assert "agent-graph doctor --seal" in refused(bank, "resume", RUN, "--approve", **SEALED)
    assert "needs a key" in refused(bank, "doctor", "--seal")
    sealed = bank.run("doctor", "--seal", **SEALED)
    assert sealed.returncode == 0, sealed.stdout + sealed.stderr
    assert "is sealed from now on" in sealed.stdout
    edit(bank, "UPDATE runs SET goal = replace(goal, 'pay', 'rob')")
    assert f"the row {RUN} of runs" in refused(bank, "resume", RUN, "--approve", **SEALED)
    assert bank.happened() == {}
