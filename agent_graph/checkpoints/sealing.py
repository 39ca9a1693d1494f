"""Whether a store is sealed. That a key is given is the mark of a sealed store: nothing in the file can take that back."""

from __future__ import annotations

import sqlite3

from agent_graph.checkpoints.keys import KEY, KEY_COMMAND
from agent_graph.checkpoints.seals import SEALED, Seals
from agent_graph.checkpoints.tampered import OF_NO_RUN
from agent_graph.errors import StoreUnreadable

GIVE_THE_KEY = f"give its key in {KEY}, or a command that prints it in {KEY_COMMAND}"


def has_seals(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM seals LIMIT 1").fetchone() is not None


def open_sealed(connection: sqlite3.Connection, seals: Seals, name: str) -> None:
    """A new store is sealed from its first row. Raises StoreUnreadable for one that was never sealed, and for one sealed with another key."""
    if _opened(connection, seals):
        return
    connection.execute("BEGIN IMMEDIATE")  # two processes may open a new store at once
    try:
        if not _opened(connection, seals):
            _refuse_unsealed(connection, name)
            connection.execute("INSERT INTO seals (id, mac) VALUES (?, ?)", (OF_NO_RUN, seals.first(OF_NO_RUN)))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _opened(connection: sqlite3.Connection, seals: Seals) -> bool:
    row = connection.execute("SELECT mac FROM seals WHERE id = ?", (OF_NO_RUN,)).fetchone()
    if row is not None:
        seals.sum_of(OF_NO_RUN, row["mac"])
    return row is not None


def _refuse_unsealed(connection: sqlite3.Connection, name: str) -> None:
    if has_seals(connection) or any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in SEALED):
        raise StoreUnreadable(
            f"a key is given, and the store {name} has no seal: it was written without one, or its seal was taken out. If you trust what stands "
            f"in it, seal it as it is: agent-graph doctor --seal; to only look at it, unset {KEY} and {KEY_COMMAND}"
        )
