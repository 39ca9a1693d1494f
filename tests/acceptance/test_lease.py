"""Who drives a run when processes die, hang, come back and race. Real processes; effects are counted in the tools' own log."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows cannot stop a process")

RUN = "11111111-1111-4111-8111-111111111111"
WITH = ("--tools", "world.py:TOOLS", "--policy", "open.yaml")
OTHER = "22222222-2222-4222-8222-222222222222"

WORLD = """
import json, os, sqlite3, sys, threading, time
from pathlib import Path
from agent_graph import AgentGraph, Absent, Landed, Plan, Policy, Step, ToolContext, tool

LOG = Path("world.log")

def say(line):
    with LOG.open("a") as log:
        log.write(line + "\\n")

def did(line):
    return LOG.exists() and line in LOG.read_text().splitlines()

def wait_for(name):
    until = time.monotonic() + 60
    while not Path(name).exists() and time.monotonic() < until:
        time.sleep(0.01)

@tool(risk="read_only")
def look(name: str) -> str:
    "Waits until somebody makes the file of this name."
    say(f"look {name}")
    wait_for(name)
    return name

def _did(ctx: ToolContext, name: str):
    return Landed("found") if did(f"probeable {name} {ctx.idempotency_key}") else Absent()

def effect(kind, key, name):
    if not did(f"{kind} {name} {key}"):       # the receiver of the keyed one deduplicates; the others are sent once, or it is a defect
        say(f"{kind} {name} {key}")
    else:
        say(f"repeated {kind} {name}")
    say(f"in {kind} {name}")
    wait_for(name)
    return f"by {os.getpid()}"

@tool(risk="write", probe=_did)
def probeable(ctx: ToolContext, name: str) -> str:
    "Looks like the others, and can be asked."
    return effect("probeable", ctx.idempotency_key, name)

@tool(risk="write", recovery="keyed")
def keyed(ctx: ToolContext, name: str) -> str:
    "Sent again with its key."
    return effect("keyed", ctx.idempotency_key, name)

@tool(risk="write")
def blind(ctx: ToolContext, name: str) -> str:
    "Nobody can say."
    return effect("blind", ctx.idempotency_key, name)

@tool(risk="read_only")
def locks(name: str) -> str:
    "Hangs in the middle of a transaction on the store."
    connection = sqlite3.connect("runs.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    say(f"locks {name}")
    wait_for(name)
    connection.execute("ROLLBACK")
    return name

TOOLS = [look, probeable, keyed, blind, locks]

class Shifted:
    def __init__(self, days): self.days = days
    def now(self): return time.time() + self.days * 86400
    def monotonic(self): return time.monotonic()

def agent(days=0):
    return AgentGraph(TOOLS, store="runs.db", policy=Policy.allow_all(), clock=Shifted(days))

def plan(first, second):
    return Plan(goal="two", steps=(
        Step(id="a", tool=first, args={"name": "first"}),
        Step(id="b", tool=second, args={"name": "second"}, depends_on=("a",)),
    ))

def told(call):
    try:
        run = call()
        print(json.dumps({"status": run.status, "kinds": [r.kind for r in run.requests],
                          "outputs": {k: v.output for k, v in run.results.items()}}), flush=True)
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "said": str(error)}), flush=True)

def race(n, words):
    "n children, forked after the imports, all do the same at the same moment."
    import agent_graph.cli.app, agent_graph.agent
    from agent_graph.cli import main
    ready, go = os.pipe(), os.pipe()
    children = []
    for _ in range(n):
        pid = os.fork()
        if pid == 0:
            os.close(go[1])
            said = os.open(f"said-{os.getpid()}", os.O_CREAT | os.O_WRONLY)
            os.dup2(said, 1); os.dup2(said, 2)
            os.write(ready[1], b"x")
            os.read(go[0], 1)                   # ends when the parent closes it
            code = main(words)
            sys.stdout.flush()
            os._exit(code)
        children.append(pid)
    for _ in children:
        os.read(ready[0], 1)
    os.close(go[1])
    ended = dict(os.wait() for _ in children)
    print(json.dumps({str(pid): os.waitstatus_to_exitcode(status) for pid, status in ended.items()}), flush=True)

if __name__ == "__main__":
    how, *rest = sys.argv[1:]
    if how == "run":
        told(lambda: agent().run(plan=plan(*rest[:2]), run_id=rest[2] if len(rest) > 2 else "11111111-1111-4111-8111-111111111111"))
    elif how == "two":
        threads = [threading.Thread(target=told, args=(lambda i=i: agent().run(plan=plan("look", "keyed"), run_id=i),)) for i in rest]
        [t.start() for t in threads]; [t.join() for t in threads]
    elif how == "resume":
        told(lambda: agent(days=int(rest[0]) if rest else 0).resume("11111111-1111-4111-8111-111111111111"))
    elif how == "takeover":
        told(lambda: agent().resume("11111111-1111-4111-8111-111111111111", takeover=True))
    elif how == "race":
        race(int(rest[0]), rest[1:])
"""


@dataclass
class Place:
    """A folder in which processes share a store and a world."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self._start("world.py", *words)

    def cli(self, *words: str) -> subprocess.Popen[str]:
        return self._start("-m", "agent_graph", *words, "--store", "runs.db")

    def _start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def log(self) -> list[str]:
        log = self.folder / "world.log"
        return log.read_text().splitlines() if log.exists() else []

    def effects(self) -> Counter[str]:
        """What was sent, without the keys and without what the receiver recognised as sent before."""
        return Counter(" ".join(line.split()[:2]) for line in self.log() if line.split()[0] in ("probeable", "keyed", "blind"))

    def until(self, line: str, times: int = 1) -> None:
        until = time.monotonic() + 30
        while sum(each.startswith(line) for each in self.log()) < times:
            assert time.monotonic() < until, f"{line!r} did not come {times} times: {self.log()}"
            time.sleep(0.01)

    def make(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    def owner_is_elsewhere(self, expires: float) -> None:
        """As if the owner were on another machine, whose processes cannot be looked up or ended."""
        with sqlite3.connect(self.folder / "runs.db") as connection:
            connection.execute(
                "UPDATE leases SET owner = json_set(owner, '$.host', 'elsewhere/0/0'), expires = ? WHERE run_id = ?",
                (time.time() + expires, RUN),
            )
        connection.close()

    def fence(self) -> int:
        with sqlite3.connect(self.folder / "runs.db") as connection:
            found = connection.execute("SELECT fence FROM leases WHERE run_id = ?", (RUN,)).fetchone()[0]
        connection.close()
        return int(found)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "world.py").write_text(WORLD)
    (tmp_path / "open.yaml").write_text("name: open\nrules: [{verdict: allow, tools: ['*']}]\n")
    made = Place(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    code, out, err = end(process)
    assert code == 0, err
    return dict(json.loads(out))


def stopped(process: subprocess.Popen[str]) -> None:
    """Wait until it really stands still: a signal takes effect a moment after it was sent."""
    process.send_signal(signal.SIGSTOP)
    until = time.monotonic() + 10
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T" if Path("/proc/self").exists() else False:
        assert time.monotonic() < until
        time.sleep(0.005)


# ── a live but silent owner ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("days", ["0", "1", "-1"])
def test_an_owner_that_is_silent_is_not_robbed_whatever_the_clock_says(place: Place, days: str) -> None:
    first = place.start("run", "look", "keyed")
    place.until("look first")
    stopped(first)
    before = place.fence()
    second = said(place.start("resume", days))
    assert second["error"] == "RunBusy"
    assert f"process {first.pid} on " in second["said"]
    assert "--takeover" in second["said"]
    assert place.fence() == before
    first.send_signal(signal.SIGCONT)
    place.make("first", "second")
    assert said(first)["status"] == "succeeded"
    assert place.effects() == Counter({"keyed second": 1})


@pytest.mark.parametrize("kind", ["keyed", "probeable"])
def test_a_takeover_ends_the_silent_owner_first_and_repeats_nothing(place: Place, kind: str) -> None:
    place.make("first")
    first = place.start("run", "look", kind)
    place.until(f"in {kind} second")
    stopped(first)
    before = place.fence()
    place.make("second")
    assert said(place.start("takeover"))["status"] == "succeeded"
    assert end(first)[0] == -signal.SIGKILL
    assert place.effects() == Counter({f"{kind} second": 1})
    assert place.fence() == before + 1


def test_a_takeover_of_a_blind_effect_in_flight_asks_a_person(place: Place) -> None:
    place.make("first")
    first = place.start("run", "look", "blind")
    place.until("in blind second")
    stopped(first)
    second = said(place.start("takeover"))
    assert (second["status"], second["kinds"]) == ("paused", ["in_doubt"])
    assert end(first)[0] == -signal.SIGKILL
    assert place.effects() == Counter({"blind second": 1})


def test_a_takeover_frees_a_store_whose_owner_hangs_in_a_transaction(place: Place) -> None:
    first = place.start("run", "locks", "keyed")
    place.until("locks first")
    stopped(first)
    place.make("first", "second")
    assert said(place.start("takeover"))["status"] == "succeeded"
    assert end(first)[0] == -signal.SIGKILL


def test_a_takeover_of_a_run_that_nobody_drives_is_a_resume(place: Place) -> None:
    first = place.start("run", "look", "keyed")
    place.until("look first")
    first.kill()
    end(first)
    place.make("first", "second")
    assert said(place.start("takeover"))["status"] == "succeeded"


def test_the_command_line_names_whom_it_ends_and_what_ends_with_it(place: Place) -> None:
    first = place.start("two", RUN, OTHER)
    place.until("look first", times=2)
    stopped(first)
    place.make("first", "second")
    code, out, err = end(place.cli("resume", RUN, "--takeover", *WITH))
    assert code == 0, err
    assert f"ending process {first.pid} on " in out
    assert f"it also drives what ends with it, and can be resumed: {OTHER}" in out
    assert end(first)[0] == -signal.SIGKILL
    shown = end(place.cli("show", OTHER, "--json"))[1]
    assert json.loads(shown)["status"] == "interrupted"
    traced = end(place.cli("trace", RUN))[1]
    assert f"taken over from process {first.pid} on " in traced


def test_of_two_takeovers_at_once_one_drives_and_the_other_is_told_by_whom(place: Place) -> None:
    first = place.start("run", "look", "keyed")
    place.until("look first")
    stopped(first)
    both = [place.cli("resume", RUN, "--takeover", *WITH) for _ in range(2)]
    place.until("look first", times=2)
    until = time.monotonic() + 30
    while all(one.poll() is None for one in both):
        assert time.monotonic() < until, "both drive"
        time.sleep(0.02)
    loser, winner = both if both[0].poll() is not None else both[::-1]
    code, _, err = end(loser)
    assert code == 4, err
    assert f"process {winner.pid} on " in err
    place.make("first", "second")
    assert end(winner)[0] == 0
    assert end(first)[0] == -signal.SIGKILL
    assert place.effects() == Counter({"keyed second": 1})


# ── an owner that was given up, and comes back ────────────────────────────────────────────────────────────────────────


def test_a_driver_that_comes_back_calls_nothing_any_more(place: Place) -> None:
    first = place.start("run", "look", "keyed")
    place.until("look first")
    stopped(first)
    place.owner_is_elsewhere(expires=-1)
    place.make("first", "second")
    second = place.start("resume")
    assert said(second)["status"] == "succeeded"
    first.send_signal(signal.SIGCONT)
    late = said(first)
    assert late["error"] == "LeaseLost"
    assert f"run {RUN} was taken over" in late["said"]
    assert "repeated keyed second" not in place.log()
    assert place.effects() == Counter({"keyed second": 1})


@pytest.mark.parametrize("kind", ["keyed", "probeable", "blind"])
def test_the_outcome_of_a_driver_that_comes_back_is_not_written(place: Place, kind: str) -> None:
    place.make("first")
    first = place.start("run", "look", kind)
    place.until(f"in {kind} second")
    stopped(first)
    place.owner_is_elsewhere(expires=-1)
    second = place.start("resume")
    if kind == "keyed":
        place.until("in keyed second", times=2)
        place.make("second")
    came = said(second)
    place.make("second")
    first.send_signal(signal.SIGCONT)
    assert said(first)["error"] == "LeaseLost"
    shown = json.loads(end(place.cli("show", RUN, "--json"))[1])
    match kind:
        case "keyed":
            assert shown["results"]["b"]["output"] == f"by {second.pid}"
        case "probeable":
            assert shown["results"]["b"]["output"] == "found"
        case _:
            assert (came["kinds"], shown["status"]) == (["in_doubt"], "paused")
            assert [effect["step_id"] for effect in shown["open_effects"]] == ["b"]
    assert place.effects() == Counter({f"{kind} second": 1})


def test_a_driver_that_lost_its_run_says_so_and_exits_4(place: Place) -> None:
    (place.folder / "two.yaml").write_text(
        "goal: two\nsteps:\n  - {id: a, tool: look, args: {name: first}}\n  - {id: b, tool: look, args: {name: second}, depends_on: [a]}\n"
    )
    first = place.cli("run", "--plan", "two.yaml", *WITH, "--id", RUN)
    place.until("look first")
    stopped(first)
    place.owner_is_elsewhere(expires=-1)
    place.make("first")
    second = place.start("resume")
    place.until("look second")
    first.send_signal(signal.SIGCONT)
    code, _, err = end(first)
    assert code == 4
    assert f"run {RUN} was taken over by process {second.pid} on " in err
    assert "this one stops without writing" in err
    place.make("second")
    assert said(second)["status"] == "succeeded"


def test_an_owner_elsewhere_is_left_alone_until_its_lease_has_expired(place: Place) -> None:
    first = place.start("run", "look", "keyed")
    place.until("look first")
    stopped(first)
    place.owner_is_elsewhere(expires=40)
    refused = said(place.start("takeover"))
    assert refused["error"] == "RunBusy"
    assert "on another machine" in refused["said"]
    assert "its lease ends in 3" in refused["said"]
    assert "cannot be ended from here" in refused["said"]
    assert first.poll() is None
    place.owner_is_elsewhere(expires=-1)
    place.make("first", "second")
    assert said(place.start("takeover"))["status"] == "succeeded"
    assert first.poll() is None


# ── many at once ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def killed(place: Place) -> Place:
    """A run whose driver was killed before its second step."""
    first = place.start("run", "look", "keyed")
    place.until("look first")
    first.kill()
    end(first)
    return place


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("option", [[], ["--takeover"]], ids=["resume", "takeover"])
def test_of_many_processes_one_drives_and_the_others_are_told_by_whom(killed: Place, n: int, option: list[str]) -> None:
    place = killed
    race = place.start("race", str(n), "resume", RUN, *option, *WITH, "--store", "runs.db")
    place.until("look first", times=2)
    refused = wait_until(lambda: [path for path in place.folder.glob("said-*") if "driv" in path.read_text()], n - 1)
    place.make("first", "second")
    codes = said(race)
    assert sorted(codes.values()) == [0] + [4] * (n - 1)
    (winner,) = [pid for pid, code in codes.items() if code == 0]
    assert all(f"process {winner} on " in path.read_text() for path in refused)
    assert place.effects() == Counter({"keyed second": 1})
    assert sum(line == "look first" for line in place.log()) == 2


def wait_until(found: Callable[[], list[Path]], n: int) -> list[Path]:
    until = time.monotonic() + 30
    while len(there := found()) < n:
        assert time.monotonic() < until, f"{len(there)} of {n}"
        time.sleep(0.02)
    return there


def test_a_run_can_be_resumed_at_once_when_its_owner_was_killed(killed: Place) -> None:
    killed.make("first", "second")
    assert said(killed.start("resume"))["status"] == "succeeded"


def test_an_owner_whose_pid_another_process_has_now_is_dead(killed: Place) -> None:
    with sqlite3.connect(killed.folder / "runs.db") as connection:
        connection.execute("UPDATE leases SET owner = json_set(owner, '$.pid', ?) WHERE run_id = ?", (os.getpid(), RUN))
    connection.close()
    killed.make("first", "second")
    assert said(killed.start("takeover"))["status"] == "succeeded"
