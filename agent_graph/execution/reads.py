"""The reads that one agent keeps: a bounded memory of this process, the longest unused forgotten first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

MAX_READS = 1024
MAX_BYTES = 32 * 1024 * 1024
"""Of all that is kept, as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRead:
    value: Any
    """Plain JSON, as it was recorded: bounded, and without secrets."""
    at: float
    """When its call was begun, in seconds since the epoch, UTC."""
    begun: float
    """The same moment on the monotonic clock."""


class ReadCache:
    """Workers of several runs use it side by side."""

    def __init__(self, max_reads: int = MAX_READS, max_bytes: int = MAX_BYTES) -> None:
        self._max_reads, self._max_bytes = max_reads, max_bytes
        self._kept: OrderedDict[str, tuple[KeptRead, int]] = OrderedDict()
        self._bytes = 0
        self._changes: dict[str, float] = {}
        self._forgotten = 0.0
        """The last of those changes that are no longer told apart by run."""
        self._lock = threading.Lock()

    def get(self, key: str, since: float) -> KeptRead | None:
        """``since``: monotonic; what was read before then is too old."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or found[0].begun < since:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: str, read: KeptRead) -> None:
        size = len(to_json(read.value))
        with self._lock:
            self._drop(key)
            if size > self._max_bytes:
                return
            self._kept[key] = (read, size)
            self._bytes += size
            while len(self._kept) > self._max_reads or self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def changed(self, run_id: str, at: float) -> None:
        """The run changed something, or began to. ``at``: seconds since the epoch, UTC."""
        with self._lock:
            self._changes[run_id] = max(at, self._changes.get(run_id, 0.0))
            if len(self._changes) > self._max_reads:
                self._forgotten = max(self._forgotten, *self._changes.values())
                self._changes.clear()

    def last_change(self, run_id: str) -> float:
        """When the run last changed something in this process, or later."""
        with self._lock:
            return max(self._changes.get(run_id, 0.0), self._forgotten)

    def _drop(self, key: str) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self._bytes -= gone[1]

    def __len__(self) -> int:
        return len(self._kept)
