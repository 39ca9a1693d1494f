"""A read with a ``ttl`` is given again to the same call, and never where that would be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, InvalidPlan, Limits, Plan, Policy, Rule, Run, Step, tool
from agent_graph.errors import InvalidToolError
from agent_graph.events import Note
from agent_graph.execution.reads import KeptRead, ReadCache
from agent_graph.testing import FakeClock

CALLS: list[Any] = []
TICKING: list[FakeClock] = []
STORED = {"text": "old"}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()
    STORED["text"] = "old"


def tick() -> None:
    for clock in TICKING:
        clock.advance(1)


@tool(risk="read_only", ttl=60)
def read(name: str = "x") -> dict[str, Any]:
    """Reads."""
    CALLS.append(name)
    tick()
    return {"text": STORED["text"], "call": len(CALLS)}


@tool(risk="read_only")
def uncached(name: str = "x") -> dict[str, Any]:
    """Reads each time."""
    CALLS.append(name)
    tick()
    return {"call": len(CALLS)}


@tool(risk="write", recovery="idempotent")
def write(text: str) -> str:
    """Writes."""
    STORED["text"] = text
    tick()
    return text


@tool(risk="read_only", ttl=60)
def broken() -> str:
    """Fails."""
    CALLS.append("broken")
    raise ValueError("out of order")


def agent(tmp_path: Path, clock: FakeClock | None = None, **more: Any) -> AgentGraph:
    return AgentGraph(
        [read, uncached, write, broken],
        policy=more.pop("policy", Policy.allow_all()),
        store=tmp_path / "runs.db",
        limits=more.pop("limits", Limits(max_parallel=1)),
        clock=clock or FakeClock(),
        **more,
    )


def run(here: AgentGraph, *steps: Step, **more: Any) -> Run:
    return here.run(plan=Plan(goal="read", steps=steps or (Step(id="a", tool="read"),)), **more)


def text(done: Run, step: str) -> Any:
    output = done.results[step].output
    assert isinstance(output, dict)
    return output["text"]


def test_the_same_call_is_not_made_again_while_its_ttl_lasts(tmp_path: Path) -> None:
    clock = FakeClock()
    with agent(tmp_path, clock) as here:
        first = run(here)
        clock.advance(59)
        again = run(here)
        assert again.results["a"].output == first.results["a"].output
        assert CALLS == ["x"]
        clock.advance(2)
        run(here)
        assert CALLS == ["x", "x"]


def test_the_result_and_the_trace_say_that_it_was_given_again_and_how_old_it_is(tmp_path: Path) -> None:
    clock = FakeClock()
    with agent(tmp_path, clock) as here:
        first = run(here).results["a"]
        clock.advance(12)
        again = run(here)
        result = again.results["a"]
        assert result.provenance is not None
        assert (result.provenance.as_of, result.attempts) == (first.started, 0)
        (said,) = [event.message for event in here.trace(again.id) if isinstance(event, Note)]
        assert said == "given again from a call 12.0 s ago, within the ttl of read (60 s): no call was made"


def test_what_a_result_says_of_its_age_is_read_back_from_the_store(tmp_path: Path) -> None:
    clock = FakeClock()
    with agent(tmp_path, clock) as here:
        run(here)
        clock.advance(5)
        again = run(here)
    with agent(tmp_path, clock) as other:
        provenance = other.get(again.id).results["a"].provenance
        assert provenance is not None
        assert provenance.as_of == again.created - 5


@pytest.mark.parametrize("change", [{"args": {"name": "y"}}, {"tool": "uncached"}])
def test_another_call_is_another_call(tmp_path: Path, change: dict[str, Any]) -> None:
    with agent(tmp_path) as here:
        run(here)
        run(here, Step.model_validate({"id": "a", "tool": "read", **change}))
        assert len(CALLS) == 2


def test_nobody_is_given_what_was_read_for_somebody_else(tmp_path: Path) -> None:
    with agent(tmp_path) as here:
        run(here, principal="ann")
        run(here, principal="bob")
        assert len(CALLS) == 2


def test_another_agent_reads_for_itself(tmp_path: Path) -> None:
    with agent(tmp_path) as one, agent(tmp_path) as other:
        run(one)
        run(other)
        assert len(CALLS) == 2


@pytest.fixture
def ticking() -> Iterator[FakeClock]:
    """Each call takes a second."""
    TICKING.append(FakeClock())
    yield TICKING[0]
    TICKING.clear()


def test_a_read_after_a_write_of_its_run_sees_what_was_written(tmp_path: Path, ticking: FakeClock) -> None:
    with agent(tmp_path, ticking) as here:
        done = run(
            here,
            Step(id="before", tool="read"),
            Step(id="change", tool="write", args={"text": "new"}, depends_on=("before",)),
            Step(id="between", tool="uncached", depends_on=("change",)),
            Step(id="after", tool="read", depends_on=("between",)),
            Step(id="last", tool="read", depends_on=("after",)),
        )
        assert [text(done, step) for step in ("before", "after", "last")] == ["old", "new", "new"]
        assert done.results["last"].attempts == 0  # it may have what was read after the write


def test_a_read_after_a_write_that_another_agent_made_for_the_run_sees_it(tmp_path: Path, ticking: FakeClock) -> None:
    ask = Policy(rules=(Rule(verdict="allow"), Rule(verdict="ask", tools=("uncached",))))
    with agent(tmp_path, ticking) as here, agent(tmp_path, ticking, policy=ask) as other:
        run(here)  # here keeps what was read
        waits = run(
            other,
            Step(id="change", tool="write", args={"text": "new"}),
            Step(id="wait", tool="uncached", args={"name": {"$ref": "steps.change.output"}}),
            Step(id="after", tool="read", depends_on=("wait",)),
        )
        assert (waits.status, STORED["text"]) == ("paused", "new")
        assert text(here.resume(waits, Approve()), "after") == "new"


def test_what_another_run_writes_is_seen_when_the_ttl_is_over(tmp_path: Path, ticking: FakeClock) -> None:
    with agent(tmp_path, ticking) as here:
        run(here)
        run(here, Step(id="change", tool="write", args={"text": "new"}))
        assert text(run(here), "a") == "old"
        ticking.advance(60)
        assert text(run(here), "a") == "new"


def test_inputs_that_must_be_fresh_are_not_taken_from_a_call_that_is_older(tmp_path: Path) -> None:
    clock = FakeClock()
    with agent(tmp_path, clock) as here:
        run(here)
        clock.advance(30)
        use = Step(id="use", tool="write", args={"text": {"$ref": "steps.a.output.text"}}, max_age_s=10)
        STORED["text"] = "newer"
        done = run(here, Step(id="a", tool="read"), use)
        assert done.results["use"].output == "newer"
        assert len(CALLS) == 2


def test_a_call_that_the_policy_denies_is_not_given_what_was_read_before(tmp_path: Path) -> None:
    deny = Rule(verdict="deny", tools=("read",), when="now > timestamp('2023-11-14T22:13:50Z')", reason="no more")
    clock = FakeClock()
    with agent(tmp_path, clock, policy=Policy(rules=(Rule(verdict="allow"), deny))) as here:
        run(here)
        clock.advance(40)
        with pytest.raises(InvalidPlan, match="no more"):
            run(here)


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    with agent(tmp_path) as here:
        run(here, Step(id="a", tool="broken", on_failure="continue"))
        run(here, Step(id="a", tool="broken", on_failure="continue"))
        assert CALLS == ["broken", "broken"]


def test_what_did_not_meet_its_steps_criteria_is_not_kept(tmp_path: Path) -> None:
    with agent(tmp_path) as here:
        run(here, Step(id="a", tool="read", success_criteria=("output.call > 1",), on_failure="continue"))
        assert run(here, Step(id="a", tool="read", success_criteria=("output.call > 1",))).status == "succeeded"


def test_each_step_holds_what_it_is_given_against_its_own_criteria(tmp_path: Path) -> None:
    with agent(tmp_path) as here:
        run(here)
        again = run(here, Step(id="a", tool="read", success_criteria=("output.call > 1",)))
        assert again.status == "failed"
        assert len(CALLS) == 1


def test_a_read_that_is_given_again_counts_as_no_call(tmp_path: Path) -> None:
    with agent(tmp_path, limits=Limits(max_calls=1, max_parallel=1)) as here:
        done = run(here, Step(id="a", tool="read"), Step(id="b", tool="read", when="steps.a.status == 'succeeded'"))
        assert (done.status, CALLS) == ("succeeded", ["x"])


def test_a_change_has_no_ttl() -> None:
    with pytest.raises(InvalidToolError, match="ttl is for read_only tools"):
        tool(lambda ctx, **_: None, name="t", args_schema={"type": "object"}, risk="write", ttl=5)


@pytest.mark.parametrize("ttl", [0, -1, float("inf")])
def test_a_ttl_is_some_seconds(ttl: float) -> None:
    with pytest.raises(InvalidToolError, match="ttl is seconds"):
        tool(lambda ctx, **_: None, name="t", args_schema={"type": "object"}, risk="read_only", ttl=ttl)


def test_the_longest_unused_are_forgotten_first() -> None:
    kept = ReadCache(max_reads=2)
    for name in ("a", "b"):
        kept.put(name, KeptRead(value=name, at=1.0, begun=1.0))
    kept.get("a", 0.0)
    kept.put("c", KeptRead(value="c", at=1.0, begun=1.0))
    assert [kept.get(name, 0.0) is not None for name in "abc"] == [True, False, True]


def test_what_is_kept_has_a_size() -> None:
    kept = ReadCache(max_bytes=100)
    for name in ("a", "b", "c"):
        kept.put(name, KeptRead(value="x" * 40, at=1.0, begun=1.0))
    assert len(kept) == 2
    kept.put("d", KeptRead(value="x" * 200, at=1.0, begun=1.0))
    assert kept.get("d", 0.0) is None
