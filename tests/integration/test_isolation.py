"""``isolation="process"``: a call that overruns is killed with whatever it started, and what is not called is said so."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent_graph import AgentGraph, NotDone, Plan, Policy, ToolContext, tool
from agent_graph.state import Run

PATIENCE = 15.0


def run(store_path: Path, declared: Any, timeout: float = PATIENCE, **args: Any) -> Run:
    plan = Plan.model_validate({"goal": "try it", "steps": [{"id": "a", "tool": declared.name, "args": args, "timeout_s": timeout}]})
    with AgentGraph([declared], policy=Policy.allow_all(), store=store_path) as agent:
        return agent.run(plan)


def until(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return what()


@tool(risk="read_only", isolation="process")
def where() -> int:
    return os.getpid()


def test_the_call_is_made_in_another_process(store_path: Path) -> None:
    came = run(store_path, where).results["a"].output
    assert isinstance(came, int)
    assert came != os.getpid()


def test_a_tool_of_a_function_is_sent_whole(store_path: Path) -> None:
    factor = 3

    @tool(risk="read_only", isolation="process")
    def times(value: int) -> int:
        return value * factor

    assert run(store_path, times, value=14).results["a"].output == 42


def test_a_tool_of_a_file_that_is_on_no_path_is_found_by_its_file(store_path: Path, tmp_path: Path) -> None:
    (tmp_path / "odd_tools.py").write_text(
        "import threading\nfrom agent_graph import tool\nCLIENT = threading.Lock()  # cannot be pickled\n@tool(risk='read_only', isolation='process')\n"
        "def locked() -> bool:\n    return CLIENT.locked()\n"
    )
    from agent_graph.tools.registry import load_tools

    found = load_tools(str(tmp_path / "odd_tools.py"))
    with AgentGraph(found, store=store_path) as agent:
        assert agent.run(Plan.model_validate({"goal": "try it", "steps": [{"id": "a", "tool": "locked"}]})).status == "succeeded"


def test_a_call_that_ignores_everything_is_killed_at_its_deadline_with_what_it_started(store_path: Path, tmp_path: Path) -> None:
    pids, landed = tmp_path / "pids", tmp_path / "landed"

    @tool(risk="write", isolation="process")
    def stubborn(pids: str, landed: str) -> None:
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(3); open({landed!r}, 'w')"])
        Path(pids).write_text(f"{os.getpid()} {child.pid}")
        while True:
            try:
                time.sleep(60)
            except BaseException:  # noqa: S112  # that is what it is about
                continue

    begun = time.monotonic()
    came = run(store_path, stubborn, timeout=2.0, pids=str(pids), landed=str(landed))
    assert time.monotonic() - begun < 10
    assert came.status == "paused"  # blind: whether it happened is not known
    request = came.requests[0]
    assert request.kind == "in_doubt"
    assert request.outcomes == ("landed", "absent")  # nothing is left that could still do it
    for pid in map(int, pids.read_text().split()):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    time.sleep(2)
    assert not landed.exists()


def test_other_calls_do_not_notice_that_one_was_killed(store_path: Path, tmp_path: Path) -> None:
    @tool(risk="read_only", isolation="process")
    def sleepy(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    steps = [
        {"id": "late", "tool": "sleepy", "args": {"seconds": 60.0}, "timeout_s": 1.5, "on_failure": "continue"},
        {"id": "fine", "tool": "sleepy", "args": {"seconds": 2.5}},
    ]
    with AgentGraph([sleepy], policy=Policy.allow_all(), store=store_path) as agent:
        results = agent.run(Plan.model_validate({"goal": "try it", "steps": steps})).results
    assert results["late"].error is not None
    assert results["late"].error.code == "timeout"
    assert results["fine"].output == 2.5


def test_a_worker_that_dies_leaves_a_change_in_doubt_and_fails_a_read(store_path: Path) -> None:
    @tool(risk="read_only", isolation="process")
    def crash() -> None:
        os._exit(7)

    @tool(risk="write", isolation="process")
    def crash_too() -> None:
        os._exit(7)

    error = run(store_path, crash).results["a"].error
    assert error is not None
    assert "ended in the middle of the call" in error.message
    assert run(store_path, crash_too).requests[0].kind == "in_doubt"


def test_a_definite_failure_is_one_in_a_worker_too(store_path: Path) -> None:
    @tool(risk="write", isolation="process")
    def refuses() -> None:
        raise NotDone("the desk is closed")

    @tool(risk="write", isolation="process", definite=[ZeroDivisionError])
    def divides() -> float:
        return 1 / 0

    @tool(risk="write", isolation="process")
    def unclear() -> None:
        raise OSError("the line went dead")

    for declared in (refuses, divides):
        came = run(store_path, declared)
        assert came.status == "failed"
        assert came.results["a"].error is not None
        assert came.results["a"].error.code == "tool_failed"
    assert run(store_path, unclear).requests[0].reason.startswith("CallFailed: OSError: the line went dead")


def test_what_cannot_be_sent_was_not_called(store_path: Path) -> None:
    import threading

    lock = threading.Lock()

    @tool(risk="write", isolation="process")
    def locked() -> bool:
        return lock.locked()

    came = run(store_path, locked)
    assert came.status == "failed"  # definite: no doubt
    assert came.results["a"].error is not None
    assert "cannot be sent to a worker process" in came.results["a"].error.message


def test_an_async_tool_and_a_context_work_in_a_worker(store_path: Path) -> None:
    @tool(risk="write", recovery="keyed", isolation="process")
    async def key(context: ToolContext) -> str:
        return context.idempotency_key

    came = run(store_path, key)
    assert came.status == "succeeded"
    assert isinstance(came.results["a"].output, str)
    assert len(came.results["a"].output) == 32


def test_an_output_is_made_plain_and_capped_in_the_worker(store_path: Path) -> None:
    @tool(risk="read_only", isolation="process")
    def huge() -> str:
        return "x" * 3_000_000

    error = run(store_path, huge).results["a"].error
    assert error is not None
    assert error.code == "output_too_large"


SCRIPT = """
    import sys, time, os
    from agent_graph import AgentGraph, Plan, Policy, tool
    print("the script runs", flush=True)

    @tool(risk="write", recovery="keyed", isolation="process")
    def slow(seconds: float) -> int:
        time.sleep(seconds)
        return os.getpid()

    with AgentGraph([slow], policy=Policy.allow_all(), store=sys.argv[1]) as agent:
        print(agent.run(Plan.model_validate({"goal": "try", "steps": [{"id": "a", "tool": "slow", "args": {"seconds": float(sys.argv[2])}}]})).status, flush=True)
"""


def test_a_script_is_not_run_a_second_time_in_the_worker(store_path: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run([sys.executable, script, store_path, "0.1"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\n") == ["the script runs", "succeeded", ""]


def test_a_worker_does_not_outlive_its_driver(store_path: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    driver = subprocess.Popen([sys.executable, script, store_path, "50"], stdout=subprocess.DEVNULL)

    def workers() -> list[psutil.Process]:
        return [each for each in psutil.Process(driver.pid).children(recursive=True) if "resource_tracker" not in " ".join(each.cmdline())]

    with AgentGraph([where], store=store_path) as agent:
        assert until(lambda: any(agent.store.ledger.open_effects(one.id) for one in agent.store.runs.recent()))
    assert until(lambda: bool(workers()))
    found = workers()
    driver.kill()
    driver.wait()
    assert until(lambda: all(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in found))


@pytest.mark.parametrize("wrong", [{"isolation": "container"}, {"parallel": 0}, {"rate": 0}])
def test_a_declaration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    from agent_graph.errors import InvalidToolError

    with pytest.raises(InvalidToolError, match=next(iter(wrong))):

        @tool(**wrong)
        def f() -> None: ...
