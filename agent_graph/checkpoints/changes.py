"""What in a store was changed outside of agent-graph, for ``health``: every row that no longer agrees with itself, or with its seal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from agent_graph.checkpoints.agreement import decision_in, request_in, sent
from agent_graph.checkpoints.findings import Finding
from agent_graph.checkpoints.keys import KEY, Keys
from agent_graph.checkpoints.migrations import LATEST
from agent_graph.checkpoints.schema import not_as_made
from agent_graph.checkpoints.sealing import GIVE_THE_KEY, has_seals
from agent_graph.checkpoints.seals import SEALED, Seals
from agent_graph.checkpoints.tampered import OF_NO_RUN
from agent_graph.errors import StoreUnreadable

RESTORE = "nothing of the run goes on: restore the store from a copy, or start another run"


def changes(connection: sqlite3.Connection, version: int, keys: Keys) -> Iterator[Finding]:
    """Seals are looked at in a store of the latest schema; without a key nobody can verify them."""
    if version == LATEST:
        yield from _schema(connection)
        yield from _sealing(connection, keys)
    if not keys or version != LATEST or not has_seals(connection):
        yield from _disagreeing(connection, "effects", sent)
        yield from _disagreeing(connection, "approvals", request_in)
        yield from _disagreeing(connection, "approvals", decision_in)


def _schema(connection: sqlite3.Connection) -> Iterator[Finding]:
    for what in not_as_made(connection):
        yield Finding(
            severity="broken",
            code="schema_changed",
            what=f"the schema has {what}, which agent-graph did not make, and which could make SQLite run what nobody approved",
            do="the store is not used while it is there: restore it from a copy, or take it out, for example with: DROP TRIGGER",
        )


def _sealing(connection: sqlite3.Connection, keys: Keys) -> Iterator[Finding]:
    sealed = has_seals(connection)
    if sealed and not keys:
        yield Finding(
            severity="note",
            code="sealed",
            what="the store is sealed, and its key is not given, so that nobody can say here whether a row was changed",
            do=f"{GIVE_THE_KEY}, and look again; without it nothing can be driven either",
        )
    elif keys and not sealed:
        yield Finding(
            severity="attention",
            code="not_sealed",
            what=f"a key is given in {KEY} or by its command, and the store has no seal: it was written without one, or its seal was taken out",
            do="if you trust what stands in it, seal it as it is; until then nothing uses it",
            command=("doctor", "--seal"),
        )
    elif keys:
        seals = Seals(keys, "")
        for run_id in (OF_NO_RUN, *(row["id"] for row in connection.execute("SELECT id FROM runs ORDER BY created DESC").fetchall())):
            yield from _unsealed(connection, seals, run_id)


def _unsealed(connection: sqlite3.Connection, seals: Seals, run_id: str) -> Iterator[Finding]:
    whole = True
    for table in SEALED.values():
        if (table.run is None) != (run_id == OF_NO_RUN):
            continue
        where, bound = (f"WHERE {table.run} = ?", (run_id,)) if table.run else ("", ())
        for row in connection.execute(f"SELECT * FROM {table.name} {where}", bound).fetchall():
            try:
                seals.check(table.name, row)
            except StoreUnreadable as error:
                whole = False
                yield _changed(error, table.name, run_id)
    if whole:
        try:
            seals.numbers(connection, run_id)
        except StoreUnreadable as error:
            yield _changed(error, "seals", run_id)


def _disagreeing(connection: sqlite3.Connection, table: str, read: Callable[[sqlite3.Row], object]) -> Iterator[Finding]:
    for row in connection.execute(f"SELECT * FROM {table}").fetchall():
        try:
            read(row)
        except StoreUnreadable as error:
            if "was changed" in str(error):  # one that does not parse is told elsewhere
                yield _changed(error, table, row["run_id"])


def _changed(error: StoreUnreadable, table: str, run_id: str) -> Finding:
    return Finding(
        severity="attention",
        code="row_changed",
        run_id=None if run_id == OF_NO_RUN else run_id,
        what=str(error).partition(". Nothing")[0],
        do=RESTORE,
        about={"table": table},
    )
