"""Seals: with a key, each row carries an HMAC of its table and of all its columns, and each run a sealed sum over its rows.

A row that was edited, copied from elsewhere or put in does not verify. Each write of a run has a number that only rises, and a row's seal holds
that of its last write; the sum of them all is sealed too. Whoever takes a row out, or sets it back to what it was, makes the sum smaller, and
without the key nothing makes it larger again. Only all of a run together can be set back (docs/store.md says so).
"""

from __future__ import annotations

import hmac
import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agent_graph.checkpoints.keys import Key, Keys
from agent_graph.checkpoints.schema import columns_of, refuse_other_schema, schema_number
from agent_graph.checkpoints.tampered import OF_NO_RUN, changed
from agent_graph.errors import StoreUnreadable

SCHEME = "1"
"""First in each seal, so that another way of sealing can be told from this one."""


@dataclass(frozen=True, slots=True)
class SealedTable:
    """``run``: the column that names the run; None for a table whose rows belong to none."""

    name: str
    key: tuple[str, ...]
    run: str | None = "run_id"

    @property
    def columns(self) -> tuple[str, ...]:
        """What is sealed: all but the seal, by name, so that a column that a migration adds changes nothing while it is NULL."""
        return tuple(sorted(column for column in columns_of(self.name) if column != "mac"))


SEALED = {
    table.name: table
    for table in (
        SealedTable("runs", ("id",), "id"),
        SealedTable("plans", ("run_id", "version")),
        SealedTable("effects", ("key",)),
        SealedTable("approvals", ("id",)),
        SealedTable("leases", ("run_id",)),
        SealedTable("usage", ("run_id", "role")),
        SealedTable("usage_entries", ("run_id", "role", "model", "step_id", "plan_version")),
        SealedTable("conversations", ("run_id", "key", "number")),
        SealedTable("judgements", ("run_id", "key")),
        SealedTable("policies", ("id",), None),
        SealedTable("grants", ("id",), None),
    )
}

Place = tuple[str, tuple[object, ...]]
"""A row: its table and its primary key."""

_ROW = re.compile(r"1\.([0-9a-f]{8})\.([0-9]{1,18})\.([0-9a-f]{64})")
_SUM = re.compile(r"1\.([0-9a-f]{8})\.([0-9]{1,18})\.([0-9]{1,18})\.([0-9a-f]{64})")

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode
"""Tells 1 from 1.0 and from "1", and is the same text in every version of Python."""


class Seals:
    """Of one connection. ``keys``: the first seals, each verifies."""

    def __init__(self, keys: Keys, store: str) -> None:
        self._store = store
        self._signing = keys[0]
        self._keys: Mapping[str, Key] = {key.name: key for key in keys}
        self._columns = {name: table.columns for name, table in SEALED.items()}
        self._derived: dict[tuple[str, str], bytes] = {}
        self._schema: int | None = None
        self._next: tuple[str, int, bool] | None = None
        """The run whose row is being written, the number of that write, and whether the row is new."""
        self._seen: dict[str, dict[Place, int]] = {}
        """Of each run that is driven here, the number of each row's last write: a row can neither go nor go back unnoticed."""
        self._fresh: dict[str, dict[Place, int]] = {}
        """The same, of the transaction under way."""
        self.refusal: StoreUnreadable | None = None
        """Why a statement was refused; SQLite only says that a function failed."""

    # ── one row ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def check(self, table: str, row: sqlite3.Row) -> None:
        """Raises StoreUnreadable, naming the row, unless it is as it was written last. The row has all columns of its table."""
        self.number(table, row["mac"], [row[column] for column in self._columns[table]])

    def number(self, table: str, seal: object, values: Sequence[object]) -> int:
        """The number of the row's last write. Raises StoreUnreadable."""
        found = _ROW.fullmatch(seal) if isinstance(seal, str) else None
        if found is None:
            raise self._refused(table, values, "it has no seal" if seal is None else "its seal is none")
        name, number, mac = found[1], int(found[2]), found[3]
        key = self._key(name, lambda why: self._refused(table, values, why))
        if not hmac.compare_digest(mac, self._mac(key, table, number, values)):
            raise self._refused(table, values, "it does not match its seal")
        place, run_id = self._place(table, values)
        if number < self._seen.get(run_id, {}).get(place, 0):
            raise self._refused(table, values, "it was set back to what it had been before")
        return number

    def _mac(self, key: Key, table: str, number: int, values: Sequence[object]) -> str:
        there = [pair for pair in zip(self._columns[table], values, strict=True) if pair[1] is not None]
        try:
            content = _encode([table, number, there])
        except TypeError:  # bytes, where nothing of ours writes any
            raise self._refused(table, values, "it holds what is neither text nor a number") from None
        return hmac.digest(self._for(key, table), content.encode(), "sha256").hex()

    def sealed(self, table: str, number: int, values: Sequence[object]) -> str:
        """The seal of a row."""
        return f"{SCHEME}.{self._signing.name}.{number}.{self._mac(self._signing, table, number, values)}"

    def _place(self, table: str, values: Sequence[object]) -> tuple[Place, str]:
        row = dict(zip(self._columns[table], values, strict=True))
        shape = SEALED[table]
        return (table, tuple(row[column] for column in shape.key)), str(row[shape.run]) if shape.run else OF_NO_RUN

    def _refused(self, table: str, values: Sequence[object], how: str) -> StoreUnreadable:
        (_, key), run_id = self._place(table, values)
        return changed(table, "/".join(map(str, key)), run_id, how)

    def _for(self, key: Key, what: str) -> bytes:
        derived = self._derived.get((key.name, what))
        if derived is None:
            derived = self._derived[key.name, what] = key.of(what)
        return derived

    def _key(self, name: str, refused: Callable[[str], StoreUnreadable]) -> Key:
        if name not in self._keys:
            raise refused(f"it was sealed with another key ({name}) than the one that is given ({', '.join(self._keys)})")
        return self._keys[name]

    # ── the sum of a run ──────────────────────────────────────────────────────────────────────────────────────────────

    def summed(self, run_id: str, last: int, total: int) -> str:
        """The seal of a run's sum: ``last`` is the number of its last write, ``total`` the sum of the numbers in its rows."""
        return f"{SCHEME}.{self._signing.name}.{last}.{total}.{self._sum_mac(self._signing, run_id, last, total)}"

    def _sum_mac(self, key: Key, run_id: str, last: int, total: int) -> str:
        return hmac.digest(self._for(key, "seals"), _encode(["seals", run_id, last, total]).encode(), "sha256").hex()

    def sum_of(self, run_id: str, seal: object) -> tuple[int, int]:
        """``last`` and ``total``. Raises StoreUnreadable."""
        found = _SUM.fullmatch(seal) if isinstance(seal, str) else None
        if found is None:
            raise changed("seals", run_id, run_id, "it is gone, or is none")
        key = self._key(found[1], lambda why: changed("seals", run_id, run_id, why))
        last, total = int(found[2]), int(found[3])
        if not hmac.compare_digest(found[4], self._sum_mac(key, run_id, last, total)):
            raise changed("seals", run_id, run_id, "it does not match its own seal")
        return last, total

    def numbers(self, connection: sqlite3.Connection, run_id: str) -> dict[Place, int]:
        """The number of each row of the run, all of them verified. Raises StoreUnreadable when one was changed, put in, taken out or set back."""
        numbers: dict[Place, int] = {}
        for table in SEALED.values():
            if (table.run is None) != (run_id == OF_NO_RUN):
                continue
            where, bound = (f"WHERE {table.run} = ?", (run_id,)) if table.run else ("", ())
            for row in connection.execute(f"SELECT * FROM {table.name} {where}", bound):
                values = [row[column] for column in self._columns[table.name]]
                numbers[self._place(table.name, values)[0]] = self.number(table.name, row["mac"], values)
        seal = connection.execute("SELECT mac FROM seals WHERE id = ?", (run_id,)).fetchone()
        last, total = self.sum_of(run_id, None if seal is None else seal["mac"])
        if sum(numbers.values()) != total or max(numbers.values(), default=0) > last:
            raise StoreUnreadable(
                f"rows of run {run_id} were removed from the store {self._store}, or set back to what they had been before, outside of agent-graph: "
                f"the {len(numbers)} rows that are there are not all that was written. Nothing was done with them, and the run stops here: "
                "restore the store from a copy, or start another run"
                if run_id != OF_NO_RUN
                else f"standing grants or policies were removed from the store {self._store}, or set back, outside of agent-graph: restore it from a copy"
            )
        return numbers

    # ── a drive ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, connection: sqlite3.Connection, run_id: str) -> None:
        """Inside a transaction, at the beginning of a drive: verify all that is of the run, and of no run. Raises StoreUnreadable."""
        for each in (OF_NO_RUN, run_id):
            self._fresh[each] = self.numbers(connection, each)

    def let_go(self, run_id: str) -> None:
        """At the end of a drive."""
        self._seen.pop(run_id, None)

    # ── a transaction ─────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, connection: sqlite3.Connection) -> None:
        """Inside it: our own triggers seal what is written, so nothing else may have a hand in that. Raises StoreUnreadable."""
        self._next = self.refusal = None
        if schema_number(connection) != self._schema:
            self._schema = refuse_other_schema(connection, self._store)

    def committed(self) -> None:
        for run_id, numbers in self._fresh.items():
            self._seen.setdefault(run_id, {}).update(numbers)
        self._fresh = {}

    def rolled_back(self) -> None:
        self._fresh = {}

    # ── what the triggers call ────────────────────────────────────────────────────────────────────────────────────────

    def first(self, run_id: str) -> str:
        return self.summed(run_id, 0, 0)

    def advance(self, run_id: str, seal: object, before: int) -> str:
        """A row is written whose last write had the number ``before``; 0: it is new."""
        last, total = self.sum_of(run_id, seal)
        self._next = (run_id, last + 1, before == 0)
        return self.summed(run_id, last + 1, total + last + 1 - before)

    def seal(self, table: str, values: Sequence[object]) -> str:
        """The seal of the row that ``advance`` was called for."""
        place, run_id = self._place(table, values)
        if self._next is None or self._next[0] != run_id:
            raise changed("seals", run_id, run_id, "it is gone")
        _, number, new = self._next
        self._next = None
        driven = run_id in self._seen or run_id in self._fresh
        if driven:
            if new and place in self._seen.get(run_id, ()):
                raise self._refused(table, values, "it was removed while the run was driven")
            self._fresh.setdefault(run_id, {})[place] = number
        return self.sealed(table, number, values)
