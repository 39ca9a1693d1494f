"""``shell``: which programs, with what, and what is told of them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Plan, Policy
from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.plan import Step
from agent_graph.redaction import Redaction
from agent_graph.tools.captured import Captured
from agent_graph.tools.sandbox import NoSandbox, sandbox_here
from agent_graph.tools.shell import ProgramFailed, shell_tool
from agent_graph.tools.tool import Tool, ToolContext

HERE = sandbox_here()
shut_in = pytest.mark.skipif(isinstance(HERE, NoSandbox), reason=f"no sandbox here: {getattr(HERE, 'reason', '')}")
BOTH = pytest.mark.parametrize(
    "sandboxed", [pytest.param(None, marks=(shut_in, pytest.mark.needs("bwrap")), id="sandbox"), pytest.param(False, id="no sandbox")]
)
"""What holds with and without a sandbox."""


def call(made: Tool, *argv: str) -> dict[str, Any]:
    found: dict[str, Any] = made.call(ToolContext(), {"argv": list(argv)})
    return found


@BOTH
def test_a_program_is_run_and_what_it_said_is_told(sandboxed: Any) -> None:
    made = shell_tool("any", sandboxed=sandboxed)
    assert call(made, "printf", "%s|%s", "a b", "$HOME; `id`") == {
        "exit_code": 0,
        "stdout": "a b|$HOME; `id`",
        "stderr": "",
        "left_out": 0,
        "notes": [],
    }


@BOTH
def test_it_works_in_its_folder(tmp_path: Path, sandboxed: Any) -> None:
    (tmp_path / "known").write_text("x")
    made = shell_tool(["ls", "pwd", "touch"], cwd=tmp_path, writable=True, sandboxed=sandboxed)
    assert "known" in call(made, "ls")["stdout"]
    assert call(made, "pwd")["stdout"].strip() == str(tmp_path)
    call(made, "touch", "new")
    assert (tmp_path / "new").exists()


@BOTH
@pytest.mark.parametrize(
    "argv",
    [
        ["rm", "-rf", "x"],
        ["git"],
        ["git", "push"],
        ["git log", "x"],
        ["/bin/ls"],
        ["./ls"],
        ["../bin/ls"],
        ["ls\0", "x"],
        ["ls", "x\0y"],
        [""],
        [" "],
        ["LS"],
        ["ls", "x" * 100_001],
        ["ls;id"],
    ],
)
def test_what_is_not_on_the_list_is_not_started(argv: list[str], sandboxed: Any) -> None:
    with pytest.raises(NotDone):
        call(shell_tool(["ls", "git log"], sandboxed=sandboxed), *argv)


@BOTH
@pytest.mark.parametrize("program", ["/bin/ls", "./ls", "../../bin/ls", "bin/ls"])
def test_any_program_is_still_one_by_its_name(program: str, sandboxed: Any) -> None:
    with pytest.raises(NotDone, match="by its name only"):
        call(shell_tool("any", sandboxed=sandboxed), program)


@pytest.mark.parametrize("argv", ["ls -l", ["ls", 1], [], None, {"0": "ls"}])
def test_a_line_for_a_shell_is_no_argument(argv: Any) -> None:
    with pytest.raises(NotDone, match="argv"):
        shell_tool("any").call(ToolContext(), {"argv": argv})


def test_a_program_is_looked_up_where_the_system_s_are_and_not_on_the_path_of_whoever_runs_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ls", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\necho planted\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made = shell_tool("any", sandboxed=False)
    assert "planted" not in call(made, "ls", "/")["stdout"]
    with pytest.raises(NotDone, match="there is no program 'mine'"):
        call(made, "mine")


@pytest.mark.parametrize("commands", ["ls", [], [""], ["/bin/ls"], ["git", " "]])
def test_a_list_that_is_none_is_refused_when_the_tool_is_made(commands: Any) -> None:
    with pytest.raises(InvalidToolError):
        shell_tool(commands)


@pytest.mark.parametrize(
    "more",
    [
        {"writable": True},
        {"risk": "read_only", "writable": True, "cwd": "."},
        {"seconds": 0},
        {"max_bytes": 0},
        {"env_from": ["A=b"]},
        {"env_from": "AB"},
    ],
)
def test_what_contradicts_itself_is_refused_when_the_tool_is_made(
    more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidToolError):
        shell_tool("any", **more)


# ── what is told ──────────────────────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_an_exit_code_that_is_none_of_success_fails_the_step(sandboxed: Any) -> None:
    with pytest.raises((ProgramFailed, NotDone), match="sh ended with exit code 3; it said: wrong"):
        call(shell_tool("any", sandboxed=sandboxed), "sh", "-c", "echo wrong >&2; exit 3")


@BOTH
def test_an_exit_code_is_data_where_the_operator_says_so(sandboxed: Any) -> None:
    found = call(shell_tool("any", ok_codes=None, sandboxed=sandboxed), "sh", "-c", "exit 3")
    assert (found["exit_code"], found["notes"]) == (3, ["sh ended with exit code 3"])
    assert call(shell_tool("any", ok_codes=(0, 1), sandboxed=sandboxed), "grep", "x", "/dev/null")["exit_code"] == 1


@shut_in
@pytest.mark.needs("bwrap")
def test_a_failure_is_certain_only_where_nothing_could_be_changed(tmp_path: Path) -> None:
    with pytest.raises(NotDone):
        call(shell_tool("any"), "false")
    with pytest.raises(ProgramFailed):
        call(shell_tool("any", cwd=tmp_path, writable=True), "false")
    with pytest.raises(ProgramFailed):
        call(shell_tool("any", sandboxed=False), "false")


@BOTH
def test_the_middle_of_a_long_output_is_left_out_and_counted(sandboxed: Any) -> None:
    made = shell_tool("any", max_bytes=1000, sandboxed=sandboxed)
    found = call(made, "sh", "-c", "echo begin; yes | head -c 3000000; echo end; yes no | head -c 500 >&2")
    assert found["stdout"].startswith("begin\ny\n")
    assert found["stdout"].endswith("y\nend\n")
    assert found["left_out"] == 3_000_010 - 1000
    assert f"{found['left_out']:,} bytes were left out here" in found["stdout"]
    assert len(found["stdout"]) < 1100
    assert len(found["stderr"]) == 500


@BOTH
def test_what_is_no_text_is_told_all_the_same(sandboxed: Any) -> None:
    assert call(shell_tool("any", sandboxed=sandboxed), "printf", r"a\377\000b")["stdout"] == "a\ufffd\0b"


@BOTH
def test_there_is_no_input_to_wait_for(sandboxed: Any) -> None:
    assert call(shell_tool("any", sandboxed=sandboxed, seconds=5), "cat")["stdout"] == ""


# ── risk ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@shut_in
@pytest.mark.needs("bwrap")
def test_it_is_a_write_unless_the_operator_says_that_it_reads(tmp_path: Path) -> None:
    assert (shell_tool("any").spec.risk, shell_tool("any").spec.recovery) == ("write", "blind")
    reads = shell_tool("any", cwd=tmp_path, risk="read_only").spec
    assert (reads.risk, reads.recovery, reads.outbound, reads.unsafe) == ("read_only", "rerun", False, "")


def test_without_a_sandbox_it_is_a_write_that_goes_out_and_a_person_is_asked_whatever_it_claims() -> None:
    spec = shell_tool("any", risk="read_only", sandboxed=False).spec
    assert (spec.risk, spec.recovery, spec.outbound) == ("write", "blind", True)
    assert "outside of a sandbox" in spec.unsafe


def test_without_a_sandbox_no_rule_lets_a_call_run(store_path: Path, tmp_path: Path) -> None:
    from agent_graph import Rule

    made = shell_tool("any", sandboxed=False, cwd=tmp_path)
    policy = Policy(rules=(Rule(verdict="allow", tools=("shell",)),))
    plan = Plan(goal="try", steps=(Step(id="a", tool="shell", args={"argv": ["touch", "ran"]}),))
    with AgentGraph([made], store=store_path, policy=policy) as agent:
        run = agent.run(plan)
    assert run.status == "paused"
    assert not (tmp_path / "ran").exists()


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────────

SECRET = "tr0ub4dor/and+three=words"  # noqa: S105


@BOTH
def test_a_variable_is_given_by_name_and_its_value_is_told_to_nobody(sandboxed: Any) -> None:
    made = shell_tool("any", env_from=["SHOP_ACCESS"], environment={"SHOP_ACCESS": SECRET}, sandboxed=sandboxed)
    found = call(made, "sh", "-c", 'test "${#SHOP_ACCESS}" = 25 && echo "$SHOP_ACCESS" && echo "$SHOP_ACCESS" >&2')
    assert (found["stdout"], found["stderr"]) == ("[redacted: SHOP_ACCESS]\n",) * 2


@BOTH
def test_a_failure_does_not_tell_it_either(sandboxed: Any) -> None:
    made = shell_tool("any", env_from=["SHOP_ACCESS"], environment={"SHOP_ACCESS": SECRET}, sandboxed=sandboxed)
    with pytest.raises((ProgramFailed, NotDone)) as failed:
        call(made, "sh", "-c", 'echo "$SHOP_ACCESS" >&2; exit 1')
    assert "[redacted: SHOP_ACCESS]" in str(failed.value)


@pytest.mark.parametrize("middle", [0, 900, 40_000])
def test_one_that_the_cut_would_split_is_found_whole(middle: int) -> None:
    for before in range(470, 505):
        captured = Captured(1000)
        for chunk in (b"." * before, SECRET.encode(), b"." * middle, SECRET.encode(), b"." * before):
            captured.add(chunk)
        text, left_out = captured.text(Redaction.of({}, {"it": SECRET}))
        assert not any(SECRET[n : n + 5] in text for n in range(len(SECRET) - 5))
        assert left_out == max(0, 2 * before + 2 * len(SECRET) + middle - 1000)


def test_one_that_is_not_set_is_said_and_nothing_is_started() -> None:
    made = shell_tool("any", env_from=["SHOP_ACCESS"], environment={}, sandboxed=False)
    with pytest.raises(NotDone, match="SHOP_ACCESS is not set"):
        call(made, "true")


@shut_in
@pytest.mark.needs("bwrap")
@pytest.mark.parametrize("script", ['echo "$SHOP_ACCESS"', 'echo "$SHOP_ACCESS"; exit 1'])
def test_it_is_nowhere_after_a_run(store_path: Path, script: str) -> None:
    made = shell_tool("any", env_from=["SHOP_ACCESS"], environment={"SHOP_ACCESS": SECRET})
    plan = Plan(goal="say it", steps=(Step(id="a", tool="shell", args={"argv": ["sh", "-c", script]}),))
    with AgentGraph([made], store=store_path, policy=Policy.allow_all()) as agent:
        events = list(agent.stream(plan=plan))
        run = agent.get(events[0].run_id)
        shown = run.model_dump_json() + repr(events) + repr(agent.trace(run.id)) + repr(agent.deps) + run._repr_html_()
    with sqlite3.connect(store_path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    disk = b"".join(path.read_bytes() for path in sorted(store_path.parent.glob(store_path.name + "*")))
    assert "[redacted: SHOP_ACCESS]" in shown
    assert SECRET not in shown
    assert SECRET.encode() not in disk
