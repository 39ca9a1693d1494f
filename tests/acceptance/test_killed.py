"""Real processes, killed with SIGKILL or stopped with Ctrl-C, and resumed by another one. Effects are counted in the tools' own log."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

WORLD = """
import asyncio, os, sys, time
from pathlib import Path
from agent_graph import AgentGraph, Absent, Landed, Plan, Policy, Step, ToolContext, tool
from agent_graph.testing import CrashingTool

LOG = Path("world.log")
how, kind = sys.argv[1], sys.argv[2]
HELD = how == "held"      # r1 waits for a file, so that another process has all the time it needs
KILL = os.environ.get("KILL", "")          # tool:before|after:nth call of this process

def say(line):
    with LOG.open("a") as log:
        log.write(line + "\\n")

def did(line):
    return LOG.exists() and line in LOG.read_text().splitlines()

counts = {}
def crash(name, when):
    counts[name, when] = counts.get((name, when), 0) + 1
    if KILL == f"{name}:{when}:{counts[name, when]}":
        os.kill(os.getpid(), 9)

@tool(risk="read_only")
def read(name: str, seconds: float = 0.0) -> str:
    say(f"read {name}")
    crash("read", "before")
    time.sleep(seconds)
    while HELD and name == "r1" and not Path("go").exists():
        time.sleep(0.02)
    return name

def _did(ctx: ToolContext, name: str):
    return Landed(f"wrote {name}") if did(f"probeable {name} {ctx.idempotency_key}") else Absent()

@tool(risk="write", probe=_did, timeout=0.5)
def probeable(ctx: ToolContext, name: str) -> str:
    crash("probeable", "before")
    say(f"probeable {name} {ctx.idempotency_key}")
    crash("probeable", "after")
    return f"wrote {name}"

@tool(risk="write", recovery="keyed")
def keyed(ctx: ToolContext, name: str) -> str:
    crash("keyed", "before")
    if not did(f"keyed {name} {ctx.idempotency_key}"):   # the receiver deduplicates by key
        say(f"keyed {name} {ctx.idempotency_key}")
    crash("keyed", "after")
    return f"wrote {name}"

@tool(risk="write")
def blind(name: str) -> str:
    crash("blind", "before")
    say(f"blind {name}")
    crash("blind", "after")
    return f"wrote {name}"

def plan(kind, n=4, seconds=0.0):
    steps = []
    for i in range(n):
        steps.append(Step(id=f"r{i}", tool="read", args={"name": f"r{i}", "seconds": seconds}, depends_on=(f"w{i-1}",) if i else ()))
        steps.append(Step(id=f"w{i}", tool=kind, args={"name": {"$ref": f"steps.r{i}.output"}}))
    return Plan(goal=f"write with {kind}", steps=tuple(steps))

agent = AgentGraph([read, probeable, keyed, blind], store="runs.db", policy=Policy.allow_all())
RUN = "11111111-1111-4111-8111-111111111111"
if __name__ == "__main__":
    if how in ("run", "held"):
        print(agent.run(plan=plan(kind), run_id=RUN).status, flush=True)
    elif how == "resume":
        run = agent.resume(RUN)
        print(run.status, *(f"{r.kind}" for r in run.requests), flush=True)
    elif how == "slow":
        agent.run(plan=plan(kind, seconds=0.3), run_id=RUN)
    elif how == "slow_async":
        asyncio.run(agent.arun(plan=plan(kind, seconds=0.3), run_id=RUN))
    elif how == "slow_stream":
        for event in agent.stream(plan=plan(kind, seconds=0.3), run_id=RUN):
            pass
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "world.py").write_text(WORLD)
    return tmp_path


def start(place: Path, *args: str, kill: str = "") -> subprocess.Popen[str]:
    import os

    return subprocess.Popen(
        [sys.executable, "world.py", *args],
        cwd=place,
        env={**os.environ, "KILL": kill},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], timeout: float = 60) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out.strip(), err


def effects(place: Path) -> Counter[str]:
    log = place / "world.log"
    return Counter(" ".join(line.split()[:2]) for line in log.read_text().splitlines()) if log.exists() else Counter()


@pytest.mark.parametrize("kind", ["probeable", "keyed"])
@pytest.mark.parametrize("kill", ["before:1", "after:1", "before:3", "after:3"])
def test_a_killed_run_goes_on_and_repeats_nothing(place: Path, kind: str, kill: str) -> None:
    code, _, _ = finish(start(place, "run", kind, kill=f"{kind}:{kill}"))
    assert code == -signal.SIGKILL
    assert finish(start(place, "resume", kind))[:2] == (0, "succeeded")
    assert effects(place) == Counter([f"read r{i}" for i in range(4)] + [f"{kind} r{i}" for i in range(4)])


@pytest.mark.parametrize("kill", ["before:2", "after:2"])
def test_a_blind_effect_that_was_cut_off_asks_a_person(place: Path, kill: str) -> None:
    finish(start(place, "run", "blind", kill=f"blind:{kill}"))
    landed = 1 if kill.startswith("after") else 0
    assert finish(start(place, "resume", "blind"))[:2] == (0, "paused in_doubt")
    assert effects(place)["blind r1"] == landed


def test_a_finished_read_is_not_repeated(place: Path) -> None:
    finish(start(place, "run", "keyed", kill="read:before:3"))
    assert finish(start(place, "resume", "keyed"))[:2] == (0, "succeeded")
    assert effects(place) == Counter({"read r0": 1, "read r1": 1, "read r2": 2, "read r3": 1, **{f"keyed r{i}": 1 for i in range(4)}})


def test_a_run_killed_again_and_again_ends(place: Path) -> None:
    finish(start(place, "run", "keyed", kill="keyed:after:1"))
    for _ in range(3):
        code, _, _ = finish(start(place, "resume", "keyed", kill="keyed:after:2"))
        if code == 0:
            break
    finish(start(place, "resume", "keyed"))
    counted = effects(place)
    assert {counted[f"keyed r{i}"] for i in range(4)} == {1}


def test_a_second_process_is_refused_while_the_first_drives(place: Path) -> None:
    first = start(place, "held", "keyed")
    try:
        wait_for(place, "read r1")
        code, _, err = finish(start(place, "resume", "keyed"))
        assert code == 1
        assert "RunBusy" in err
        assert f"process {first.pid}" in err
    finally:
        (place / "go").touch()
        finish(first)
    counted = effects(place)
    assert {counted[f"keyed r{i}"] for i in range(4)} == {1}


@pytest.mark.parametrize("how", ["slow", "slow_async", "slow_stream"])
def test_ctrl_c_stops_after_the_call_in_flight_is_recorded(place: Path, how: str) -> None:
    process = start(place, how, "keyed")
    wait_for(place, "read r1")
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    code, _, err = finish(process)
    assert "KeyboardInterrupt" in err
    assert code != 0
    assert time.monotonic() - began < 5
    before = effects(place)
    assert before["read r3"] == 0
    assert finish(start(place, "resume", "keyed"))[:2] == (0, "succeeded")
    after = effects(place)
    assert set(after.values()) == {1}


def wait_for(place: Path, line: str) -> None:
    until = time.monotonic() + 30
    while effects(place)[line] == 0:
        assert time.monotonic() < until, f"{line!r} never came"
        time.sleep(0.02)
