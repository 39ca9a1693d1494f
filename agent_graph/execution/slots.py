"""How many calls of each tool are being made, and how fast they follow each other, over all runs of one agent in this process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent_graph.ports import ToolSpec

if TYPE_CHECKING:
    from langchain_core.rate_limiters import InMemoryRateLimiter


class Slots:
    """Thread-safe. ``wake`` functions are called without any lock of ours held."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._limiters: dict[tuple[str, float], InMemoryRateLimiter] = {}

    def take(self, spec: ToolSpec, wake: Callable[[], None]) -> bool:
        """A place for a call, if there is one; else ``wake`` is called once when one may be free."""
        if spec.at_once is None:
            return True
        with self._changed:
            if self._taken[spec.name] < spec.at_once:
                self._taken[spec.name] += 1
                return True
            waiting = self._waiting.setdefault(spec.name, [])
            if wake not in waiting:
                waiting.append(wake)
            return False

    def give_back(self, spec: ToolSpec) -> None:
        if spec.at_once is None:
            return
        with self._changed:
            self._taken[spec.name] -= 1
            waiting = self._waiting.pop(spec.name, [])
        for wake in waiting:
            wake()

    # ── calls that were given up and still run ────────────────────────────────────────────────────────────────────────

    def left_behind(self, spec: ToolSpec) -> None:
        with self._changed:
            self._left[spec.name] += 1

    def came_back(self, spec: ToolSpec) -> None:
        with self._changed:
            self._left[spec.name] -= 1
            self._changed.notify_all()

    def alone(self, spec: ToolSpec, patience: float) -> bool:
        """Whether no call of the tool that was left behind still runs, after ``patience`` seconds at most."""
        if spec.at_once is None or not self._left[spec.name]:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not self._left[spec.name], patience)

    # ── rates ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def may_start(self, spec: ToolSpec) -> bool:
        """Whether the tool's rate lets a call begin now; if so, it counts."""
        if spec.rate is None:
            return True
        with self._changed:
            limiter = self._limiters.get((spec.name, spec.rate))
            if limiter is None:
                from langchain_core.rate_limiters import InMemoryRateLimiter

                limiter = InMemoryRateLimiter(requests_per_second=spec.rate, max_bucket_size=1)
                limiter.available_tokens = 1.0  # the first call need not wait
                self._limiters[(spec.name, spec.rate)] = limiter
        return limiter.acquire(blocking=False)
