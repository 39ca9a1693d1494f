"""What a chain of N steps costs, of whichever system."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from .measure import on_disk, resident, spending


class Cost(TypedDict):
    """Of one step, on average over a chain."""

    steps: int
    cpu: float
    """Microseconds of processor time."""
    wall: float
    """Microseconds."""
    disk: float
    """Bytes, after the file was closed."""
    memory: float
    """Bytes that the process grew by, from before the plan was made until its results were there, both still held."""


def cost(steps: int, path: Path, begin: Callable[[], Callable[[], object]], end: Callable[[], None]) -> Cost:
    """``begin`` makes ready (the plan) and gives what is timed; ``end`` closes the file."""
    gc.collect()
    before = resident()
    run = begin()
    with spending() as spent:
        held = run()
    grown = resident() - before
    del held
    end()
    return {
        "steps": steps,
        "cpu": spent.cpu / steps * 1e6,
        "wall": spent.wall / steps * 1e6,
        "disk": on_disk(path) / steps,
        "memory": grown / steps,
    }
