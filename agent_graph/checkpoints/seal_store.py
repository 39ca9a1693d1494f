"""Sealing a store that has no seals, or sealing it with a new key: an explicit act, since it makes good whatever stands there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from agent_graph.checkpoints.database import Database
from agent_graph.checkpoints.keys import Keys
from agent_graph.checkpoints.leases import owner_in
from agent_graph.checkpoints.owners import alive
from agent_graph.checkpoints.sealing import has_seals
from agent_graph.checkpoints.seals import SEALED, Seals
from agent_graph.checkpoints.tampered import OF_NO_RUN
from agent_graph.errors import RunBusy


def seal_store(path: str | Path, keys: Keys, now: float) -> tuple[int, bool]:
    """Seal every row as it stands; in a sealed store, verify every row and seal it with the first key.

    Returns how many rows, and whether the store was sealed before. Raises RunBusy while a run is driven, StoreUnreadable for a row of a sealed store
    that is not as it was written; nothing is changed then.
    """
    database = Database(path, must_exist=True)
    try:
        seals = Seals(keys, database.path)
        return database.seal(lambda connection: _seal_all(connection, seals, now))
    finally:
        database.close()


def _seal_all(connection: sqlite3.Connection, seals: Seals, now: float) -> tuple[int, bool]:
    for row in connection.execute("SELECT * FROM leases WHERE owner IS NOT NULL").fetchall():
        if alive(owner := owner_in(row, row["run_id"]), row["expires"], now):
            raise RunBusy(f"run {row['run_id']} is being driven by {owner}; a store is sealed while nothing is driven: try again then")
    before = has_seals(connection) or any(
        connection.execute(f"SELECT 1 FROM {table} WHERE mac IS NOT NULL LIMIT 1").fetchone() for table in SEALED
    )
    runs = [row["id"] for row in connection.execute("SELECT id FROM runs").fetchall()]
    seal = _seal_again if before else _seal_first
    return sum(seal(connection, seals, run_id) for run_id in (OF_NO_RUN, *runs)), before


def _seal_first(connection: sqlite3.Connection, seals: Seals, run_id: str) -> int:
    number = 0
    for name, values, where, bound in _rows(connection, run_id):
        number += 1
        connection.execute(f"UPDATE {name} SET mac = ? WHERE {where}", (seals.sealed(name, number, values), *bound))
    total = number * (number + 1) // 2
    connection.execute("INSERT INTO seals (id, mac) VALUES (?, ?)", (run_id, seals.summed(run_id, number, total)))
    return number


def _seal_again(connection: sqlite3.Connection, seals: Seals, run_id: str) -> int:
    numbers = seals.numbers(connection, run_id)
    for name, values, where, bound in _rows(connection, run_id):
        connection.execute(f"UPDATE {name} SET mac = ? WHERE {where}", (seals.sealed(name, numbers[name, bound], values), *bound))
    last, total = seals.sum_of(run_id, connection.execute("SELECT mac FROM seals WHERE id = ?", (run_id,)).fetchone()["mac"])
    connection.execute("UPDATE seals SET mac = ? WHERE id = ?", (seals.summed(run_id, last, total), run_id))
    return len(numbers)


def _rows(connection: sqlite3.Connection, run_id: str) -> list[tuple[str, list[object], str, tuple[object, ...]]]:
    """Table, sealed values, and how to find the row again."""
    found: list[tuple[str, list[object], str, tuple[object, ...]]] = []
    for table in SEALED.values():
        if (table.run is None) != (run_id == OF_NO_RUN):
            continue
        where, bound = (f"WHERE {table.run} = ?", (run_id,)) if table.run else ("", ())
        for row in connection.execute(f"SELECT * FROM {table.name} {where}", bound).fetchall():
            key = " AND ".join(f"{column} = ?" for column in table.key)
            found.append((table.name, [row[column] for column in table.columns], key, tuple(row[column] for column in table.key)))
    return found
