"""How steps stand, read from the ledger: what a failure, a skip or a stand-in means for those that need the step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agent_graph.checkpoints.leases import new_owner
from agent_graph.execution.references import MissingOutput
from agent_graph.execution.results import Results
from agent_graph.identity import EffectKey, RunId
from agent_graph.plan import Goal, Plan
from agent_graph.records import Lease, Standing
from agent_graph.testing import MemoryStore
from agent_graph.verdicts import CONDITION_FALSE, Failure, StepResult

RUN = RunId("run-1")


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with MemoryStore() as made:
        made.runs.create(RUN, Goal(text="x"), thread_id="t")
        yield made


@pytest.fixture
def lease(store: MemoryStore) -> Lease:
    return store.leases.acquire(RUN, new_owner())


def plan(*steps: dict[str, Any], version: int = 1) -> Plan:
    return Plan.model_validate({"goal": "x", "steps": [{"tool": "t", **step} for step in steps], "version": version})


def chain(on_failure: str = "replan", **more: Any) -> Plan:
    """``a``, whose failure is dealt with as named; ``b``, which may stand in; ``c``, which uses ``a``."""
    return plan({"id": "a", "on_failure": on_failure}, {"id": "b"}, {"id": "c", "args": {"x": {"$ref": "steps.a.output"}}}, **more)


def ended(
    store: MemoryStore, lease: Lease, step: str, status: str, *, output: Any = None, code: str = "", version: int = 1, state: str = "done"
) -> None:
    result = StepResult.model_validate(
        {
            "step_id": step,
            "status": status,
            "output": output,
            "error": Failure(code=code, message="m") if code else None,
            "plan_version": version,
            "finished": float(version),
        }
    )
    store.ledger.finish(lease, EffectKey(f"of {step}"), state, result, durable=False)  # type: ignore[arg-type]
    store.flush()


def results(store: MemoryStore, of: Plan) -> Results:
    return Results(store, RUN, of)


# ── the way a step leaves open ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "on_failure", "way"),
    [
        ("succeeded", "replan", "good"),
        ("skipped", "replan", "absent"),
        ("failed", "continue", "absent"),
        ("blocked", "continue", "absent"),
        ("failed", "replan", "halt"),
        ("failed", "ask", "halt"),
        ("blocked", "fail", "halt"),
        ("failed", "step:b", "open"),
        ("in_doubt", "continue", "open"),
        ("needs_clarification", "replan", "open"),
    ],
)
def test_what_the_end_of_a_step_means_for_those_that_need_it(
    store: MemoryStore, lease: Lease, status: str, on_failure: str, way: str
) -> None:
    ended(store, lease, "a", status)
    assert results(store, chain(on_failure)).way("a") == way


def test_a_step_that_has_not_run_is_open(store: MemoryStore) -> None:
    found = results(store, chain())
    assert (found.way("a"), found.status("a"), found.ended("a")) == ("open", None, False)


@pytest.mark.parametrize(("of_b", "way"), [("succeeded", "good"), ("skipped", "absent"), ("failed", "halt"), ("in_doubt", "open")])
def test_a_failed_step_is_as_good_as_what_stands_in_for_it(store: MemoryStore, lease: Lease, of_b: str, way: str) -> None:
    ended(store, lease, "a", "failed")
    ended(store, lease, "b", of_b)
    assert results(store, chain("step:b")).way("a") == way


def test_a_stand_in_may_itself_be_stood_in_for(store: MemoryStore, lease: Lease) -> None:
    ended(store, lease, "a", "failed")
    ended(store, lease, "b", "failed")
    ended(store, lease, "c", "succeeded", output=7)
    found = results(store, plan({"id": "a", "on_failure": "step:b"}, {"id": "b", "on_failure": "step:c"}, {"id": "c"}))
    assert (found.way("a"), found.output("a")) == ("good", 7)
    assert not found.halted("a")
    assert not found.halted("b")


@pytest.mark.parametrize(
    ("status", "on_failure", "halts"),
    [
        ("failed", "replan", True),
        ("blocked", "ask", True),
        ("failed", "continue", False),
        ("failed", "step:b", False),
        ("skipped", "fail", False),
        ("in_doubt", "fail", False),
    ],
)
def test_only_a_failure_that_nothing_deals_with_halts(store: MemoryStore, lease: Lease, status: str, on_failure: str, halts: bool) -> None:
    ended(store, lease, "a", status)
    assert results(store, chain(on_failure)).halted("a") is halts


# ── outputs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_output_is_read_from_the_ledger_and_from_what_just_happened(store: MemoryStore, lease: Lease) -> None:
    ended(store, lease, "a", "succeeded", output={"n": 1})
    found = results(store, chain())
    assert found.output("a") == {"n": 1}
    found.record(Standing(key=EffectKey("of b"), step_id="b", plan_version=1, state="done", status="succeeded"), {"n": 2})
    assert found.output("b") == {"n": 2}


def test_a_null_output_is_an_output(store: MemoryStore, lease: Lease) -> None:
    ended(store, lease, "a", "succeeded", output=None)
    assert results(store, chain()).output("a") is None


@pytest.mark.parametrize(
    ("status", "why"), [(None, "has not ended"), ("failed", "is failed"), ("skipped", "is skipped"), ("in_doubt", "is in_doubt")]
)
def test_a_step_without_an_output_says_why(store: MemoryStore, lease: Lease, status: str | None, why: str) -> None:
    if status is not None:
        ended(store, lease, "a", status, output="left over")
    with pytest.raises(MissingOutput, match=f"'a' has no output: it {why}"):
        results(store, chain()).output("a")


def test_a_failure_that_was_just_recorded_forgets_the_output_before(store: MemoryStore, lease: Lease) -> None:
    ended(store, lease, "a", "succeeded", output=1)
    found = results(store, chain())
    assert found.output("a") == 1
    found.record(Standing(key=EffectKey("of a"), step_id="a", plan_version=1, state="failed", status="failed"))
    with pytest.raises(MissingOutput):
        found.output("a")


def test_expressions_see_status_and_output_where_there_is_one(store: MemoryStore, lease: Lease) -> None:
    ended(store, lease, "a", "failed")
    ended(store, lease, "b", "succeeded", output=7)
    seen = results(store, chain("step:b")).view(frozenset({"a", "b", "c"}))
    assert seen == {"a": {"status": "failed", "output": 7}, "b": {"status": "succeeded", "output": 7}, "c": {"status": "pending"}}


# ── over versions ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "code", "stays"),
    [
        ("succeeded", "", True),
        ("skipped", CONDITION_FALSE, True),
        ("skipped", "upstream_missing", False),
        ("skipped", "not_needed", False),
        ("failed", "tool_failed", False),
        ("blocked", "denied_by_policy", False),
    ],
)
def test_what_stays_as_it_is_in_a_later_version(store: MemoryStore, lease: Lease, status: str, code: str, stays: bool) -> None:
    ended(store, lease, "a", status, code=code)
    found = results(store, chain(version=2))
    assert found.status("a") == (status if stays else None)
    assert found.frozen().keys() == ({"a"} if stays else set())
    assert [step.id for step in found.open_steps()] == (["b", "c"] if stays else ["a", "b", "c"])


def test_a_failure_of_this_version_counts_in_it(store: MemoryStore, lease: Lease) -> None:
    ended(store, lease, "a", "failed", version=2)
    assert results(store, chain(version=2)).status("a") == "failed"


def test_an_open_effect_is_not_an_end(store: MemoryStore, lease: Lease) -> None:
    found = results(store, chain())
    found.record(Standing(key=EffectKey("of a"), step_id="a", plan_version=1, state="intent", status=None))
    assert (found.status("a"), found.ended("a"), found.way("a")) == (None, False, "open")
    assert found.standing("a") is not None
    assert found.result("b") is None
