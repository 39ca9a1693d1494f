"""Sealing as part of the writing connection: temporary triggers, so that no statement of the ledger has to know of seals, and none can forget them.

An update verifies the row as it was before it is sealed as it is: what somebody edited is not made good by the next write.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from typing import Any

from agent_graph.checkpoints.seals import SEALED, SealedTable, Seals
from agent_graph.checkpoints.tampered import OF_NO_RUN
from agent_graph.errors import StoreUnreadable


def install(connection: sqlite3.Connection, seals: Seals) -> frozenset[str]:
    """Returns the names of the triggers: random ones, so that the file cannot bring one that passes for ours."""
    connection.execute("PRAGMA temp_store = MEMORY")
    name = f"seal_{secrets.token_hex(8)}"
    _define(connection, seals, f"{name}_first", 1, seals.first)
    _define(connection, seals, f"{name}_advance", 3, seals.advance)
    names = []
    for table in SEALED.values():
        _define(connection, seals, f"{name}_{table.name}", len(table.columns), _sealing(seals, table))
        _define(connection, seals, f"{name}_{table.name}_before", len(table.columns) + 1, _verifying(seals, table))
        for event, sql in (("insert", _on_insert(name, table)), ("update", _on_update(name, table))):
            connection.execute(f"CREATE TEMP TRIGGER {name}_{table.name}_{event} {sql}")
            names.append(f"{name}_{table.name}_{event}")
    return frozenset(names)


def _define(connection: sqlite3.Connection, seals: Seals, name: str, arguments: int, function: Callable[..., Any]) -> None:
    def called(*values: Any) -> Any:
        try:
            return function(*values)
        except StoreUnreadable as error:
            seals.refusal = error
            raise

    connection.create_function(name, arguments, called)


def _sealing(seals: Seals, table: SealedTable) -> Callable[..., str]:
    return lambda *values: seals.seal(table.name, values)


def _verifying(seals: Seals, table: SealedTable) -> Callable[..., int]:
    return lambda seal, *values: seals.number(table.name, seal, values)


def _on_insert(name: str, table: SealedTable) -> str:
    first = f"INSERT INTO seals (id, mac) VALUES (NEW.id, {name}_first(NEW.id));" if table.name == "runs" else ""
    return f"AFTER INSERT ON main.{table.name} BEGIN {first} {_advance(name, table, '0')} {_seal(name, table)} END"


def _on_update(name: str, table: SealedTable) -> str:
    """Not of the seal itself, which the trigger writes."""
    before = f"{name}_{table.name}_before(OLD.mac, {', '.join(f'OLD.{column}' for column in table.columns)})"
    return f"AFTER UPDATE OF {', '.join(table.columns)} ON main.{table.name} BEGIN {_advance(name, table, before)} {_seal(name, table)} END"


def _advance(name: str, table: SealedTable, before: str) -> str:
    run = f"NEW.{table.run}" if table.run else f"'{OF_NO_RUN}'"
    return f"UPDATE seals SET mac = {name}_advance(id, mac, {before}) WHERE id = {run};"


def _seal(name: str, table: SealedTable) -> str:
    """Of the row as it stands in the table: that is how it will be read."""
    where = " AND ".join(f"{column} = NEW.{column}" for column in table.key)
    return f"UPDATE {table.name} SET mac = {name}_{table.name}({', '.join(table.columns)}) WHERE {where};"
