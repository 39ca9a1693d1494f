"""What ``agent-graph doctor`` finds of a store that somebody edited: each row by name, and nothing in one that nobody did."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent_graph import Approve
from agent_graph.checkpoints.findings import Finding
from agent_graph.checkpoints.health import examine
from agent_graph.checkpoints.keys import read_keys
from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.identity import RunId, StepId, call_digest, effect_key
from agent_graph.plan import Goal
from agent_graph.records import Intent
from agent_graph.verdicts import Request

RUN = RunId("run-1")
KEY = "a-key-for-these-tests-and-for-nothing-else"
ARGS = {"to": "ann"}


@pytest.fixture(params=["sealed", "plain"])
def path(request: pytest.FixtureRequest, store_path: Path) -> Path:
    with SqliteStore(store_path, key=KEY if request.param == "sealed" else ()) as store:
        store.runs.create(RUN, Goal(text="tell them"), thread_id="t")
        lease = store.leases.acquire(RUN, new_owner())
        key = effect_key(RUN, StepId("send"), "send", ARGS)
        bound = call_digest(RUN, StepId("send"), "send", "schema", ARGS)
        asked = Request(id="ask", run_id=RUN, kind="step", digest=bound, reason="r", asked=1.0, step_id="send", tool="send", args=ARGS)
        store.approvals.ask(lease, asked)
        store.approvals.decide(RUN, {"ask": Approve()})
        store.ledger.begin(
            lease,
            Intent(
                key=key, step_id="send", plan_version=1, tool="send", args=ARGS, risk="write", recovery="keyed", started=1.0, deadline=2.0
            ),
            None,
        )
        store.runs.finish(lease, "failed")
        store.leases.release(lease)
    return store_path


def edit(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert all(connection.execute(statement).rowcount != 0 for statement in statements)


def found(path: Path, *codes: str) -> list[Finding]:
    sealed = sqlite3.connect(path)
    keys = read_keys(KEY) if sealed.execute("SELECT 1 FROM seals").fetchone() else ()
    sealed.close()
    return [finding for finding in examine(path, 10.0, keys).findings if finding.code in codes]


ABOUT_CHANGES = ("row_changed", "schema_changed", "sealed", "not_sealed", "unreadable_part")


def test_of_a_store_that_nobody_edited_nothing_is_said(path: Path) -> None:
    assert found(path, *ABOUT_CHANGES) == []


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ('UPDATE effects SET args = \'{"to":"eve"}\'', "effects"),
        ("UPDATE approvals SET verdict = 'reject'", "approvals"),
        ("UPDATE approvals SET digest = 'd'", "approvals"),
    ],
)
def test_a_row_that_was_changed_is_named_with_its_run(path: Path, change: str, table: str) -> None:
    edit(path, change)
    (said,) = found(path, *ABOUT_CHANGES)
    assert (said.code, said.run_id, said.about) == ("row_changed", RUN, {"table": table})
    assert f"of {table} of run {RUN} was changed outside of agent-graph" in said.what


@pytest.mark.parametrize("path", ["sealed"], indirect=True)
def test_with_the_key_rows_that_are_gone_are_missed_and_all_that_were_changed_are_said(path: Path) -> None:
    edit(path, "DELETE FROM approvals")
    assert [said.about["table"] for said in found(path, "row_changed")] == ["seals"]
    edit(path, "UPDATE runs SET status = 'running'", "UPDATE leases SET fence = 0")
    assert [said.about["table"] for said in found(path, "row_changed")] == ["runs", "leases"]


def test_a_trigger_makes_the_store_one_that_cannot_be_relied_on(path: Path) -> None:
    edit(path, "CREATE TRIGGER planted AFTER UPDATE ON runs BEGIN SELECT 1; END")
    (said,) = found(path, *ABOUT_CHANGES)
    assert (said.code, said.severity) == ("schema_changed", "broken")
    assert "trigger 'planted'" in said.what


@pytest.mark.parametrize("path", ["sealed"], indirect=True)
def test_without_the_key_it_is_said_that_nobody_can_tell(path: Path) -> None:
    said = [finding for finding in examine(path, 10.0).findings if finding.code in ABOUT_CHANGES]
    assert [(finding.code, finding.severity) for finding in said] == [("sealed", "note")]


@pytest.mark.parametrize("path", ["plain"], indirect=True)
def test_a_key_for_a_store_without_seals_is_told_what_to_do(path: Path) -> None:
    said = [finding for finding in examine(path, 10.0, read_keys(KEY)).findings if finding.code in ABOUT_CHANGES]
    assert [(finding.code, finding.command) for finding in said] == [("not_sealed", ("doctor", "--seal"))]
