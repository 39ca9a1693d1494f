"""How steps are run, seen from outside: what starts when, what does not overlap, and what each way of failing leads to."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from agent_graph import Absent, AgentGraph, Approve, Landed, NotDone, Plan, Policy, Reject, ToolContext, Unknown, tool
from agent_graph.errors import StoreError
from agent_graph.plan import Step
from agent_graph.policy.limits import Limits
from agent_graph.ports import SystemClock
from agent_graph.state import Run
from agent_graph.testing import ScriptedPlanner
from agent_graph.threads import BackgroundLoop

PATIENCE = 10.0
"""Seconds that a test waits for what must happen; none waits so long unless it fails."""


class Record:
    """When calls began and ended, in the tools' own words."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._lock = threading.Lock()
        self.now = 0
        self.most = 0
        """Calls side by side, now and at most."""

    def say(self, text: str) -> None:
        with self._lock:
            self.said.append(text)

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds a call up until the test is through with it."""
    event = threading.Event()
    yield event
    event.set()


def step(step_id: str, name: str, **more: Any) -> dict[str, Any]:
    return {"id": step_id, "tool": name, **more}


def plan(*steps: dict[str, Any], **more: Any) -> Plan:
    return Plan.model_validate({"goal": "do it", "steps": steps, **more})


def run(store: Path, tools: list[Any], made: Plan, **more: Any) -> Run:
    with AgentGraph(tools, policy=Policy.allow_all(), store=store, **more) as agent:
        return agent.run(plan=made)


def outcome(done: Run, step_id: str) -> tuple[str, str | None]:
    result = done.results[step_id]
    return result.status, result.error.code if result.error else None


def output(step_id: str) -> dict[str, str]:
    return {"$ref": f"steps.{step_id}.output"}


@tool(risk="read_only")
def give(value: Any = 1) -> Any:
    return value


@tool(risk="read_only")
def fail(message: str = "no") -> str:
    raise OSError(message)


# ── what starts when ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_branch_that_is_ready_does_not_wait_for_a_slow_sibling(store_path: Path) -> None:
    branch_ended = threading.Event()

    @tool(risk="read_only")
    def slow() -> bool:
        return branch_ended.wait(PATIENCE)

    @tool(risk="read_only")
    def last() -> None:
        branch_ended.set()

    made = plan(step("slow", "slow"), step("a", "give"), step("b", "give", depends_on=["a"]), step("c", "last", depends_on=["b"]))
    assert run(store_path, [slow, last, give], made).results["slow"].output is True


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_steps_run_side_by_side_than_the_limit_allows(store_path: Path, record: Record, most: int) -> None:
    all_here = threading.Barrier(most)

    @tool(risk="read_only")
    def work(n: int) -> int:
        with record:
            all_here.wait(PATIENCE)  # broken, and with it the test, if fewer run
            return n

    done = run(store_path, [work], plan(*(step(f"s{n}", "work", args={"n": n}) for n in range(6))), limits=Limits(max_parallel=most))
    assert (done.status, record.most) == ("succeeded", most)


def test_the_longest_chain_goes_first(store_path: Path, record: Record) -> None:
    @tool(risk="read_only")
    def work(name: str) -> None:
        record.say(name)

    names = ["alone", "pair1", "pair2", "long1", "long2", "long3"]
    needs = {"pair2": "pair1", "long2": "long1", "long3": "long2"}
    made = plan(*(step(name, "work", args={"name": name}, depends_on=[needs[name]] if name in needs else []) for name in names))
    run(store_path, [work], made, limits=Limits(max_parallel=1))
    assert record.said == ["long1", "pair1", "long2", "alone", "pair2", "long3"]


def test_an_iterative_plan_is_looked_at_after_each_step(store_path: Path) -> None:
    made = plan(step("a", "give"), step("b", "give"), step("c", "fail"), mode="iterative", stop_when="steps.b.output == 1")
    done = run(store_path, [give, fail], made, limits=Limits(max_parallel=1))
    assert (done.status, set(done.results)) == ("succeeded", {"a", "b"})


def test_nothing_new_starts_while_a_failure_waits_to_be_looked_at(store_path: Path, record: Record, gate: threading.Event) -> None:
    @tool(risk="read_only")
    def failing() -> None:
        gate.wait(PATIENCE)
        raise OSError("no")

    @tool(risk="read_only")
    def other() -> None:
        gate.set()
        time.sleep(0.2)  # the failure comes meanwhile
        record.say("other")

    made = plan(step("failing", "failing"), step("other", "other"), step("after", "give", depends_on=["other"]))
    done = run(store_path, [failing, other, give], made)
    assert record.said == ["other"]  # what ran is awaited
    assert (done.status, set(done.results)) == ("failed", {"failing", "other"})


def test_nine_slow_runs_do_not_hold_up_a_tenth(store_path: Path, record: Record, gate: threading.Event) -> None:
    @tool(risk="read_only")
    def slow() -> bool:
        record.say("slow")
        return gate.wait(PATIENCE)

    with AgentGraph([slow, give], policy=Policy.allow_all(), store=store_path) as agent:

        async def all_of_them() -> tuple[str, list[str]]:
            slow_ones = [asyncio.create_task(agent.arun(plan=plan(step("a", "slow")))) for _ in range(9)]
            while len(record.said) < 9:  # noqa: ASYNC110  # nine threads set no event
                await asyncio.sleep(0.01)
            tenth = await agent.arun(plan=plan(step("b", "give")))
            assert not any(each.done() for each in slow_ones)
            gate.set()
            return tenth.status, [(await each).status for each in slow_ones]

        assert asyncio.run(all_of_them()) == ("succeeded", ["succeeded"] * 9)


# ── sync and async tools ──────────────────────────────────────────────────────────────────────────────────────────────


def mixed(record: Record) -> list[Any]:
    @tool(risk="read_only")
    def plain(x: int) -> int:
        record.say(threading.current_thread().name)
        return x + 1

    @tool(risk="read_only")
    async def coroutine(x: int) -> int:
        await asyncio.sleep(0)
        record.say("on the loop of the caller" if asyncio.get_running_loop() is not BackgroundLoop.get() else "on our own loop")
        return x + 1

    return [plain, coroutine]


MIXED = plan(
    step("a", "plain", args={"x": 1}),
    step("b", "coroutine", args={"x": output("a")}),
    step("c", "plain", args={"x": output("b")}),
    step("d", "coroutine", args={"x": output("c")}),
)


def test_sync_and_async_tools_mix_under_run(store_path: Path, record: Record) -> None:
    assert run(store_path, mixed(record), MIXED).answer == 5
    assert record.said[1::2] == ["on our own loop"] * 2


def test_sync_and_async_tools_mix_under_arun_and_async_ones_run_on_the_callers_loop(store_path: Path, record: Record) -> None:
    with AgentGraph(mixed(record), policy=Policy.allow_all(), store=store_path) as agent:
        assert asyncio.run(agent.arun(plan=MIXED)).answer == 5
    assert record.said[1::2] == ["on the loop of the caller"] * 2
    assert "MainThread" not in record.said


def test_async_tools_run_side_by_side(store_path: Path) -> None:
    both: list[asyncio.Event] = []

    @tool(risk="read_only")
    async def meet() -> bool:
        both.append(asyncio.Event())
        for _ in range(1000):
            if len(both) == 2:
                return True
            await asyncio.sleep(0.005)
        return False

    done = run(store_path, [meet], plan(step("a", "meet"), step("b", "meet")))
    assert (done.results["a"].output, done.results["b"].output) == (True, True)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_inside_a_running_loop_works(store_path: Path, record: Record, asynchronous: bool) -> None:
    with AgentGraph(mixed(record), policy=Policy.allow_all(), store=store_path) as agent:

        async def inside() -> Any:
            return (await agent.arun(plan=MIXED)).answer if asynchronous else agent.run(plan=MIXED).answer

        assert asyncio.run(inside()) == 5


def test_an_async_tool_that_cancels_itself_has_failed(store_path: Path) -> None:
    @tool(risk="read_only")
    async def cancelled() -> None:
        raise asyncio.CancelledError

    assert outcome(run(store_path, [cancelled], plan(step("a", "cancelled"))), "a") == ("failed", "tool_failed")


# ── deadlines ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_read_that_takes_too_long_fails_and_is_not_waited_for(store_path: Path, gate: threading.Event) -> None:
    @tool(risk="read_only", timeout=0.1)
    def hang() -> None:
        gate.wait(PATIENCE)

    began = time.monotonic()
    done = run(store_path, [hang], plan(step("a", "hang")))
    assert time.monotonic() - began < PATIENCE / 2
    assert outcome(done, "a") == ("failed", "timeout")
    assert done.error is not None
    assert (done.error.code, done.error.cause) == ("timeout", "tool")


def test_an_async_read_that_takes_too_long_is_cancelled(store_path: Path, record: Record) -> None:
    @tool(risk="read_only", timeout=0.1)
    async def hang() -> None:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            record.say("cancelled")
            raise

    done = run(store_path, [hang], plan(step("a", "hang")))
    assert outcome(done, "a") == ("failed", "timeout")
    while not record.said:
        time.sleep(0.01)
    assert record.said == ["cancelled"]


def test_a_step_may_shorten_the_time_of_its_tool(store_path: Path, gate: threading.Event) -> None:
    @tool(risk="read_only", timeout=PATIENCE)
    def hang() -> None:
        gate.wait(PATIENCE)

    done = run(store_path, [hang], plan(step("a", "hang", timeout_s=0.1)))
    assert "no answer within 0.1 s" in (done.results["a"].error or pytest.fail("no error")).message


def test_a_time_out_of_the_tools_own_is_its_failure_and_not_ours(store_path: Path) -> None:
    @tool(risk="read_only")
    async def gives_up() -> None:
        raise TimeoutError("the far side said nothing")

    assert outcome(run(store_path, [gives_up], plan(step("a", "gives_up"))), "a") == ("failed", "tool_failed")


def test_other_steps_go_on_while_a_call_is_given_up(store_path: Path, gate: threading.Event) -> None:
    @tool(risk="read_only", timeout=0.1)
    def hang() -> None:
        gate.wait(PATIENCE)

    made = plan(step("a", "hang", on_failure="continue"), step("b", "give"), step("c", "give", depends_on=["a", "b"]))
    done = run(store_path, [hang, give], made, limits=Limits(max_parallel=1))
    assert [outcome(done, each)[0] for each in "abc"] == ["failed", "succeeded", "succeeded"]


def test_an_answer_that_comes_too_late_changes_nothing(store_path: Path, gate: threading.Event) -> None:
    came = threading.Event()

    @tool(risk="read_only", timeout=0.1)
    def late() -> str:
        gate.wait(PATIENCE)
        came.set()
        return "late"

    @tool(risk="read_only")
    def release() -> bool:
        gate.set()
        return came.wait(PATIENCE)

    made = plan(step("a", "late", on_failure="continue"), step("b", "release", depends_on=["a"]))
    done = run(store_path, [late, release], made)
    assert (outcome(done, "a"), done.results["a"].output, done.status) == (("failed", "timeout"), None, "succeeded")


@pytest.mark.parametrize(
    ("says", "status", "calls"), [(Landed("it is there"), "succeeded", 1), (Unknown("who knows"), "paused", 1), (Absent(), "paused", 1)]
)
def test_a_write_that_takes_too_long_asks_its_probe(
    store_path: Path, record: Record, gate: threading.Event, says: Any, status: str, calls: int
) -> None:
    @tool(risk="write", timeout=0.1, probe=lambda: says)
    def write() -> str:
        record.say("write")
        if len(record.said) == 1:
            gate.wait(PATIENCE)
        return "written"

    done = run(store_path, [write], plan(step("a", "write", max_attempts=2)))
    assert (done.status, len(record.said)) == (status, calls)
    if says == Landed("it is there"):
        assert done.answer == "it is there"


def test_a_call_that_was_left_behind_is_waited_for_before_the_next_of_its_tool(store_path: Path, record: Record) -> None:
    now = most = 0

    @tool(risk="write", timeout=0.1, recovery="idempotent")
    def write() -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        record.say("write")
        if len(record.said) == 1:
            time.sleep(0.15)
        now -= 1
        return "written"

    done = run(store_path, [write], plan(step("a", "write")))
    assert (done.status, len(record.said), most) == ("succeeded", 2, 1)


def test_a_blind_write_that_takes_too_long_is_in_doubt_and_a_person_is_asked(
    store_path: Path, record: Record, gate: threading.Event
) -> None:
    @tool(risk="write", timeout=0.1)
    def write() -> None:
        record.say("write")
        gate.wait(PATIENCE)

    done = run(store_path, [write], plan(step("a", "write", max_attempts=3)))
    assert (done.status, outcome(done, "a"), record.said) == ("paused", ("in_doubt", "in_doubt"), ["write"])
    (request,) = done.requests
    assert (request.kind, request.tool) == ("in_doubt", "write")


@pytest.mark.parametrize("recovery", ["idempotent", "keyed"])
def test_a_write_that_may_be_sent_again_is_with_the_same_key(store_path: Path, record: Record, recovery: Any) -> None:
    @tool(risk="write", recovery=recovery)
    def write(ctx: ToolContext) -> str:
        record.say(ctx.idempotency_key)
        if len(record.said) < 3:
            raise ConnectionError("the line went dead")
        return "written"

    done = run(store_path, [write], plan(step("a", "write")))
    assert (done.answer, len(record.said), len(set(record.said))) == ("written", 3, 1)


# ── what does not overlap ─────────────────────────────────────────────────────────────────────────────────────────────


def writers(record: Record, *, parallel: bool) -> list[Any]:
    @tool(risk="write", recovery="idempotent", parallel=parallel)
    def write(n: int) -> int:
        with record:
            time.sleep(0.05)
            return n

    return [write]


MANY_WRITES = plan(*(step(f"s{n}", "write", args={"n": n}) for n in range(5)))


def test_calls_of_one_tool_that_changes_something_never_overlap(store_path: Path, record: Record) -> None:
    assert run(store_path, writers(record, parallel=False), MANY_WRITES).status == "succeeded"
    assert record.most == 1


def test_calls_of_a_tool_that_is_declared_parallel_do(store_path: Path, record: Record) -> None:
    assert run(store_path, writers(record, parallel=True), MANY_WRITES).status == "succeeded"
    assert record.most > 1


def test_two_tools_that_change_something_do_not_hold_each_other_up(store_path: Path) -> None:
    met = threading.Barrier(2)

    @tool(risk="write", recovery="idempotent")
    def one() -> None:
        met.wait(PATIENCE)

    @tool(risk="write", recovery="idempotent")
    def two() -> None:
        met.wait(PATIENCE)

    assert run(store_path, [one, two], plan(step("a", "one"), step("b", "two"))).status == "succeeded"


def test_a_tool_that_is_busy_does_not_hold_up_what_stands_behind_it(store_path: Path, gate: threading.Event) -> None:
    @tool(risk="write", recovery="idempotent")
    def write() -> bool:
        return gate.wait(PATIENCE)

    @tool(risk="read_only")
    def read() -> None:
        gate.set()

    made = plan(step("a", "write"), step("b", "write"), step("c", "read"))
    assert run(store_path, [write, read], made, limits=Limits(max_parallel=2)).results["a"].output is True


# ── what a failure leads to ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_that_may_be_passed_over_skips_only_what_uses_its_output(store_path: Path) -> None:
    made = plan(
        step("a", "fail", on_failure="continue"),
        step("after", "give", depends_on=["a"]),
        step("uses", "give", args={"value": output("a")}),
        step("uses_that", "give", args={"value": output("uses")}),
    )
    done = run(store_path, [give, fail], made)
    assert {each: outcome(done, each) for each in done.results} == {
        "a": ("failed", "tool_failed"),
        "after": ("succeeded", None),
        "uses": ("skipped", "upstream_missing"),
        "uses_that": ("skipped", "upstream_missing"),
    }
    assert done.status == "succeeded"


def test_a_stand_in_runs_only_when_it_is_needed_and_its_output_stands_in(store_path: Path) -> None:
    def with_first(name: str) -> Plan:
        return plan(
            step("first", name, on_failure="step:instead"),
            step("instead", "give", args={"value": "instead"}),
            step("uses", "give", args={"value": output("first")}),
        )

    failed = run(store_path, [give, fail], with_first("fail"))
    assert (failed.status, failed.answer, outcome(failed, "first")) == ("succeeded", "instead", ("failed", "tool_failed"))
    fine = run(store_path, [give, fail], with_first("give"))
    assert (fine.status, fine.answer, outcome(fine, "instead")) == ("succeeded", 1, ("skipped", "not_needed"))


def test_a_stand_in_of_a_stand_in_is_waited_for(store_path: Path) -> None:
    @tool(risk="read_only")
    def slow() -> int:
        time.sleep(0.2)
        return 7

    made = plan(
        step("a", "fail", on_failure="step:b"),
        step("b", "fail", on_failure="step:c"),
        step("c", "slow"),
        step("uses", "give", args={"value": output("a")}),
    )
    done = run(store_path, [give, fail, slow], made)
    assert outcome(done, "uses") == ("succeeded", None)
    assert done.results["uses"].output == 7


def test_a_failure_that_ends_the_run_ends_it_with_its_reason(store_path: Path) -> None:
    done = run(store_path, [fail], plan(step("a", "fail", on_failure="fail", args={"message": "the disk is gone"})))
    assert done.status == "failed"
    assert done.error is not None
    assert (done.error.code, done.error.cause, done.error.step_id) == ("tool_failed", "tool", "a")
    assert "OSError: the disk is gone" in done.error.message


def test_a_failure_can_be_asked_about_and_tried_again(store_path: Path, record: Record) -> None:
    @tool(risk="read_only")
    def flaky() -> str:
        record.say("call")
        if len(record.said) == 1:
            raise OSError("not yet")
        return "now"

    with AgentGraph([flaky], policy=Policy.allow_all(), store=store_path) as agent:
        waiting = agent.run(plan=plan(step("a", "flaky", on_failure="ask")))
        assert (waiting.status, waiting.requests[0].kind) == ("paused", "question")
        assert "not yet" in waiting.requests[0].reason
        assert agent.resume(waiting, Approve()).answer == "now"


def test_a_failure_can_be_asked_about_and_given_up(store_path: Path) -> None:
    with AgentGraph([fail], policy=Policy.allow_all(), store=store_path) as agent:
        done = agent.resume(agent.run(plan=plan(step("a", "fail", on_failure="ask"))), Reject(reason="leave it"))
        assert done.error is not None
        assert (done.status, done.error.code) == ("failed", "rejected")


@pytest.mark.parametrize(("attempts", "status"), [(1, "failed"), (2, "failed"), (3, "succeeded")])
def test_a_read_is_tried_as_often_as_its_step_says(store_path: Path, record: Record, attempts: int, status: str) -> None:
    @tool(risk="read_only")
    def flaky() -> str:
        record.say("call")
        if len(record.said) < 3:
            raise OSError("not yet")
        return "now"

    done = run(store_path, [flaky], plan(step("a", "flaky", max_attempts=attempts)))
    assert (done.results["a"].status, done.results["a"].attempts, len(record.said)) == (status, attempts, attempts)


@pytest.mark.parametrize("declared", [{}, {"recovery": "idempotent"}], ids=["blind", "idempotent"])
def test_a_write_that_certainly_did_not_happen_is_tried_as_often_as_its_step_says(store_path: Path, record: Record, declared: Any) -> None:
    @tool(risk="write", **declared)
    def write() -> str:
        record.say("call")
        raise NotDone("the desk is closed")

    done = run(store_path, [write], plan(step("a", "write", max_attempts=2)))
    assert (done.status, outcome(done, "a"), len(record.said)) == ("failed", ("failed", "tool_failed"), 2)


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()], ids=lambda each: type(each).__name__
)
def test_whatever_a_tool_raises_is_its_steps_failure_and_not_ours(store_path: Path, error: BaseException) -> None:
    @tool(risk="read_only")
    def raises() -> None:
        raise error

    done = run(store_path, [raises, give], plan(step("a", "raises", on_failure="continue"), step("b", "give")))
    assert (done.status, outcome(done, "a"), outcome(done, "b")) == ("succeeded", ("failed", "tool_failed"), ("succeeded", None))
    assert type(error).__name__ in (done.results["a"].error or pytest.fail("no error")).message


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [OSError("half \ud800 a character"), Unspeakable()], ids=["half a character", "without words"])
def test_an_error_that_cannot_be_told_is_its_steps_failure_all_the_same(store_path: Path, error: Exception) -> None:
    @tool(risk="read_only")
    def raises() -> None:
        raise error

    assert outcome(run(store_path, [raises], plan(step("a", "raises"))), "a") == ("failed", "tool_failed")


def test_a_tool_that_changes_its_arguments_changes_nothing_but_its_own(store_path: Path) -> None:
    @tool(risk="read_only")
    def change(value: Any) -> int:
        value["list"].append("changed")
        return len(value["list"])

    made = plan(
        step("a", "give", args={"value": {"list": [1]}}),
        step("b", "change", args={"value": output("a")}),
        step("c", "give", args={"value": output("a")}, depends_on=["b"]),
    )
    assert run(store_path, [give, change], made).results["c"].output == {"list": [1]}


def test_once_the_plan_may_stop_the_remaining_steps_are_not_run(store_path: Path, record: Record) -> None:
    @tool(risk="read_only")
    def work(name: str) -> str:
        record.say(name)
        return name

    made = plan(
        step("a", "work", args={"name": "a"}),
        step("b", "work", args={"name": "b"}, depends_on=["a"]),
        step("c", "work", args={"name": "c"}, depends_on=["b"]),
        stop_when="steps.a.output == 'a'",
    )
    assert run(store_path, [work], made).status == "succeeded"
    assert record.said == ["a"]


def hanging() -> Absent:
    time.sleep(PATIENCE * 10)
    return Absent()


def exiting() -> Absent:
    raise SystemExit(3)


@pytest.mark.parametrize("probe", [hanging, exiting])
def test_a_probe_that_says_nothing_leaves_the_effect_in_doubt(store_path: Path, probe: Callable[[], Absent]) -> None:
    @tool(risk="write", timeout=0.1, probe=probe)
    def write() -> None:
        raise OSError("the line went dead")

    came: list[Any] = []

    def drive() -> None:
        try:
            came.append(run(store_path, [write], plan(step("a", "write"))).status)
        except BaseException as error:
            came.append(error)

    driving = threading.Thread(target=drive, daemon=True)
    driving.start()
    driving.join(2)
    assert came == ["paused"]


def test_what_is_in_flight_is_recorded_although_the_lease_could_not_be_renewed(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fast(SystemClock):
        def monotonic(self) -> float:
            return time.monotonic() * 200  # the lease is renewed after a tenth of a second

    @tool(risk="write", timeout=1e6)
    def write() -> str:
        time.sleep(1.2)  # the coordinator looks once a second
        return "written"

    def locked(_: Any) -> None:
        raise StoreError("locked by another process")

    with AgentGraph([write], policy=Policy.allow_all(), store=store_path, clock=Fast()) as agent:
        monkeypatch.setattr(agent.store.leases, "renew", locked)
        done = agent.run(plan=plan(step("a", "write")))
        assert (done.status, done.results["a"].output, done.results["a"].attempts) == ("succeeded", "written", 1)


def test_a_write_that_certainly_did_not_happen_is_not_in_doubt_after_a_stop_between_attempts(store_path: Path, record: Record) -> None:
    @tool(risk="write")
    def write() -> str:
        record.say("call")
        if len(record.said) == 1:
            raise NotDone("the desk is closed")
        return "written"

    with AgentGraph([write], policy=Policy.allow_all(), store=store_path) as agent:
        events = agent.stream(plan=plan(step("a", "write", max_attempts=3)))
        for event in events:
            if event.kind == "step_started":
                time.sleep(0.03)  # the first attempt is over, and its pause is not
                break
        cast("Generator[Any]", events).close()
        assert agent.resume(agent.runs()[0].id).answer == "written"


# ── what is open when the plan changes ────────────────────────────────────────────────────────────────────────────────


def test_what_did_not_happen_is_sent_as_the_newest_plan_says(store_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_graph.execution.step.BACKOFF", 5.0)

    @tool(risk="external_communication")
    def send(to: str) -> str:
        record.say(to)
        if len(record.said) == 1:
            raise NotDone("the desk is closed")
        return to

    first = plan(step("a", "send", args={"to": "ann"}, max_attempts=3), step("b", "fail"))
    second = plan(step("a", "send", args={"to": "bob"}))
    with AgentGraph([send, fail], planner=ScriptedPlanner(first, second), policy=Policy.allow_all(), store=store_path) as agent:
        events = agent.stream("tell them")
        for event in events:
            if event.kind == "step_finished":
                while not record.said:
                    time.sleep(0.01)
                break
        cast("Generator[Any]", events).close()
        done = agent.resume(agent.runs()[0].id)
    assert (done.status, record.said) == ("succeeded", ["ann", "bob"])


DIES = """
import os, sys, time
from agent_graph import AgentGraph, Plan, Policy, Step, tool
from agent_graph.testing import ScriptedPlanner

@tool(risk="write")
def write() -> str:
    time.sleep(0.5)   # until the failure of the other is on record
    os._exit(9)

@tool(risk="read_only")
def fail() -> str:
    raise OSError("no")

made = Plan(goal="x", steps=(Step(id="a", tool="write"), Step(id="b", tool="fail")))
AgentGraph([write, fail], planner=ScriptedPlanner(made), policy=Policy.allow_all(), store=sys.argv[1]).run("x")
"""


def test_an_effect_that_was_cut_off_is_not_forgotten_when_the_plan_changes(store_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", DIES, str(store_path)], check=False).returncode == 9

    @tool(risk="write")
    def write() -> str:
        return "written"

    with AgentGraph(
        [write, fail, give], planner=ScriptedPlanner(plan(step("c", "give"))), policy=Policy.allow_all(), store=store_path
    ) as agent:
        done = agent.resume(agent.runs()[0].id)
    assert (done.status, [(request.kind, request.step_id) for request in done.requests]) == ("paused", [("in_doubt", "a")])


# ── conditions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_condition_that_is_false_skips_the_step_and_what_uses_it_but_not_what_comes_after(store_path: Path, record: Record) -> None:
    @tool(risk="read_only")
    def never() -> None:
        record.say("called")

    made = plan(
        step("a", "give"),
        step("b", "never", when="steps.a.output > 1"),
        step("after", "give", depends_on=["b"]),
        step("uses", "give", args={"value": output("b")}),
    )
    done = run(store_path, [give, never], made)
    assert (done.status, record.said) == ("succeeded", [])
    assert [outcome(done, each) for each in ("b", "after", "uses")] == [
        ("skipped", "condition_false"),
        ("succeeded", None),
        ("skipped", "upstream_missing"),
    ]


@pytest.mark.parametrize("condition", ["steps.a.output.n > 1", "1 / 0 == 1"])
def test_a_condition_that_cannot_be_evaluated_blocks_its_step(store_path: Path, condition: str) -> None:
    done = run(store_path, [give], plan(step("a", "give"), step("b", "give", when=condition)))
    assert (done.status, outcome(done, "b")) == ("failed", ("blocked", "condition_failed"))


def test_a_condition_may_look_at_how_a_step_ended(store_path: Path) -> None:
    made = plan(step("a", "fail", on_failure="continue"), step("b", "give", when="steps.a.status == 'failed'"), answer=output("b"))
    assert run(store_path, [give, fail], made).answer == 1


# ── outputs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_output_that_is_too_large_fails_its_step_and_is_not_kept_whole(store_path: Path) -> None:
    done = run(store_path, [give], plan(step("a", "give", args={"value": "x" * 5000})), limits=Limits(max_output_bytes=1024))
    assert outcome(done, "a") == ("failed", "output_too_large")
    kept = done.results["a"].output
    assert isinstance(kept, dict)
    assert (kept["truncated"], kept["bytes"]) == (True, 5002)


def test_an_output_of_another_type_than_declared_fails_its_step(store_path: Path) -> None:
    @tool(risk="read_only")
    def count() -> int:
        return "many"  # type: ignore[return-value]

    done = run(store_path, [count], plan(step("a", "count")))
    assert outcome(done, "a") == ("failed", "unexpected_output")


def test_an_output_that_its_step_did_not_expect_fails_it(store_path: Path) -> None:
    done = run(store_path, [give], plan(step("a", "give", expected_output={"type": "string"})))
    assert outcome(done, "a") == ("failed", "unexpected_output")
    assert '1 is not of type "string"' in (done.results["a"].error or pytest.fail("no error")).message


def test_a_criterion_that_does_not_hold_fails_the_step_with_its_evidence(store_path: Path) -> None:
    done = run(store_path, [give], plan(step("a", "give", success_criteria=["output > 0", "output > 1"])))
    assert outcome(done, "a") == ("failed", "criteria_unmet")
    assert [(each.holds, each.values) for each in done.results["a"].evidence] == [(True, {"output": 1}), (False, {"output": 1})]


def circle() -> list[Any]:
    value: list[Any] = []
    value += [value, value]
    return value


AWKWARD: dict[str, Callable[[], Any]] = {
    "NaN": lambda: math.nan,
    "huge number": lambda: 10**5000,
    "bytes": lambda: b"\xff",
    "half a character": lambda: "\ud800",
    "circle": circle,
    "generator": lambda: (n for n in range(3)),
    "deep": lambda: eval("[" * 150 + "]" * 150),  # noqa: S307
    "module": lambda: sys,
}


@pytest.mark.parametrize("name", AWKWARD)
def test_an_awkward_output_never_loses_the_outcome(store_path: Path, name: str) -> None:
    @tool(risk="write")
    def awkward() -> Any:
        return AWKWARD[name]()

    done = run(store_path, [awkward], plan(step("a", "awkward")))
    assert (done.status, done.results["a"].status, done.results["a"].landed) == ("succeeded", "succeeded", True)


def test_a_plan_of_no_steps_gives_its_answer(store_path: Path) -> None:
    assert run(store_path, [], Plan(goal="what is it?", answer=42)).answer == 42


def test_a_chain_as_long_as_the_limit_runs_in_order(store_path: Path) -> None:
    steps = [Step(id="s0", tool="give", args={"value": 0})]
    steps += [Step(id=f"s{n}", tool="give", args={"value": output(f"s{n - 1}")}) for n in range(1, 100)]
    done = run(store_path, [give], Plan(goal="x", steps=tuple(steps)), limits=Limits(max_steps=100))
    assert (done.status, done.answer, len(done.results)) == ("succeeded", 0, 100)
