"""``agent-graph doctor`` and ``purge`` as people call them: what is found is right, what is said can be done, and nothing is changed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and modes of POSIX")

Cli = Any  # tests/acceptance/conftest.py
RUN = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"

BLIND_PLAN = """
goal: change it
steps:
  - {id: b, tool: blind, args: {name: it}}
"""
ALLOW = "name: allow\nrules: [{verdict: allow, tools: ['*']}]\n"


@pytest.fixture
def here(cli: Cli) -> Cli:
    cli.folder.chmod(0o700)
    cli.write("blind.yaml", BLIND_PLAN)
    cli.write("allow.yaml", ALLOW)
    return cli


def store(cli: Cli) -> Path:
    return Path(cli.folder / ".agent-graph" / "runs.db")


def doctor(cli: Cli, code: int) -> dict[str, dict[str, Any]]:
    """Findings by code. Whatever is found, the files are as they were, but for the index of the log, which is no content."""
    before = contents(cli)
    document = cli.json("doctor", code=code)
    assert contents(cli) == before
    return {finding["code"]: finding for finding in document["findings"]}


def contents(cli: Cli) -> dict[str, str]:
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in store(cli).parent.iterdir() if not file.name.endswith("-shm")
    }


def change(cli: Cli, sql: str) -> None:
    with closing(sqlite3.connect(store(cli), isolation_level=None)) as connection:
        connection.execute(sql)


LOOK_PLAN = "goal: look\nsteps:\n  - {id: a, tool: look, args: {name: n}}\n"

_made: dict[str, dict[str, bytes]] = {}
"""Files of stores that were made before, by what was done: starting LangGraph takes a second, and a copy is as good to look at."""


def made(cli: Cli, what: str, code: int, *words: str, **environment: str) -> None:
    """The first run of a store; a copy of one that was made before, unless it is to go on here."""
    if what in _made and not store(cli).parent.exists():
        store(cli).parent.mkdir(mode=0o700)
        for name, content in _made[what].items():
            (store(cli).parent / name).write_bytes(content)
            (store(cli).parent / name).chmod(0o600)
        return
    new = not store(cli).parent.exists()
    done = cli.run("run", "--tools", "ops.py", *words, **environment)
    assert done.returncode == code, done.stderr
    if new:
        _made[what] = {file.name: file.read_bytes() for file in store(cli).parent.iterdir()}


def look(cli: Cli, run_id: str = RUN) -> None:
    """A run that only looks, and succeeds."""
    cli.write("look.yaml", LOOK_PLAN)
    made(cli, f"look {run_id}", 0, "--plan", "look.yaml", "--id", run_id)


def wait(cli: Cli, run_id: str = RUN) -> None:
    """A run that waits for a person."""
    made(cli, f"wait {run_id}", 3, "--plan", "send.yaml", "--id", run_id)


def crash(cli: Cli, what: str = "crash") -> None:
    """A run whose process was killed in the middle of a call."""
    made(cli, what, -9, "--plan", "blind.yaml", "--policy", "allow.yaml", "--id", RUN, KILL="blind")


# ── doctor ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_that_is_well_is_said_to_be(here: Cli) -> None:
    look(here)
    document = here.json("doctor")
    assert (document["verdict"], document["findings"], document["runs"]) == ("well", [], {"succeeded": 1})
    assert document["schema"]["found"] == document["schema"]["known"]
    assert {"ledger", "events", "checkpoints"} <= document["bytes"].keys()
    assert "all is well" in here.run("doctor").stdout


def test_no_store_is_wrong_use(here: Cli) -> None:
    done = here.run("doctor")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no store at" in done.stderr


def test_a_run_that_waits_is_a_note(here: Cli) -> None:
    wait(here)
    found = doctor(here, 0)
    assert found.keys() == {"request_waits"}
    assert found["request_waits"]["severity"] == "note"
    assert f"show {RUN}" in found["request_waits"]["command"]


def test_a_request_that_has_expired_needs_attention(here: Cli) -> None:
    wait(here)
    change(here, "UPDATE approvals SET expires = 1, request = json_set(request, '$.expires', 1)")
    found = doctor(here, 1)
    assert found.keys() == {"request_expired", "run_interrupted"}
    assert f"resume {RUN}" in found["request_expired"]["command"]


def test_an_effect_of_a_crash_is_found_with_all_that_is_known_of_it(here: Cli) -> None:
    crash(here)
    found = doctor(here, 1)
    assert found.keys() == {"effect_open", "run_interrupted", "lease_orphaned"}
    effect = found["effect_open"]
    with closing(sqlite3.connect(f"file:{store(here)}?mode=ro", uri=True)) as connection:
        (key,) = connection.execute("SELECT key FROM effects").fetchone()
    assert {name: effect["about"][name] for name in ("step_id", "tool", "args", "key", "recovery")} == {
        "step_id": "b",
        "tool": "blind",
        "args": {"name": "it"},
        "key": key,
        "recovery": "blind",
    }
    assert "--landed or --absent" in effect["do"]
    assert f"process {found['lease_orphaned']['about']['owner'].split()[1]}" in found["lease_orphaned"]["what"]


def test_what_doctor_says_to_do_makes_it_well(here: Cli) -> None:
    crash(here, "goes on here")
    words = doctor(here, 1)["effect_open"]["command"].split(" resume ")[1].split()
    assert here.run("resume", *words).returncode == 3
    assert here.run("resume", *words, "--landed").returncode == 0
    assert doctor(here, 0) == {}
    assert here.happened()["blind it"] == 1


def test_a_run_that_is_driven_is_a_note_and_its_effects_are_its_own(here: Cli) -> None:
    process = here.start("run", "--plan", "hold.yaml", "--tools", "ops.py", "--id", RUN)
    try:
        here.wait_for("hold go")
        document = here.json("doctor")
        (found,) = document["findings"]
        assert (found["code"], str(process.pid) in found["what"]) == ("driven", True)
    finally:
        here.write("go", "")
        here.end(process)


@pytest.fixture
def wide(here: Cli) -> Iterator[Cli]:
    look(here)
    yield here
    store(here).parent.chmod(0o700)


@pytest.mark.parametrize(
    ("mode", "code", "severity"), [(0o755, 0, "note"), (0o777, 1, "attention"), (0o1777, 0, "note")], ids=["seen", "replaced", "sticky"]
)
def test_a_folder_that_is_open_to_others_is_said(wide: Cli, mode: int, code: int, severity: str) -> None:
    store(wide).parent.chmod(mode)
    found = doctor(wide, code)["folder_mode"]
    assert (found["severity"], "chmod 700" in found["do"]) == (severity, True)


def test_a_file_that_others_can_read_needs_attention(wide: Cli) -> None:
    store(wide).chmod(0o644)
    assert "chmod 600" in doctor(wide, 1)["file_mode"]["do"]


def test_the_log_of_a_crash_that_others_can_read_needs_attention(here: Cli) -> None:
    crash(here)
    Path(f"{store(here)}-wal").chmod(0o644)
    assert doctor(here, 1)["file_mode"]["about"]["path"].endswith("-wal")


def test_a_plan_that_was_changed_is_found(here: Cli) -> None:
    wait(here)
    change(here, "UPDATE plans SET plan = replace(plan, 'hello', 'goodbye')")
    assert doctor(here, 1)["plan_changed"]["run_id"] == RUN


def test_rows_that_belong_to_no_run_are_found(here: Cli) -> None:
    look(here)
    change(here, "UPDATE events SET run_id = 'nobody'")
    assert "events without its runs" in doctor(here, 1)["orphan_rows"]["what"]


def test_a_row_that_cannot_be_read_is_found(here: Cli) -> None:
    look(here)
    change(here, "UPDATE effects SET output = '{'")
    assert doctor(here, 1)["row_damaged"]["about"]["table"] == "effects"


def test_a_checkpoint_that_cannot_be_read_is_found_where_a_run_would_go_on_from_it(here: Cli) -> None:
    wait(here)
    look(here, OTHER)
    change(here, "UPDATE checkpoints SET checkpoint = X'c1'")
    found = doctor(here, 1)["checkpoint_damaged"]
    assert (found["run_id"], "--checkpoints" in found["command"]) == (RUN, True)


def test_a_damaged_index_is_found_by_the_integrity_check(here: Cli) -> None:
    look(here)
    with closing(sqlite3.connect(store(here), isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'runs_by_status') WHERE name = 'runs_by_thread'"
        )
    assert doctor(here, 2)["damaged"]["severity"] == "broken"


def test_a_database_of_something_else_is_no_store(here: Cli) -> None:
    with closing(sqlite3.connect(here.folder / "other.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    document = here.json("doctor", "--store", "other.db", code=2)
    assert [finding["code"] for finding in document["findings"] if finding["severity"] == "broken"] == ["not_a_store"]


def test_people_are_told_the_gravest_first_with_a_command_to_copy(here: Cli) -> None:
    crash(here)
    said = here.run("doctor").stdout
    assert said.index("attention: ") < said.index("note: ")
    assert f" resume {RUN}" in said
    assert "things need attention" in said


@pytest.mark.parametrize("words", ["doctor", "purge --finished --dry-run"])
def test_neither_loads_langgraph(here: Cli, words: str) -> None:
    wait(here)
    code = (
        "import contextlib, io, sys\nfrom agent_graph.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n    main(sys.argv[1:])\n"
        "print(*sorted({'langgraph', 'langchain_core'} & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words.split()], cwd=here.folder, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


# ── purge ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_finished_runs_are_purged_and_those_that_wait_stay(here: Cli) -> None:
    look(here)
    wait(here, OTHER)
    done = here.run("purge", "--finished", "--yes")
    assert done.returncode == 0
    assert "removed 1 run" in done.stdout
    assert [run["id"] for run in here.json("runs")] == [OTHER]
    assert here.run("resume", OTHER, "--approve").returncode == 0


def test_a_dry_run_removes_nothing(here: Cli) -> None:
    look(here)
    document = here.json("purge", "--finished", "--dry-run")
    assert ([run["id"] for run in document["runs"]], document["removed"]) == ([RUN], 0)
    assert len(here.json("runs")) == 1


def test_an_unfinished_run_is_refused_by_name(here: Cli) -> None:
    look(here)
    wait(here, OTHER)
    done = here.run("purge", RUN, OTHER, "--yes")
    assert done.returncode == 2
    assert f"{OTHER} (paused)" in done.stderr
    assert len(here.json("runs")) == 2


def test_where_nobody_can_be_asked_a_yes_must_be_given(here: Cli) -> None:
    look(here)
    done = here.run("purge", "--finished")
    assert (done.returncode, "--yes" in done.stderr) == (2, True)
    assert len(here.json("runs")) == 1


def test_only_what_is_older_is_purged(here: Cli) -> None:
    look(here)
    look(here, OTHER)
    change(here, f"UPDATE runs SET updated = updated - 40 * 86400 WHERE id = '{RUN}'")
    assert here.json("purge", "--older-than", "30d", "--yes")["removed"] == 1
    assert [run["id"] for run in here.json("runs")] == [OTHER]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say which runs"),
        (("--older-than", "soon"), "is not an age"),
        ((RUN, "--finished"), "not both"),
        (("--finished", "--checkpoints"), "for runs that are named"),
        (("9999",), "there is no run '9999'"),
    ],
)
def test_wrong_use_removes_nothing(here: Cli, words: tuple[str, ...], said: str) -> None:
    look(here)
    done = here.run("purge", *words, "--yes")
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert len(here.json("runs")) == 1


def test_space_that_could_not_be_given_back_is_given_back_later(here: Cli) -> None:
    look(here)
    with closing(sqlite3.connect(store(here), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM runs").fetchone()
        done = here.run("purge", "--finished", "--yes")
        assert (done.returncode, "not overwritten yet" in done.stdout) == (0, True), done.stdout
        reader.execute("ROLLBACK")
    assert here.json("purge", "--finished", "--yes")["removed"] == 0
    assert json.dumps(RUN).encode() not in store(here).read_bytes()
    assert RUN.encode() not in store(here).read_bytes()
