"""Where a process is killed on purpose: at the n-th time that it passes a durable boundary, or a moment of a call.

The boundaries are found below the code under test, at SQLite's commits, whoever makes them: a boundary that is added tomorrow is killed at
without a change here.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Death:
    nth: int
    """Counted from 1, in one process."""
    seam: str = ""
    """Only passages of seams that begin so are counted; empty: all."""


class Seams:
    """``tell`` is called with the seam's name just before the process is gone."""

    def __init__(self, death: Death | None = None, tell: Callable[[str], None] = lambda _: None) -> None:
        self._death = death
        self._tell = tell
        self._lock = threading.Lock()
        self._passed = 0

    def reached(self, seam: str) -> None:
        death = self._death
        if death is None or not seam.startswith(death.seam):
            return
        with self._lock:
            self._passed += 1
            if self._passed == death.nth:
                self._tell(seam)
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()  # the signal is on its way


_WRITES = re.compile(r"\b(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM)\s+(?!SET\b)(\w+)", re.IGNORECASE)


def watch_commits(seams: Seams) -> None:
    """Every connection that this process opens from now on passes a seam before and after each commit."""

    class Watched(sqlite3.Connection):
        _written: frozenset[str] = frozenset()

        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            if sql == "COMMIT":
                name = "commit " + ("+".join(sorted(self._written)) or "nothing")
                self._written = frozenset()
                seams.reached(name + ".before")
                done = super().execute(sql, parameters)
                seams.reached(name + ".after")
                return done
            if sql.startswith("BEGIN"):
                self._written = frozenset()
            written = _WRITES.findall(sql)
            if "'intent', 1" in sql:
                written = ["intent"]
            self._written |= frozenset(written)
            return super().execute(sql, parameters)

        def commit(self) -> None:
            """LangGraph's saver commits so: its checkpoints and pending writes."""
            if not self.in_transaction:
                return super().commit()
            seams.reached("checkpoint.before")
            super().commit()
            seams.reached("checkpoint.after")
            return None

    sqlite3.connect = cast("Any", functools.partial(sqlite3.connect, factory=Watched))
