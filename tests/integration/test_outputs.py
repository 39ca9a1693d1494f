"""Whatever a tool returns or raises: its outcome is on record, within bounds, and no secret of it is anywhere.

Named after the faults that are to be survived: outputs without end or beyond all bounds, values that cannot be written down, exceptions
that are none of ours, secrets in what a tool says.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from agent_graph import AgentGraph, Landed, Limits, Plan, Policy, Resolve, Unknown, tool
from agent_graph.plan import Goal, Step
from agent_graph.ports import ReplanningContext
from agent_graph.state import Run
from agent_graph.testing import ScriptedPlanner

SECRET = "correct-horse-9-battery"  # noqa: S105
TOKEN = "ghp_" + "a1B2" * 9
NOT_SAID = ("correct-horse", TOKEN)


def one(store: Path, made: Any, *, asynchronous: bool = False, **more: Any) -> Run:
    """A run of one step that calls the tool."""
    plan = Plan(goal="call it", steps=(Step(id="a", tool=made.name, **more.pop("step", {})),))
    with AgentGraph([made], store=store, policy=Policy.allow_all(), **more) as agent:
        return asyncio.run(agent.arun(plan=plan)) if asynchronous else agent.run(plan=plan)


def kept_of(run: Run) -> Any:
    return run.results["a"].output


def code(run: Run, step: str = "a") -> str | None:
    error = run.results[step].error
    return None if error is None else error.code


def everything(store: Path) -> bytes:
    """All that is on disk."""
    with sqlite3.connect(store) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return b"".join(path.read_bytes() for path in sorted(store.parent.glob(store.name + "*")))


# ── without end, and beyond all bounds ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("asynchronous", [False, True], ids=["run", "arun"])
def test_a_generator_gives_its_items(store_path: Path, asynchronous: bool) -> None:
    @tool(risk="read_only")
    def lines() -> Iterator[str]:
        yield "one"
        yield "two"

    run = one(store_path, lines, asynchronous=asynchronous, step={"success_criteria": ("size(output) == 2",)})
    assert (run.status, kept_of(run)) == ("succeeded", ["one", "two"])


@pytest.mark.parametrize("asynchronous", [False, True], ids=["run", "arun"])
def test_so_does_an_async_generator(store_path: Path, asynchronous: bool) -> None:
    @tool(risk="read_only")
    async def lines() -> AsyncIterator[str]:
        yield "one"
        await asyncio.sleep(0)
        yield "two"

    run = one(store_path, lines, asynchronous=asynchronous)
    assert (run.status, kept_of(run)) == ("succeeded", ["one", "two"])


async def _async_items() -> AsyncIterator[int]:
    while True:
        yield 1


def _endless_items() -> Iterator[int]:
    yield from itertools.count()


ENDLESS: dict[str, Callable[[], Any]] = {
    "generator": _endless_items,
    "iterator": lambda: itertools.repeat("x" * 1000),
    "inside": lambda: {"rows": itertools.count()},
    "async": _async_items,
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_an_output_without_end_fails_its_read_at_once(store_path: Path, kind: str) -> None:
    made = tool(ENDLESS[kind], name="endless", risk="read_only", timeout=30)
    began = time.monotonic()
    run = one(store_path, made)
    assert code(run) == "output_too_large"
    assert kept_of(run)["whole"] is False
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("kind", ["generator", "async"])
def test_one_that_changes_something_has_its_deadline_and_is_in_doubt(store_path: Path, kind: str) -> None:
    """It was cut off in the middle of its work."""
    made = tool(ENDLESS[kind], name="endless", risk="write", timeout=0.5)
    began = time.monotonic()
    run = one(store_path, made)
    assert (run.status, [request.kind for request in run.requests]) == ("paused", ["in_doubt"])
    assert time.monotonic() - began < 10


def test_a_generator_that_nobody_waits_for_any_more_is_ended(store_path: Path) -> None:
    ended = threading.Event()

    @tool(risk="write", timeout=0.3)
    def endless() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            ended.set()

    one(store_path, endless)
    assert ended.wait(10)


def test_a_generator_that_hangs_is_given_up_at_its_deadline(store_path: Path) -> None:
    gate = threading.Event()

    @tool(risk="read_only", timeout=0.3)
    def hangs() -> Iterator[int]:
        yield 1
        gate.wait(30)
        yield 2

    began = time.monotonic()
    try:
        assert code(one(store_path, hangs)) == "timeout"
        assert time.monotonic() - began < 5
    finally:
        gate.set()


def test_what_a_generator_raises_is_its_step_s_failure(store_path: Path) -> None:
    @tool(risk="write")
    def breaks() -> Iterator[int]:
        yield 1
        raise OSError("the line broke")

    run = one(store_path, breaks)
    assert [request.kind for request in run.requests] == ["in_doubt"]
    assert "the line broke" in run.requests[0].reason


class Slow:
    """Whose text takes for ever."""

    def __init__(self, gate: threading.Event) -> None:
        self._gate = gate

    def __str__(self) -> str:
        self._gate.wait(30)
        return "at last"


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_an_effect_has_landed_although_its_output_cannot_be_read(store_path: Path, asynchronous: bool) -> None:
    gate = threading.Event()

    @tool(name="slow", risk="write", timeout=0.3)
    def slow() -> Any:
        return Slow(gate)

    @tool(name="slow", risk="write", timeout=0.3)
    async def slow_async() -> Any:
        return Slow(gate)

    try:
        run = one(store_path, slow_async if asynchronous else slow)
    finally:
        gate.set()
    assert (code(run), run.results["a"].landed) == ("unexpected_output", True)


MEASURED = """
import itertools, json, resource, sys, time
from agent_graph import AgentGraph, Plan, Policy, Step, tool

def shared(levels, both):
    value = "leaf"
    for _ in range(levels):
        value = both(value)
    return value

CASES = {
    "shared": lambda: shared(30, lambda each: [each, each]),
    "shared objects": lambda: shared(30, lambda each: {"a": each, "b": each}),
    "endless": lambda: itertools.repeat("x" * 1000),
    "text": lambda: "x" * 100_000_000,
    "bytes": lambda: b"\\xff" * 100_000_000,
    "list": lambda: ["x" * 100] * 1_000_000,
    "deep": lambda: shared(200_000, lambda each: [each]),
}
held = {"text": 100, "bytes": 100, "list": 8, "deep": 20}.get(sys.argv[1], 0)

@tool(risk="write", recovery="keyed")
def made() -> object:
    return CASES[sys.argv[1]]()

@tool(risk="read_only")
def small() -> object:
    return {"a": [1]}

def plan(name):
    return Plan(goal="measure", steps=(Step(id="a", tool=name),))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

with AgentGraph([made, small], store="runs.db", policy=Policy.allow_all()) as agent:
    agent.run(plan=plan("small"))      # what is loaded at first use
    before, began = peak(), time.process_time()
    result = agent.run(plan=plan("made")).results["a"]
    spent = time.process_time() - began
    print(json.dumps([result.error.code if result.error else None, result.landed, peak() - before - held, spent]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own figures")
@pytest.mark.parametrize("case", ["shared", "shared objects", "text", "bytes", "list", "deep"])
def test_memory_and_time_are_bounded(tmp_path: Path, case: str) -> None:
    """Beside what the tool itself holds: 64 MB and ten seconds of the processor."""
    (tmp_path / "measured.py").write_text(MEASURED)
    done = subprocess.run([sys.executable, "measured.py", case], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=100)
    error, landed, megabytes, seconds = json.loads(done.stdout)
    assert (error, landed) == (None if case == "deep" else "output_too_large", True)
    assert megabytes < 64
    assert seconds < 10


# ── an effect that has landed stays landed ────────────────────────────────────────────────────────────────────────────


def test_a_change_whose_output_is_too_large_is_not_made_again_by_a_replan(store_path: Path) -> None:
    calls: list[int] = []

    @tool(risk="write", recovery="keyed")
    def send(n: int) -> str:
        calls.append(n)
        return "x" * 5000

    steps = (Step(id="a", tool="send", args={"n": 1}),)

    def again(context: Any) -> Plan:
        assert isinstance(context, ReplanningContext)
        return Plan(goal="send", steps=steps, version=context.plan.version + 1, parent=context.plan.version)

    planner = ScriptedPlanner(Plan(goal="send", steps=steps), again, again)
    with AgentGraph([send], planner=planner, store=store_path, policy=Policy.allow_all(), limits=Limits(max_output_bytes=1024)) as agent:
        run = agent.run("send")
    assert len(planner.contexts) >= 2  # it did replan
    assert calls == [1]
    assert (code(run), run.results["a"].landed) == ("output_too_large", True)


def test_an_output_that_looks_like_one_that_was_cut_off_is_an_output(store_path: Path) -> None:
    said = {"truncated": True, "sha256": "…", "bytes": "many"}

    @tool(risk="write", recovery="keyed")
    def looks() -> dict[str, Any]:
        return said

    run = one(store_path, looks)
    assert (run.status, kept_of(run)) == ("succeeded", said)


def test_what_does_not_fit_what_its_tool_declares_does_not_fit_after_a_replan_either(store_path: Path) -> None:
    @tool(risk="write", recovery="keyed")
    def send() -> int:
        return "one"  # type: ignore[return-value]

    steps = (Step(id="a", tool="send"),)

    def again(context: Any) -> Plan:
        return Plan(goal="send", steps=steps, version=context.plan.version + 1, parent=context.plan.version)

    with AgentGraph(
        [send], planner=ScriptedPlanner(Plan(goal="send", steps=steps), again), store=store_path, policy=Policy.allow_all()
    ) as agent:
        run = agent.run("send")
    assert (run.status, code(run)) == ("failed", "unexpected_output")


# ── what cannot be written down ───────────────────────────────────────────────────────────────────────────────────────


class Refuses:
    """Whatever is asked of it."""

    def __init__(self, error: BaseException) -> None:
        object.__setattr__(self, "error", error)

    def refuse(self, *_: Any) -> Any:
        raise object.__getattribute__(self, "error")

    __str__ = __repr__ = __len__ = __iter__ = __getattr__ = refuse


def _circle() -> Any:
    value: dict[str, Any] = {}
    value["again"] = value
    return value


AWKWARD: dict[str, Callable[[], Any]] = {
    "refuses": lambda: Refuses(RuntimeError("no")),
    "refuses and exits": lambda: [Refuses(SystemExit(3))],
    "interrupts": lambda: {"a": Refuses(KeyboardInterrupt())},
    "circle": _circle,
    "nan": lambda: {"n": float("nan"), float("inf"): [float("-inf")]},
    "surrogate": lambda: {"\ud800": "\udc80"},
    "controls": lambda: "\x00 \x07 \x1b[2J \u202e \x7f",
    "langchain": lambda: {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}},
    "whole number": lambda: 10**5000,
    "keys": lambda: {1: "a", "1": "b", None: "c"},
    "reference": lambda: {"$ref": "steps.b.output"},
}


@pytest.mark.parametrize("kind", AWKWARD)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_whatever_is_returned_its_effect_is_on_record_and_is_not_made_again(store_path: Path, kind: str, asynchronous: bool) -> None:
    calls: list[str] = []

    async def effect_async() -> Any:
        calls.append(kind)
        return AWKWARD[kind]()

    def effect() -> Any:
        calls.append(kind)
        return AWKWARD[kind]()

    @tool(risk="read_only")
    def follows(given: Any) -> Any:
        return given

    made = tool(effect_async if asynchronous else effect, name="effect", risk="write")
    steps = (Step(id="a", tool="effect"), Step(id="b", tool="follows", args={"given": {"$ref": "steps.a.output"}}))
    plan = Plan(goal="whatever", steps=steps)
    with AgentGraph([made, follows], store=store_path, policy=Policy.allow_all()) as agent:
        run = agent.run(plan=plan)
        assert (run.status, run.results["a"].landed) == ("succeeded", True)
        assert run.results["b"].output == run.results["a"].output
    with AgentGraph([made, follows], store=store_path) as agent:
        assert agent.get(run.id).results["a"].output == run.results["a"].output
        agent.trace(run.id)
    assert calls == [kind]


# ── exceptions that are none of ours ──────────────────────────────────────────────────────────────────────────────────

NOT_OURS = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), BaseException("whatever"), StopIteration(1)]


@pytest.mark.parametrize("risk", ["read_only", "write"])
@pytest.mark.parametrize("how", ["sync", "async", "generator", "async generator", "arun"])
@pytest.mark.parametrize("error", NOT_OURS, ids=lambda error: type(error).__name__)
def test_an_exception_that_would_end_the_process_is_its_tool_s_failure(store_path: Path, error: BaseException, how: str, risk: Any) -> None:
    async def raises_async() -> Any:
        await asyncio.sleep(0)
        raise error

    def raises() -> Any:
        raise error

    def generates() -> Iterator[int]:
        yield 1
        raise error

    async def generates_async() -> AsyncIterator[int]:
        yield 1
        raise error

    made = {"sync": raises, "async": raises_async, "generator": generates, "async generator": generates_async, "arun": raises_async}[how]

    @tool(risk="read_only")
    async def beside() -> str:
        await asyncio.sleep(0.1)
        return "not disturbed"

    plan = Plan(goal="call it", steps=(Step(id="a", tool="raises", on_failure="continue"), Step(id="b", tool="beside")))
    with AgentGraph([tool(made, name="raises", risk=risk, timeout=20), beside], store=store_path, policy=Policy.allow_all()) as agent:
        run = asyncio.run(agent.arun(plan=plan)) if how == "arun" else agent.run(plan=plan)
    assert run.results["b"].output == "not disturbed"
    assert run.results["a"].status == ("failed" if risk == "read_only" else "in_doubt")
    assert type(error).__name__ in str(run.results["a"].error) or isinstance(error, StopIteration)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_so_is_one_of_its_probe(store_path: Path, error: BaseException) -> None:
    async def probe() -> Any:
        raise error

    def fails() -> None:
        raise OSError("the line broke")

    @tool(risk="read_only")
    async def beside() -> str:
        await asyncio.sleep(0.3)
        return "not disturbed"

    plan = Plan(goal="call it", steps=(Step(id="a", tool="fails"), Step(id="b", tool="beside")))
    with AgentGraph([tool(fails, risk="write", probe=cast("Any", probe)), beside], store=store_path, policy=Policy.allow_all()) as agent:
        run = agent.run(plan=plan)
    assert run.results["b"].output == "not disturbed"
    assert type(error).__name__ in run.requests[0].reason


@pytest.mark.parametrize("error", [OSError("x" * 1_000_000), OSError("\ud800\x00\x1b[2J"), type("N" * 10_000, (Exception,), {})("x")])
def test_what_a_tool_says_of_its_failure_is_bounded_and_can_be_stored(store_path: Path, error: Exception) -> None:
    @tool(risk="read_only")
    def fails() -> int:
        raise error

    run = one(store_path, fails)
    said = run.results["a"].error
    assert said is not None
    assert len(said.message) <= 2000
    said.message.encode()


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _fails() -> Any:
    raise OSError(f"login with {SECRET} failed; " + "." * 1990 + TOKEN)


def _definitely() -> Any:
    raise ValueError(f"login with {SECRET} failed")


def _generates() -> Iterator[str]:
    yield f"token={TOKEN}"
    raise OSError(f"login with {SECRET} failed")


def _probe(**_: Any) -> Any:
    return Unknown(f"nobody answers {SECRET}")


def _lands(**_: Any) -> Any:
    return Landed({"token": TOKEN})


def _times_out() -> Any:
    raise TimeoutError(SECRET)


SAYS: dict[str, Any] = {
    "output": tool(lambda: {"env": {"SHOP_KEY": SECRET}, SECRET: [TOKEN]}, name="says", risk="read_only"),
    "large output": tool(lambda: SECRET + TOKEN + "x" * 300_000, name="says", risk="read_only"),
    "iterator": tool(lambda: iter([SECRET, TOKEN]), name="says", risk="read_only"),
    "error": tool(_fails, name="says", risk="read_only"),
    "error of a write": tool(_fails, name="says", risk="write"),
    "tried again": tool(_definitely, name="says", risk="write", definite=[ValueError]),
    "generator": tool(_generates, name="says", risk="write"),
    "probe": tool(_times_out, name="says", risk="write", probe=_probe),
    "what a probe found": tool(_times_out, name="says", risk="write", probe=_lands),
    "not as declared": tool(lambda: SECRET, name="says", risk="read_only", args_schema=None),
    "in a worker process": tool(lambda: [SECRET, TOKEN], name="says", risk="read_only", isolation="process", timeout=30),
    "error in a worker process": tool(_fails, name="says", risk="write", isolation="process", timeout=30),
}


@pytest.mark.parametrize("kind", SAYS)
def test_a_secret_that_a_tool_says_is_nowhere(
    store_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the ledger, the trace, the stream of events, what a person is asked, LangGraph's checkpoints, a log."""
    monkeypatch.setenv("SHOP_KEY", SECRET)
    step = Step(id="a", tool="says", max_attempts=2, success_criteria=("output != 'nothing'",))
    with AgentGraph([SAYS[kind]], store=store_path, policy=Policy.allow_all()) as agent:
        events = list(agent.stream(plan=Plan(goal="call it", steps=(step,))))
        run = agent.get(events[0].run_id)
        shown = run.model_dump_json() + repr(events) + repr(agent.trace(run.id)) + repr(agent.deps) + run._repr_html_()
        requests = [request for request in run.requests if request.kind == "in_doubt"]
        if requests:
            agent.resume(run, Resolve(outcome="landed"))
            shown += agent.get(run.id).model_dump_json()
    printed = capsys.readouterr()
    shown += printed.out + printed.err + caplog.text
    assert "redacted: " in shown
    disk = everything(store_path)
    for secret in NOT_SAID:
        assert secret not in shown
        assert secret.encode() not in disk


def test_that_something_was_replaced_is_noted_and_not_what(store_path: Path) -> None:
    with AgentGraph([SAYS["output"]], store=store_path, secrets={"the vault's": SECRET}) as agent:
        run = agent.run(plan=Plan(goal="call it", steps=(Step(id="a", tool="says"),)))
        notes = [event.message for event in agent.trace(run.id) if event.kind == "note"]  # type: ignore[attr-defined]
    assert len(notes) == 1
    assert "was replaced" in notes[0]
    assert run.results["a"].output == {
        "env": {"SHOP_KEY": "[redacted: the vault's]"},
        "[redacted: the vault's]": ["[redacted: a GitHub token]"],
    }


def test_what_a_criterion_saw_of_the_parameters_is_without_secrets(store_path: Path) -> None:
    says = tool(lambda: "something else", name="says", risk="read_only")
    plan = Plan(
        goal=Goal(text="call it", params={"expected": SECRET}),
        steps=(Step(id="a", tool="says", success_criteria=("output == params.expected",)),),
    )
    with AgentGraph([says], store=store_path, secrets=[SECRET]) as agent:
        result = agent.run(plan=plan).results["a"]
    assert SECRET not in result.model_dump_json()
    assert result.evidence[0].values["params.expected"] == "[redacted: secret 1 of the host]"


def test_an_argument_is_sent_and_shown_as_it_was_planned(store_path: Path) -> None:
    """What a person approves is what is sent, also when it holds what the host keeps secret."""
    sent: list[str] = []

    @tool(risk="write")
    def send(text: str) -> int:
        sent.append(text)
        return 1

    plan = Plan(goal="send", steps=(Step(id="a", tool="send", args={"text": SECRET}),))
    with AgentGraph([send], store=store_path, secrets=[SECRET]) as agent:
        from agent_graph import Approve

        run = agent.run(plan=plan)
        assert run.requests[0].calls[0].args == {"text": SECRET}
        assert agent.resume(run, Approve()).status == "succeeded"
    assert sent == [SECRET]


@pytest.mark.parametrize(("risk", "status"), [("write", "blocked"), ("read_only", "succeeded")])
def test_what_stands_in_a_secret_s_place_is_not_sent_for_it(store_path: Path, risk: Any, status: str) -> None:
    """As a password it would even be accepted."""
    made = tool(lambda: {"token": TOKEN, "text": f"it is {TOKEN}"}, name="make", risk="read_only")
    said: list[str] = []

    def set_password(text: str) -> None:
        said.append(text)

    steps = (
        Step(id="make", tool="make"),
        Step(id="told", tool="set_password", args={"text": {"$ref": "steps.make.output.text"}}),
        Step(id="set", tool="set_password", args={"text": {"$ref": "steps.make.output.token"}}, on_failure="continue"),
    )
    with AgentGraph([made, tool(set_password, risk=risk)], store=store_path, policy=Policy.allow_all()) as agent:
        run = agent.run(plan=Plan(goal="hand it on", steps=steps))
    assert (run.results["told"].status, run.results["set"].status) == ("succeeded", status)
    assert "it is [redacted: a GitHub token]" in said
    assert ("[redacted: a GitHub token]" in said) is (status == "succeeded")


def test_what_a_planner_fails_with_is_without_secrets_too(store_path: Path) -> None:
    with AgentGraph(planner=ScriptedPlanner(RuntimeError(f"wrong key: {SECRET}")), store=store_path, secrets=[SECRET]) as agent:
        run = agent.run("plan")
    assert run.error is not None
    assert run.error.message.endswith("wrong key: [redacted: secret 1 of the host]")
    assert SECRET.encode() not in everything(store_path)


def test_a_path_in_a_variable_for_a_key_is_no_secret(store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.pem"
    path.touch()
    monkeypatch.setenv("TLS_KEY", str(path))
    run = one(store_path, tool(lambda: str(path), name="where", risk="read_only"))
    assert kept_of(run) == str(path)
