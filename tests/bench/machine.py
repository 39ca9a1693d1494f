"""Where and with what it was measured."""

from __future__ import annotations

import os
import platform
import sqlite3
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = ("langgraph", "langgraph-checkpoint-sqlite", "pydantic", "jsonschema-rs", "common-expression-language", "dbos")
BUSY = 0.5
"""Load of the last minute above which the figures are not to be quoted."""
IN_MEMORY = ("tmpfs", "ramfs")


def described(folder: Path, load_before: float, passes: int, seconds: float) -> str:
    busy = f" **The machine was busy (load {load_before:.1f}): these figures are provisional.**" if load_before > BUSY else ""
    kind = filesystem(folder)
    disk = f" **{folder} is {kind}, which no power cut leaves: what is said of flushed commits is void.**" if kind in IN_MEMORY else ""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"{platform.system()}, {kind}; Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{', '.join(f'{name} {found}' for name in PACKAGES if (found := installed(name)))}. "
        f"{'One pass' if passes == 1 else f'Medians of {passes} passes'} in {seconds / 60:.1f} minutes; "
        f"in brackets the smallest and the largest.{busy}{disk}"
    )


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def filesystem(folder: Path) -> str:
    """Kind of the file system that the folder is on."""
    of = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    return next((of[str(place)] for place in (folder.resolve(), *folder.resolve().parents) if str(place) in of), "an unknown file system")
