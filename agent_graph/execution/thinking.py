"""Waiting for a model: neither a stop nor a cancel waits for one that thinks for minutes, since thinking changes nothing."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

from agent_graph.ports import Clock
from agent_graph.threads import start

T = TypeVar("T")

LOOK = 0.1
"""Seconds between two looks whether the run was stopped."""


class TooLate(Exception):
    """No reply came in the step's time."""


def think(ask: Callable[[], T], pause: Callable[[float], None], clock: Clock, most: float | None) -> T:
    """What ``ask`` gives. ``most``: seconds for it; None: as long as the model's own client waits. Raises TooLate; a request that is under way
    then is left behind, and changes nothing."""
    until = None if most is None else clock.monotonic() + most
    asked = start(ask)
    while not asked.done():
        pause(0)
        if until is not None and clock.monotonic() >= until:
            raise TooLate(f"its model gave no reply within {most:g} s")
        concurrent.futures.wait([asked], timeout=LOOK if until is None else max(0.001, min(LOOK, until - clock.monotonic())))
    return asked.result()
