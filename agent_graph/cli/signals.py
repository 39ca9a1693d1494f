"""Ctrl-C, and whoever asks the process to end: stop after the call in flight, and say so. A second one stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Protocol


class Shown(Protocol):
    stopping: bool
    """Set by the first Ctrl-C."""
    draws: bool
    """Whether it shows that by itself."""


_SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@contextlib.contextmanager
def as_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal are treated as Ctrl-C. What was switched off for this process (nohup) stays off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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


@contextlib.contextmanager
def announced(shown: Shown) -> Iterator[None]:
    """While this is shown, it is told of the first Ctrl-C."""
    _shown.append(shown)
    try:
        yield
    finally:
        _shown.remove(shown)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for shown in _shown:
        if not shown.stopping:
            shown.stopping = True
            if not shown.draws:
                os.write(2, b"stopping: waits for the call in flight (again: stops at once)\n")  # print is not allowed in a signal handler
    raise KeyboardInterrupt
