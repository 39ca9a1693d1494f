"""The outside world: one log per run, appended to and flushed to disk by the tools, and never looked at by the store.

Every count of this suite comes from here. The receiver of ``keyed`` requests is a reading of the log: the first request with a key is
delivered, each later one with the same key is recognised and dropped.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent_graph import Absent, Landed, NotDone, ToolContext, tool

from .plans import KINDS, Kind
from .seams import Seams

Mark = Literal["enter", "effect", "leave", "probe", "parked"]


@dataclass(frozen=True, slots=True)
class Line:
    at: float
    """Monotonic."""
    drive: int
    mark: Mark
    step: str
    key: str


class World:
    def __init__(self, path: Path, drive: int = -1) -> None:
        self.path = path
        self._drive = drive
        self._file = -1

    def write(self, mark: Mark, step: str, key: str = "-", *, flush: bool = False) -> None:
        """One write to a file opened for appending: the line is there whole, or not at all, whenever the process dies."""
        if self._file < 0:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(self._file, f"{time.monotonic():.6f} {self._drive} {mark} {step} {key}\n".encode())
        if flush:
            os.fsync(self._file)

    def lines(self) -> list[Line]:
        if not self.path.exists():
            return []
        return [
            Line(float(at), int(drive), mark, step, key)  # type: ignore[arg-type]  # the marks are written above
            for at, drive, mark, step, key in (line.split() for line in self.path.read_text(encoding="ascii").splitlines())
        ]

    def happened(self, step: str, key: str | None = None) -> bool:
        return any(line.mark == "effect" and line.step == step and key in (None, line.key) for line in self.lines())


@dataclass(slots=True)
class Here:
    """What the tools of this process work on. Set after the fork, so that the tools themselves are made once, before it."""

    world: World
    seams: Seams
    chance: random.Random
    probe_answers: bool = True
    keys_hold: bool = True
    effects_happen: bool = True
    held_until: Path | None = None
    """Calls wait for this file, so that whoever else wants to drive the run has all the time it needs."""


HERE: list[Here] = []

WORKER = "CHAOS_WORLD"
"""In the environment: the world and the drive, for tools that are called in a worker process."""


def here() -> Here:
    if not HERE:
        path, _, drive = os.environ[WORKER].rpartition("@")
        HERE.append(Here(world=World(Path(path), int(drive)), seams=Seams(), chance=random.Random(drive)))
    return HERE[-1]


def act(step: str, key: str, deadline: float, slow: float = 0.0) -> str:
    """One call: a little time, the effect, a little time. Each moment between is one in which a kill may come."""
    now = here()
    now.seams.reached("call.enter")
    now.world.write("enter", step, key)
    time.sleep(slow + now.chance.uniform(0.0005, 0.004))
    while now.held_until is not None and not now.held_until.exists():
        time.sleep(0.002)
    if deadline and time.time() > deadline:  # as a request that carries its timeout: too late is not done
        raise NotDone("the deadline has passed")
    now.seams.reached("effect.before")
    if now.effects_happen:
        now.world.write("effect", step, key, flush=True)
    now.seams.reached("effect.after")
    time.sleep(now.chance.uniform(0.0005, 0.004))
    now.world.write("leave", step, key)
    now.seams.reached("call.leave")
    return step


def _probe(context: ToolContext, name: str, after: str) -> Landed | Absent:
    now = here()
    now.seams.reached("probe.before")
    now.world.write("probe", name, context.idempotency_key)
    found = now.probe_answers and now.world.happened(name, context.idempotency_key)
    now.seams.reached("probe.after")
    return Landed(name) if found else Absent()


def _make(kind: Kind, *, side_by_side: bool, asynchronous: bool = False) -> Any:
    def call(context: ToolContext, name: str, after: str) -> str:
        key = context.idempotency_key if here().keys_hold else f"{here().chance.getrandbits(64):x}"
        return act(name, key, context.deadline)

    async def acall(context: ToolContext, name: str, after: str) -> str:
        return call(context, name, after)

    said: dict[str, Any] = {"parallel": side_by_side}
    match kind:
        case "rerun":
            said |= {"risk": "read_only"}
        case "probeable":
            # ``Absent`` counts only when the call's time is over, so that a short limit keeps the suite short.
            said |= {"risk": "write", "probe": _probe, "timeout": 0.5}
        case _:
            said |= {"risk": "write", "recovery": kind}
    return tool(acall if asynchronous else call, name=kind + ("_side_by_side" if side_by_side else ""), **said)


SLOW = 0.1
"""Seconds that a call in a worker process takes before its effect, so that its driver can be killed, and resumed, before it."""


@tool(risk="write", recovery="blind", isolation="process")
def blind_in_worker(context: ToolContext, name: str, after: str) -> str:
    return act(name, context.idempotency_key, context.deadline, SLOW)


@tool(risk="write", probe=_probe, timeout=4.0, isolation="process")  # with the start of the worker
def probeable_in_worker(context: ToolContext, name: str, after: str) -> str:
    return act(name, context.idempotency_key, context.deadline, SLOW)


TOOLS: tuple[Any, ...] = (
    *(_make(kind, side_by_side=wide, asynchronous=wide and kind == "keyed") for kind in KINDS for wide in (False, True)),
    blind_in_worker,
    probeable_in_worker,
)
