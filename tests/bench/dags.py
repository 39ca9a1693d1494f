"""Layered graphs of steps that sleep, and how fast any scheduler can be at most."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

MEAN = 0.05
"""Seconds that a step sleeps on average."""
SIGMA = 1.0
"""Of the logarithm: some steps take many times the mean, as real calls do."""


@dataclass(frozen=True, slots=True)
class Dag:
    """Steps in an order in which they could run."""

    needs: tuple[tuple[int, ...], ...]
    seconds: tuple[float, ...]

    def critical_path(self) -> float:
        """Seconds of the longest chain."""
        ends: list[float] = []
        for needs, seconds in zip(self.needs, self.seconds, strict=True):
            ends.append(max((ends[need] for need in needs), default=0.0) + seconds)
        return max(ends, default=0.0)

    def lower_bound(self, limit: int | None = None) -> float:
        """Seconds that no schedule beats, with ``limit`` steps side by side or any number."""
        return self.critical_path() if limit is None else max(self.critical_path(), sum(self.seconds) / limit)


def layered(steps: int, seed: int) -> Dag:
    """Layers of five to ten steps; each step needs one to three of the layer before. The same seed gives the same graph."""
    chance = random.Random(seed * 10_000 + steps)
    width = 5 if steps <= 50 else 10
    needs: list[tuple[int, ...]] = []
    for n in range(steps):
        layer = n // width
        before = range((layer - 1) * width, layer * width) if layer else range(0)
        needs.append(tuple(sorted(chance.sample(before, chance.randint(1, 3)))) if layer else ())
    mu = math.log(MEAN) - SIGMA**2 / 2
    return Dag(tuple(needs), tuple(chance.lognormvariate(mu, SIGMA) for _ in range(steps)))
