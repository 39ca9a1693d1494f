"""The contract of ``ports.Store``: what every store must do, whatever it keeps its rows in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest

from agent_graph.checkpoints.leases import DURATION, new_owner
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import ApprovalMissing, CancelAsked, DecisionConflict, LeaseLost, NothingPending, RunBusy, StoreError, UnknownRun
from agent_graph.events import (
    AnyEvent,
    Decided,
    Done,
    Drafted,
    Event,
    IssueFound,
    Note,
    Observed,
    PlanMade,
    Replanned,
    Revised,
    RunStarted,
    StepFinished,
    StepStarted,
    Token,
    Waiting,
)
from agent_graph.identity import Digest, EffectKey, RequestId, RunId, StepId, call_digest, effect_key
from agent_graph.plan import Goal, Plan, Step
from agent_graph.ports import Store
from agent_graph.records import Fence, Intent, Lease, Owner
from agent_graph.state import StoredStatus
from agent_graph.testing import FakeClock, MemoryStore
from agent_graph.trace.diagnosis import diagnose
from agent_graph.verdicts import (
    Approve,
    Call,
    Edit,
    Evidence,
    Failure,
    Observation,
    Provenance,
    Reject,
    Report,
    Request,
    Resolve,
    Respond,
    StepResult,
)

RUN = RunId("run-1")
DAY = 86_400.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["sqlite", "sealed", "memory"])
def store(request: pytest.FixtureRequest, clock: FakeClock, store_path: Path) -> Iterator[Store]:
    """``sealed``: with a key, so that each row carries an HMAC."""
    match request.param:
        case "sealed":
            made = SqliteStore(store_path, clock=clock, key="k" * 40)
        case "sqlite":
            made = SqliteStore(store_path, clock=clock)
        case _:
            made = MemoryStore(clock=clock)
    with made:
        yield made


@pytest.fixture
def lease(store: Store) -> Lease:
    """Of a run that is there."""
    store.runs.create(RUN, Goal(text="tell them"), thread_id="thread-1")
    return store.leases.acquire(RUN, new_owner())


def plan(version: int = 1, **more: Any) -> Plan:
    return Plan.model_validate(
        {"goal": "tell them", "steps": [{"id": "send", "tool": "send", "args": {"to": "ann"}}], "version": version, **more}
    )


def call(to: str = "ann") -> Call:
    bound = call_digest(RUN, StepId("send"), "send", "schema", {"to": to})
    return Call(step_id="send", tool="send", args={"to": to}, risk="write", digest=bound)


def asked(request_id: str = "request-1", *, to: str = "ann", at: float = 1.0, **more: Any) -> Request:
    shown = call(to)
    fields: dict[str, Any] = {
        "id": request_id,
        "run_id": RUN,
        "kind": "step",
        "digest": shown.digest,
        "reason": "policy asks",
        "asked": at,
        "step_id": shown.step_id,
        "tool": shown.tool,
        "args": shown.args,
        "risk": shown.risk,
    }
    return Request.model_validate(fields | more)


def intent(to: str = "ann", **more: Any) -> Intent:
    fields: dict[str, Any] = {
        "key": effect_key(RUN, StepId("send"), "send", {"to": to}),
        "step_id": "send",
        "plan_version": 1,
        "tool": "send",
        "args": {"to": to},
        "risk": "write",
        "recovery": "blind",
        "started": 10.0,
        "deadline": 70.0,
    }
    return Intent(**(fields | more))


def result(**more: Any) -> StepResult:
    return StepResult.model_validate({"step_id": "send", "status": "succeeded", "attempts": 1, "started": 10.0, "finished": 11.0} | more)


def finish(store: Store, lease: Lease, *, state: Any = "done", key: EffectKey | None = None, **more: Any) -> None:
    store.ledger.finish(lease, key or intent().key, state, result(**more), durable=True)
    store.flush()


def granted(store: Store, lease: Lease, request: Request | None = None) -> RequestId:
    """A yes that nobody has used."""
    request = store.approvals.ask(lease, request or asked())
    store.approvals.decide(RUN, {request.id: Approve()})
    return RequestId(request.id)


def another(owner: Owner) -> Owner:
    return replace(owner, drive="another")


def dead() -> Owner:
    """A process that has been, and is gone."""
    me = new_owner()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(me, pid=child.pid, started=new_owner_of(child.pid), drive="dead")
    child.communicate(b"\n")
    return owner


def new_owner_of(pid: int) -> float:
    """When another process started, as it says itself of its own."""
    code = "import sys; from agent_graph.checkpoints.owners import started; import psutil; print(started(psutil.Process(int(sys.argv[1]))))"
    return float(subprocess.run([sys.executable, "-c", code, str(pid)], capture_output=True, text=True, check=True).stdout)


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_comes_back_as_it_was_made(store: Store) -> None:
    goal = Goal(text="tell them", params={"n": 1, "who": ["ann"]}, constraints=("be kind",), principal="bob")
    made = store.runs.create(RUN, goal, thread_id="t", checkpoint_ns="ns", planner="p", policy="q", metadata={"made": "here"})
    assert made == store.runs.get(RUN)
    assert (made.goal, made.thread_id, made.checkpoint_ns, made.planner, made.policy, made.metadata) == (
        goal,
        "t",
        "ns",
        "p",
        "q",
        {"made": "here"},
    )
    assert (made.status, made.plan_version, made.finished) == ("running", 0, False)


def test_a_plan_that_came_with_a_run_is_there_from_the_first_moment(store: Store) -> None:
    made = store.runs.create(RUN, Goal(text="tell them"), thread_id="t", plan=plan())
    kept = store.runs.plan(RUN)
    assert kept is not None
    assert (made.plan_version, kept.plan, kept.verdict) == (1, plan(), None)


def test_an_id_is_given_once(store: Store, lease: Lease) -> None:
    with pytest.raises(StoreError, match="run-1 already"):
        store.runs.create(RUN, Goal(text="another"), thread_id="t")
    assert store.runs.get(RUN).goal.text == "tell them"


def test_an_unknown_run_is_said_to_be_unknown(store: Store) -> None:
    with pytest.raises(UnknownRun, match="no run nowhere"):
        store.runs.get("nowhere")


def test_the_beginning_of_an_id_is_enough(store: Store) -> None:
    store.runs.create(RunId("abcdef"), Goal(text="x"), thread_id="t")
    assert store.runs.find("abc") == "abcdef"


@pytest.mark.parametrize("prefix", ["ab", "", "x", "%", "a_c"])
def test_a_beginning_that_fits_none_or_several_is_refused(store: Store, prefix: str) -> None:
    for run_id in ("abc", "abd"):
        store.runs.create(RunId(run_id), Goal(text="x"), thread_id="t")
    with pytest.raises(UnknownRun):
        store.runs.find(prefix)


def test_the_newest_run_of_a_thread_is_its_current_one(store: Store, clock: FakeClock) -> None:
    for run_id in ("first", "second"):
        store.runs.create(RunId(run_id), Goal(text="x"), thread_id="t")
        clock.jump(-DAY)
    store.runs.create(RunId("third"), Goal(text="x"), thread_id="t", checkpoint_ns="sub")
    current = store.runs.current("t")
    assert current is not None
    assert current.id == "second"
    assert [run.id for run in store.runs.of_thread("t")] == ["second", "first"]
    assert store.runs.current("elsewhere") is None
    assert store.runs.of_thread("elsewhere") == []


def test_recent_runs_come_newest_first_and_by_status(store: Store, clock: FakeClock) -> None:
    for run_id in ("a", "b", "c"):
        store.runs.create(RunId(run_id), Goal(text="x"), thread_id=run_id)
        clock.advance(1)
    held = store.leases.acquire(RunId("b"), new_owner())
    store.runs.finish(held, "failed")
    assert [run.id for run in store.runs.recent()] == ["c", "b", "a"]
    assert [run.id for run in store.runs.recent("failed")] == ["b"]
    assert [run.id for run in store.runs.recent(limit=1)] == ["c"]


def test_the_status_moves_between_running_and_paused(store: Store, lease: Lease) -> None:
    seen = Observation(next="approve", why="a person is needed")
    store.runs.set_status(lease, "paused", seen)
    store.runs.set_status(lease, "paused")
    record = store.runs.get(RUN)
    assert (record.status, record.observation) == ("paused", seen)


def test_the_first_end_of_a_run_stands(store: Store, lease: Lease) -> None:
    store.runs.finish(lease, "succeeded", answer={"n": 1})
    store.runs.finish(lease, "failed", error=diagnose("stuck", "no way on"))
    store.runs.set_status(lease, "running")
    record = store.runs.get(RUN)
    assert (record.status, record.answer, record.error, record.finished) == ("succeeded", {"n": 1}, None, True)


def test_the_end_of_a_run_closes_what_waited(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked())
    store.runs.finish(lease, "cancelled")
    assert store.approvals.open(RUN) == []
    with pytest.raises(NothingPending):
        store.approvals.decide(RUN, {"request-1": Approve()})


def test_the_first_reason_to_fail_stands(store: Store, lease: Lease) -> None:
    store.runs.blame(lease, diagnose("rejected", "a person said no"))
    store.runs.blame(lease, diagnose("stuck", "no way on"))
    error = store.runs.get(RUN).error
    assert error is not None
    assert (error.code, error.cause) == ("rejected", "human")


def test_the_wish_to_cancel_is_kept_with_the_first_who_had_it(store: Store, lease: Lease, clock: FakeClock) -> None:
    assert store.runs.get(RUN).cancel_asked is None
    asked_at = clock.now()
    store.runs.ask_cancel(RUN, "ann")
    clock.advance(5)
    record = store.runs.ask_cancel(RUN, "bob")
    assert (record.cancel_asked, record.cancel_by, record.status) == (asked_at, "ann", "running")


def test_a_run_that_has_ended_cannot_be_cancelled_any_more(store: Store, lease: Lease) -> None:
    store.runs.finish(lease, "succeeded")
    assert store.runs.ask_cancel(RUN, "ann").cancel_asked is None


def test_a_revised_goal_takes_the_place_of_the_old_one_and_closes_what_was_asked_about_it(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked())
    store.approvals.ask(lease, asked("request-2", to="bob"))
    store.approvals.decide(RUN, {"request-2": Approve()})
    store.runs.revise(lease, Goal(text="another", principal="bob"), ["request-1", "request-2"])
    record = store.runs.get(RUN)
    assert (record.goal, record.status) == (Goal(text="another", principal="bob"), "running")
    assert (store.approvals.open(RUN), store.approvals.decided(RUN)) == ([], [])
    assert store.approvals.grant(RUN, call(to="bob").digest) is None


def test_what_waits_beside_a_revised_goal_still_waits(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked())
    store.runs.revise(lease, Goal(text="another"))
    assert store.runs.get(RUN).status == "paused"
    assert [request.id for request in store.approvals.open(RUN)] == ["request-1"]


@pytest.mark.parametrize("over", ["finished", "blamed", "cancelled"])
def test_the_goal_of_a_run_that_is_over_is_not_revised(store: Store, lease: Lease, over: str) -> None:
    match over:
        case "finished":
            store.runs.finish(lease, "succeeded")
        case "blamed":
            store.runs.blame(lease, diagnose("stuck", "x"))
        case _:
            store.runs.ask_cancel(RUN)
    with pytest.raises(StoreError, match="its goal stays"):
        store.runs.revise(lease, Goal(text="another"))
    assert store.runs.get(RUN).goal.text == "tell them"


def test_no_intent_is_written_after_the_wish_to_cancel(store: Store, lease: Lease) -> None:
    yes = granted(store, lease)
    store.runs.ask_cancel(RUN, "ann")
    with pytest.raises(CancelAsked, match="cancelled by ann; the call was not made"):
        store.ledger.begin(lease, intent(), yes)
    assert store.ledger.effect(intent().key) is None
    assert store.approvals.grant(RUN, call().digest) == yes


# ── plans ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_comes_back_as_it_was_written(store: Store, lease: Lease) -> None:
    made = plan(answer={"$ref": "steps.send.output"}, reason="because")
    store.runs.add_plan(lease, made)
    record = store.runs.plan(RUN)
    assert record is not None
    assert (record.plan, record.digest, record.verdict, record.risk) == (made, made.digest, None, None)
    assert store.runs.get(RUN).plan_version == 1


def test_the_newest_version_is_the_plan_and_older_ones_stay(store: Store, lease: Lease) -> None:
    store.runs.add_plan(lease, plan())
    store.runs.add_plan(lease, plan(2, parent=1))
    newest, first = store.runs.plan(RUN), store.runs.plan(RUN, 1)
    assert newest is not None
    assert first is not None
    assert (newest.plan.version, first.plan.version) == (2, 1)
    assert [record.plan.version for record in store.runs.plans(RUN)] == [1, 2]
    assert store.runs.plan(RUN, 3) is None


def test_writing_the_same_version_again_changes_nothing(store: Store, lease: Lease) -> None:
    store.runs.add_plan(lease, plan())
    store.runs.judge_plan(lease, 1, Report())
    store.runs.add_plan(lease, plan())
    record = store.runs.plan(RUN)
    assert record is not None
    assert record.verdict == "valid"


def test_a_plan_is_never_edited_in_place(store: Store, lease: Lease) -> None:
    store.runs.add_plan(lease, plan())
    with pytest.raises(StoreError, match="never edited in place"):
        store.runs.add_plan(lease, plan(reason="other"))
    record = store.runs.plan(RUN)
    assert record is not None
    assert record.plan == plan()


def test_the_verdict_of_a_version_is_kept_with_its_report(store: Store, lease: Lease) -> None:
    report = Report.model_validate(
        {"issues": [{"code": "cycle", "message": "a circle", "step_id": "send"}], "risk": "money", "calls": [call()]}
    )
    store.runs.add_plan(lease, plan())
    store.runs.judge_plan(lease, 1, report)
    record = store.runs.plan(RUN)
    assert record is not None
    assert (record.verdict, record.issues, record.risk, record.calls) == ("invalid", report.issues, "money", (call(),))


# ── the ledger ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_intent_is_an_open_effect_until_its_outcome_is_written(store: Store, lease: Lease) -> None:
    assert store.ledger.begin(lease, intent(), None) == 1
    (effect,) = store.ledger.open_effects(RUN)
    assert (effect.state, effect.status, effect.attempt, effect.args, effect.recovery, effect.deadline) == (
        "intent",
        None,
        1,
        {"to": "ann"},
        "blind",
        70.0,
    )
    assert store.ledger.result(effect.key) is None
    finish(store, lease)
    assert store.ledger.open_effects(RUN) == []


def test_a_result_comes_back_as_it_was_written(store: Store, lease: Lease) -> None:
    wanted = result(
        status="failed",
        output={"text": "grüße ☂", "list": [1, 2.5, None, True]},
        evidence=[
            Evidence(criterion="output.n > 1", holds=False, values={"output.n": 1}),
            Evidence(criterion="x", holds=None, why="not there"),
        ],
        error=Failure(code="criteria_unmet", message="no"),
        provenance=Provenance(source="send", steps=("look",), params=("who",)),
        plan_version=2,
        attempts=3,
        landed=True,
    )
    store.ledger.begin(lease, intent(), None)
    store.ledger.finish(lease, intent().key, "done", wanted, durable=True)
    store.flush()
    assert store.ledger.result(intent().key) == wanted
    assert store.ledger.results(RUN) == {"send": wanted}


def test_a_read_gets_its_row_with_its_outcome(store: Store, lease: Lease) -> None:
    store.ledger.finish(lease, intent().key, "done", result(), tool="send", args={"to": "ann"}, risk="read_only", durable=False)
    store.flush()
    effect = store.ledger.effect(intent().key)
    assert effect is not None
    assert (effect.tool, effect.args, effect.risk, effect.state) == ("send", {"to": "ann"}, "read_only", "done")


def test_attempts_are_counted_over_begins(store: Store, lease: Lease) -> None:
    assert store.ledger.begin(lease, intent(), None) == 1
    finish(store, lease, state="failed", status="failed")
    assert store.ledger.begin(lease, intent(), None) == 2
    later = store.leases.acquire(RUN, lease.owner)
    assert store.ledger.begin(later, intent(), None) == 3


def test_a_begun_attempt_forgets_the_outcome_of_the_one_before(store: Store, lease: Lease) -> None:
    store.ledger.begin(lease, intent(), None)
    finish(store, lease, state="failed", status="failed", error=Failure(code="x", message="y"))
    store.ledger.begin(lease, intent(), None)
    assert store.ledger.result(intent().key) is None
    assert store.ledger.standings(RUN)["send"].status is None


def test_what_has_landed_is_not_begun_again(store: Store, lease: Lease) -> None:
    store.ledger.begin(lease, intent(), None)
    finish(store, lease)
    with pytest.raises(ApprovalMissing, match="landed already"):
        store.ledger.begin(lease, intent(), None)
    effect = store.ledger.effect(intent().key)
    assert effect is not None
    assert (effect.state, effect.attempt) == ("done", 1)


def test_a_refused_begin_leaves_its_approval_unused(store: Store, lease: Lease) -> None:
    store.ledger.begin(lease, intent(), None)
    finish(store, lease)
    yes = granted(store, lease)
    with pytest.raises(ApprovalMissing):
        store.ledger.begin(lease, intent(), yes)
    assert store.approvals.grant(RUN, call().digest) == yes


@pytest.mark.parametrize(
    "write",
    ["begin", "finish", "reopen", "not done", "plan", "judge", "status", "revise", "blame", "end", "ask", "close", "handle", "renew"],
)
def test_a_driver_that_was_replaced_writes_nothing(store: Store, lease: Lease, write: str) -> None:
    store.runs.add_plan(lease, plan())
    store.approvals.ask(lease, asked())
    store.leases.acquire(RUN, lease.owner)
    before = (store.runs.get(RUN), store.runs.plan(RUN), store.approvals.get("request-1"), store.ledger.standings(RUN))

    def attempt() -> None:
        match write:
            case "begin":
                store.ledger.begin(lease, intent(), None)
            case "finish":
                finish(store, lease)
            case "reopen":
                store.ledger.reopen(lease, intent().key)
            case "not done":
                store.ledger.not_done(lease, intent().key, Failure(code="x", message="y"))
            case "plan":
                store.runs.add_plan(lease, plan(2))
            case "judge":
                store.runs.judge_plan(lease, 1, Report())
            case "status":
                store.runs.set_status(lease, "paused")
            case "revise":
                store.runs.revise(lease, Goal(text="another"), ["request-1"])
            case "blame":
                store.runs.blame(lease, diagnose("stuck", "x"))
            case "end":
                store.runs.finish(lease, "failed")
            case "ask":
                store.approvals.ask(lease, asked("request-2", to="bob"))
            case "close":
                store.approvals.close(lease, ["request-1"])
            case "handle":
                store.approvals.handle(lease, "request-1")
            case _:
                store.leases.renew(lease)

    with pytest.raises(LeaseLost, match="taken over"):
        attempt()
    assert (store.runs.get(RUN), store.runs.plan(RUN), store.approvals.get("request-1"), store.ledger.standings(RUN)) == before


def test_an_approval_is_used_up_by_the_intent_that_it_allows(store: Store, lease: Lease) -> None:
    yes = granted(store, lease)
    store.ledger.begin(lease, intent(), yes)
    record = store.approvals.get(yes)
    assert record is not None
    assert record.consumed_by == intent().key
    assert store.approvals.grant(RUN, call().digest) is None


def test_an_approval_that_was_used_allows_no_second_call(store: Store, lease: Lease) -> None:
    yes = granted(store, lease)
    store.ledger.begin(lease, intent(), yes)
    finish(store, lease, state="failed", status="failed")
    with pytest.raises(ApprovalMissing, match="was used"):
        store.ledger.begin(lease, intent(), yes)
    effect = store.ledger.effect(intent().key)
    assert effect is not None
    assert (effect.state, effect.attempt) == ("failed", 1)


@pytest.mark.parametrize(
    "flaw", ["unknown", "undecided", "rejected", "closed", "expired", "of another step", "of another tool", "of another run"]
)
def test_without_a_good_approval_there_is_no_intent(store: Store, lease: Lease, clock: FakeClock, flaw: str) -> None:
    other: dict[str, dict[str, Any]] = {
        "of another step": {"step_id": "other"},
        "of another tool": {"tool": "other"},
        "expired": {"expires": clock.now() + 5},
    }
    request = store.approvals.ask(lease, asked(**other.get(flaw, {})))
    if flaw == "closed":
        store.approvals.close(lease, [request.id])
    elif flaw != "undecided":
        store.approvals.decide(RUN, {request.id: Reject() if flaw == "rejected" else Approve()})
    clock.advance(10)
    wanted = intent()
    if flaw == "of another run":
        store.runs.create(RunId("run-2"), Goal(text="x"), thread_id="t")
        lease = store.leases.acquire(RunId("run-2"), new_owner())
        wanted = intent(key=EffectKey("of run-2"))
    with pytest.raises(ApprovalMissing):
        store.ledger.begin(lease, wanted, RequestId("nobody" if flaw == "unknown" else request.id))
    assert store.ledger.effect(wanted.key) is None


def test_a_call_that_certainly_changed_nothing_leaves_no_open_intent(store: Store, lease: Lease) -> None:
    store.ledger.begin(lease, intent(), None)
    store.ledger.not_done(lease, intent().key, Failure(code="tool_failed", message="closed"))
    assert store.ledger.open_effects(RUN) == []
    standing = store.ledger.standings(RUN)["send"]
    assert (standing.state, standing.status, standing.error_code) == ("failed", None, "tool_failed")
    assert store.ledger.begin(lease, intent(), None) == 2


def test_what_has_landed_is_not_said_to_have_changed_nothing(store: Store, lease: Lease) -> None:
    store.ledger.begin(lease, intent(), None)
    finish(store, lease)
    store.ledger.not_done(lease, intent().key, Failure(code="tool_failed", message="closed"))
    assert store.ledger.standings(RUN)["send"].state == "done"


def test_a_reopened_failure_may_be_tried_again(store: Store, lease: Lease) -> None:
    store.ledger.begin(lease, intent(), None)
    finish(store, lease, state="failed", status="failed")
    store.ledger.reopen(lease, intent().key)
    assert store.ledger.standings(RUN)["send"].status is None


def test_a_success_is_not_reopened(store: Store, lease: Lease) -> None:
    finish(store, lease)
    store.ledger.reopen(lease, intent().key)
    assert store.ledger.standings(RUN)["send"].status == "succeeded"


def test_an_effect_that_landed_stays_landed_when_its_step_is_reopened(store: Store, lease: Lease) -> None:
    store.ledger.begin(lease, intent(), None)
    finish(store, lease, status="failed")
    store.ledger.reopen(lease, intent().key)
    assert store.ledger.standings(RUN)["send"].state == "done"


def test_a_step_stands_as_its_newest_row_says(store: Store, lease: Lease) -> None:
    finish(store, lease, state="failed", status="failed", plan_version=1, error=Failure(code="boom", message="x"))
    assert store.ledger.standings(RUN)["send"].error_code == "boom"
    finish(store, lease, key=EffectKey("other"), plan_version=2)
    standing = store.ledger.standings(RUN)["send"]
    assert (standing.key, standing.plan_version, standing.status, standing.error_code) == ("other", 2, "succeeded", None)
    assert store.ledger.results(RUN)["send"].status == "succeeded"


def test_the_newest_row_is_that_of_the_last_drive_although_the_clock_was_set_back(store: Store, lease: Lease) -> None:
    finish(store, lease, state="skipped", status="blocked", finished=10 * DAY)
    later = store.leases.acquire(RUN, lease.owner)
    finish(store, later, key=EffectKey("other"), finished=9 * DAY)
    assert store.ledger.standings(RUN)["send"].status == "succeeded"
    assert store.ledger.results(RUN)["send"].status == "succeeded"


def test_an_outcome_is_not_there_for_another_run(store: Store, lease: Lease) -> None:
    finish(store, lease)
    assert store.ledger.results(RunId("run-2")) == {}
    assert store.ledger.standings(RunId("run-2")) == {}


# ── approvals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_comes_back_as_it_was_asked(store: Store, lease: Lease) -> None:
    plain = asked()
    key = effect_key(RUN, StepId(plain.step_id or ""), plain.tool or "", dict(plain.args or {}))
    request = asked(expires=2e9, recovery="keyed", idempotency_key=key, calls=[call()], choices=("a", "b"), question="which?")
    assert store.approvals.ask(lease, request) == request
    assert store.approvals.open(RUN) == [request]
    record = store.approvals.get(request.id)
    assert record is not None
    assert (record.request, record.decision, record.decided, record.handled) == (request, None, None, False)
    assert store.approvals.get("nobody") is None


def test_the_same_open_request_is_asked_once(store: Store, lease: Lease) -> None:
    first = store.approvals.ask(lease, asked("request-1"))
    assert store.approvals.ask(lease, asked("request-2")) == first
    assert store.approvals.open(RUN) == [first]


def test_what_was_decided_a_moment_ago_is_not_asked_again_before_that_was_acted_on(store: Store, lease: Lease) -> None:
    first = store.approvals.ask(lease, asked("request-1"))
    store.approvals.decide(RUN, {"request-1": Approve()})
    assert store.approvals.ask(lease, asked("request-2")) == first
    assert store.approvals.open(RUN) == []


@pytest.mark.parametrize("ended", ["acted on", "closed", "expired"])
def test_what_is_no_longer_open_is_asked_anew(store: Store, lease: Lease, clock: FakeClock, ended: str) -> None:
    store.approvals.ask(lease, asked("request-1", expires=clock.now() + 5))
    match ended:
        case "acted on":
            store.approvals.decide(RUN, {"request-1": Reject()})
            store.approvals.handle(lease, "request-1")
        case "closed":
            store.approvals.close(lease, ["request-1"])
        case _:
            clock.advance(10)
    assert store.approvals.ask(lease, asked("request-2")).id == "request-2"


def test_open_requests_come_oldest_first_and_are_counted_by_run(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked("b", to="bob", at=1))
    store.approvals.ask(lease, asked("a", to="ann", at=2))
    assert [request.id for request in store.approvals.open(RUN)] == ["b", "a"]
    assert store.approvals.waiting() == {RUN: 2}


@pytest.mark.parametrize(
    "decision",
    [
        Approve(by="ann"),
        Edit(args={"to": "bob"}),
        Edit(plan=plan(2)),
        Reject(reason="no", stop=True),
        Respond(text="yes"),
        Resolve(outcome="landed", output={"n": [1]}),
    ],
    ids=lambda each: each.type,
)
def test_each_kind_of_decision_comes_back_as_it_was_made(store: Store, lease: Lease, clock: FakeClock, decision: Any) -> None:
    store.approvals.ask(lease, asked())
    store.approvals.decide(RUN, {"request-1": decision}, "host")
    record = store.approvals.get("request-1")
    assert record is not None
    assert (record.decision, record.by, record.decided) == (decision, decision.by or "host", clock.now())
    assert store.approvals.decided(RUN) == [record]


def test_the_first_decision_stands_and_the_second_is_told_who_and_when(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked())
    store.approvals.decide(RUN, {"request-1": Reject(reason="no")}, "ann")
    with pytest.raises(DecisionConflict, match=r"reject by ann at 2023-11-1[45]T"):
        store.approvals.decide(RUN, {"request-1": Approve()}, "bob")
    record = store.approvals.get("request-1")
    assert record is not None
    assert record.by == "ann"


@pytest.mark.parametrize("flaw", ["unknown", "closed", "expired", "of another run"])
def test_what_does_not_wait_cannot_be_decided(store: Store, lease: Lease, clock: FakeClock, flaw: str) -> None:
    store.approvals.ask(lease, asked(expires=clock.now() + 5))
    if flaw == "closed":
        store.approvals.close(lease, ["request-1"])
    if flaw == "expired":
        clock.advance(5)
    with pytest.raises(NothingPending):
        store.approvals.decide(
            RunId("run-2") if flaw == "of another run" else RUN, {"nobody" if flaw == "unknown" else "request-1": Approve()}
        )
    assert store.approvals.decided(RUN) == []


def test_decisions_are_recorded_all_or_none(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked("a"))
    store.approvals.ask(lease, asked("b", to="bob"))
    with pytest.raises(NothingPending):
        store.approvals.decide(RUN, {"a": Approve(), "b": Approve(), "c": Approve()})
    assert [request.id for request in store.approvals.open(RUN)] == ["a", "b"]
    assert store.approvals.grant(RUN, call().digest) is None


def test_an_expired_request_is_no_longer_open(store: Store, lease: Lease, clock: FakeClock) -> None:
    store.approvals.ask(lease, asked(expires=clock.now() + 5))
    clock.advance(4.9)
    assert store.approvals.waiting() == {RUN: 1}
    clock.advance(0.1)
    assert (store.approvals.open(RUN), store.approvals.waiting()) == ([], {})


def test_a_closed_request_was_not_decided_and_a_decided_one_is_not_closed(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked("a"))
    store.approvals.ask(lease, asked("b", to="bob"))
    store.approvals.decide(RUN, {"a": Approve()})
    store.approvals.close(lease, ["a", "b"])
    assert store.approvals.open(RUN) == []
    assert [record.request.id for record in store.approvals.decided(RUN)] == ["a"]


def test_a_yes_covers_exactly_the_call_that_was_shown(store: Store, lease: Lease) -> None:
    yes = granted(store, lease)
    assert store.approvals.grant(RUN, call().digest) == yes
    assert store.approvals.grant(RUN, call("bob").digest) is None
    assert store.approvals.grant(RunId("run-2"), call().digest) is None


@pytest.mark.parametrize(
    "decision", [Reject(), Edit(args={"to": "bob"}), Respond(text="yes"), Resolve(outcome="landed")], ids=lambda each: each.type
)
def test_only_a_yes_grants(store: Store, lease: Lease, decision: Any) -> None:
    store.approvals.ask(lease, asked())
    store.approvals.decide(RUN, {"request-1": decision})
    assert store.approvals.grant(RUN, call().digest) is None


@pytest.mark.parametrize("kind", ["plan", "question", "in_doubt"])
def test_a_yes_to_something_else_grants_no_call(store: Store, lease: Lease, kind: str) -> None:
    granted(store, lease, asked(kind=kind))
    assert store.approvals.grant(RUN, call().digest) is None


def test_an_unused_yes_expires(store: Store, lease: Lease, clock: FakeClock) -> None:
    granted(store, lease, asked(expires=clock.now() + 5))
    clock.advance(5)
    assert store.approvals.grant(RUN, call().digest) is None


def test_a_yes_to_a_plan_grants_each_of_its_calls_once(store: Store, lease: Lease, clock: FakeClock) -> None:
    shown = (call("ann"), call("bob"))
    granted(store, lease, asked(kind="plan", digest=Digest("of the plan"), step_id=None, tool=None, calls=shown))
    store.approvals.handle(lease, "request-1", grants=shown, expires=clock.now() + 5)
    grants = [store.approvals.grant(RUN, each.digest) for each in shown]
    assert None not in grants
    assert len(set(grants)) == 2
    assert grants[0] is not None
    store.ledger.begin(lease, intent("ann"), grants[0])
    assert store.approvals.grant(RUN, shown[0].digest) is None
    assert store.approvals.grant(RUN, shown[1].digest) == grants[1]
    clock.advance(5)
    assert store.approvals.grant(RUN, shown[1].digest) is None


def test_a_decision_is_acted_on_once(store: Store, lease: Lease) -> None:
    granted(store, lease, asked(kind="plan", digest=Digest("of the plan"), calls=(call(),)))
    for _ in range(2):
        store.approvals.handle(lease, "request-1", grants=(call(),))
    assert store.approvals.decided(RUN) == []
    yes = store.approvals.grant(RUN, call().digest)
    assert yes is not None
    store.ledger.begin(lease, intent(), yes)
    assert store.approvals.grant(RUN, call().digest) is None


def test_an_edit_grants_the_edited_call_and_not_the_one_that_was_asked(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked())
    store.approvals.decide(RUN, {"request-1": Edit(args={"to": "bob"})}, "ann")
    store.approvals.handle(lease, "request-1", grants=(call("bob"),))
    assert store.approvals.grant(RUN, call("ann").digest) is None
    yes = store.approvals.grant(RUN, call("bob").digest)
    assert yes is not None
    record = store.approvals.get(yes)
    assert record is not None
    assert (record.by, record.request.args) == ("ann", {"to": "bob"})


def test_an_edited_plan_is_on_record_as_approved(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked(kind="plan", digest=Digest("old")))
    store.approvals.decide(RUN, {"request-1": Edit(plan=plan(2))})
    store.approvals.handle(lease, "request-1", grants=(call("bob"),), approved_plan=Digest("new"))
    record = store.approvals.decision(RUN, Digest("new"), "plan")
    assert record is not None
    assert record.decision == Approve()
    assert store.approvals.open(RUN) == []


def test_a_decision_is_found_by_what_it_is_about(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked(kind="question", question="who?"))
    assert store.approvals.decision(RUN, call().digest, "question") is None
    store.approvals.decide(RUN, {"request-1": Respond(text="ann")})
    record = store.approvals.decision(RUN, call().digest, "question")
    assert record is not None
    assert record.decision == Respond(text="ann")
    assert store.approvals.decision(RUN, call().digest, "step") is None


def test_answers_to_the_planner_are_kept_by_question(store: Store, lease: Lease) -> None:
    for n, (question, step) in enumerate([("who?", None), ("when?", None), ("of a step", "send")]):
        store.approvals.ask(lease, asked(f"r{n}", kind="question", question=question, step_id=step, digest=Digest(question)))
        store.approvals.decide(RUN, {f"r{n}": Respond(text=f"answer {n}")})
    assert store.approvals.answers(RUN) == {"who?": "answer 0", "when?": "answer 1"}
    assert store.approvals.questions(RUN) == 2


def test_rejections_are_found_by_plan_version(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked(plan_version=2))
    store.approvals.decide(RUN, {"request-1": Reject(reason="too loud")})
    (record,) = store.approvals.rejections(RUN, 2)
    assert isinstance(record.decision, Reject)
    assert record.decision.reason == "too loud"
    assert store.approvals.rejections(RUN, 1) == []


def test_a_senseless_answer_leaves_the_request_open_and_says_what_was_wrong(store: Store, lease: Lease) -> None:
    store.approvals.ask(lease, asked())
    store.approvals.again(lease, "request-1", "not a decision")
    assert store.approvals.open(RUN) == [asked(problem="not a decision")]


# ── leases ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_fence_rises_with_each_acquisition(store: Store, lease: Lease) -> None:
    assert lease.fence == 1
    store.leases.release(lease)
    again = store.leases.acquire(RUN, another(lease.owner))
    assert again.fence == 2


def test_a_run_that_is_driven_is_busy_and_its_owner_named(store: Store, lease: Lease) -> None:
    with pytest.raises(RunBusy, match=f"driven by process {os.getpid()} on "):
        store.leases.acquire(RUN, another(lease.owner))
    store.leases.renew(lease)


def test_two_drives_of_one_process_are_two(store: Store, lease: Lease) -> None:
    with pytest.raises(RunBusy):
        store.leases.acquire(RUN, new_owner())


def test_runs_are_leased_one_by_one(store: Store, lease: Lease) -> None:
    store.runs.create(RunId("run-2"), Goal(text="x"), thread_id="t")
    assert store.leases.acquire(RunId("run-2"), another(lease.owner)).fence == 1


def test_a_released_run_is_free(store: Store, lease: Lease) -> None:
    assert store.leases.holder(RUN) == lease.owner
    store.leases.release(lease)
    assert store.leases.holder(RUN) is None
    with pytest.raises(LeaseLost):
        store.leases.renew(lease)
    store.leases.acquire(RUN, another(lease.owner))


def test_a_stale_release_does_not_free_the_run(store: Store, lease: Lease) -> None:
    newer = store.leases.acquire(RUN, lease.owner)
    store.leases.release(lease)
    assert store.leases.holder(RUN) == lease.owner
    store.leases.renew(newer)


def test_a_dead_owner_frees_the_run_at_once(store: Store, lease: Lease) -> None:
    store.leases.release(lease)
    store.leases.acquire(RUN, dead())
    assert store.leases.holder(RUN) is None
    assert store.leases.acquire(RUN, lease.owner).fence == 3


def test_a_pid_that_was_given_to_another_process_is_not_the_owner(store: Store, lease: Lease) -> None:
    store.leases.release(lease)
    store.leases.acquire(RUN, replace(lease.owner, started=lease.owner.started - 100, drive="before"))
    assert store.leases.holder(RUN) is None
    assert store.leases.acquire(RUN, lease.owner).fence == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no zombies")
def test_a_zombie_holds_nothing(store: Store, lease: Lease) -> None:
    store.leases.release(lease)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(lease.owner, pid=child.pid, started=new_owner_of(child.pid), drive="zombie")
    store.leases.acquire(RUN, owner)
    assert store.leases.holder(RUN) == owner
    assert child.stdin is not None
    child.stdin.close()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert store.leases.holder(RUN) is None
    store.leases.acquire(RUN, lease.owner)
    child.wait()


def test_a_silent_owner_on_another_machine_loses_the_run_only_by_time(store: Store, lease: Lease, clock: FakeClock) -> None:
    store.leases.release(lease)
    far = store.leases.acquire(RUN, replace(lease.owner, host="elsewhere/1/2", drive="far"))
    clock.advance(DURATION - 1)
    with pytest.raises(RunBusy, match="on elsewhere"):
        store.leases.acquire(RUN, lease.owner)
    store.leases.renew(far)
    clock.advance(DURATION - 1)
    with pytest.raises(RunBusy):
        store.leases.acquire(RUN, lease.owner)
    clock.advance(1)
    store.leases.acquire(RUN, lease.owner)
    with pytest.raises(LeaseLost):
        store.leases.renew(far)


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_changes_nothing_for_an_owner_on_this_machine(store: Store, lease: Lease, clock: FakeClock, days: int) -> None:
    clock.jump(days * DAY)
    with pytest.raises(RunBusy):
        store.leases.acquire(RUN, another(lease.owner))
    store.leases.renew(lease)
    assert store.leases.holder(RUN) == lease.owner


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────

COMMON: dict[str, Any] = {"run_id": RUN, "at": 1.5}
EVENTS: list[Event] = [
    Token(**COMMON, role="planner", text="so"),
    Drafted(**COMMON, step={"id": "a"}),
    RunStarted(**COMMON, goal="tell them", resumed=True),
    PlanMade(**COMMON, version=2, digest="d", steps=[{"id": "send", "needs": ["look"]}], created_by="p"),
    Replanned(**COMMON, version=3, digest="d", steps=[], created_by="p", reason="r", kept=["look"]),
    IssueFound(**COMMON, code="cycle", severity="error", message="a circle", step_id="send", fix="break it"),
    StepStarted(**COMMON, step_id="send", plan_version=1, tool="send"),
    StepFinished(**COMMON, step_id="send", plan_version=1, status="failed", attempts=2, seconds=0.5, error={"code": "x"}),
    Observed(**COMMON, next="replan", why="it failed", deviations=[{"step_id": "send"}]),
    Waiting(**COMMON, request={"id": "r"}),
    Decided(**COMMON, request_id="r", step_id=None, decision={"type": "approve"}),
    Revised(**COMMON, by="olga", before={"text": "a"}, after={"text": "b"}, closed=["r"]),
    Note(**COMMON, step_id="send", message="late ☂"),
    Done(**COMMON, status="succeeded", answer={"n": [1]}, error=None),
]


def test_every_kind_of_event_is_tried_here() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(AnyEvent))


@pytest.mark.parametrize("event", EVENTS, ids=lambda each: each.kind)
def test_an_event_comes_back_as_it_was_added(store: Store, lease: Lease, event: Event) -> None:
    store.events.add(event)
    store.flush()
    assert store.events.of(RUN) == [event.for_trace()]


def test_events_come_in_the_order_in_which_they_were_added_whatever_the_clock_says(store: Store, lease: Lease) -> None:
    added = [Note(run_id=RUN, at=float(-n), message=str(n)) for n in range(20)]
    for event in added:
        store.events.add(event)
    store.flush()
    assert store.events.of(RUN) == added
    assert store.events.of(RunId("run-2")) == []


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_flush_tells_of_an_outcome_that_was_refused(store: Store, lease: Lease) -> None:
    store.leases.acquire(RUN, lease.owner)
    store.ledger.finish(lease, intent().key, "done", result(), durable=True)
    with pytest.raises(LeaseLost):
        store.flush()
    store.flush()
    assert store.ledger.effect(intent().key) is None


def test_a_fence_that_was_never_given_is_refused(store: Store, lease: Lease) -> None:
    with pytest.raises(LeaseLost):
        store.ledger.begin(replace(lease, fence=Fence(99)), intent(), None)


def test_what_is_queued_shares_the_commit_of_the_next_write(store: Store, lease: Lease) -> None:
    store.ledger.finish(lease, intent("bob").key, "done", result(step_id="look"), durable=False)
    assert store.ledger.result(intent("bob").key) is None
    store.ledger.begin(lease, intent("ann"), None)
    assert store.ledger.result(intent("bob").key) is not None


def test_messages_of_a_conversation_are_put_on_record_all_of_them_or_none(store: Store, lease: Lease) -> None:
    with pytest.raises(TypeError):
        store.conversations.add(lease, "k", 0, [{"said": "a"}, {"said": object()}])
    assert store.conversations.of(RUN, "k") == []
    store.conversations.add(lease, "k", 0, [{"said": "a"}, {"said": "b"}])
    store.conversations.add(lease, "k", 1, [{"said": "other"}, {"said": "c"}])
    assert [each["said"] for each in store.conversations.of(RUN, "k")] == ["a", "b", "c"], "what is there stays"
    with pytest.raises(LeaseLost):
        store.conversations.add(replace(lease, fence=Fence(lease.fence - 1)), "k", 3, [{"said": "late"}])


def test_what_a_store_holds_is_there_when_it_is_opened_again(store_path: Path) -> None:
    with SqliteStore(store_path) as first:
        first.runs.create(RUN, Goal(text="tell them"), thread_id="t")
        held = first.leases.acquire(RUN, new_owner())
        first.ledger.begin(held, intent(), None)
        first.events.add(Note(run_id=RUN, at=1.0, message="kept by close"))
    with SqliteStore(store_path) as second:
        status: StoredStatus = second.runs.get(RUN).status
        assert status == "running"
        assert [effect.key for effect in second.ledger.open_effects(RUN)] == [intent().key]
        assert len(second.events.of(RUN)) == 1


def test_a_plan_that_was_changed_in_the_file_is_refused(store_path: Path) -> None:
    with SqliteStore(store_path) as store:
        store.runs.create(RUN, Goal(text="tell them"), thread_id="t")
        held = store.leases.acquire(RUN, new_owner())
        store.runs.add_plan(held, plan())
        store.database.write(lambda connection: connection.execute("UPDATE plans SET plan = replace(plan, 'ann', 'eve')"))
        with pytest.raises(StoreError, match="was changed in the store"):
            store.runs.plan(RUN)
        with pytest.raises(StoreError, match="run-1"):
            store.runs.plans(RUN)


def test_a_step_with_the_same_arguments_has_the_same_key_in_every_version() -> None:
    assert Step(id="send", tool="send", args={"a": 1, "b": 2}).args == {"b": 2, "a": 1}
    assert effect_key(RUN, StepId("send"), "send", {"a": 1, "b": 2}) == effect_key(RUN, StepId("send"), "send", {"b": 2, "a": 1})
