"""What every row measures by: child processes, turns that are taken one after the other, medians, sizes in memory and on disk.

Two things are only ever compared when they took turns in one run of the command: a machine's speed moves by a third from minute to minute.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import psutil

P = ParamSpec("P")
T = TypeVar("T")

TESTS = Path(__file__).parents[1]
PATIENCE = 900.0
"""Seconds after which a child is taken for hung."""

ENVIRONMENT = {"PYTHONPATH": str(TESTS), "LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false", "DBOS__TRACING": "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a row is given."""

    folder: Path
    """On the disk that is measured; every child makes its own files in it."""
    passes: int
    quick: bool = False

    def say(self, text: str) -> None:
        sys.stderr.write(f"bench: {text}\n")
        sys.stderr.flush()


@dataclass(slots=True)
class Spent:
    cpu: float = 0.0
    """Seconds of processor time, of all threads, in user and kernel mode."""
    wall: float = 0.0


@contextmanager
def spending() -> Iterator[Spent]:
    """What this process spends inside of the block. Garbage of what came before is not on its account."""
    gc.collect()
    spent = Spent()
    cpu, wall = time.process_time(), time.perf_counter()
    yield spent
    spent.cpu, spent.wall = time.process_time() - cpu, time.perf_counter() - wall


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(psutil.Process().memory_info().rss)


def on_disk(path: Path) -> int:
    """Bytes of an SQLite file with its log."""
    return sum(part.stat().st_size for part in (path, Path(f"{path}-wal"), Path(f"{path}-journal")) if part.exists())


# ── processes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def in_child(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function gives in a process of its own; arguments and result travel as JSON. Raises RuntimeError with what the child wrote."""
    called = f"{function.__module__}:{function.__qualname__}"
    command = [sys.executable, "-P", "-m", "bench.child", called, json.dumps([args, kwargs])]
    done = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(f"{called} failed in its process:\n{done.stderr[-4000:]}")
    return cast("T", json.loads(done.stdout.splitlines()[-1]))


def process(command: Sequence[str], folder: Path) -> Spent:
    """A whole process, from its start to its end. Raises RuntimeError when it fails."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, **ENVIRONMENT}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as started:
        _, status, usage = os.wait4(started.pid, 0)
        wall = time.perf_counter() - began
        started.returncode = os.waitstatus_to_exitcode(status)
        if started.returncode:
            assert started.stderr is not None
            raise RuntimeError(f"{' '.join(command)} ended with {started.returncode}: {started.stderr.read().decode()[-2000:]}")
    return Spent(usage.ru_utime + usage.ru_stime, wall)


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def turns(passes: int, measures: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """A, B, A, B, …: each measure once in each pass, so that what drifts drifts under all of them alike."""
    found: dict[str, list[T]] = {name: [] for name in measures}
    for _ in range(passes):
        for name, measure in measures.items():
            found[name].append(measure())
    return found


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of two things that took turns: pass by pass, since only neighbours in time are comparable."""

    each: tuple[float, ...]

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        return cls(tuple(our / their for our, their in zip(ours, theirs, strict=True)))

    @property
    def median(self) -> float:
        return statistics.median(self.each)

    def __str__(self) -> str:
        if len(self.each) == 1:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({min(self.each):.2f}–{max(self.each):.2f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below ``share`` of them."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(len(ordered) * share * 1000) // 1000) - 1)]
