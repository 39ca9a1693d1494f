"""What there is to do, in pieces that several processes share out among themselves."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .case import By, Case, Engine, Fault
from .plans import MIXES, SHAPES, Mix, Shape
from .race import Finish, Race, run_race
from .seams import Death
from .supervise import OnKill, Paces, supervise

MOST_BOUNDARIES = 1000
BY: tuple[By, ...] = ("run", "run", "run", "arun", "graph sync", "graph async", "graph exit")
"""How random runs are driven, the common way more often."""


@dataclass(slots=True)
class Bench:
    """What a unit is given."""

    folder: Path
    paces: Paces
    on_kill: OnKill
    enough: Callable[[], bool]
    """Whether as many random kills have been made as were wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A kill at every boundary of one plan, each in a run of its own. ``first``: the deaths of the drives before the one that is swept."""

    mix: Mix
    shape: Shape
    seed: int
    gates: bool = False
    stays: bool = False
    first: tuple[Death | None, ...] = ()
    seam: str = ""
    fault: Fault | None = None

    def carry_out(self, bench: Bench) -> Iterator[dict[str, Any]]:
        for nth in range(1, MOST_BOUNDARIES):
            case = Case(
                name=" ".join(map(str, filter(None, (f"{self.mix} {self.shape}", self._about(), f"at {nth}")))),
                mix=self.mix,
                shape=self.shape,
                seed=self.seed,
                gates=self.gates,
                stays=self.stays,
                deaths=(*self.first, Death(nth, self.seam)),
                fault=self.fault,
            )
            verdict = supervise(case, bench.folder, bench.paces, bench.on_kill)
            yield verdict.document()
            if len(verdict.kills) <= sum(death is not None for death in self.first):
                return
        raise RuntimeError(f"{self} has no end")

    def _about(self) -> str:
        before = " ".join(f"{death.seam} {death.nth}" if death else "pause" for death in self.first)
        return " ".join(filter(None, (self.fault, self.seam, "gates" if self.gates else "", "stays" if self.stays else "", before)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """One run, killed a few times from outside at random instants."""

    nth: int
    seed: int
    engine: Engine = "ours"
    mix: Mix | None = None
    """None: any."""
    fault: Fault | None = None

    def carry_out(self, bench: Bench) -> Iterator[dict[str, Any]]:
        if self.engine == "ours" and self.fault is None and bench.enough():
            return
        chance = random.Random(f"{self.seed} {self.nth}")
        mix: Mix = chance.choice(MIXES) if self.mix is None else self.mix
        case = Case(
            name=f"{self.engine} {self.fault or ''} run {self.nth}",
            mix=mix,
            shape=chance.choice(SHAPES),
            seed=self.seed,
            engine=self.engine,
            by=chance.choice(BY) if self.engine == "ours" else "run",
            gates=self.engine == "ours" and self.fault is None and mix != "rerun" and chance.random() < 0.25,
            stays=chance.random() < 0.5,
            random_kills=chance.randint(1, 5),
            fault=self.fault,
        )
        yield supervise(case, bench.folder, bench.paces, bench.on_kill).document()


@dataclass(frozen=True, slots=True, kw_only=True)
class Meet:
    race: Race

    def carry_out(self, bench: Bench) -> Iterator[dict[str, Any]]:
        finish: Finish = run_race(self.race, bench.folder)
        yield {name: getattr(finish, name) for name in Finish.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A driver is killed while a worker process of its makes a call, and the run is resumed at once: nothing may land behind its back."""

    mix: Mix
    nth: int
    seed: int

    def carry_out(self, bench: Bench) -> Iterator[dict[str, Any]]:
        case = Case(
            name=f"orphan {self.mix} {self.nth}", mix=self.mix, shape="pair", seed=self.seed, stays=True, in_worker=True, orphans="s0"
        )
        yield supervise(case, bench.folder, bench.paces, bench.on_kill).document()


Unit = Sweep | Chance | Meet | Orphan

BEFORE, AFTER = Death(2, "effect.before"), Death(2, "effect.after")
"""In the middle of the second call: what is swept then is how the next process settles it."""


def small(seed: int) -> list[Unit]:
    """For ``make test``: all boundaries of a small plan of each class, of its recovery, and of a gate."""
    units: list[Unit] = [Sweep(mix=mix, shape="pair", seed=seed) for mix in MIXES if mix != "mixed"]
    units.append(Sweep(mix="keyed", shape="pair", seed=seed, gates=True, stays=True, seam="commit"))
    units.append(Sweep(mix="blind", shape="pair", seed=seed, first=(AFTER, None), seam="commit"))
    units.append(Sweep(mix="probeable", shape="pair", seed=seed, first=(AFTER,), seam="commit"))
    return units + controls(seed) + races(seed, times=2) + orphans(seed, times=1)


def whole(seed: int) -> list[Unit]:
    units: list[Unit] = [Sweep(mix=mix, shape=shape, seed=seed) for shape in SHAPES for mix in MIXES]
    for mix in MIXES:
        if mix == "rerun":
            continue  # the default policy asks nobody about a read
        units.append(Sweep(mix=mix, shape="diamond", seed=seed, gates=True, stays=True))
        units.append(Sweep(mix=mix, shape="chain", seed=seed, gates=True, first=(None,)))
        units += [Sweep(mix=mix, shape="chain", seed=seed, stays=True, first=(cut,)) for cut in (BEFORE, AFTER)]
    return units + controls(seed) + races(seed, times=50) + orphans(seed, times=10)


def controls(seed: int) -> list[Unit]:
    """Runs in which something is broken on purpose. Each must be found out."""

    def sweep(mix: Mix, fault: Fault, seam: str) -> Sweep:
        return Sweep(mix=mix, shape="pair", seed=seed, seam=seam, fault=fault)

    return [
        sweep("probeable", "no intents", "effect.after"),
        sweep("blind", "no intents", "effect.after"),
        sweep("probeable", "no probe", "effect.after"),
        sweep("keyed", "new keys", "effect.after"),
        sweep("keyed", "no effects", "effect.after"),
        sweep("blind", "no answers", "effect.after"),
        *(Meet(race=Race(processes=2, door="python", nth=nth, seed=seed, fault="no lease")) for nth in (0, 1)),
    ]


def races(seed: int, times: int) -> list[Unit]:
    return [
        Meet(race=Race(processes=processes, door=door, nth=nth, seed=seed))
        for processes in (2, 5)
        for door in ("python", "command line")
        for nth in range(times)
    ]


def orphans(seed: int, times: int) -> list[Unit]:
    mixes: tuple[Mix, ...] = ("probeable", "blind")
    return [Orphan(mix=mix, nth=nth, seed=seed) for nth in range(times) for mix in mixes]


def by_chance(seed: int, runs: int) -> list[Unit]:
    return [Chance(nth=nth, seed=seed) for nth in range(runs)]


def beside(seed: int, runs: int) -> list[Unit]:
    """The same plans through stock LangGraph."""
    engines: tuple[Engine, ...] = ("stock sync", "stock async", "stock aio")
    return [Chance(nth=nth, seed=seed, engine=engine, mix="blind") for nth in range(runs) for engine in engines]
