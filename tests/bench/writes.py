"""A chain of N writes with an intent before and an outcome after each, against the bare floor: two flushed commits a step."""

from __future__ import annotations

import sqlite3
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypedDict

from .chains import POLICY, agent_at, chain, warm
from .measure import Bench, Ratio, in_child, spending, turns
from .table import Found, Line

REACH = 1.3
KINDS = ("keyed", "probeable")


class Pass(TypedDict):
    wall: float
    """Microseconds per step."""
    cpu: float
    commits: float
    """Per step; of our store, LangGraph's few checkpoints apart."""
    durable: float
    """Of these, flushed to disk."""


def floor(path: Path, steps: int) -> Pass:
    """An intent of 400 B and an outcome of 400 B, each in a transaction of its own with ``synchronous=FULL``, and nothing else."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE effects (key TEXT PRIMARY KEY, intent TEXT, outcome TEXT) WITHOUT ROWID")
    row = "x" * 400
    with spending() as spent:
        for n in range(steps):
            connection.execute("INSERT INTO effects VALUES (?, ?, NULL)", (f"{n:064}", row))
            connection.execute("UPDATE effects SET outcome = ? WHERE key = ?", (row, f"{n:064}"))
    connection.close()
    return {"wall": spent.wall / steps * 1e6, "cpu": spent.cpu / steps * 1e6, "commits": 2.0, "durable": 2.0}


def writes(path: Path, kind: str, steps: int) -> Pass:
    agent, store = agent_at(path, policy=POLICY)
    plan = chain(steps, f"put_{kind}")
    with agent:
        before = store.database.commits, store.database.durable_commits
        with spending() as spent:
            run = agent.run(plan=plan)
        assert run.status == "succeeded", run.error
        commits, durable = store.database.commits - before[0], store.database.durable_commits - before[1]
    return {"wall": spent.wall / steps * 1e6, "cpu": spent.cpu / steps * 1e6, "commits": commits / steps, "durable": durable / steps}


def take_turns(folder: str, steps: int, passes: int) -> dict[str, list[Pass]]:
    """In one process, since nothing of a process is measured here: the floor and ours meet the same disk, a moment apart."""
    home = Path(folder)
    warm(home)
    names = iter(range(10_000))

    def fresh() -> Path:
        return home / f"{next(names)}.db"

    measures = {"floor": lambda: floor(fresh(), steps), "keyed": lambda: writes(fresh(), "keyed", steps)}
    return turns(passes, measures | {"probeable": lambda: writes(fresh(), "probeable", steps)})


def rows(bench: Bench) -> Found:
    steps = 300 if bench.quick else 1000
    bench.say(f"writes, N = {steps}")
    with TemporaryDirectory(dir=bench.folder) as folder:
        took = in_child(take_turns, folder, steps, bench.passes)

    def median(kind: str, what: Literal["wall", "cpu", "commits", "durable"]) -> float:
        return statistics.median(each[what] for each in took[kind])

    found = Found()
    for kind in KINDS:
        ratio = Ratio.of([each["wall"] for each in took[kind]], [each["wall"] for each in took["floor"]])
        found.lines.append(
            Line(
                measured=f"writes, {kind}: wall µs per step, N = {steps}",
                ours=f"{median(kind, 'wall'):.0f}, CPU {median(kind, 'cpu'):.0f}, commits {median(kind, 'commits'):.2f} ({median(kind, 'durable'):.2f} flushed)",
                against=f"two flushed commits {median('floor', 'wall'):.0f}, CPU {median('floor', 'cpu'):.0f}",
                ratio=str(ratio),
                reach=f"≤ {REACH}",
                reached=ratio.median <= REACH,
            )
        )
    return found
