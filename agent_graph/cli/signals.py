"""Ctrl-C, and whoever asks the process to end: stop after the call in flight, and say so. A second one stops at once.

A terminal that is closed sends its signal more than once (the kernel's and the shell's), and a service's supervisor may send two kinds, so
what follows at once belongs to the first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Protocol


class Shown(Protocol):
    stopping: bool
    """Set by the first Ctrl-C."""
    draws: bool
    """Whether it shows that by itself."""


ONE_WISH = 0.2
"""Seconds within which signals are one wish to stop."""

_SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@contextlib.contextmanager
def as_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal are treated as Ctrl-C. What was switched off for this process (nohup) stays off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_shown: list[Shown] = []
_asked: list[float] = []
"""When, by the monotonic clock."""


@contextlib.contextmanager
def announced(shown: Shown) -> Iterator[None]:
    """While this is shown, it is told of the first Ctrl-C."""
    _shown.append(shown)
    try:
        yield
    finally:
        _shown.remove(shown)


def _interrupt(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _asked and now - _asked[-1] < ONE_WISH:
        return
    _asked.append(now)
    for shown in _shown:
        if not shown.stopping:
            shown.stopping = True
            if not shown.draws:
                os.write(2, b"stopping: waits for the call in flight (again: stops at once)\n")  # print is not allowed in a signal handler
    raise KeyboardInterrupt
