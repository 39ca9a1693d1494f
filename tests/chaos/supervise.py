"""One run from its first process to its end: killed, looked at from outside, resumed by a new process; then the world is counted."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agent_graph.state import FINISHED

from . import stock
from .case import AFTER_AN_INTENT, Case, Kill, Verdict
from .drive import LOG, STORE, drive
from .fork import Child, Ended
from .window import Seen, classify, look
from .world import Line, World

RESUMES = 25
"""Drives after the last kill before a run is called stuck. A run through gates needs one per gate."""


class OnKill(Protocol):
    def __call__(self, *, by_chance: bool) -> None: ...


LEARNS = 0.3
"""How much a new figure counts against what was known before."""


@dataclass(slots=True)
class Pace:
    """How long drives take here, learned on the way, so that random kills fall into the run and not before or after it. In seconds."""

    before_the_first_call: float = 0.05
    each_step: float = 0.012

    def moment(self, chance: random.Random, steps: int) -> float:
        """A random time to kill, mostly among the calls of the steps that are left."""
        if chance.random() < 0.2:
            return chance.uniform(0.0, self.before_the_first_call)
        return self.before_the_first_call * 0.9 + chance.uniform(0.0, self.each_step * (steps + 1))

    def learn(self, lasted: float, first: float | None, steps: int, *, killed: bool) -> None:
        """``first``: when the first call was made; None when none was, so that it would have come later."""
        if first is not None:
            self.before_the_first_call += (first - self.before_the_first_call) * LEARNS
            if not killed:
                self.each_step += ((lasted - first) / max(1, steps) - self.each_step) * LEARNS
        elif killed and lasted > self.before_the_first_call:
            self.before_the_first_call += (lasted - self.before_the_first_call) * LEARNS


@dataclass(slots=True)
class Paces:
    _by_plan: dict[tuple[str, ...], Pace] = field(default_factory=dict)

    def of(self, case: Case) -> Pace:
        return self._by_plan.setdefault((case.engine, case.shape, case.by, str(case.gates)), Pace())


def supervise(case: Case, folder: Path, paces: Paces, on_kill: OnKill) -> Verdict:
    """Carry the run to its end in a folder of its own, which stays only when something was wrong."""
    place = folder / case.name.replace(" ", "_")
    place.mkdir(parents=True)
    verdict = Verdict(case=case)
    chance = random.Random(f"{case.seed} {case.name} kills")
    began = time.monotonic()
    quiet = 0
    while quiet < RESUMES:
        number = verdict.drives
        verdict.drives += 1
        ended = _one_drive(case, place, number, chance, paces, verdict)
        if ended.hung:
            verdict.breaches.append(f"drive {number} hung")
        if ended.killed and not ended.hung:
            verdict.kills.append(_look_at(case, place, number, ended, verdict))
            on_kill(by_chance=case.random_kills > 0 and case.engine == "ours" and case.fault is None)
            continue
        quiet += 1
        if "error" in ended.report and (said := f"a drive raised {ended.report['error']}") not in verdict.breaches:
            verdict.breaches += [said, ended.report.get("traceback", "")]
        verdict.status = ended.report.get("status", "")
        verdict.diagnosis = ended.report.get("diagnosis")
        if verdict.status in FINISHED:
            break
    else:
        verdict.stuck = True
        verdict.breaches.append(f"not ended after {RESUMES} drives that nobody killed; status {verdict.status!r}")
    count(case, place, verdict)
    verdict.seconds = time.monotonic() - began
    if not verdict.breaches or case.fault is not None or case.engine != "ours":
        shutil.rmtree(place)
    return verdict


def _one_drive(case: Case, place: Path, number: int, chance: random.Random, paces: Paces, verdict: Verdict) -> Ended:
    death = case.deaths[number] if number < len(case.deaths) else None
    pace = paces.of(case)
    left = len(case.steps) - (len(verdict.kills[-1].done) if verdict.kills else 0)
    delay = pace.moment(chance, left) if len(verdict.kills) < case.random_kills else None

    def work(tell: Any) -> dict[str, Any]:
        if case.engine != "ours":
            return stock.drive(case, place, number, tell)
        return drive(case, place, number, death, tell)

    child = Child(work)
    if case.orphans is not None and number == 0:
        _until_called(child, World(place / LOG), case.orphans)
        delay = 0.0
    ended = child.wait(delay)
    settles = bool(verdict.kills and verdict.kills[-1].cut)  # which may take as long as a call's time limit
    if case.random_kills and left and not settles:
        first = [line.at - child.began for line in World(place / LOG).lines() if line.drive == number and line.mark == "enter"][:1]
        pace.learn(time.monotonic() - child.began, first[0] if first else None, left, killed=ended.killed)
    return ended


def _until_called(child: Child, world: World, step: str) -> None:
    while not child.listen(0.002) and not any(line.mark == "enter" and line.step == step for line in world.lines()):
        continue


def _look_at(case: Case, place: Path, number: int, ended: Ended, verdict: Verdict) -> Kill:
    lines = World(place / LOG).lines()
    if case.engine != "ours":
        return Kill(drive=number, window="1 before the intent", done=tuple({line.step for line in lines if line.mark == "leave"}))
    seen = look(place / STORE)
    window, cut = classify(case, seen, lines, number)
    seam = ended.report.get("seam")
    done = tuple(step for step, row in seen.rows.items() if row.state == "done" and row.status == "succeeded")
    if case.fault is None:
        verdict.breaches += _breaches_at_a_kill(case, seen, lines, number)
        expected = EXPECTED.get(seam or "")
        if expected is not None and expected not in cut.values():
            verdict.breaches.append(f"kill {number} at {seam} was taken for {window} ({cut}): the classification is wrong")
    return Kill(drive=number, window=window, seam=seam, cut=cut, done=done)


EXPECTED = {
    "effect.before": "3 in the call, before the effect",
    "effect.after": "4 in the call, after the effect",
    "call.leave": "5 call over, outcome not written",
}
"""What the classification from outside must say about a kill whose place is known."""


def _breaches_at_a_kill(case: Case, seen: Seen, lines: list[Line], drive: int) -> list[str]:
    """What must hold at every instant, dead or alive."""
    found = []
    for step in case.steps:
        row = seen.rows.get(step)
        called = any(line.step == step and line.mark == "enter" for line in lines)
        happened = any(line.step == step and line.mark == "effect" for line in lines)
        if called and row is None and case.kind(step) != "rerun":
            found.append(f"after drive {drive}: {step} was called, and no intent is on record")
        if row is not None and row.state == "done" and not happened:
            found.append(f"after drive {drive}: {step} is on record as done, and never happened")
        if row is not None and row.keys > 1:
            found.append(f"after drive {drive}: {step} has {row.keys} effects on record")
    return found


def count(case: Case, place: Path, verdict: Verdict) -> None:
    """Duplicates and losses, by the world's own account."""
    lines = World(place / LOG).lines()
    calls = Counter(line.step for line in lines if line.mark == "enter")
    verdict.repeated = sum(calls.values()) - len(calls)
    parked = {(line.step, line.key) for line in lines if line.mark == "parked"}
    verdict.parked = len(parked)
    verdict.parked_kinds = sorted({case.kind(step) for step, _ in parked})
    for step in case.steps:
        keys = [line.key for line in lines if line.mark == "effect" and line.step == step]
        kind = case.kind(step)
        if kind == "keyed":
            verdict.deduplicated += len(keys) - len(set(keys))
            keys = list(dict.fromkeys(keys))
        beyond = len(keys) - 1 if kind in ("keyed", "probeable", "blind") or case.engine != "ours" else 0
        after_done = _calls_after_done(verdict, lines, step) if beyond <= 0 else 0
        if beyond > 0 or after_done:
            verdict.duplicates += max(beyond, 0) + after_done
            verdict.breaches.append(f"{step} ({kind}) happened {len(keys)} times, {after_done} calls came after its outcome was on record")
        if not keys and verdict.status == "succeeded":
            verdict.lost += 1
            verdict.breaches.append(f"the run succeeded, and {step} ({kind}) never happened")
    if verdict.status in FINISHED and verdict.status != "succeeded":
        verdict.stuck = True
        verdict.breaches.append(f"the run ended {verdict.status}, although nothing but its process failed: {verdict.diagnosis}")
    for kind in set(verdict.parked_kinds) - {"blind"}:
        verdict.breaches.append(f"a {kind} step asked a person, who is only needed for a blind one")


def _calls_after_done(verdict: Verdict, lines: list[Line], step: str) -> int:
    done_at = min((kill.drive for kill in verdict.kills if step in kill.done), default=None)
    if done_at is None:
        return 0
    return sum(line.step == step and line.mark == "enter" and line.drive > done_at for line in lines)


def after_an_intent(kill: Kill) -> bool:
    return any(window in AFTER_AN_INTENT for window in kill.cut.values())
