"""A process per drive, forked from one that has imported everything and has one thread only: a start costs milliseconds, not seconds."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 60.0
"""Seconds after which a process that does not end is taken for hung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    killed: bool
    hung: bool = False
    code: int | None = None
    report: dict[str, Any] = field(default_factory=dict)
    """What the process said of itself: all of it, or, when it was killed, what it had said until then."""


class Child:
    """A forked process that runs the function. It gives a dict, which the parent reads; what it raises is told as ``error``."""

    def __init__(self, function: Callable[[Callable[[dict[str, Any]], None]], dict[str, Any]]) -> None:
        self._read, write = os.pipe()
        self._said = b""
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            _be_the_child(function, write)
        os.close(write)

    def wait(self, kill_after: float | None = None) -> Ended:
        """Until the process has ended; with ``kill_after``, at most so many seconds, then it is killed."""
        closed = self.listen(PATIENCE if kill_after is None else kill_after)
        if not closed:
            self.kill()
            self.listen(PATIENCE)
        os.close(self._read)
        _, status = os.waitpid(self.pid, 0)
        report: dict[str, Any] = {}
        for line in self._said.decode().splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # cut by the kill
                report |= json.loads(line)
        killed = os.WIFSIGNALED(status)
        return Ended(
            killed=killed,
            hung=kill_after is None and not closed,
            code=None if killed else os.waitstatus_to_exitcode(status),
            report=report,
        )

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so the pid is still its own

    def listen(self, seconds: float) -> bool:
        """Take in what the process says, at most so long. True when it has closed its end, which its death does, too."""
        until = time.monotonic() + seconds
        while select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
            more = os.read(self._read, 65536)
            if not more:
                return True
            self._said += more
        return False


def _be_the_child(function: Callable[[Callable[[dict[str, Any]], None]], dict[str, Any]], write: int) -> None:
    def tell(report: dict[str, Any]) -> None:
        os.write(write, json.dumps(report).encode() + b"\n")

    code = 70
    try:
        report = function(tell)
        code = int(report.get("code", 0))
        tell(report)
    except BaseException as error:
        tell({"error": f"{type(error).__name__}: {error}"[:2000], "traceback": traceback.format_exc()[-4000:]})
    finally:
        os._exit(code)


def check_fork_is_safe() -> None:
    """A thread does not come along into a fork, and what it held stays locked there for ever."""
    tasks = Path("/proc/self/task")
    threads = len(list(tasks.iterdir())) if tasks.exists() else 1
    if threads != 1:
        raise RuntimeError(f"the process that is forked has {threads} threads; something that was imported or warmed up keeps one alive")
