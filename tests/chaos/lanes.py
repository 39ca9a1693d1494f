"""Several processes side by side, each forked from this one, which has imported and warmed up everything and has one thread."""

from __future__ import annotations

import gc
import importlib
import json
import mmap
import os
import random
import select
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent_graph import AgentGraph, Policy

from .fork import check_fork_is_safe
from .plans import make_plan
from .seams import Seams
from .supervise import Paces
from .units import Bench, Unit
from .world import HERE, TOOLS, Here, World

NUMBER = struct.Struct("=I")
COUNTS = struct.Struct("=II")
"""Of one lane: kills at random instants, and all kills."""


def warm_up(folder: Path) -> None:
    """One run, so that whatever loads at first use is loaded. Without async tools and worker processes: they bring threads."""
    importlib.import_module("agent_graph.cli.app")
    folder.mkdir(parents=True)
    HERE.append(Here(world=World(folder / "world.log"), seams=Seams(), chance=random.Random(0)))
    with AgentGraph(
        [tool for tool in TOOLS if not tool.is_async and not tool.name.endswith("_in_worker")],
        policy=Policy.allow_all(),
        store=folder / "runs.db",
    ) as agent:
        agent.run(plan=make_plan("diamond", "mixed"))
    HERE.clear()
    check_fork_is_safe()
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page that it looks at


def share_out(units: list[Unit], lanes: int, folder: Path, kills: int, *, progress: bool) -> list[dict[str, Any]]:
    """What each unit gave. Raises RuntimeError when a lane itself has failed."""
    made = mmap.mmap(-1, COUNTS.size * lanes)  # shared by all
    queue, end = os.pipe()
    pids = []
    for lane in range(lanes):
        pid = os.fork()
        if pid == 0:
            os.close(end)
            _be_a_lane(units, queue, lane, folder, made, kills, lanes)
        pids.append(pid)
    os.close(queue)
    statuses = _deal(len(units), end, pids, lambda: _sum(made, lanes), progress=progress)
    if any(statuses):
        raise RuntimeError(f"a lane of the suite has failed; see above (wait statuses {statuses})")
    results = []
    for lane in range(lanes):
        with (folder / f"lane-{lane}.jsonl").open(encoding="utf-8") as lines:
            results += [json.loads(line) for line in lines]
    return results


def _deal(units: int, end: int, pids: list[int], made: Callable[[], tuple[int, int]], *, progress: bool) -> list[int]:
    """Numbers of units into a pipe, from which each lane takes the next one when it is free. Returns how the lanes ended."""
    began = said = time.monotonic()
    left, statuses = list(range(units)), []
    running = set(pids)
    while running:
        if left and select.select([], [end], [], 0.5)[1]:
            os.write(end, b"".join(map(NUMBER.pack, left[:64])))  # at most what one write puts in whole
            del left[:64]
            if not left:
                os.close(end)
        elif not left:
            time.sleep(0.1)
        for pid in list(running):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                running.discard(pid)
                statuses.append(status)
        if progress and time.monotonic() - said > 30:
            said = time.monotonic()
            sys.stderr.write(f"  {said - began:4.0f} s: {made()[1]} kills, {made()[0]} of them at random instants\n")
    return statuses


def _sum(made: mmap.mmap, lanes: int) -> tuple[int, int]:
    counts = [COUNTS.unpack_from(made, COUNTS.size * lane) for lane in range(lanes)]
    return sum(count[0] for count in counts), sum(count[1] for count in counts)


def _be_a_lane(units: list[Unit], queue: int, lane: int, folder: Path, made: mmap.mmap, kills: int, lanes: int) -> None:
    def on_kill(*, by_chance: bool) -> None:
        at = COUNTS.size * lane
        random_kills, all_kills = COUNTS.unpack_from(made, at)
        COUNTS.pack_into(made, at, random_kills + by_chance, all_kills + 1)

    bench = Bench(folder=folder, paces=Paces(), on_kill=on_kill, enough=lambda: _sum(made, lanes)[0] >= kills)
    code = 1
    try:
        with (folder / f"lane-{lane}.jsonl").open("w", encoding="utf-8") as results:
            while number := os.read(queue, NUMBER.size):
                unit = units[NUMBER.unpack(number)[0]]
                for document in unit.carry_out(bench):
                    results.write(json.dumps({"unit": type(unit).__name__, **document}) + "\n")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
