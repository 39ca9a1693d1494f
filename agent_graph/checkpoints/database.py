"""One SQLite file and one writing connection whose commits are grouped.

Whoever holds the I/O lock commits for everybody who waits, so that a single writer pays no hand-over and many writers share a disk
flush. A durable commit is flushed to disk (``synchronous=FULL``); one that is not survives the death of the process, not a power cut.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from agent_graph.checkpoints.migrations import migrate, refuse_foreign
from agent_graph.errors import StoreError, StoreUnreadable, UsageError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's transaction."""


_OF_ONE_WORK = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What is wrong with one statement and its values, not with the file."""


class Ticket(Generic[T]):
    """One piece of work that waits for its commit."""

    __slots__ = ("done", "durable", "error", "value", "work")

    def __init__(self, work: Work[T], *, durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.done = False
        self.value: T | None = None
        self.error: BaseException | None = None


class Database:
    """``path`` may be ``:memory:``. Raises StoreUnreadable or StoreTooNew when the file cannot be used."""

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        self.path = str(path)
        self.commits = 0
        """Transactions committed on this connection; ``durable_commits`` of them were flushed to disk."""
        self.durable_commits = 0
        self._queue: list[Ticket[Any]] = []
        self._guard = threading.Lock()
        self._io = threading.RLock()
        self._full: bool | None = None
        self._local = threading.local()
        if self.path != ":memory:":
            _prepare(Path(self.path), must_exist=must_exist)
        try:
            self._connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        try:
            self._connection.row_factory = sqlite3.Row
            refuse_foreign(self._connection, self.path)
            _use_wal(self._connection)
            self._connection.execute("PRAGMA foreign_keys = ON")
            migrate(self._connection, self.path)
        except sqlite3.Error as error:
            self._connection.close()
            raise explain(error, self.path) from error
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Commit what waits, then close. Raises the refusal of deferred work, with the file closed all the same."""
        with self._io:
            try:
                self.flush()
            finally:
                self._connection.close()

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def defer(self, work: Work[Any], *, durable: bool = True) -> None:
        """Queue the work; it is committed with the next commit, or by ``flush``, which also tells this thread of a refusal."""
        ticket = self._queued(work, durable=durable)
        try:
            self._local.tickets.append(ticket)
        except AttributeError:
            self._local.tickets = [ticket]

    def _queued(self, work: Work[T], *, durable: bool) -> Ticket[T]:
        ticket = Ticket(work, durable=durable)
        with self._guard:
            self._queue.append(ticket)
        return ticket

    def settle(self, ticket: Ticket[T]) -> T:
        """Wait until the work is committed, committing it now if nobody has. Raises what the work raised."""
        if not ticket.done:
            with self._io:
                if not ticket.done:
                    self._commit()
        if ticket.error is not None:
            raise ticket.error
        return cast("T", ticket.value)

    def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run the work in a transaction, together with whatever waits, and commit."""
        return self.settle(self._queued(work, durable=durable))

    def flush(self) -> None:
        """Commit whatever waits. Raises the first refusal of work that this thread queued and nobody waited for."""
        if self._queue:
            with self._io:
                if self._queue:
                    self._commit()
        mine: list[Ticket[Any]] = getattr(self._local, "tickets", [])
        self._local.tickets = []
        for ticket in mine:
            self.settle(ticket)

    def _commit(self) -> None:
        with self._guard:
            batch, self._queue = self._queue, []
        connection = self._connection
        durable = any(ticket.durable for ticket in batch)
        try:
            if durable is not self._full:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._full = durable
            connection.execute("BEGIN IMMEDIATE")
            for ticket in batch:
                self._run(ticket)
            connection.execute("COMMIT")
            self.commits += 1
            self.durable_commits += durable
        except BaseException as error:
            failure = explain(error, self.path) if isinstance(error, sqlite3.Error) else error
            for ticket in batch:
                ticket.error = ticket.error or failure
            with contextlib.suppress(sqlite3.ProgrammingError):  # the file was closed under us: nothing is left to roll back
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if not isinstance(error, Exception):
                raise
        finally:
            for ticket in batch:
                ticket.done = True

    def _run(self, ticket: Ticket[Any]) -> None:
        """Each work has its own savepoint: one that is refused (a lost lease, a value that does not fit) takes no other with it."""
        connection = self._connection
        connection.execute("SAVEPOINT work")
        try:
            ticket.value = ticket.work(connection)
        except Exception as refused:
            if isinstance(refused, sqlite3.Error) and not isinstance(refused, _OF_ONE_WORK):
                raise  # the file itself: a full disk, damage, a lock
            ticket.error = explain(refused, self.path) if isinstance(refused, sqlite3.Error) else refused
            connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def rows(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """What is committed now. What is queued is not: a look at a row must not cost the commit that the next intent shares."""
        try:
            with self._io:
                return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def row(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Row | None:
        found = self.rows(sql, values)
        return found[0] if found else None


def _use_wal(connection: sqlite3.Connection) -> None:
    """The switch needs the file for itself, and unlike for a write SQLite does not wait: another process may be making the store too."""
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= until:
                raise
            time.sleep(0.005)
        else:
            return


def _prepare(path: Path, *, must_exist: bool) -> None:
    """The file is made readable for its owner only; SQLite gives its side files the same mode."""
    if not path.exists():
        if must_exist:
            raise UsageError(f"there is no store at {path}; run something first, or name another with --store")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise StoreError(f"the store {path} cannot be made: {error.strerror}; choose another place with --store") from error
    elif path.is_dir():
        raise StoreUnreadable(f"the store {path} is a folder; name a file in it, for example {path / 'runs.db'}")
    elif path.stat().st_size == 0 and (must_exist or path.with_name(path.name + "-wal").exists()):
        raise StoreUnreadable(
            f"the store {path} is empty: it was cut off, or never written; restore it from a copy, or name another with --store"
        )


def explain(error: sqlite3.Error, path: str) -> StoreError:
    """SQLite's error in words that say what to do."""
    text = str(error)
    if "closed database" in text:
        return StoreError(f"the store {path} was closed; make a new agent to go on")
    if "locked" in text or "busy" in text:
        return StoreError(
            f"the store {path} was locked by another process for {BUSY_TIMEOUT:.0f} s; nothing was written: try again when it is free"
        )
    if "full" in text or "disk I/O" in text:
        return StoreError(f"the store {path} could not be written: {text}; free some disk space, then resume the run")
    if "readonly" in text:
        return StoreError(f"the store {path} cannot be written: {text}; check its permissions, and those of its folder")
    if isinstance(error, sqlite3.DatabaseError) and ("not a database" in text or "malformed" in text or "corrupt" in text):
        return StoreUnreadable(f"the store {path} is damaged or not a store: {text}; restore it from a copy, or name another with --store")
    return StoreError(f"the store {path}: {text}")
