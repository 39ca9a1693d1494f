"""The store of an agent: one SQLite file with everything of its runs. Opening it does not load LangGraph; its saver does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from agent_graph.checkpoints.approvals import Approvals
from agent_graph.checkpoints.database import Database
from agent_graph.checkpoints.leases import Leases
from agent_graph.checkpoints.ledger import Ledger
from agent_graph.checkpoints.runs import Runs
from agent_graph.checkpoints.trace import Events
from agent_graph.ports import Clock, SystemClock

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

DEFAULT_PATH = Path(".agent-graph/runs.db")


class SqliteStore:
    """``must_exist``: refuse instead of making a new file. Raises StoreError and its kinds when the file cannot be used."""

    def __init__(self, path: str | Path = DEFAULT_PATH, *, clock: Clock | None = None, must_exist: bool = False) -> None:
        self.clock: Clock = clock or SystemClock()
        self.database = Database(path, must_exist=must_exist)
        self.runs = Runs(self.database, self.clock)
        self.ledger = Ledger(self.database, self.clock)
        self.approvals = Approvals(self.database, self.clock)
        self.leases = Leases(self.database, self.clock)
        self.events = Events(self.database)
        self._saver: BaseCheckpointSaver[str] | None = None

    @property
    def path(self) -> str:
        return self.database.path

    def checkpointer(self) -> BaseCheckpointSaver[str]:
        """LangGraph's saver on the same file, with a connection of its own."""
        if self._saver is None:
            from agent_graph.checkpoints.sqlite import Saver, memory_saver

            self._saver = memory_saver() if self.path == ":memory:" else Saver(self.path)
        return self._saver

    def flush(self) -> None:
        """Commit what waits for a commit."""
        self.database.flush()

    def close(self) -> None:
        close = getattr(self._saver, "close", None)
        if close is not None:
            close()
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
