"""Several processes resume one run at once: one drives, the others are refused and told who does."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agent_graph.cli import main
from agent_graph.errors import RunBusy

from .case import Case, Verdict
from .drive import RUN, STORE, agent_of, drive, settle_in
from .fork import Child
from .seams import Death
from .supervise import count

Door = Literal["python", "command line"]
BUSY = 4
POLICY = 'name: allowed\nrules: [{verdict: allow, tools: ["*"]}]\nflows: [{verdict: allow, label: untrusted, into: ["*"]}]\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    processes: int
    door: Door
    nth: int
    seed: int
    fault: Literal["no lease"] | None = None

    @property
    def name(self) -> str:
        return f"race of {self.processes} by {self.door} {self.nth} {self.fault or ''}".strip()


@dataclass(slots=True, kw_only=True)
class Finish:
    processes: int
    door: Door
    fault: str | None = None
    drove: int = 0
    refused: int = 0
    duplicates: int = 0
    breaches: list[str] = field(default_factory=list)


def run_race(race: Race, folder: Path) -> Finish:
    """A run whose process was killed after an effect is resumed by all at once. The one that drives is held in its next call until the
    others have ended, so that nobody comes too late to be refused."""
    mix = ("keyed", "probeable", "blind")[race.nth % 3] if race.door == "python" else ("keyed", "probeable")[race.nth % 2]
    # A blind run waits for a person where it was cut, so it is cut before any call: at its first intent.
    death = Death(1, "commit intent.before") if mix == "blind" else Death(2, "effect.after")
    case = Case(name=race.name, mix=mix, shape="chain", seed=race.seed, fault=race.fault)  # type: ignore[arg-type]
    place = folder / race.name.replace(" ", "_")
    place.mkdir(parents=True)
    (place / "policy.yaml").write_text(POLICY)
    finish = Finish(processes=race.processes, door=race.door, fault=race.fault)
    verdict = Verdict(case=case, drives=1 + race.processes)
    cut = Child(lambda tell: drive(case, place, 0, death, tell)).wait()
    if not cut.killed:
        finish.breaches.append(f"the run was to be cut, and ended: {cut.report}")
    _line_up(race, case, place, finish, verdict)
    count(case, place, verdict)
    finish.duplicates = verdict.duplicates
    finish.breaches += verdict.breaches
    if not finish.breaches or race.fault is not None:
        shutil.rmtree(place)
    return finish


def _line_up(race: Race, case: Case, place: Path, finish: Finish, verdict: Verdict) -> None:
    ready, gun = os.pipe()
    go = place / "go"

    def start(number: int) -> Child:
        def work(tell: Any) -> dict[str, Any]:
            os.close(gun)  # or this very process would keep the others waiting
            here = settle_in(case, place, number, None, tell)
            here.held_until = go
            return by_command_line(place, ready) if race.door == "command line" else by_python(case, here, ready)

        return Child(work)

    children = {start(number): number for number in range(1, race.processes + 1)}
    time.sleep(0.02 + random.Random(race.nth).uniform(0, 0.01))  # all of them wait for the gun
    os.close(ready)
    os.close(gun)
    until = time.monotonic() + 15
    running = dict(children)
    while len(running) > 1 and time.monotonic() < until:
        for child in [child for child in running if child.listen(0.005)]:
            del running[child]
    if len(running) > 1:
        finish.breaches.append(f"{len(running)} processes drove the run at once")
    go.touch()
    drivers = {child.pid for child in running}
    for child, number in children.items():
        ended = child.wait()
        if ended.code == 0:
            finish.drove += 1
            verdict.status = ended.report.get("status", "")
        elif ended.code == BUSY:
            finish.refused += 1
            if not any(f"process {pid} " in ended.report["busy"] for pid in drivers):
                finish.breaches.append(f"the refusal does not name the driver: {ended.report['busy']}")
        else:
            finish.breaches.append(f"process {number} ended with {ended.code}: {ended.report}")
    if (finish.drove, finish.refused) != (1, race.processes - 1):
        finish.breaches.append(f"{finish.drove} drove and {finish.refused} were refused")


def by_python(case: Case, here: Any, ready: int) -> dict[str, Any]:
    with agent_of(case, here) as agent:
        os.read(ready, 1)
        try:
            return {"status": agent.resume(RUN).status}
        except RunBusy as busy:
            return {"busy": str(busy), "code": BUSY}


def by_command_line(place: Path, ready: int) -> dict[str, Any]:
    said = place / f"said-{os.getpid()}.txt"
    sys.stdout = sys.stderr = said.open("w")
    os.read(ready, 1)
    code = main(["resume", RUN, "--store", STORE])
    sys.stdout.flush()
    return {"status": "succeeded" if code == 0 else "", "busy": said.read_text(), "code": code}
