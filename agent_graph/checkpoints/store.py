"""The store of an agent: one SQLite file with everything of its runs. Opening it does not load LangGraph; its saver does."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from agent_graph.checkpoints import purge
from agent_graph.checkpoints.approvals import Approvals
from agent_graph.checkpoints.conversations import Conversations
from agent_graph.checkpoints.database import Database
from agent_graph.checkpoints.grants import Grants
from agent_graph.checkpoints.judgements import Judgements
from agent_graph.checkpoints.keys import Given, Keys, keys_of_environment, read_keys
from agent_graph.checkpoints.leases import Leases, check_fence
from agent_graph.checkpoints.ledger import Ledger
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.policies import Policies
from agent_graph.checkpoints.retention import DEFAULT, Retention
from agent_graph.checkpoints.runs import Runs
from agent_graph.checkpoints.trace import Events
from agent_graph.checkpoints.usage import Usages
from agent_graph.identity import RunId
from agent_graph.ports import Clock, SystemClock
from agent_graph.records import Lease

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver


def _keys(key: Given | None, path: str | Path) -> Keys:
    """Read here and not by each caller: whoever forgot would write rows without a seal, or not be told of those that were changed."""
    if key == () or str(path) == ":memory:":
        return ()
    return keys_of_environment(os.environ) if key is None else read_keys(key)


class SqliteStore:
    """``must_exist``: refuse instead of making a new file. ``retention``: which checkpoints are kept. ``busy_timeout``: seconds to wait for
    another process's transaction. ``key``: what its rows are sealed with, one or several (the first seals, each verifies); None: what the
    environment says (``keys``), ``()``: none, whatever it says. Raises StoreError and its kinds when the file cannot be used, UsageError for a
    key that cannot.
    """

    def __init__(
        self,
        path: str | Path = DEFAULT_PATH,
        *,
        clock: Clock | None = None,
        must_exist: bool = False,
        retention: Retention = DEFAULT,
        busy_timeout: float | None = None,
        key: Given | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.retention = retention
        self.database = Database(path, must_exist=must_exist, busy_timeout=busy_timeout, keys=_keys(key, path))
        self.runs = Runs(self.database, self.clock)
        self.ledger = Ledger(self.database, self.clock)
        self.approvals = Approvals(self.database, self.clock)
        self.leases = Leases(self.database, self.clock)
        self.events = Events(self.database)
        self.policies = Policies(self.database, self.clock)
        self.grants = Grants(self.database, self.clock)
        self.usage = Usages(self.database)
        self.conversations = Conversations(self.database)
        self.judgements = Judgements(self.database)
        self._saver: BaseCheckpointSaver[str] | None = None

    @property
    def path(self) -> str:
        return self.database.path

    def checkpointer(self) -> BaseCheckpointSaver[str]:
        """LangGraph's saver on the same file, with a connection of its own."""
        if self._saver is None:
            from agent_graph.checkpoints.sqlite import Saver, memory_saver

            self._saver = (
                memory_saver()
                if self.path == ":memory:"
                else Saver(self.path, busy_timeout=self.database.busy_timeout, retention=self.retention)
            )
        return self._saver

    def flush(self) -> None:
        """Commit what waits for a commit."""
        self.database.flush()

    def purge(self, run_ids: Sequence[RunId]) -> None:
        """Remove runs that have ended with all that is theirs, all of them or none. Raises UnknownRun, UsageError and RunBusy."""
        now = self.clock.now()
        for thread_id in self.database.write(lambda connection: purge.remove(connection, run_ids, now)):
            self._forget_in_memory(thread_id)

    def drop_checkpoints(self, lease: Lease) -> None:
        """Drop LangGraph's checkpoints of the run, which goes on from the ledger then. Raises LeaseLost."""
        record = self.runs.get(lease.run_id)

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            purge.forget(connection, record.thread_id, record.checkpoint_ns)

        self.database.write(work)
        self._forget_in_memory(record.thread_id)

    def _forget_in_memory(self, thread_id: str) -> None:
        if self.path == ":memory:" and self._saver is not None:
            self._saver.delete_thread(thread_id)

    def reclaim(self) -> None:
        """Write the file anew without what was deleted. Raises StoreError."""
        self.database.reclaim()

    def size(self) -> int:
        """Bytes on the disk; 0 in memory."""
        return self.database.size()

    def close(self) -> None:
        close = getattr(self._saver, "close", None)
        if close is not None:
            close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
