"""One SQLite file and one writing connection whose commits are grouped.

Whoever holds the I/O lock commits for everybody who waits, so that a single writer pays no hand-over and many writers share a disk
flush. A durable commit is flushed to disk (``synchronous=FULL``); one that is not survives the death of the process, not a power cut.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from agent_graph.checkpoints.keys import Keys
from agent_graph.checkpoints.migrations import migrate, refuse_foreign
from agent_graph.checkpoints.schema import refuse_other_schema, run_no_code_of
from agent_graph.checkpoints.seal_triggers import install
from agent_graph.checkpoints.sealing import GIVE_THE_KEY, has_seals, open_sealed
from agent_graph.checkpoints.seals import Seals
from agent_graph.errors import StoreError, StoreUnreadable, UsageError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's transaction, unless a store is opened with its own ``busy_timeout``."""

FILE_MODE = 0o600
FOLDER_MODE = 0o700

CACHE = 384 << 10
"""Bytes of the file that SQLite keeps at hand; a process that serves many runs has little use for what it wrote."""

_OF_ONE_WORK = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError, UnicodeDecodeError)
"""What is wrong with one statement and its values, or with a row that it reads, not with the file."""

_OF_SQLITE = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; the latter where what it reads, or its own words about what is damaged, are no text."""


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

    def __init__(self, path: str | Path, *, must_exist: bool = False, busy_timeout: float | None = None, keys: Keys = ()) -> None:
        self.path = str(path)
        self.seals: Seals | None = None
        """None: the store has no key, and what is read is not verified."""
        self._only_to_look_at = ""
        self.busy_timeout = BUSY_TIMEOUT if busy_timeout is None else busy_timeout
        self.commits = 0
        """Transactions committed on this connection; ``durable_commits`` of them were flushed to disk."""
        self.durable_commits = 0
        self._queue: deque[Ticket[Any]] = deque()
        """Adding to it and taking from it are atomic; only who holds the I/O lock takes."""
        self._io = threading.RLock()
        self._full: bool | None = None
        self._local = threading.local()
        if self.path != ":memory:":
            _prepare(Path(self.path), must_exist=must_exist)
        try:
            self._connection = sqlite3.connect(self.path, timeout=self.busy_timeout, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._explain(error) from error
        try:
            self._connection.row_factory = sqlite3.Row
            refuse_foreign(self._connection, self.path)
            _use_wal(self._connection, self.busy_timeout)
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._connection.execute(f"PRAGMA cache_size = -{CACHE >> 10}")
            migrate(self._connection, self.path)
            refuse_other_schema(self._connection, self.path)
            self._look_at_seals(keys)
        except _OF_SQLITE as error:
            self._connection.close()
            raise self._explain(error) from error
        except BaseException:
            self._connection.close()
            raise

    def _look_at_seals(self, keys: Keys) -> None:
        run_no_code_of(self._connection)
        if keys and self.path != ":memory:":
            self.seals = Seals(keys, self.path)
            open_sealed(self._connection, self.seals, self.path)
            run_no_code_of(self._connection, install(self._connection, self.seals))
        elif has_seals(self._connection):
            self._only_to_look_at = (
                f"the store {self.path} is sealed, and without its key it can only be looked at; nothing was written: {GIVE_THE_KEY}"
            )

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
        if self._only_to_look_at:
            raise UsageError(self._only_to_look_at)
        ticket = Ticket(work, durable=durable)
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
        mine: list[Ticket[Any]] | None = getattr(self._local, "tickets", None)
        if mine:
            self._local.tickets = []
            for ticket in mine:
                if ticket.error is not None or not ticket.done:
                    self.settle(ticket)

    def _commit(self) -> None:
        batch: list[Ticket[Any]] = []
        while self._queue:
            batch.append(self._queue.popleft())
        connection = self._connection
        durable = any(ticket.durable for ticket in batch)
        try:
            if durable is not self._full:
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._full = durable
            self._run(batch)
            self.commits += 1
            self.durable_commits += durable
        except BaseException as error:
            failure = self._explain(error) if isinstance(error, _OF_SQLITE) else error
            for ticket in batch:
                ticket.error = ticket.error or failure
            with contextlib.suppress(sqlite3.Error):  # the file was closed under us, or is gone: nothing is left to roll back
                if connection.in_transaction:
                    self._roll_back()
            if not isinstance(error, Exception):
                raise
        finally:
            for ticket in batch:
                ticket.done = True

    def _run(self, batch: list[Ticket[Any]]) -> None:
        """One that is refused (a lost lease, a value that does not fit) takes no other with it: the others are run again without it.

        A savepoint for each would cost more than most works do, and hardly any is refused.
        """
        connection = self._connection
        while True:
            connection.execute("BEGIN IMMEDIATE")
            if self.seals is not None:
                self.seals.begin(connection)
            for ticket in batch:
                try:
                    ticket.value = ticket.work(connection)
                except Exception as error:
                    refused = self._refusal(error)
                    if isinstance(refused, sqlite3.Error) and not _of_one_work(refused):
                        raise  # the file itself: a full disk, damage, a lock
                    ticket.error = self._explain(refused) if isinstance(refused, _OF_SQLITE) else refused
                    break
            else:
                connection.execute("COMMIT")
                if self.seals is not None:
                    self.seals.committed()
                return
            self._roll_back()
            batch = [ticket for ticket in batch if ticket.error is None]

    def _refusal(self, error: Exception) -> Exception:
        """What a seal was refused for, where it was a seal; SQLite only says that a function failed."""
        return error if self.seals is None or self.seals.refusal is None else self.seals.refusal

    def _roll_back(self) -> None:
        if self.seals is not None:
            self.seals.rolled_back()
        self._connection.execute("ROLLBACK")

    def seal(self, work: Work[T]) -> T:
        """The one write to a sealed store without its key: what gives it its seals."""
        self._only_to_look_at = ""
        return self.write(work)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def rows(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """What is committed now. What is queued is not: a look at a row must not cost the commit that the next intent shares."""
        try:
            with self._io:
                return self._connection.execute(sql, values).fetchall()
        except _OF_SQLITE as error:
            raise self._explain(error) from error

    def row(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Row | None:
        found = self.rows(sql, values)
        return found[0] if found else None

    def sealed_rows(self, table: str, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """As ``rows``, for what something is permitted by: each is held against its seal, where the store has a key. The statement selects whole
        rows. Raises StoreUnreadable, naming the row.
        """
        try:
            with self._io:  # a row that is written meanwhile would seem to be set back
                found = self._connection.execute(sql, values).fetchall()
                if self.seals is not None:
                    for row in found:
                        self.seals.check(table, row)
                return found
        except _OF_SQLITE as error:
            raise self._explain(error) from error

    def sealed_row(self, table: str, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Row | None:
        found = self.sealed_rows(table, sql, values)
        return found[0] if found else None

    def _explain(self, error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
        return explain(error, self.path, self.busy_timeout)

    # ── giving space back ─────────────────────────────────────────────────────────────────────────────────────────────

    def reclaim(self) -> None:
        """Write the file anew without what was deleted, which can be found in it until then, and begin its log anew.

        Raises StoreError when another process is in the way, or the disk has no room for a second copy of what is left.
        """
        with self._io:
            self.flush()
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a full disk needs this room first
                self._connection.execute("VACUUM")
                busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.Error as error:
                raise self._explain(error) from error
        if busy:
            raise StoreError(
                f"the store {self.path} is being read by another process, so that its old content is still there; try again later"
            )

    def size(self) -> int:
        """Bytes of the file and its log; 0 in memory."""
        return sum(part.stat().st_size for part in parts_of(self.path)[:2] if part.exists()) if self.path != ":memory:" else 0


def _of_one_work(error: sqlite3.Error) -> bool:
    return isinstance(error, _OF_ONE_WORK) or "decode to UTF-8" in str(error)


def _use_wal(connection: sqlite3.Connection, patience: float) -> None:
    """The switch needs the file for itself, and unlike for a write SQLite does not wait: another process may be making the store too."""
    until = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= until:
                raise
            time.sleep(0.005)
        else:
            return


def parts_of(path: str | Path) -> tuple[Path, Path, Path]:
    """The file of a store, its log, and the index of its log; the last two are there while it is open, and after a crash."""
    return Path(path), Path(f"{path}-wal"), Path(f"{path}-shm")


def _prepare(path: Path, *, must_exist: bool) -> None:
    """Look at the file before SQLite does, which would make an empty one out of what is missing. Raises what cannot be opened.

    A new file is for its owner only, whatever the umask, and SQLite gives its log the same mode; so is a new folder. A folder or a file
    that is there already keeps its mode, since somebody may have chosen it: ``agent-graph doctor`` says when it is too wide.
    """
    try:
        there = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        there = None
    except OSError as error:
        raise StoreError(
            f"the store {path} cannot be reached: {error.strerror}; check the permissions of its folder, or name another with --store"
        ) from error
    if there is None:
        if must_exist:
            raise UsageError(f"there is no store at {path}; run something first, or name another with --store")
        try:
            _make_folder(path.parent)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE))
        except OSError as error:
            raise StoreError(f"the store {path} cannot be made: {error.strerror}; choose another place with --store") from error
    elif stat.S_ISDIR(there.st_mode):
        raise StoreUnreadable(f"the store {path} is a folder; name a file in it, for example {path / 'runs.db'}")
    elif there.st_size == 0 and (must_exist or parts_of(path)[1].exists()):
        raise StoreUnreadable(
            f"the store {path} is empty: it was cut off, or never written; restore it from a copy, or name another with --store"
        )
    elif log_is_gone(path):
        raise StoreUnreadable(
            f"the store {path} was not closed, and its log {path}-wal is gone: what its runs did last was written there. Put the log back, or "
            f"restore the store from a copy. To go on with what is left, although effects that are not on record may be done a second "
            f"time, remove {path}-shm"
        )


def log_is_gone(path: Path) -> bool:
    """Whether somebody took the log of a store that was not closed. SQLite makes the log before its index and removes it after."""
    _, log, index = parts_of(path)
    for _ in range(3):  # another process may be closing the store between two looks
        if not index.exists() or log.exists():
            return False
        time.sleep(0.02)
    return True


def _make_folder(folder: Path) -> None:
    """Each folder that is missing, for the owner only; mkdir(parents=True) gives only the last one its mode."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=FOLDER_MODE, exist_ok=True)


# ── what went wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


def explain(error: sqlite3.Error | UnicodeDecodeError, path: str, waited: float | None = None) -> StoreError:
    """SQLite's error in words that say what to do."""
    text = str(error)
    if "closed database" in text:
        return StoreError(f"the store {path} was closed; make a new agent to go on")
    if "locked" in text or "busy" in text:
        return StoreError(
            f"the store {path} was locked by another process for {BUSY_TIMEOUT if waited is None else waited:g} s; nothing was written: "
            "try again when it is free"
        )
    if "readonly" in text:
        return StoreError(
            f"the store {path} cannot be written: {text}; check its permissions, those of {path}-wal and {path}-shm, and of the folder"
        )
    if "not authorized" in text or "prohibited" in text:
        return StoreUnreadable(
            f"the store {path} has a trigger or a view that agent-graph did not make, and that was not run; nothing was written: see what it "
            "is with: agent-graph doctor; then restore the store from a copy"
        )
    if "unable to open" in text:
        return StoreError(
            f"the store {path} cannot be opened: check its permissions, and those of its folder, in which SQLite keeps the log beside it"
        )
    if "full" in text or "disk I/O" in text:
        return StoreError(f"the store {path} could not be written: {text}; free some disk space, then resume the run")
    if any(sign in text for sign in ("not a database", "malformed", "corrupt", "no such table", "no such column")):
        return StoreUnreadable(f"the store {path} is damaged or not a store: {text}; restore it from a copy, or name another with --store")
    if isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in text:
        return StoreUnreadable(f"the store {path} is damaged: a text in it is none; restore it from a copy, or name another with --store")
    return StoreError(f"the store {path}: {text}")


Read = TypeVar("Read", bound=Callable[..., Any])


def reads_row(table: str) -> Callable[[Read], Read]:
    """For a function of a row: values that do not parse are damage, and are told with the run that they belong to.

    That run's id is in the row, or else the second argument.
    """

    def decorated(read: Read) -> Read:
        @functools.wraps(read)
        def reading(row: sqlite3.Row, *rest: Any) -> Any:
            try:
                return read(row, *rest)
            except StoreError:
                raise
            except (ValueError, TypeError, KeyError) as error:
                run_id = rest[0] if rest else row["run_id"] if "run_id" in row.keys() else row["id"]  # noqa: SIM118  # a row is no dict
                raise StoreUnreadable.of_row(table, run_id, error) from error

        return cast("Read", reading)

    return decorated
