"""What one agent drives in this process, and how it is told to stop between calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from agent_graph.errors import Interrupted
from agent_graph.identity import RunId


class Stops:
    """Thread-safe, and without a lock of its own, so that a signal handler may stop what it has interrupted."""

    def __init__(self) -> None:
        self._under_way: dict[threading.Event, RunId] = {}
        self._stopped = False

    @contextmanager
    def until_stopped(self, run_id: RunId, stop: threading.Event) -> Iterator[None]:
        """While inside, ``stop`` is set when everything is to stop. Raises Interrupted when that was said before."""
        self._under_way[stop] = run_id
        try:
            if self._stopped:  # after it was entered above, so that either this or stop() sees the other
                raise Interrupted(f"run {run_id} was not driven on, since this agent was stopped; resume it with another one")
            yield
        finally:
            self._under_way.pop(stop, None)

    def stop(self) -> None:
        """No new call from now on."""
        self._stopped = True
        for stop in list(self._under_way):
            stop.set()

    def left(self) -> tuple[RunId, ...]:
        """The runs that are still under way."""
        return tuple(dict.fromkeys(list(self._under_way.values())))
