"""Wrong use: a message that says what to do, exit 2, never a traceback, and no run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

Cli = Any  # tests/acceptance/conftest.py
RUN = "11111111-1111-4111-8111-111111111111"

BLUEPRINT = """
name: scale
goal: scale a service
params:
  service: {description: its name}
  count: {type: integer, minimum: 1}
  mode: {enum: [slow, fast], default: slow}
steps:
  - {id: a, tool: look, args: {name: {$ref: params.service}}}
"""

BROKEN_PLAN = """
goal: everything is wrong
steps:
  - {id: a, tool: look, args: {name: {$ref: steps.c.output.name}}}
  - {id: b, tool: nope}
  - {id: c, tool: look, args: {name: {$ref: steps.a.output.name}}}
  - {id: d, tool: look, args: {name: 3}}
  - {id: e, tool: look, args: {name: {$ref: steps.zzz.output}}}
"""


@pytest.fixture
def wrong(cli: Cli) -> Cli:
    cli.write("scale.yaml", BLUEPRINT)
    cli.write("broken.yaml", BROKEN_PLAN)
    cli.write("raises.py", "raise RuntimeError('no database')\n")
    cli.write("empty.py", "x = 1\n")
    return cli


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("run", "investigate-metrics"), "did you mean investigate-metric?", id="unknown blueprint"),
        pytest.param(("run", "investigate-metric"), "series is missing", id="missing param"),
        pytest.param(("run", "scale.yaml", "-p", "service=a", "-p", "count=many"), "whole number", id="param of the wrong type"),
        pytest.param(("run", "--plan", "slow.yaml", "--tools", "raises.py"), "no database", id="tools that do not import"),
        pytest.param(("run", "--plan", "broken.yaml", "--tools", "ops.py"), "4 issues", id="invalid plan"),
        pytest.param(("run", "--nonsense"), "run --help", id="unknown option"),
    ],
)
def test_wrong_use_says_what_to_do_and_makes_no_run(wrong: Cli, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = wrong.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (tmp_path / ".agent-graph").exists()


def test_validate_lists_all_issues_at_once(wrong: Cli) -> None:
    done = wrong.run("validate", "broken.yaml", "--tools", "ops.py")
    assert done.returncode == 2
    lines = [line for line in done.stdout.splitlines() if line.startswith("  [")]
    assert {line.split("]")[0].strip(" [") for line in lines} == {"cycle", "unknown_tool", "invalid_arguments", "dangling_reference"}
    document = wrong.json("validate", "broken.yaml", "--tools", "ops.py", code=2)
    assert document["valid"] is False
    assert {issue["code"] for issue in document["issues"]} == {"cycle", "unknown_tool", "invalid_arguments", "dangling_reference"}


def test_a_good_plan_and_a_blueprint_without_values_are_valid(wrong: Cli) -> None:
    assert "is valid" in wrong.run("validate", "slow.yaml", "--tools", "ops.py").stdout
    assert "a person is asked before tell (send)" in wrong.run("validate", "send.yaml", "--tools", "ops.py").stdout
    without = wrong.json("validate", "scale.yaml", "--tools", "ops.py")
    assert (without["valid"], without["not_checked"]) == (True, ["count", "service"])
    assert wrong.json("validate", "investigate-metric")["valid"] is True
    assert wrong.run("validate", "scale.yaml", "--tools", "ops.py", "-p", "count=0").returncode == 2


def test_decisions_that_make_no_sense_are_refused(wrong: Cli) -> None:
    wrong.run("run", "--plan", "send.yaml", "--tools", "ops.py", "--id", RUN)
    for words, said in {
        ("--landed",): "not answered with 'resolve'",
        ("--answer", "yes"): "not answered with 'respond'",
        ("--approve", "--absent"): "exclude each other",
        ("--approve", "--request", "zzz"): "no request that waits starts with 'zzz'",
        ("--edit", "none.yaml"): "none.yaml: there is no such file",
        ("--edit", "args.yaml"): "invalid_arguments",
    }.items():
        wrong.write("args.yaml", "to: 7\ntext: hi\n")
        done = wrong.run("resume", RUN, *words)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert wrong.json("show", RUN)["status"] == "paused"


def test_what_cannot_be_resumed_is_named(wrong: Cli) -> None:
    wrong.run("run", "--plan", "slow.yaml", "--tools", "ops.py", "--id", RUN)
    unknown = wrong.run("resume", "ffff")
    assert (unknown.returncode, "there is no run 'ffff'" in unknown.stderr) == (2, True)
    ended = wrong.run("resume", RUN)
    assert (ended.returncode, "has ended (succeeded)" in ended.stderr) == (2, True)
    again = wrong.run("run", "--plan", "slow.yaml", "--tools", "ops.py", "--id", RUN)
    assert (again.returncode, "there is a run" in again.stderr) == (2, True)
    assert wrong.run("cancel", RUN).returncode == 2


def test_a_decision_when_nothing_is_pending_is_refused(wrong: Cli) -> None:
    wrong.run("run", "--plan", "slow.yaml", "--tools", "ops.py", "--id", RUN, KILL="n2")
    done = wrong.run("resume", RUN, "--approve")
    assert done.returncode == 2
    assert "nothing of run" in done.stderr
    assert wrong.run("resume", RUN).returncode == 0


def test_an_error_is_one_document_under_json(wrong: Cli) -> None:
    error = wrong.json("run", "--plan", "broken.yaml", "--tools", "ops.py", code=2)["error"]
    assert (error["type"], error["exit_code"], len(error["issues"])) == ("InvalidPlan", 2, 4)
    assert wrong.json("show", "zz", code=2)["error"]["type"] == "UsageError"
    assert "--nonsense" in wrong.json("run", "--nonsense", code=2)["error"]["message"]


def test_a_file_that_is_no_store_is_refused(wrong: Cli) -> None:
    wrong.write("notes.txt", "not a database, but long enough to have a header" * 5)
    done = wrong.run("runs", "--store", "notes.txt")
    assert done.returncode == 2
    assert "notes.txt" in done.stderr


def test_a_traceback_is_shown_on_request_only(wrong: Cli) -> None:
    process = wrong.start("show", "zz", AGENT_GRAPH_DEBUG="1")
    _, err = process.communicate(timeout=60)
    assert "Traceback" in err
