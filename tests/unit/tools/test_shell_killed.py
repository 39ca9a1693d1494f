"""When a call is over, so is everything that it had started: real processes, looked for in the machine's own list."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent_graph import AgentGraph, Plan, Policy
from agent_graph.errors import NotDone
from agent_graph.plan import Step
from agent_graph.tools.sandbox import Bounds, NoSandbox, sandbox_here
from agent_graph.tools.shell import ProgramFailed, shell_tool
from agent_graph.tools.tool import ToolContext

HERE = sandbox_here()
shut_in = pytest.mark.skipif(isinstance(HERE, NoSandbox), reason=f"no sandbox here: {getattr(HERE, 'reason', '')}")
BOTH = pytest.mark.parametrize(
    "sandboxed", [pytest.param(None, marks=(shut_in, pytest.mark.needs("bwrap")), id="sandbox"), pytest.param(False, id="no sandbox")]
)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a daemon is found again by Linux only")


@pytest.fixture
def number() -> str:
    """Seconds of a sleep that nobody else sleeps, so that it can be found in the list of processes."""
    return f"{3000 + os.getpid() % 1000}.{time.monotonic_ns() % 10**9:09d}"


def alive(number: str) -> list[str]:
    found = []
    for each in psutil.process_iter(["cmdline", "status"]):
        line = each.info["cmdline"] or []
        if number in line and each.info["status"] != psutil.STATUS_ZOMBIE and line[0].endswith("sleep"):
            found.append(f"{each.pid} {line}")
    return found


def run(script: str, sandboxed: Any, **more: Any) -> dict[str, Any]:
    made = shell_tool("any", sandboxed=sandboxed, **{"seconds": 0.6, **more})
    found: dict[str, Any] = made.call(ToolContext(), {"argv": ["sh", "-c", script]})
    return found


WAYS = {
    "itself": "exec sleep {number}",
    "a child": "sleep {number} & wait",
    "a session of its own": "setsid sleep {number} & sleep {number}",
    "a daemon": "(setsid sh -c 'sleep {number} &' &) ; sleep {number}",
    "deaf": "trap '' TERM INT HUP; sleep {number} & while :; do wait; done",
}


@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_at_its_deadline_a_program_is_ended_with_all_that_it_has_started(way: str, sandboxed: Any, number: str) -> None:
    began = time.monotonic()
    with pytest.raises((ProgramFailed, NotDone), match="was ended, with all that it had started: its time was over"):
        run(WAYS[way].format(number=number), sandboxed)
    assert alive(number) == []
    assert time.monotonic() - began < 5


@BOTH
def test_what_a_program_leaves_behind_is_ended_when_it_ends(sandboxed: Any, number: str) -> None:
    found = run(f"(setsid sh -c 'setsid sleep {number} &' &); sleep 0.2; echo done", sandboxed, seconds=10)
    assert found["stdout"] == "done\n"
    assert alive(number) == []


@BOTH
def test_a_daemon_that_holds_the_output_open_does_not_hold_the_call(sandboxed: Any, number: str) -> None:
    began = time.monotonic()
    run(f"setsid sleep {number} & exit 0", sandboxed, seconds=20)
    assert time.monotonic() - began < 5
    assert alive(number) == []


def test_without_a_sandbox_it_is_said_that_something_was_left_behind(number: str) -> None:
    assert run(f"sleep {number} & sleep 0.1", sandboxed=False, seconds=10)["notes"] == [
        "processes that it left behind and that were ended: 1"
    ]


@BOTH
def test_a_parent_that_is_told_to_end_does_not(sandboxed: Any, number: str) -> None:
    """A program that shoots at its parent does not get rid of the one who would end it."""
    with pytest.raises((ProgramFailed, NotDone), match="its time was over"):
        run(f"for s in TERM INT HUP QUIT USR1 PIPE; do kill -$s $PPID; done; sleep {number}", sandboxed)
    assert alive(number) == []


@BOTH
def test_a_program_that_kills_its_whole_group_kills_itself_only(sandboxed: Any, number: str) -> None:
    with pytest.raises((ProgramFailed, NotDone), match="SIGKILL"):
        run(f"setsid sleep {number} & sleep 0.2; kill -9 0", sandboxed, seconds=20)
    assert alive(number) == []


@BOTH
def test_an_output_that_nobody_could_read_to_the_end_is_ended_too(sandboxed: Any) -> None:
    with pytest.raises((ProgramFailed, NotDone), match="its time was over"):
        run("yes", sandboxed)


# ── limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_a_flood_of_processes_is_ended(sandboxed: Any, number: str) -> None:
    script = f"i=0; while [ $i -lt 400 ]; do sleep {number} & i=$((i+1)); done; wait"
    with pytest.raises((ProgramFailed, NotDone), match="it had too many processes"):
        run(script, sandboxed, seconds=20, bounds=Bounds(processes=20))
    assert alive(number) == []


@BOTH
def test_as_many_processes_as_may_be_are_let_be(sandboxed: Any) -> None:
    script = "for n in 1 2 3 4; do sleep 0.5 & done; wait; echo done"
    assert run(script, sandboxed, seconds=20, bounds=Bounds(processes=5))["stdout"] == "done\n"


@BOTH
def test_computing_time_is_bounded(sandboxed: Any) -> None:
    with pytest.raises((ProgramFailed, NotDone), match=r"SIGKILL|SIGXCPU"):
        run("while :; do :; done", sandboxed, seconds=20, bounds=Bounds(cpu_s=1))


@BOTH
def test_a_file_is_bounded(sandboxed: Any) -> None:
    with pytest.raises((ProgramFailed, NotDone)):
        run("exec head -c 3000000 /dev/zero > $TMPDIR/big", sandboxed, seconds=20, bounds=Bounds(file_bytes=1_000_000))


@BOTH
def test_the_memory_of_all_processes_together_is_bounded(sandboxed: Any) -> None:
    """Each is within what one may have. A shell becomes its last command, and what it held is gone then: so that is not `sleep`."""
    script = "for n in 1 2 3 4 5 6 7 8; do (x=$(head -c 40000000 /dev/zero | tr '\\0' x); sleep 30; :) & done; wait"
    with pytest.raises((ProgramFailed, NotDone), match="too much memory"):
        run(script, sandboxed, seconds=60, bounds=Bounds(memory_bytes=180_000_000))


# ── when we are the ones who die ──────────────────────────────────────────────────────────────────────────────────────


@BOTH
def test_when_the_agent_is_killed_the_program_dies_with_it(sandboxed: Any, number: str) -> None:
    script = textwrap.dedent(
        f"""
        from agent_graph.tools.shell import shell_tool
        from agent_graph.tools.tool import ToolContext
        made = shell_tool("any", sandboxed={sandboxed!r}, seconds=60)
        made.call(ToolContext(), {{"argv": ["sh", "-c", "setsid sh -c 'sleep {number} & sleep {number}' & sleep {number}"]}})
        """
    )
    with subprocess.Popen([sys.executable, "-c", script]) as agent:
        until = time.monotonic() + 20
        while len(alive(number)) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        assert len(alive(number)) == 3
        agent.send_signal(signal.SIGKILL)
        agent.wait()
    until = time.monotonic() + 5
    while alive(number) and time.monotonic() < until:
        time.sleep(0.02)
    assert alive(number) == []


@shut_in
@pytest.mark.needs("bwrap")
def test_a_step_that_has_less_time_than_the_tool_ends_the_program_in_time(store_path: Path, number: str) -> None:
    """By the tool itself, so that the executor has nothing to leave behind."""
    plan = Plan(goal="sleep", steps=(Step(id="a", tool="shell", args={"argv": ["sleep", number]}, timeout_s=1.0),))
    with AgentGraph([shell_tool("any", seconds=60)], store=store_path, policy=Policy.allow_all()) as agent:
        run = agent.run(plan=plan)
    error = run.results["a"].error
    assert error is not None
    assert "was ended, with all that it had started" in error.message
    assert alive(number) == []


def test_its_own_folder_is_gone_after_the_call_without_a_sandbox() -> None:
    made = shell_tool("any", sandboxed=False)
    folder = str(made.call(ToolContext(), {"argv": ["sh", "-c", 'echo 1 > "$TMPDIR/x"; pwd']})["stdout"]).strip()
    assert "agent-graph-" in folder
    assert not Path(folder).exists()
