"""Cancelling and stopping runs that are driven by a real process, by a thread, or by nobody. Effects are counted in the tools' own log."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest

from agent_graph import AgentGraph, Plan, Policy, Step, ToolContext, tool
from agent_graph.errors import Interrupted, RunBusy, RunFinished
from agent_graph.identity import RunId
from agent_graph.testing import ScriptedPlanner

Cli = Any  # tests/acceptance/conftest.py
RUN = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
THIRD = "33333333-3333-4333-8333-333333333333"

OPS = """
import time
from pathlib import Path
import agent_graph.execution.step
from agent_graph import Absent, NotDone, ToolContext, tool

agent_graph.execution.step.BACKOFF = 60.0      # a pause that outlasts every test

def say(line):
    with Path("world.log").open("a") as log:
        log.write(line + "\\n")

def wait_for(name):
    until = time.monotonic() + 60
    while not Path(name).exists() and time.monotonic() < until:
        time.sleep(0.01)

@tool(risk="write", recovery="keyed")
def keyed(ctx: ToolContext, name: str) -> str:
    "Ends when somebody makes the file of this name."
    say(f"began {name}")
    wait_for(name)
    say(f"ended {name}")
    return name

@tool(risk="write")
def blind(name: str) -> str:
    "As keyed, and nobody can say what became of it."
    return keyed(ToolContext(), name)

@tool(risk="read_only")
def look(name: str) -> str:
    "Reads, in no time."
    say(f"looked {name}")
    return name

@tool(risk="write", recovery="idempotent")
def flaky(name: str) -> str:
    "Is not done, and wants to be called again after a while."
    say(f"refused {name}")
    raise NotDone("closed")

def asked(name: str):
    say(f"asked {name}")
    return Absent() if not Path(name).exists() else __import__("agent_graph").Landed(name)

@tool(risk="write", probe=asked, timeout=0.2, settle=60)
def slow(name: str) -> str:
    "Overruns, and may land for a minute after that."
    say(f"began {name}")
    wait_for("never")
    return name
"""


@pytest.fixture
def world(cli: Cli) -> Cli:
    cli.write("world.py", OPS)
    cli.write("open.yaml", "name: open\nrules: [{verdict: allow, tools: ['*']}]\n")
    return cli


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run(world: Cli, started: list[subprocess.Popen[str]], first: str, run_id: str = RUN, *, attempts: int = 1) -> subprocess.Popen[str]:
    """A process that drives ``first``, which does not end by itself, and then another effect."""
    world.write(
        f"{first}.yaml",
        f"goal: two\nsteps:\n  - {{id: a, tool: {first}, args: {{name: first}}, max_attempts: {attempts}, timeout_s: {0.2 if first == 'slow' else 60}}}\n"
        "  - {id: b, tool: keyed, args: {name: second}, depends_on: [a]}\n",
    )
    process: subprocess.Popen[str] = world.start(
        "run", "--plan", f"{first}.yaml", "--tools", "world.py", "--policy", "open.yaml", "--id", run_id
    )
    started.append(process)
    return process


def eventually(check: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until
        time.sleep(0.02)


def asked_to_end(world: Cli) -> bool:
    with sqlite3.connect(world.folder / ".agent-graph/runs.db") as connection:
        found = connection.execute("SELECT cancel_asked FROM runs WHERE id = ?", (RUN,)).fetchone()[0]
    connection.close()
    return found is not None


# ── driven by another process ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_is_driven_ends_after_the_call_in_flight_and_says_who_cancelled(world: Cli, started: Any) -> None:
    driver = run(world, started, "keyed")
    world.wait_for("began first")
    cancel = world.start("cancel", RUN, "--by", "ann")
    eventually(lambda: asked_to_end(world))
    world.write("first", "")
    world.write("second", "")
    cancelled, drove = world.end(cancel), world.end(driver)
    assert cancelled.returncode == 0
    assert f"run {RUN} is cancelled; the 1 step that it finished stay done" in cancelled.stdout
    assert drove.returncode == 1
    assert "cancelled by ann" in drove.stdout
    assert world.happened() == Counter({"began first": 1, "ended first": 1})
    shown = world.json("show", RUN)
    assert (shown["status"], shown["results"]["a"]["status"], shown["open_effects"]) == ("cancelled", "succeeded", [])
    resumed = world.run("resume", RUN)
    assert resumed.returncode == 2
    assert "has ended (cancelled)" in resumed.stderr


def test_a_driver_that_is_silent_is_named_and_ends_the_run_when_it_goes_on(world: Cli, started: Any) -> None:
    driver = run(world, started, "keyed")
    world.wait_for("began first")
    driver.send_signal(signal.SIGSTOP)
    refused = world.run("cancel", RUN, "--wait", "0.2")
    assert refused.returncode == 4
    assert f"process {driver.pid} on " in refused.stderr
    assert f"agent-graph cancel {RUN} --takeover" in refused.stderr
    shown = world.run("show", RUN)
    assert "it ends after the calls in flight" in shown.stdout
    again = world.run("resume", RUN, "--tools", "world.py")
    assert (again.returncode, "was cancelled by" in again.stderr) == (2, True)
    world.write("first", "")
    driver.send_signal(signal.SIGCONT)
    assert world.end(driver).returncode == 1
    assert world.json("show", RUN)["status"] == "cancelled"
    assert world.happened() == Counter({"began first": 1, "ended first": 1})


@pytest.mark.parametrize("then", ["show", "resume", "cancel"])
def test_a_run_whose_driver_died_after_the_wish_is_cancelled(world: Cli, started: Any, then: str) -> None:
    driver = run(world, started, "blind")
    world.wait_for("began first")
    driver.send_signal(signal.SIGSTOP)
    assert world.run("cancel", RUN, "--wait", "0").returncode == 4
    driver.kill()
    driver.communicate()
    if then == "resume":
        assert world.run("resume", RUN, "--tools", "world.py").returncode == 2
    elif then == "cancel":
        assert "is cancelled" in world.run("cancel", RUN).stdout
    shown = world.json("show", RUN)
    assert shown["status"] == "cancelled"
    assert "1 effect whose outcome is not known: blind of step a" in shown["error"]["message"]
    assert world.happened()["began second"] == 0


def test_a_driver_that_hangs_is_ended_and_what_it_left_open_is_listed(world: Cli, started: Any) -> None:
    driver = run(world, started, "blind")
    world.wait_for("began first")
    driver.send_signal(signal.SIGSTOP)
    ended = world.run("cancel", RUN, "--takeover", "--by", "ann")
    assert ended.returncode == 0, ended.stderr
    assert driver.wait(10) == -signal.SIGKILL
    driver.communicate()
    assert f"ending process {driver.pid} on " in ended.stdout
    for text in (ended.stdout, world.run("show", RUN).stdout):
        assert "the outcome is not known" in text
        assert "step a: blind, sent 20" in text
        assert 'name: "first"' in text
    (left,) = world.json("show", RUN)["open_effects"]
    assert (left["tool"], left["args"], len(left["key"])) == ("blind", {"name": "first"}, 32)


def test_all_runs_are_cancelled_and_the_one_that_is_still_driven_is_told(world: Cli, started: Any) -> None:
    driver = run(world, started, "keyed")
    world.wait_for("began first")
    driver.send_signal(signal.SIGSTOP)
    assert world.run("run", "--plan", "send.yaml", "--tools", "ops.py", "--id", OTHER).returncode == 3
    killed = run(world, started, "blind", THIRD)
    eventually(lambda: world.happened()["began first"] == 2)
    killed.kill()
    some = world.run("cancel", "--all", "--wait", "0.2")
    assert some.returncode == 4
    assert f"run {OTHER} is cancelled" in some.stdout
    assert f"run {THIRD} is cancelled" in some.stdout
    assert f"run {RUN} is to end, and process {driver.pid} on " in some.stdout
    world.write("first", "")
    driver.send_signal(signal.SIGCONT)
    rest = world.run("cancel", "--all", "--json")
    assert (rest.returncode, {one["status"] for one in json.loads(rest.stdout)} <= {"cancelled"}) == (0, True)
    world.end(driver)
    assert {one["status"] for one in world.json("runs")} == {"cancelled"}
    assert world.run("cancel", "--all").stdout == "no run is under way\n"


@pytest.mark.parametrize("words", [["cancel"], ["cancel", RUN, "--all"]])
def test_it_must_be_said_what_is_cancelled(world: Cli, words: list[str]) -> None:
    refused = world.run(*words)
    assert (refused.returncode, "--all" in refused.stderr) == (2, True)


@pytest.mark.parametrize(("first", "seen", "settled"), [("flaky", "refused first", True), ("slow", "asked first", False)])
def test_a_pause_between_two_calls_does_not_hold_up_a_cancel(world: Cli, started: Any, first: str, seen: str, settled: bool) -> None:
    driver = run(world, started, first, attempts=5)
    world.wait_for(seen)
    began = time.monotonic()
    assert world.run("cancel", RUN).returncode == 0
    assert world.end(driver).returncode == 1
    assert time.monotonic() - began < 15
    assert world.happened()[f"began {'first'}"] <= 1
    assert [one["step_id"] for one in world.json("show", RUN)["open_effects"]] == ([] if settled else ["a"])


# ── driven by a thread ────────────────────────────────────────────────────────────────────────────────────────────────


class World:
    """Tools of this process, and what they did."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.go = threading.Event()
        self.here = threading.Event()

        @tool(risk="write")
        def first(ctx: ToolContext) -> str:
            self.did.append("first")
            self.here.set()
            self.go.wait(30)
            return "done"

        @tool(risk="write")
        def second() -> str:
            self.did.append("second")
            return "done"

        self.tools = [first, second]

    def agent(self, path: Path, **more: Any) -> AgentGraph:
        return AgentGraph(self.tools, store=path, policy=Policy.allow_all(), **more)


PLAN = Plan(goal="two", steps=(Step(id="a", tool="first"), Step(id="b", tool="second", depends_on=("a",))))


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    came: list[Any] = []

    def work() -> None:
        try:
            came.append(call())
        except BaseException as error:
            came.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, came


@pytest.mark.parametrize("runner", ["agent", "graph"])
def test_a_run_of_another_thread_ends_after_the_call_in_flight(store_path: Path, runner: str) -> None:
    """Under a plain ``graph.invoke``, too."""
    world = World()
    with world.agent(store_path, planner=PLAN) as agent:
        config: Any = {"configurable": {"thread_id": RUN}}
        thread, came = in_thread(lambda: agent.run("two", run_id=RUN) if runner == "agent" else agent.graph.invoke({"goal": "two"}, config))
        assert world.here.wait(10)
        run_id = agent.runs()[0].id
        with pytest.raises(RunBusy, match="still drives it"):
            agent.cancel(run_id, by="ann", wait=0)
        threading.Timer(0.2, world.go.set).start()
        ended = agent.cancel(run_id, by="bob")
        thread.join(10)
        assert (ended.status, ended.cancel_by, ended.results["a"].status) == ("cancelled", "ann", "succeeded")
        status = came[0].status if runner == "agent" else came[0]["status"]
        assert status == "cancelled"
        assert world.did == ["first"]
        with pytest.raises(RunFinished):
            agent.resume(run_id)
        with pytest.raises(RunFinished):
            agent.cancel(run_id)


def test_an_async_tool_on_the_callers_loop_ends_before_the_run_does(store_path: Path) -> None:
    did: list[str] = []

    async def main() -> tuple[Any, Any]:
        here = asyncio.Event()

        async def first(ctx: ToolContext) -> str:
            here.set()
            await asyncio.sleep(0.3)
            did.append("first")
            return "done"

        tools = [tool(first, risk="write"), tool(lambda ctx: did.append("second"), name="second", args_schema={"type": "object"})]
        with AgentGraph(tools, store=store_path, policy=Policy.allow_all()) as agent:
            driven = asyncio.create_task(agent.arun(plan=PLAN, run_id=RUN))
            await here.wait()
            return await agent.acancel(RUN), await driven

    cancelled, drove = asyncio.run(main())
    assert (cancelled.status, drove.status, did) == ("cancelled", "cancelled", ["first"])
    assert drove.results["a"].status == "succeeded"


def test_a_planner_that_thinks_does_not_hold_up_a_cancel(store_path: Path) -> None:
    thinks, go = threading.Event(), threading.Event()

    def think(_: Any) -> Plan:
        thinks.set()
        go.wait(30)
        return PLAN

    world = World()
    with world.agent(store_path, planner=ScriptedPlanner(think)) as agent:
        thread, came = in_thread(lambda: agent.run("two", run_id=RUN))
        assert thinks.wait(10)
        assert agent.cancel(RUN).status == "cancelled"
        thread.join(10)
        assert came[0].status == "cancelled"
        go.set()
        assert world.did == []


def test_a_node_that_is_entered_after_the_wish_does_nothing(store_path: Path) -> None:
    """Not even a read, which no intent announces."""
    did: list[str] = []
    look = tool(lambda ctx: did.append("looked"), name="look", args_schema={"type": "object"}, risk="read_only")
    asks: list[Callable[[], Any]] = []

    def think(_: Any) -> Plan:
        asks[0]()
        return Plan(goal="look", steps=(Step(id="a", tool="look"),))

    with AgentGraph([look], store=store_path, planner=ScriptedPlanner(think)) as agent:
        asks.append(lambda: agent.store.runs.ask_cancel(RunId(RUN), "ann"))
        assert agent.run("look", run_id=RUN).status == "cancelled"
    assert did == []


def test_no_effect_begins_after_the_wish_is_on_record(store_path: Path) -> None:
    """Not even before the driver has looked: the ledger refuses the intent."""
    world = World()
    with world.agent(store_path) as agent:
        events = agent.stream(plan=PLAN, run_id=RUN)
        thread, _ = in_thread(lambda: [None for _ in events])
        assert world.here.wait(10)
        agent.store.runs.ask_cancel(RunId(RUN), "ann")
        world.go.set()
        thread.join(10)
        assert world.did == ["first"]
        assert agent.get(RUN).status == "cancelled"


# ── stopping what an agent drives ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("runner", ["agent", "async", "graph"])
def test_a_stopped_agent_ends_its_drives_between_calls_and_begins_nothing(store_path: Path, runner: str) -> None:
    world = World()
    with world.agent(store_path, planner=PLAN) as agent:
        config: Any = {"configurable": {"thread_id": RUN}}
        ways: dict[str, Callable[[], Any]] = {
            "agent": lambda: agent.run("two", run_id=RUN),
            "async": lambda: asyncio.run(agent.arun("two", run_id=RUN)),
            "graph": lambda: agent.graph.invoke({"goal": "two"}, config),
        }
        thread, came = in_thread(ways[runner])
        assert world.here.wait(10)
        run_id = agent.runs()[0].id
        assert agent.stop() == (run_id,)
        threading.Timer(0.2, world.go.set).start()
        assert agent.stop(wait=10) == ()
        thread.join(10)
        assert isinstance(came[0], Interrupted)
        with pytest.raises(Interrupted, match="this agent was stopped"):
            agent.resume(run_id)
        assert world.did == ["first"]
    with world.agent(store_path) as another:
        assert another.resume(run_id).status == "succeeded"
        assert world.did == ["first", "second"]


def test_a_signal_handler_may_stop_an_agent(cli: Cli, started: Any) -> None:
    """The pattern for a service."""
    cli.write("world.py", OPS)
    cli.write(
        "service.py",
        "import signal, sys\n"
        "from agent_graph import AgentGraph, Plan, Policy, Step\n"
        "from agent_graph.errors import Interrupted\n"
        "import world\n"
        "agent = AgentGraph([world.keyed], store='.agent-graph/runs.db', policy=Policy.allow_all())\n"
        "signal.signal(signal.SIGTERM, lambda *_: agent.stop())\n"
        "steps = [Step(id=n, tool='keyed', args={'name': n}, depends_on=d) for n, d in (('first', ()), ('second', ('first',)))]\n"
        "try:\n"
        f"    agent.run(plan=Plan(goal='two', steps=tuple(steps)), run_id='{RUN}')\n"
        "except Interrupted:\n"
        "    sys.exit(7)\n",
    )
    service = subprocess.Popen([*cli.argv()[:1], "service.py"], cwd=cli.folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    started.append(service)
    cli.wait_for("began first")
    service.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert service.poll() is None
    cli.write("first", "")
    assert service.wait(20) == 7
    assert cli.happened() == Counter({"began first": 1, "ended first": 1})
    assert cli.json("show", RUN)["status"] == "interrupted"


# ── signals to the command line ───────────────────────────────────────────────────────────────────────────────────────

STOP = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@pytest.mark.parametrize("number", STOP)
def test_a_signal_in_the_middle_of_a_call_lets_it_end(world: Cli, started: Any, number: signal.Signals) -> None:
    driver = run(world, started, "blind")
    world.wait_for("began first")
    driver.send_signal(number)
    time.sleep(0.3)
    world.write("first", "")
    world.write("second", "")
    assert world.end(driver).returncode == 130
    assert world.happened() == Counter({"began first": 1, "ended first": 1})
    shown = world.json("show", RUN)
    assert (shown["status"], shown["results"]["a"]["status"], shown["open_effects"]) == ("interrupted", "succeeded", [])
    assert world.run("resume", RUN).returncode == 0
    assert world.happened() == Counter({"began first": 1, "ended first": 1, "began second": 1, "ended second": 1})


@pytest.mark.parametrize(("first", "seen"), [("flaky", "refused first"), ("slow", "asked first")])
def test_a_signal_in_a_pause_between_two_calls_ends_it(world: Cli, started: Any, first: str, seen: str) -> None:
    driver = run(world, started, first, attempts=5)
    world.wait_for(seen)
    before = world.happened()
    driver.send_signal(signal.SIGTERM)
    assert world.end(driver).returncode == 130
    assert world.happened() == before
    assert world.json("show", RUN)["status"] == "interrupted"
    if first == "slow":
        world.write("first", "")  # the probe finds it now
        world.write("second", "")
        assert world.run("resume", RUN).returncode == 0
        assert world.happened()["began first"] == 1


def test_a_second_signal_stops_at_once_and_the_call_in_flight_is_settled_at_the_next_resume(world: Cli, started: Any) -> None:
    driver = run(world, started, "blind")
    world.wait_for("began first")
    driver.send_signal(signal.SIGTERM)
    assert "stopping: waits for the call in flight" in driver.stderr.readline()  # type: ignore[union-attr]
    time.sleep(0.5)
    driver.send_signal(signal.SIGTERM)
    stopped = world.end(driver)
    assert stopped.returncode == 130
    assert f"resume {RUN}" in stopped.stdout
    asked = world.json("resume", RUN, code=3)
    assert [request["kind"] for request in asked["requests"]] == ["in_doubt"]
    world.write("second", "")
    assert world.run("resume", RUN, "--landed").returncode == 0
    assert world.happened() == Counter({"began first": 1, "began second": 1, "ended second": 1})


def test_signals_that_come_together_are_one_wish(world: Cli, started: Any) -> None:
    """As those of a terminal that is closed."""
    driver = run(world, started, "blind")
    world.wait_for("began first")
    for number in (*STOP, *STOP):
        driver.send_signal(number)
    time.sleep(0.5)
    world.write("first", "")
    assert world.end(driver).returncode == 130
    assert world.json("show", RUN)["results"]["a"]["status"] == "succeeded"


def test_a_second_signal_under_json_says_interrupted(world: Cli, started: Any) -> None:
    world.write("blind.yaml", "goal: one\nsteps:\n  - {id: a, tool: blind, args: {name: first}}\n")
    words = ("run", "--plan", "blind.yaml", "--tools", "world.py", "--policy", "open.yaml", "--id", RUN, "--json")
    driver = world.start(*words)
    started.append(driver)
    world.wait_for("began first")
    driver.send_signal(signal.SIGTERM)
    driver.stderr.readline()
    time.sleep(0.5)
    driver.send_signal(signal.SIGTERM)
    stopped = world.end(driver)
    assert (stopped.returncode, json.loads(stopped.stdout)["status"]) == (130, "interrupted")


@pytest.mark.parametrize("number", STOP)
def test_a_signal_at_the_gate_leaves_the_run_waiting(cli: Cli, number: signal.Signals) -> None:
    program, *args = cli.argv("run", "--plan", "send.yaml", "--tools", "ops.py", "--id", RUN)
    person = pexpect.spawn(program, args, cwd=str(cli.folder), env=cli.environment(), encoding="utf-8", timeout=60, dimensions=(40, 110))
    try:
        person.expect(r"q\(uit, decide later\): ")
        person.kill(number)
        person.expect(pexpect.EOF)
        person.close()
        assert person.exitstatus == 3
        assert f"resume {RUN} --approve" in person.before
    finally:
        person.close(force=True)
    assert cli.json("show", RUN)["status"] == "paused"
    assert cli.happened()["send ann@example.org"] == 0
