"""What a server writes to stderr, and what it notifies: into a file of bounded size, never to the terminal."""

from __future__ import annotations

import logging
import logging.handlers
import os
import threading
from collections import deque
from io import TextIOWrapper
from pathlib import Path
from typing import IO

from agent_graph.redaction import Redaction
from agent_graph.visible import clipped

MOST_BYTES = 1_000_000
"""Of the file; the one before it is kept beside it, as ``….log.1``."""

LONGEST_LINE = 2_000
LAST_LINES = 5
"""How many are quoted when the server has ended."""


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """Only its owner reads it, and a link that somebody put in its place is not followed."""

    def _open(self) -> TextIOWrapper:
        # The one that logging closes.
        opened = open(self.baseFilename, self.mode, encoding="utf-8", errors="replace", opener=_private)  # noqa: SIM115
        assert isinstance(opened, TextIOWrapper)  # noqa: S101  # it is text
        return opened

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """A full disk is no reason to write to the terminal."""


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)


class ServerLog:
    """The log of one server. ``stream`` is what its program gets as stderr."""

    def __init__(self, path: Path, redaction: Redaction) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._redaction = redaction
        self._file = _PrivateFile(path, maxBytes=MOST_BYTES, backupCount=1, delay=True)
        self._file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._lock = threading.Lock()
        self._closed = False
        self._readers: list[threading.Thread] = []

    def stream(self) -> IO[str]:
        """The writing end of a new pipe, which the caller closes once the program has it."""
        reading, writing = os.pipe()
        reader = threading.Thread(target=self._take, args=(reading,), name=f"agent-graph log of {self.path.stem}", daemon=True)
        self._readers = [*(each for each in self._readers if each.is_alive()), reader]
        reader.start()
        return os.fdopen(writing, "w", encoding="utf-8")

    def add(self, text: object) -> None:
        line = clipped(self._redaction.text(str(text)[: 2 * LONGEST_LINE]), LONGEST_LINE)
        with self._lock:
            self._last.append(line)
            if not self._closed:
                self._file.emit(logging.LogRecord("mcp", logging.INFO, "", 0, "%s", (line,), None))

    def last_words(self) -> str:
        """The last lines, for an error; empty when there are none."""
        with self._lock:
            return " / ".join(clipped(line, 300) for line in self._last)

    @property
    def complete(self) -> bool:
        """Whether nobody is left who could write to a stream of it."""
        return not any(each.is_alive() for each in self._readers)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._file.close()

    def _take(self, reading: int) -> None:
        """Line by line until the program and all that it started have let go of it."""
        rest = b""
        with os.fdopen(reading, "rb", buffering=0) as source:
            while chunk := source.read(1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.add(line.decode("utf-8", "replace"))
                if len(rest) > LONGEST_LINE:
                    self.add(rest.decode("utf-8", "replace"))
                    rest = b""
        if rest:
            self.add(rest.decode("utf-8", "replace"))
