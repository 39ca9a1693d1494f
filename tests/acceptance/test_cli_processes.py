"""One process stops at the gate, is killed or is interrupted; another goes on. Effects are counted in the tools' own log."""

from __future__ import annotations

import re
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

Cli = Any  # tests/acceptance/conftest.py
RUN = "11111111-1111-4111-8111-111111111111"
SEND = ("run", "--plan", "send.yaml", "--tools", "ops.py", "--id", RUN)
SLOW = ("run", "--plan", "slow.yaml", "--tools", "ops.py", "--id", RUN)


def test_one_process_stops_at_the_gate_and_another_goes_on(cli: Cli) -> None:
    first = cli.run(*SEND)
    assert first.returncode == 3
    assert cli.happened() == Counter({"look ann": 1})
    assert f"resume {RUN} --approve" in first.stdout
    second = cli.run("resume", RUN[:6], "--approve", "--by", "bo")
    assert second.returncode == 0, second.stderr
    assert cli.happened() == Counter({"look ann": 1, "send ann@example.org": 1})
    assert second.stdout.endswith("Ann was told.\nNothing else.\n")
    assert "approve by bo" in cli.run("trace", RUN).stdout


def test_the_printed_command_resumes_the_run_when_it_is_copied(cli: Cli, tmp_path: Path) -> None:
    first = cli.run(*SEND, "--store", "my runs/a.db")
    (line,) = [line for line in first.stdout.splitlines() if line.endswith("--approve --store 'my runs/a.db'")]
    words = re.split(r"\s+", line.strip())[1:]
    assert words[:2] == ["resume", RUN]
    assert cli.run("resume", RUN, "--approve", "--store", "my runs/a.db").returncode == 0


def test_a_run_is_resumed_from_another_folder_in_its_own(cli: Cli, tmp_path: Path) -> None:
    assert cli.run(*SEND).returncode == 3
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    beside = type(cli)(elsewhere)
    done = beside.run("resume", RUN, "--approve", "--store", "../.agent-graph/runs.db")
    assert done.returncode == 0, done.stderr
    assert cli.happened()["send ann@example.org"] == 1
    assert beside.happened() == Counter()


def test_the_plan_file_is_not_needed_to_resume_but_the_tools_are(cli: Cli, tmp_path: Path) -> None:
    assert cli.run(*SEND).returncode == 3
    (tmp_path / "send.yaml").unlink()
    (tmp_path / "ops.py").rename(tmp_path / "moved.py")
    gone = cli.run("resume", RUN, "--approve")
    assert gone.returncode == 2
    assert "ops.py: there is no such file" in gone.stderr
    assert cli.run("show", RUN).stdout.count("May this call be made?") == 1
    assert cli.run("resume", RUN, "--approve", "--tools", "moved.py").returncode == 0


def test_resuming_without_the_tools_of_the_plan_is_refused_and_loses_nothing(cli: Cli) -> None:
    assert cli.run(*SEND).returncode == 3
    cli.write("other.py", "from agent_graph import tool\n@tool(risk='read_only')\ndef other() -> str:\n    return ''\n")
    refused = cli.run("resume", RUN, "--approve", "--tools", "other.py")
    assert refused.returncode == 2
    assert "needs tools that are not here: send" in refused.stderr
    assert cli.run("resume", RUN, "--approve").returncode == 0


def test_a_folder_that_was_moved_is_named(cli: Cli, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    there = type(cli)(inner)
    there.write("ops.py", (tmp_path / "ops.py").read_text())
    there.write("send.yaml", (tmp_path / "send.yaml").read_text())
    assert there.run(*SEND).returncode == 3
    inner.rename(tmp_path / "moved")
    store = ("--store", "moved/.agent-graph/runs.db")
    lost = cli.run("resume", RUN, "--approve", *store)
    assert lost.returncode == 2
    assert "--cwd DIR" in lost.stderr
    assert cli.run("resume", RUN, "--approve", *store, "--cwd", "moved", "--tools", "moved/ops.py").returncode == 0


def test_a_killed_run_goes_on_without_repeating_finished_steps(cli: Cli) -> None:
    killed = cli.run(*SLOW, KILL="n2")
    assert killed.returncode == -signal.SIGKILL
    shown = cli.run("show", RUN)
    assert "interrupted" in shown.stdout
    assert f"resume {RUN}" in shown.stdout
    assert cli.run("resume", RUN).returncode == 0
    assert cli.happened() == Counter({"look n0": 1, "look n1": 1, "look n2": 2, "look n3": 1, "look n4": 1})


def test_a_blind_effect_that_was_cut_off_is_settled_by_a_person(cli: Cli) -> None:
    cli.write("blind.yaml", "goal: change\nsteps:\n  - {id: b, tool: blind, args: {name: x}}\n")
    cli.write("allow.yaml", "name: open\nrules: [{verdict: allow, tools: ['*']}]\n")
    killed = cli.run("run", "--plan", "blind.yaml", "--tools", "ops.py", "--policy", "allow.yaml", "--id", RUN, KILL="blind")
    assert killed.returncode == -signal.SIGKILL
    asked = cli.run("resume", RUN)
    assert asked.returncode == 3
    assert "Did this happen?" in asked.stdout
    assert cli.run("resume", RUN, "--approve").returncode == 2
    cli.write("output.json", '"x"')
    run = cli.json("resume", RUN, "--landed", "output.json")
    assert (run["status"], run["results"]["b"]["output"]) == ("succeeded", "x")
    assert cli.happened() == Counter({"blind x": 1})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_it_goes_on(cli: Cli, number: signal.Signals) -> None:
    process = cli.start(*SLOW)
    cli.wait_for("look n1")
    process.send_signal(number)
    stopped = cli.end(process)
    assert stopped.returncode == 130
    assert f"resume {RUN}" in stopped.stdout
    assert cli.happened()["look n3"] == 0
    assert cli.run("resume", RUN).returncode == 0
    assert set(cli.happened().values()) == {1}


def test_an_interrupted_run_is_one_document_under_json(cli: Cli) -> None:
    import json

    process = cli.start(*SLOW, "--json")
    cli.wait_for("look n1")
    process.send_signal(signal.SIGINT)
    stopped = cli.end(process)
    assert stopped.returncode == 130
    assert json.loads(stopped.stdout)["status"] == "interrupted"


def test_a_second_process_is_refused_while_the_first_drives(cli: Cli) -> None:
    first = cli.start("run", "--plan", "hold.yaml", "--tools", "ops.py", "--id", RUN)
    cli.wait_for("hold go")
    second = cli.run("resume", RUN)
    assert second.returncode == 4
    assert f"process {first.pid}" in second.stderr
    assert cli.json("show", RUN)["status"] == "running"
    cli.write("go", "")
    assert cli.end(first).returncode == 0
    assert set(cli.happened().values()) == {1}


def test_output_that_nobody_reads_any_more_stops_the_run_and_says_so(cli: Cli) -> None:
    process = cli.start("run", "--plan", "hold.yaml", "--tools", "ops.py", "--id", RUN)
    cli.wait_for("hold go")
    process.stdout.close()
    cli.write("go", "")
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    assert f"resume {RUN}" in said
    assert "Traceback" not in said
    assert cli.run("resume", RUN).returncode == 0


def test_every_kind_of_answer_is_taken(cli: Cli) -> None:
    cli.write(
        "ask.yaml",
        "goal: ask\nsteps:\n  - {id: q, ask: 'Which region?'}\n  - {id: t, tool: send, args: {to: {$ref: steps.q.output}, text: hi}}\n",
    )
    asked = cli.run("run", "--plan", "ask.yaml", "--tools", "ops.py", "--id", RUN)
    assert asked.returncode == 3
    assert "resume " + RUN + " --answer TEXT" in asked.stdout
    assert cli.run("resume", RUN, "--answer", "north").returncode == 3
    cli.write("args.yaml", "to: south\ntext: hi\n")
    run = cli.json("resume", RUN, "--edit", "args.yaml")
    assert run["status"] == "succeeded"
    assert cli.happened() == Counter({"send south": 1})


def test_a_rejection_ends_a_fixed_plan_and_says_why(cli: Cli) -> None:
    assert cli.run(*SEND).returncode == 3
    rejected = cli.run("resume", RUN, "--reject", "not today", "--by", "bo")
    assert rejected.returncode == 1
    assert "[rejected] step tell was rejected by bo: not today" in rejected.stdout
    assert cli.happened()["send ann@example.org"] == 0


def test_more_than_one_request_needs_an_address(cli: Cli) -> None:
    steps = "\n".join(f"  - {{id: t{i}, tool: send, args: {{to: {{$ref: steps.who.output.address}}, text: m{i}}}}}" for i in (1, 2))
    cli.write("two.yaml", f"goal: two\nsteps:\n  - {{id: who, tool: look, args: {{name: ann}}}}\n{steps}\n")
    paused = cli.json("run", "--plan", "two.yaml", "--tools", "ops.py", "--id", RUN, code=3)
    ids = [request["id"] for request in paused["requests"]]
    assert len(ids) == 2
    bare = cli.run("resume", RUN, "--approve")
    assert bare.returncode == 2
    assert all(request in bare.stderr for request in ids)
    assert cli.run("resume", RUN, "--approve", "--request", ids[0][:8]).returncode == 3
    assert cli.run("resume", RUN, "--approve").returncode == 0
    assert cli.happened()["send ann@example.org"] == 2


def test_a_run_without_a_terminal_shows_what_waits_and_changes_nothing(cli: Cli) -> None:
    assert cli.run(*SEND).returncode == 3
    looked = cli.run("resume", RUN)
    assert looked.returncode == 3
    assert "May this call be made?" in looked.stdout
    assert "--approve" in looked.stdout


# ── what is printed ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_piped_is_plain_and_shows_hidden_characters(cli: Cli) -> None:
    done = cli.run(*SEND, FORCE_COLOR="1")
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert "│ \\x1b[31mAnn \\u202eback" in done.stdout
    assert re.search(r"digest +[0-9a-f]{64}", done.stdout)
    assert "external_communication" in done.stdout


def test_json_is_one_document_whatever_the_tools_print(cli: Cli) -> None:
    cli.write("noisy.yaml", "goal: noise\nsteps:\n  - {id: n, tool: noisy}\n")
    run = cli.json("run", "--plan", "noisy.yaml", "--tools", "ops.py", "--id", RUN)
    assert (run["id"], run["status"], run["answer"]) == (RUN, "succeeded", "done")


def test_json_is_a_run_when_it_waits_and_when_it_failed(cli: Cli) -> None:
    paused = cli.json(*SEND, code=3)
    assert (paused["status"], paused["requests"][0]["tool"]) == ("paused", "send")
    assert cli.json("resume", RUN, code=3)["requests"] == paused["requests"]
    cli.write("fail.yaml", "goal: fail\nsteps:\n  - {id: f, tool: fail, args: {why: no such host}}\n")
    failed = cli.json("run", "--plan", "fail.yaml", "--tools", "ops.py", code=1)
    assert failed["error"]["code"] == "tool_failed"
    assert {run["status"] for run in cli.json("runs")} == {"paused", "failed"}
    assert [run["id"] for run in cli.json("runs", "--status", "paused")] == [RUN]


def test_a_failed_run_says_what_and_why_and_what_to_do(cli: Cli) -> None:
    cli.write("fail.yaml", "goal: fail\nsteps:\n  - {id: f, tool: fail, args: {why: no such host}}\n")
    failed = cli.run("run", "--plan", "fail.yaml", "--tools", "ops.py", "--id", RUN)
    assert failed.returncode == 1
    assert "no such host" in failed.stdout
    assert "at step f" in failed.stdout
    assert "what to do:" in failed.stdout
    assert f"trace {RUN}" in failed.stdout


def test_a_run_is_drawn_with_how_its_steps_stand(cli: Cli) -> None:
    assert cli.run(*SEND).returncode == 3
    drawn = cli.run("draw", RUN).stdout
    assert drawn.startswith("flowchart TD\n")
    assert "class s0_who succeeded" in drawn
    assert "class s1_tell asks" in drawn
    assert "classDef" not in cli.run("draw", "send.yaml").stdout


def test_a_cancelled_run_cannot_be_resumed(cli: Cli) -> None:
    assert cli.run(*SEND).returncode == 3
    assert cli.run("cancel", RUN).returncode == 0
    assert cli.run("resume", RUN, "--approve").returncode == 2
    assert cli.json("show", RUN)["status"] == "cancelled"


def test_a_blueprint_takes_typed_parameters_and_a_goal_in_words(cli: Cli) -> None:
    cli.write(
        "greet.yaml",
        "name: greet\ngoal: greet somebody\nparams: {who: {}, times: {type: integer, default: 1}}\n"
        "steps:\n  - {id: a, tool: look, args: {name: {$ref: params.who}}}\nanswer: {$ref: params.times}\n",
    )
    assert cli.json("run", "greet.yaml", "-p", "who=bo", "-p", "times=3", "--tools", "ops.py")["answer"] == 3
    run = cli.json("run", "Who is Bo?", "--planner", "greet.yaml", "-p", "who=bo", "--tools", "ops.py:look")
    assert (run["goal"]["text"], run["answer"]) == ("Who is Bo?", 1)
