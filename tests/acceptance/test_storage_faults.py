"""A store that fails, as disks, other processes and people make it fail: the real command line, and effects counted in another place.

What must hold for each fault: no call without a committed intent, nothing done twice, the run named and what to do said, never a
traceback, and never a run that silently begins anew.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ormsgpack
import pytest

from agent_graph.checkpoints.migrations import LATEST, MIGRATIONS, _statements

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits, signals and modes of POSIX")

WORLD = '''
import os, resource, signal, subprocess, sys, time
from pathlib import Path
from agent_graph import Absent, Landed, ToolContext, tool

LOG, FAULT = Path(os.environ["WORLD"]), os.environ.get("FAULT", "")

HOLD = """
import sqlite3, sys, time
from pathlib import Path
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
connection.execute("BEGIN IMMEDIATE")
Path("held").touch()
until = time.monotonic() + 60
while not Path("release").exists() and time.monotonic() < until:
    time.sleep(0.02)
connection.execute("ROLLBACK")
connection.close()
Path("released").touch()
"""

def say(line):
    with LOG.open("a") as log:
        log.write(line + "\\n")

def did(key):
    return LOG.exists() and any(line.startswith("paid") and key in line for line in LOG.read_text().splitlines())

def strike(where):
    if FAULT == f"limit:{where}":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    elif FAULT == f"disk:{where}":
        with (Path(os.environ["DISK"]) / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(b"x" * 4096)
            except OSError:
                pass
            try:
                while True:
                    ballast.write(b"x")
            except OSError:
                pass
    elif FAULT == f"lock:{where}":
        subprocess.Popen([sys.executable, "-c", HOLD, os.environ["STORE"]], start_new_session=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not Path("held").exists():
            time.sleep(0.01)
    elif FAULT == f"kill:{where}":
        os.kill(os.getpid(), signal.SIGKILL)

@tool(risk="read_only", trusted_output=True)
def look(name: str) -> str:
    """Look up whom to pay."""
    say(f"looked {name}")
    strike("intent")
    return name

def pay(ctx, to):
    say(f"called {to}")
    if not did(ctx.idempotency_key):
        say(f"paid {to} {ctx.idempotency_key}")
    strike("outcome")
    return f"paid {to}"

def paid(ctx: ToolContext, to: str):
    return Landed(f"paid {to}") if did(ctx.idempotency_key) else Absent()

@tool(risk="write", probe=paid)
def probeable(ctx: ToolContext, to: str) -> str:
    """Pay; the desk can be asked."""
    return pay(ctx, to)

@tool(risk="write", recovery="keyed")
def keyed(ctx: ToolContext, to: str) -> str:
    """Pay; the desk knows the key."""
    return pay(ctx, to)

@tool(risk="write")
def blind(ctx: ToolContext, to: str) -> str:
    """Pay; nobody can be asked."""
    return pay(ctx, to)
'''

PLAN = """
goal: pay Ann
steps:
  - {{id: who, tool: look, args: {{name: ann}}}}
  - {{id: pay, tool: {tool}, args: {{to: {{$ref: steps.who.output}}}}}}
answer: {{$ref: steps.pay.output}}
"""

IMPATIENT = """
import sys
from agent_graph.checkpoints import database
database.BUSY_TIMEOUT = 0.5
from agent_graph.cli import main
sys.exit(main())
"""

RUN = "11111111-1111-4111-8111-111111111111"
CAPABILITIES = (1, 2, 3)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER: with them, root is refused nothing


def as_anybody() -> None:
    """In the child, before it becomes the program: file modes count, also where the tests run as root."""
    for capability in CAPABILITIES:
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@dataclass
class Place:
    """One folder with tools and plans, and a disk for the store."""

    folder: Path
    disk: Path

    @property
    def store(self) -> Path:
        return self.disk / "runs.db"

    def start(
        self, *words: str, before: Callable[[], None] | None = None, program: tuple[str, ...] = ("-m", "agent_graph"), **more: str
    ) -> Any:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AGENT_GRAPH")}
        own = {
            "WORLD": str(self.folder / "world.log"),
            "DISK": str(self.disk),
            "STORE": str(self.store),
            "PYTHONUTF8": "1",
            "COLUMNS": "200",
        }
        return subprocess.Popen(
            [sys.executable, *program, *words],
            cwd=self.folder,
            env=kept | own | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            preexec_fn=before,  # noqa: PLW1509  # the tests have no threads
        )

    def call(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        process = self.start(*words, "--store", str(self.store), **more)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        assert "bug of agent-graph" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def run(self, tool: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.call("run", "--plan", f"{tool}.yaml", "--tools", "world.py", "--policy", "open.yaml", "--id", RUN, **more)

    def world(self, word: str) -> int:
        """How often the world saw it."""
        log = self.folder / "world.log"
        return sum(line.split()[0] == word for line in log.read_text().splitlines()) if log.exists() else 0

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.store)) as connection:
            return connection.execute(sql).fetchall()

    def change(self, sql: str, *values: Any) -> None:
        with closing(sqlite3.connect(self.store)) as connection:
            connection.execute(sql, values)
            connection.commit()

    def findings(self, code: int) -> set[str]:
        done = self.call("doctor", "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return {finding["code"] for finding in json.loads(done.stdout)["findings"]}


def placed(folder: Path) -> Place:
    (folder / "disk").mkdir(mode=0o700)
    (folder / "world.py").write_text(WORLD)
    (folder / "impatient.py").write_text(IMPATIENT)
    (folder / "open.yaml").write_text("name: open\nrules: [{verdict: allow, tools: ['*']}]\n")
    for tool in ("probeable", "keyed", "blind"):
        (folder / f"{tool}.yaml").write_text(PLAN.format(tool=tool))
    return Place(folder, folder / "disk")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return placed(tmp_path)


# ── the disk is full ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_disk(place: Place) -> Iterator[Place]:
    """The store on a file system of a megabyte."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(place.disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place.disk)], check=True)


def refused_for_want_of_space(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1
    assert "free some disk space" in done.stderr
    assert f"resume {RUN}" in done.stderr


def test_a_disk_that_is_full_at_the_intent_keeps_the_tool_from_being_called(small_disk: Place) -> None:
    refused_for_want_of_space(small_disk.run("blind", FAULT="disk:intent"))
    assert small_disk.world("called") == 0
    (small_disk.disk / "ballast").unlink()
    assert small_disk.call("resume", RUN).returncode == 0
    assert (small_disk.world("called"), small_disk.world("paid")) == (1, 1)


def test_a_disk_that_is_full_at_the_outcome_leaves_the_effect_in_doubt_and_not_lost(small_disk: Place) -> None:
    refused_for_want_of_space(small_disk.run("blind", FAULT="disk:outcome"))
    (small_disk.disk / "ballast").unlink()
    assert small_disk.call("resume", RUN).returncode == 3
    assert small_disk.call("resume", RUN, "--landed").returncode == 0
    assert (small_disk.world("called"), small_disk.world("paid")) == (1, 1)


def test_a_file_limit_at_the_intent_keeps_the_tool_from_being_called(place: Place) -> None:
    refused_for_want_of_space(place.run("keyed", FAULT="limit:intent"))
    assert place.world("called") == 0
    assert place.call("resume", RUN).returncode == 0
    assert (place.world("called"), place.world("paid")) == (1, 1)


@pytest.mark.parametrize(("tool", "calls"), [("probeable", 1), ("keyed", 2)])
def test_after_a_full_disk_at_the_outcome_the_recovery_class_settles_the_effect(place: Place, tool: str, calls: int) -> None:
    refused_for_want_of_space(place.run(tool, FAULT="limit:outcome"))
    assert place.rows("SELECT state FROM effects WHERE step_id = 'pay'") == [("intent",)]
    assert place.call("resume", RUN).returncode == 0
    assert (place.world("called"), place.world("paid")) == (calls, 1)


SAME_PROCESS = """
import os, resource, sys
sys.path.insert(0, ".")
from agent_graph import AgentGraph, Plan, Policy, Step
from agent_graph.errors import StoreError
import world

agent = AgentGraph([world.look, world.keyed], policy=Policy.allow_all(), store=os.environ["STORE"])
steps = [Step(id="who", tool="look", args={"name": "ann"}), Step(id="pay", tool="keyed", args={"to": {"$ref": "steps.who.output"}})]
try:
    agent.run(plan=Plan(goal="pay", steps=steps), run_id=sys.argv[1])
except StoreError as error:
    print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)
world.FAULT = ""
print(agent.resume(sys.argv[1]).status)
"""


def test_the_same_process_goes_on_once_there_is_space(place: Place) -> None:
    process = place.start(RUN, program=("-c", SAME_PROCESS), FAULT="limit:intent")
    assert process.communicate(timeout=60)[0].split() == ["refused", "succeeded"]
    assert place.world("called") == 1


PAGES = """
import os, sys
sys.path.insert(0, ".")
from agent_graph import AgentGraph, Goal, Plan, Policy, Step, tool
from agent_graph.errors import StoreError
import world

fills = [True]

@tool(risk="read_only")
def fill() -> str:
    connection = agent.store.database._connection
    if fills:
        fills.clear()
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        agent.store.database.write(lambda c: c.execute("CREATE TABLE ballast AS SELECT zeroblob(?) AS x", (free * 4096,)))
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    return "full"

agent = AgentGraph([fill, world.blind], policy=Policy.allow_all(), store=os.environ["STORE"])
goal = Goal(text="pay", params={"to": "ann" * 50_000})
steps = [Step(id="fill", tool="fill"), Step(id="pay", tool="blind", args={"to": {"$ref": "params.to"}}, depends_on=["fill"])]
try:
    agent.run(plan=Plan(goal=goal, steps=steps), run_id=sys.argv[1])
except StoreError as error:
    print("refused")
agent.store.database._connection.execute("PRAGMA max_page_count = 1000000")
print(agent.resume(sys.argv[1]).status)
"""


def test_a_store_with_room_for_all_but_the_intent_keeps_the_tool_from_being_called(place: Place) -> None:
    process = place.start(RUN, program=("-c", PAGES))
    out, err = process.communicate(timeout=60)
    assert out.split() == ["refused", "succeeded"], err
    assert place.world("called") == 1


# ── another process holds the store ───────────────────────────────────────────────────────────────────────────────────


def let_go(place: Place) -> None:
    (place.folder / "release").touch()
    until = time.monotonic() + 30
    while not (place.folder / "released").exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_store_locked_at_the_intent_keeps_the_tool_from_being_called(place: Place) -> None:
    began = time.monotonic()
    done = place.run("keyed", program=("impatient.py",), FAULT="lock:intent")
    assert time.monotonic() - began < 20
    let_go(place)
    assert (done.returncode, place.world("called")) == (1, 0)
    assert "locked by another process for 0.5 s" in done.stderr
    assert f"resume {RUN}" in done.stderr
    assert place.call("resume", RUN).returncode == 0
    assert (place.world("called"), place.world("paid")) == (1, 1)


def test_a_store_locked_at_the_outcome_leaves_the_effect_to_its_recovery_class(place: Place) -> None:
    done = place.run("probeable", program=("impatient.py",), FAULT="lock:outcome")
    let_go(place)
    assert (done.returncode, place.world("paid")) == (1, 1)
    assert place.call("resume", RUN).returncode == 0
    assert (place.world("called"), place.world("paid")) == (1, 1)


# ── the file is damaged ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run that waits for a yes; never touched, only copied."""
    made = placed(tmp_path_factory.mktemp("waiting"))
    done = made.call("run", "--plan", "probeable.yaml", "--tools", "world.py", "--id", RUN)
    assert done.returncode == 3, done.stderr
    return made


@pytest.fixture
def paused(waiting: Place, tmp_path: Path) -> Place:
    """A copy of it, in which anything may be broken; the run's tools stay where they are, and write to the log of this place."""
    made = placed(tmp_path)
    shutil.copy(waiting.store, made.store)
    return made


@pytest.fixture
def crashed(place: Place) -> Place:
    """A store whose process was killed in the middle of a call, so that its log is there."""
    assert place.run("probeable", FAULT="kill:outcome").returncode == -signal.SIGKILL
    assert place.world("paid") == 1
    return place


def refused(place: Place, *said: str, code: int = 2) -> None:
    """Neither a look nor a resume: the store is named, and what to do is said."""
    for words in (("show", RUN), ("resume", RUN, "--approve")):
        done = place.call(*words)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert [text for text in (str(place.store), *said) if text not in done.stderr] == []
    assert place.world("called") == 0


@pytest.mark.parametrize("left", [0.02, 0.5, 0.95])
def test_a_truncated_file_is_refused(paused: Place, left: float) -> None:
    with paused.store.open("r+b") as file:
        file.truncate(int(paused.store.stat().st_size * left))
    refused(paused, "damaged", "restore it from a copy")
    assert paused.findings(2) & {"damaged", "not_a_store"}


def test_garbage_in_the_middle_of_the_file_is_refused(paused: Place) -> None:
    size = paused.store.stat().st_size
    with paused.store.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(4).randbytes(size - 8192))
    refused(paused, "damaged", "restore it from a copy")
    assert "damaged" in paused.findings(2)


def test_a_file_of_no_bytes_is_refused(paused: Place) -> None:
    paused.store.write_bytes(b"")
    refused(paused, "is empty", "restore it from a copy")
    assert "empty" in paused.findings(2)


def test_a_file_that_is_no_database_is_refused(paused: Place) -> None:
    paused.store.write_text("goal: pay Ann\n" * 1000)
    refused(paused, "not a store")
    assert "not_a_store" in paused.findings(2)


def test_a_log_that_is_missing_after_a_crash_is_refused_and_can_be_put_back(crashed: Place) -> None:
    log = Path(f"{crashed.store}-wal")
    kept = log.rename(crashed.folder / "kept")
    for words in (("show", RUN), ("resume", RUN), ("run", "--plan", "probeable.yaml", "--tools", "world.py")):
        done = crashed.call(*words)
        assert done.returncode == 2
        assert f"{log} is gone" in done.stderr
        assert "Put the log back" in done.stderr
    assert "log_missing" in crashed.findings(2)
    kept.rename(log)
    assert crashed.call("resume", RUN).returncode == 0
    assert (crashed.world("called"), crashed.world("paid")) == (1, 1)


def test_a_log_with_garbage_in_it_is_found_by_doctor(crashed: Place) -> None:
    log = Path(f"{crashed.store}-wal")
    with log.open("r+b") as file:
        file.seek(log.stat().st_size // 3)
        file.write(b"garbage" * 20)
    assert "log_damaged" in crashed.findings(2)


def test_the_log_of_a_crash_is_no_damage(crashed: Place) -> None:
    assert "log_damaged" not in crashed.findings(1)


# ── a checkpoint is damaged ───────────────────────────────────────────────────────────────────────────────────────────


def constructor(*parts: Any) -> bytes:
    """A value as LangGraph's msgpack writes an object: to be made again by calling what is named."""
    return ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(parts)))


@pytest.mark.parametrize("kind", ["garbage", "unknown type", "unknown type inside", "pickle"])
def test_a_damaged_checkpoint_is_refused_with_its_run_and_the_ledger_goes_on(paused: Place, kind: str) -> None:
    touched = paused.folder / "touched"
    match kind:
        case "garbage":
            paused.change("UPDATE checkpoints SET checkpoint = ?", b"\xc1\xff" * 50)
        case "unknown type":
            paused.change("UPDATE checkpoints SET checkpoint = ?", constructor("os", "system", f"touch {touched}"))
        case "unknown type inside":
            value = ormsgpack.Ext(0, ormsgpack.packb(("os", "system", f"touch {touched}")))
            rows = paused.rows("SELECT checkpoint_id, checkpoint FROM checkpoints")
            for checkpoint_id, content in rows:
                held = ormsgpack.unpackb(content, ext_hook=lambda *_: None, option=ormsgpack.OPT_NON_STR_KEYS)
                held["channel_values"] = {"why": value}
                packed = ormsgpack.packb(held, option=ormsgpack.OPT_NON_STR_KEYS)
                paused.change("UPDATE checkpoints SET checkpoint = ? WHERE checkpoint_id = ?", packed, checkpoint_id)
        case _:
            paused.change(
                "UPDATE checkpoints SET type = 'pickle', checkpoint = ?", b"cos\nsystem\n(S'touch " + str(touched).encode() + b"'\ntR."
            )
    done = paused.call("resume", RUN, "--approve")
    assert done.returncode == 2, done.stderr
    assert f"a checkpoint of run {RUN}" in done.stderr
    assert f"purge {RUN} --checkpoints" in done.stderr
    assert (touched.exists(), paused.world("called")) == (False, 0)
    assert paused.call("show", RUN).returncode == 0

    assert paused.call("purge", RUN, "--checkpoints", "--yes").returncode == 0
    assert paused.call("resume", RUN).returncode == 0
    assert (touched.exists(), paused.world("called"), paused.world("paid")) == (False, 1, 1)


# ── other versions of the code ────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(paused: Place) -> None:
    paused.change(f"PRAGMA user_version = {LATEST + 1}")
    before = paused.store.read_bytes()
    refused(paused, f"schema {LATEST + 1}", "upgrade agent-graph")
    assert "schema_newer" in paused.findings(2)
    assert paused.store.read_bytes() == before


def test_a_run_that_waits_in_a_store_of_the_first_schema_goes_on(paused: Place) -> None:
    newer = paused.store.rename(paused.folder / "newer.db")
    with closing(sqlite3.connect(paused.store, isolation_level=None)) as old:
        for statement in _statements(MIGRATIONS[0].sql):
            old.execute(statement)
        old.execute("PRAGMA user_version = 1")
        old.execute("ATTACH ? AS newer", (str(newer),))
        for sql in old.execute("SELECT sql FROM newer.sqlite_schema WHERE type = 'table' AND name IN ('checkpoints', 'writes')").fetchall():
            old.execute(sql[0])
        for (table,) in old.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
            names = ", ".join(row[1] for row in old.execute(f"PRAGMA main.table_info({table})"))
            old.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM newer.{table}")
    paused.store.chmod(0o600)
    assert paused.findings(0) == {"schema_older", "request_waits"}
    assert paused.call("resume", RUN, "--approve").returncode == 0
    assert paused.world("paid") == 1
    assert paused.rows("PRAGMA user_version") == [(LATEST,)]


# ── permissions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_may_not_be_written_is_looked_at_and_not_gone_on_with(paused: Place) -> None:
    paused.store.chmod(0o400)
    assert paused.call("show", RUN, before=as_anybody).returncode == 0
    done = paused.call("resume", RUN, "--approve", before=as_anybody)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "check its permissions" in done.stderr
    assert paused.world("called") == 0
    assert "file_mode" in paused.findings(1)
    for part in paused.disk.iterdir():  # the look has left an empty log, which SQLite gave the same mode
        part.chmod(0o600)
    assert paused.call("resume", RUN, "--approve", before=as_anybody).returncode == 0
    assert paused.world("paid") == 1


@pytest.mark.parametrize(("mode", "said"), [(0o500, "cannot be written"), (0o000, "cannot be reached")])
def test_a_folder_without_permissions_is_said(paused: Place, mode: int, said: str) -> None:
    paused.disk.chmod(mode)
    done = paused.call("resume", RUN, "--approve", before=as_anybody)
    paused.disk.chmod(0o700)
    assert (done.returncode, paused.world("called")) == (1, 0)
    assert said in done.stderr
    assert "permissions" in done.stderr
    assert paused.call("resume", RUN, "--approve").returncode == 0


def test_doctor_looks_at_a_store_in_a_folder_that_may_not_be_written(paused: Place) -> None:
    paused.disk.chmod(0o500)
    done = paused.call("doctor", before=as_anybody)
    paused.disk.chmod(0o700)
    assert (done.returncode, "all is well" in done.stdout) == (0, True), done.stdout + done.stderr
