"""``agent-graph policy`` and ``agent-graph grants``, by the real program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOLS = '''
from pathlib import Path
from agent_graph import tool

@tool(risk="write", recovery="idempotent")
def note(text: str) -> str:
    """Writes a note down."""
    with Path("notes.txt").open("a") as file:
        file.write(text + "\\n")
    return text

@tool(risk="money")
def pay(amount: int) -> int:
    """Pays."""
    return amount
'''
POLICY = """
name: desk
rules:
  - {name: reads, verdict: allow, risks: [read_only]}
  - {name: large, verdict: deny, tools: [pay], when: call.args.amount > 100, reason: too much}
  - {name: notes, verdict: ask, tools: [note]}
approvers:
  - {by: [bob], risks: [write, money]}
"""
PLAN = """
goal: note it
steps:
  - {id: first, tool: note, args: {text: one}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"ops.py": TOOLS, "policy.yaml": POLICY, "plan.yaml": PLAN}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def agent_graph(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent_graph", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def document(came: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(came.stdout)


RUN = ["run", "--plan", "plan.yaml", "--tools", "ops.py", "--policy", "policy.yaml", "--json"]


# ── a table of calls ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_table_that_is_as_expected_exits_0_and_one_that_is_not_1_and_says_where(folder: Path) -> None:
    (folder / "good.yaml").write_text("- {call: pay, args: {amount: 500}, expect: deny, rule: large}\n- {call: note, expect: ask}\n")
    (folder / "bad.yaml").write_text("- {call: pay, args: {amount: 5}, expect: allow, why: small}\n")
    assert agent_graph(folder, "policy", "test", "policy.yaml", "good.yaml", "--tools", "ops.py").returncode == 0
    came = agent_graph(folder, "policy", "test", "policy.yaml", "bad.yaml", "--tools", "ops.py")
    assert came.returncode == 1
    assert "WRONG   1  pay  ask  by no rule" in came.stdout
    assert "expected allow (small)" in came.stdout
    (case,) = document(agent_graph(folder, "policy", "test", "policy.yaml", "bad.yaml", "--tools", "ops.py", "--json"))["cases"]
    assert (case["verdict"], case["as_expected"]) == ("ask", False)


@pytest.mark.parametrize(
    ("cases", "words"),
    [
        ("- {call: nobody, expect: allow}\n", ["case 1", "no tool 'nobody'", "say its risk"]),
        ("- {call: pay, expect: perhaps}\n", ["line 1", "[0].expect", "'allow', 'ask' or 'deny'"]),
        ("- {call: pay, expect: ask, time: tomorrow}\n", ["[0].time"]),
        ("- {call: pay, expect: ask, time: '2026-11-20T10:00:00'}\n", ["say in which zone"]),
        ("{}\n", ["expected a list of cases"]),
        ("cases: [\n", ["not YAML"]),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_in_words(folder: Path, cases: str, words: list[str]) -> None:
    (folder / "cases.yaml").write_text(cases)
    came = agent_graph(folder, "policy", "test", "policy.yaml", "cases.yaml")
    assert (came.returncode, "Traceback" in came.stderr) == (2, False)
    assert [word for word in words if word not in came.stderr] == []


# ── which rule decided ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_rule_that_decided_is_said_while_it_waits_and_afterwards(folder: Path) -> None:
    run = document(agent_graph(folder, *RUN))["id"]
    done = agent_graph(folder, "resume", run, "--approve", "--by", "bob", "--json")
    assert document(done)["status"] == "succeeded"
    said = document(agent_graph(folder, "policy", "explain", run, "first", "--json"))
    assert (said["verdict"], said["decided_by"], said["policy"]) == ("ask", "notes", "desk")
    assert said["rules"] == [{"name": "notes", "verdict": "ask", "tools": ["note"]}]
    assert len(said["digest"]) == 64


def test_a_step_that_is_not_there_or_was_not_judged_is_said_in_words(folder: Path) -> None:
    run = document(agent_graph(folder, *RUN))["id"]
    for step, words in (("nowhere", "has no step 'nowhere'; it has first"), ("first", "was judged: it has not come to one")):
        came = agent_graph(folder, "policy", "explain", run, step)
        assert (came.returncode, words in came.stderr) == (2, True)


# ── standing grants ───────────────────────────────────────────────────────────────────────────────────────────────────

ADD = ["grants", "add", "note", "--tools", "ops.py", "--policy", "policy.yaml", "--json"]


def test_a_standing_grant_lets_the_run_through_and_is_named_as_what_decided(folder: Path) -> None:
    grant = document(agent_graph(folder, *ADD, "--when", "call.args.text == 'one'", "--for", "1h", "--by", "bob", "--reason", "daily"))
    run = document(agent_graph(folder, *RUN))
    assert (run["status"], (folder / "notes.txt").read_text()) == ("succeeded", "one\n")
    said = document(agent_graph(folder, "policy", "explain", run["id"], "first", "--json"))
    assert said["decided_by"] == f"standing grant {grant['id']}"
    (listed,) = document(agent_graph(folder, "grants", "--json"))
    assert (listed["by"], listed["reason"], listed["tool"]) == ("bob", "daily", "note")


def test_a_grant_that_was_revoked_covers_nothing_and_stays_on_record(folder: Path) -> None:
    grant = document(agent_graph(folder, *ADD, "--when", "true", "--by", "bob"))
    assert agent_graph(folder, "grants", "revoke", grant["id"][:8], "--by", "carl").returncode == 0
    assert document(agent_graph(folder, *RUN))["status"] == "paused"
    assert document(agent_graph(folder, "grants", "--json")) == []
    (kept,) = document(agent_graph(folder, "grants", "--all", "--json"))
    assert kept["revoked_by"] == "carl"
    again = agent_graph(folder, "grants", "revoke", grant["id"])
    assert (again.returncode, "was revoked before, by carl" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--when", "true", "--by", "eve"], "does not let eve approve note"),
        (["--by", "bob"], "say which arguments"),
        (["--when", "call.args.", "--by", "bob"], "not CEL"),
        (["--args", "args.yaml", "--by", "bob"], "note is never called so"),
        (["--when", "true", "--for", "soon", "--by", "bob"], "--for 'soon' is not an age"),
    ],
)
def test_a_grant_that_cannot_be_is_refused_in_words(folder: Path, words: list[str], said: str) -> None:
    (folder / "args.yaml").write_text("texts: one\n")
    came = agent_graph(folder, *(word for word in ADD if word != "--json"), *words)
    assert (came.returncode, said in came.stderr, "Traceback" in came.stderr) == (2, True, False), came.stderr


# ── limits and principals ─────────────────────────────────────────────────────────────────────────────────────────────


def test_limits_and_principal_come_from_the_command_line_and_stay_with_the_run(folder: Path) -> None:
    (folder / "limits.toml").write_text("max_calls = 1\n")
    two = PLAN + "  - {id: second, tool: note, args: {text: two}, when: 'true'}\n"
    (folder / "plan.yaml").write_text(two)
    run = document(agent_graph(folder, *RUN, "--limits", "limits.toml", "--principal", "ann"))
    assert run["goal"]["principal"] == "ann"
    own = agent_graph(folder, "resume", run["id"], "--request", run["requests"][0]["id"], "--approve", "--by", "ann")
    assert (own.returncode, "must be approved by somebody else" in own.stderr) == (2, True)
    done = document(agent_graph(folder, "resume", run["id"], "--approve", "--by", "bob", "--json"))
    assert (done["status"], done["error"]["code"]) == ("failed", "budget_exceeded")
    assert "note: 1 call in 1" in done["error"]["message"]
    assert (folder / "notes.txt").read_text() == "one\n"
