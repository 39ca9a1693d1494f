"""Ledger, approvals and lease together, in any order that hypothesis finds: several drivers, a clock that jumps, a store that crashes.

A plain model in memory says what each call must do; what must always hold is looked at after each of them, and does not trust the model.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent_graph.checkpoints.leases import DURATION, new_owner
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import ApprovalMissing, CancelAsked, DecisionConflict, LeaseLost, NothingPending, RunBusy, StoreError
from agent_graph.events import Event, Note, StepFinished
from agent_graph.identity import Digest, EffectKey, RequestId, RunId, StepId, call_digest, digest, effect_key
from agent_graph.plan import Goal, Plan
from agent_graph.records import EffectState, Intent, Lease, Owner
from agent_graph.state import StoredStatus
from agent_graph.testing import FakeClock, MemoryStore
from agent_graph.trace.diagnosis import diagnose
from agent_graph.verdicts import Approve, Call, Failure, Reject, Report, Request, StepResult

RUNS = [RunId("one"), RunId("two")]
NAMES = ["ann", "bob"]
OWNERS = ["here", "here as well", "gone", "elsewhere", "elsewhere as well"]
DAY = 86_400.0

WRONG = ["landed", "used", "rejected", "expired", "undecided", "other run", "other step", "plan"]
"""Why an approval does not cover a call."""

Driver = tuple[RunId, int, str]

DRIVERS = st.tuples(st.sampled_from([RUNS[0], RUNS[0], RUNS[1]]), st.sampled_from([0, 0, 0, 0, 0, 1, 2]), st.sampled_from(OWNERS))
"""A run; which of its leases writes, the newest or one that was lost; and who takes it when nobody has it."""

HERE = new_owner("here")
WHO: dict[str, Owner] = {
    "here": HERE,
    "here as well": replace(HERE, drive="here as well"),
    "gone": replace(HERE, started=HERE.started - 1000.0, drive="gone"),  # its pid is ours by now
    "elsewhere": replace(HERE, host="elsewhere", drive="elsewhere"),
    "elsewhere as well": replace(HERE, host="elsewhere", drive="elsewhere as well"),
}


def line_of(event: Event) -> str:
    assert isinstance(event, Note | StepFinished)
    return event.message if isinstance(event, Note) else f"{event.step_id} {event.status}"


def step_of(name: str) -> str:
    return f"send-{name}"


def bound(run: RunId, name: str) -> Digest:
    return call_digest(run, StepId(step_of(name)), "send", "schema", {"to": name})


def key_of(run: RunId, name: str) -> EffectKey:
    return effect_key(run, StepId(step_of(name)), "send", {"to": name})


@dataclass
class Holding:
    lease: Lease
    expires: float


@dataclass
class Asked:
    id: str
    run: RunId
    kind: Literal["step", "plan"]
    digest: Digest
    name: str | None
    expires: float | None
    verdict: str | None = None
    by: str | None = None
    handled: bool = False
    closed: bool = False
    consumed_by: str | None = None

    def unexpired(self, now: float) -> bool:
        return self.expires is None or self.expires > now

    def open(self, now: float) -> bool:
        return self.verdict is None and not self.closed and self.unexpired(now)

    def covers(self, run: RunId, name: str, now: float) -> bool:
        yes = self.kind == "step" and self.verdict == "approve" and self.consumed_by is None and not self.closed
        return yes and self.run == run and self.name == name and self.unexpired(now)


@dataclass
class Done:
    """An effect."""

    state: EffectState
    attempt: int
    approval: str | None


@dataclass
class Expected:
    """What is committed."""

    held: dict[RunId, Holding | None] = field(default_factory=lambda: dict.fromkeys(RUNS))
    asked: dict[str, Asked] = field(default_factory=dict)
    effects: dict[EffectKey, Done] = field(default_factory=dict)
    said: dict[RunId, list[str]] = field(default_factory=lambda: {run: [] for run in RUNS})
    status: dict[RunId, StoredStatus] = field(default_factory=lambda: dict.fromkeys(RUNS, "running"))
    cancelled: set[RunId] = field(default_factory=set)


class Refused(Exception):
    """Stands for what the store must raise."""

    def __init__(self, *kinds: type[Exception]) -> None:
        self.kinds = kinds


class Machine(RuleBasedStateMachine):
    """``store`` is made by the two kinds below."""

    requests = Bundle("requests")

    crashes = False

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.model = Expected()
        self.queued: list[Callable[[], None]] = []
        """What a crash loses."""
        self.refusals = 0
        """Of queued work, since somebody was last told."""
        self.numbers = 0
        self.leases: dict[RunId, list[Lease]] = {run: [] for run in RUNS}
        """All that were given, oldest first."""
        # What was seen, to hold it against what comes: not from the model.
        self.highest: dict[RunId, int] = dict.fromkeys(RUNS, 0)
        self.landed: dict[str, int] = {}
        self.decisions: dict[str, tuple[str, str | None]] = {}
        self.used: dict[str, str] = {}
        self.intents: dict[str, int] = {}
        self.lines: dict[RunId, list[str]] = {run: [] for run in RUNS}

    def new_store(self) -> SqliteStore:
        raise NotImplementedError

    @initialize()
    def begin_runs(self) -> None:
        self.store = self.new_store()
        for run in RUNS:
            self.store.runs.create(run, Goal(text="tell them"), thread_id=run)
            self.acquire(run, "gone")
            self.acquire(run, "here")  # so that there is one that was lost

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.forget()

    def forget(self) -> None:
        """As a process that is killed: what is queued is gone."""
        self.store.database._queue.clear()
        self.store.database._connection.close()

    # ── how a rule is written ─────────────────────────────────────────────────────────────────────────────────────────

    def now(self) -> float:
        return self.clock.now()

    def fresh(self, what: str) -> str:
        self.numbers += 1
        return f"{what}-{self.numbers}"

    def commit(self) -> None:
        """Every write commits first what is queued."""
        queued, self.queued = self.queued, []
        for work in queued:
            try:
                work()
            except Refused:
                self.refusals += 1

    def write(self, expected: Callable[[], None], call: Callable[[], Any]) -> Any:
        """Do it in the model and in the store; they must agree on whether it is refused, and how."""
        self.commit()
        try:
            expected()
        except Refused as refused:
            with pytest.raises(refused.kinds):
                call()
            return None
        return call()

    def must_hold(self, lease: Lease) -> None:
        holding = self.model.held[lease.run_id]
        if holding is None or holding.lease != lease:
            raise Refused(LeaseLost)

    # ── lease ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def lives(self, run: RunId) -> bool:
        holding = self.model.held[run]
        if holding is None:
            return False
        drive = holding.lease.owner.drive
        return drive.startswith("here") or (drive.startswith("elsewhere") and self.now() < holding.expires)

    @rule(run=st.sampled_from(RUNS), who=st.sampled_from(OWNERS))
    def acquire(self, run: RunId, who: str) -> None:
        owner, holding = WHO[who], self.model.held[run]

        def expected() -> None:
            if holding is not None and holding.lease.owner != owner and self.lives(run):
                raise Refused(RunBusy)

        lease = self.write(expected, lambda: self.store.leases.acquire(run, owner))
        if lease is None:
            return
        assert lease.fence > self.highest[run]
        self.highest[run] = lease.fence
        self.model.held[run] = Holding(lease, self.now() + DURATION)
        self.leases[run].append(lease)

    def lease_of(self, by: Driver) -> Lease:
        """The run's newest lease, made now if there is none that holds; or one from before, counted back."""
        run, back, who = by
        if self.model.held[run] is None:
            if back == 0:
                self.acquire(run, who)
            else:
                back -= 1  # the one that was let go
        leases = self.leases[run]
        return leases[max(-len(leases), -1 - back)]

    @rule(by=DRIVERS)
    def renew(self, by: Driver) -> None:
        lease = self.lease_of(by)

        def expected() -> None:
            self.must_hold(lease)
            holding = self.model.held[lease.run_id]
            assert holding is not None
            holding.expires = self.now() + DURATION

        self.write(expected, lambda: self.store.leases.renew(lease))

    @rule(by=DRIVERS)
    def release(self, by: Driver) -> None:
        lease = self.lease_of(by)

        def expected() -> None:
            holding = self.model.held[lease.run_id]
            if holding is not None and holding.lease == lease:
                self.model.held[lease.run_id] = None

        self.write(expected, lambda: self.store.leases.release(lease))

    @rule(seconds=st.sampled_from([1.0, DURATION / 2, DURATION, DAY]))
    def time_goes_on(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-DAY, -DURATION, -1.0, DAY]))
    def the_clock_is_set(self, seconds: float) -> None:
        self.clock.jump(seconds)

    # ── approvals ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(target=requests, by=DRIVERS, name=st.sampled_from(NAMES), ttl=st.sampled_from([None, None, 30.0, DAY]))
    def ask_for_a_call(self, by: Driver, name: str, ttl: float | None) -> Any:
        lease = self.lease_of(by)
        return self.ask(Asked(self.fresh("step"), lease.run_id, "step", bound(lease.run_id, name), name, self.until(ttl)), lease)

    @rule(target=requests, by=DRIVERS, ttl=st.sampled_from([None, 30.0]))
    def ask_for_a_plan(self, by: Driver, ttl: float | None) -> Any:
        lease = self.lease_of(by)
        return self.ask(Asked(self.fresh("plan"), lease.run_id, "plan", digest(["plan", lease.run_id]), None, self.until(ttl)), lease)

    @rule(target=requests, by=DRIVERS, name=st.sampled_from(NAMES), ttl=st.sampled_from([None, None, 30.0]))
    def a_call_is_granted(self, by: Driver, name: str, ttl: float | None) -> Any:
        request_id = self.ask_for_a_call(by, name, ttl)
        if isinstance(request_id, str):
            self.decide(request_id, by[0], True, "ann")
        return request_id

    @rule(target=requests, by=DRIVERS, ttl=st.sampled_from([None, None, 30.0]))
    def a_plan_is_granted(self, by: Driver, ttl: float | None) -> Any:
        request_id = self.ask_for_a_plan(by, None)
        if not isinstance(request_id, str):
            return multiple()
        self.decide(request_id, by[0], True, "ann")
        return multiple(request_id, *self.handle_as(by, request_id, ttl))

    @rule(target=requests, by=DRIVERS, name=st.sampled_from(NAMES))
    def a_call_is_rejected(self, by: Driver, name: str) -> Any:
        request_id = self.ask_for_a_call(by, name, None)
        if isinstance(request_id, str):
            self.decide(request_id, by[0], False, "ann")
        return request_id

    def until(self, ttl: float | None) -> float | None:
        return None if ttl is None else self.now() + ttl

    def ask(self, new: Asked, lease: Lease) -> Any:
        said = {"step_id": step_of(new.name), "tool": "send", "args": {"to": new.name}, "risk": "write"} if new.name else {}
        request = Request.model_validate(
            {
                "id": new.id,
                "run_id": new.run,
                "kind": new.kind,
                "digest": new.digest,
                "reason": "",
                "asked": self.now(),
                "expires": new.expires,
            }
            | said
        )
        asked = self.write(lambda: self.must_hold(lease), lambda: self.store.approvals.ask(lease, request))
        if asked is None:
            return multiple()
        there = {
            each.id
            for each in self.model.asked.values()
            if (each.run, each.digest, each.kind) == (new.run, new.digest, new.kind)
            and (each.open(self.now()) or (each.verdict is not None and not each.handled and not each.closed))
        }
        if there:
            assert asked.id in there
            return multiple()
        assert asked.id == new.id
        self.model.asked[new.id] = new
        return new.id

    @rule(request_id=requests, run=st.sampled_from([RUNS[0], *RUNS]), yes=st.booleans(), by=st.sampled_from(["ann", "bob"]))
    def decide(self, request_id: str, run: RunId, yes: bool, by: str) -> None:
        asked = self.model.asked[request_id]

        def expected() -> None:
            if asked.run != run:
                raise Refused(NothingPending)
            if asked.verdict is not None:
                raise Refused(DecisionConflict)
            if not asked.open(self.now()):
                raise Refused(NothingPending)
            asked.verdict, asked.by = ("approve" if yes else "reject"), by

        self.write(expected, lambda: self.store.approvals.decide(run, {request_id: Approve() if yes else Reject(reason="no")}, by))

    @rule(target=requests, by=DRIVERS, request_id=requests, ttl=st.sampled_from([None, 30.0]))
    def handle(self, by: Driver, request_id: str, ttl: float | None) -> Any:
        return multiple(*self.handle_as(by, request_id, ttl))

    def handle_as(self, by: Driver, request_id: str, ttl: float | None) -> list[str]:
        """A yes to a plan becomes a grant for each of its calls, once."""
        asked = self.model.asked[request_id]
        if asked.verdict is None:
            return []
        lease = self.lease_of((asked.run, *by[1:]))
        is_yes = asked.kind == "plan" and asked.verdict == "approve"
        gives = is_yes and not asked.handled
        calls = tuple(
            Call(step_id=step_of(name), tool="send", args={"to": name}, risk="write", digest=bound(asked.run, name)) for name in NAMES
        )
        expires = self.until(ttl)

        def expected() -> None:
            self.must_hold(lease)
            asked.handled = True

        self.write(expected, lambda: self.store.approvals.handle(lease, request_id, grants=calls if is_yes else (), expires=expires))
        granted = self.store.database.rows("SELECT id, step_id FROM approvals WHERE granted_by = ?", (request_id,))
        new = [row for row in granted if row["id"] not in self.model.asked]
        assert len(new) == (len(NAMES) if gives and asked.handled else 0)
        for row in new:
            name = row["step_id"].removeprefix("send-")
            self.model.asked[row["id"]] = Asked(
                row["id"], asked.run, "step", bound(asked.run, name), name, expires, asked.verdict, asked.by, handled=True
            )
        return [row["id"] for row in new]

    @rule(by=DRIVERS, request_id=requests)
    def close(self, by: Driver, request_id: str) -> None:
        lease = self.lease_of(by)
        asked = self.model.asked[request_id]

        def expected() -> None:
            self.must_hold(lease)
            if asked.verdict is None:
                asked.closed = True

        self.write(expected, lambda: self.store.approvals.close(lease, [request_id]))

    # ── ledger ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(by=DRIVERS, why=st.integers(0, len(WRONG)), which=st.integers(0, 3))
    def begin(self, by: Driver, why: int, which: int) -> None:
        """With an approval that covers the call, or one that does not; of what there is now, each kind as likely as another."""
        now, effects = self.now(), self.model.effects
        found: dict[str, list[tuple[str, RunId, str]]] = {}
        for asked, run, name, what in itertools.product(self.model.asked.values(), RUNS, NAMES, ["good", *WRONG]):
            if self.fits(what, asked, run, name, now, effects.get(key_of(run, name))):
                found.setdefault(what, []).append((asked.id, run, name))
        if found:
            choices = found[sorted(found)[why % len(found)]]
            approval, run, name = choices[which % len(choices)]
            self.begin_with(self.lease_of((run, *by[1:])), name, approval)

    def fits(self, what: str, asked: Asked, run: RunId, name: str, now: float, effect: Done | None) -> bool:
        own = (asked.run, asked.name) == (run, name)
        has_landed = effect is not None and effect.state == "done"
        if own:
            facts = {
                "good": asked.covers(run, name, now) and not has_landed,
                "landed": asked.covers(run, name, now) and has_landed,
                "used": asked.consumed_by is not None,
                "rejected": asked.verdict == "reject" and asked.unexpired(now),
                "expired": asked.verdict == "approve" and asked.consumed_by is None and not asked.unexpired(now),
                "undecided": asked.verdict is None,
            }
            return facts.get(what, False)
        yes = asked.name is not None and asked.covers(asked.run, asked.name, now)
        return (
            (what == "other run" and yes and asked.name == name)
            or (what == "other step" and yes and asked.run == run)
            or (what == "plan" and asked.kind == "plan" and asked.verdict == "approve" and asked.run == run)
        )

    @rule(by=DRIVERS, name=st.sampled_from(NAMES))
    def begin_with_what_is_granted(self, by: Driver, name: str) -> None:
        lease = self.lease_of(by)
        self.begin_with(lease, name, self.store.approvals.grant(lease.run_id, bound(lease.run_id, name)))

    def begin_with(self, lease: Lease, name: str, approval: str | None) -> None:
        key, run = key_of(lease.run_id, name), lease.run_id

        def expected() -> None:
            self.must_hold(lease)
            if run in self.model.cancelled:
                raise Refused(CancelAsked)
            if approval is not None and not self.model.asked[approval].covers(run, name, self.now()):
                raise Refused(ApprovalMissing)
            there = self.model.effects.setdefault(key, Done("failed", 0, None))
            if there.state == "done":
                raise Refused(ApprovalMissing)
            self.model.effects[key] = Done("intent", there.attempt + 1, approval or there.approval)
            if approval is not None:
                self.model.asked[approval].consumed_by = key

        intent = Intent(
            key=key,
            step_id=step_of(name),
            plan_version=1,
            tool="send",
            args={"to": name},
            risk="write",
            recovery="blind",
            started=self.now(),
            deadline=self.now() + 60.0,
        )
        attempt = self.write(expected, lambda: self.store.ledger.begin(lease, intent, None if approval is None else RequestId(approval)))
        if attempt is None:
            return
        # The tool is called now.
        assert key not in self.landed
        assert attempt == self.intents.get(key, 0) + 1
        self.intents[key] = attempt
        if approval is not None:
            assert approval not in self.used
            self.used[approval] = key

    @rule(by=DRIVERS, name=st.sampled_from(NAMES), state=st.sampled_from(["done", "failed", "in_doubt"]))
    def finish(self, by: Driver, name: str, state: EffectState) -> None:
        self.finish_as(self.lease_of(by), name, state)

    def finish_as(self, lease: Lease, name: str, state: EffectState) -> None:
        """Queued. What has landed may be judged again, and never becomes anything else."""
        key = key_of(lease.run_id, name)
        if key not in self.model.effects:
            return

        def work() -> None:
            self.must_hold(lease)
            effect = self.model.effects[key]
            if effect.state == "done" and state != "done":
                raise Refused(StoreError)
            effect.state = state
            self.model.said[lease.run_id].append(f"{step_of(name)} {status[state]}")

        status: dict[str, Any] = {"done": "succeeded", "failed": "failed", "in_doubt": "in_doubt"}
        result = StepResult(step_id=step_of(name), status=status[state], attempts=1, started=1.0, finished=2.0)
        self.store.ledger.finish(lease, key, state, result, durable=True)
        self.queued.append(work)

    @rule(by=DRIVERS, name=st.sampled_from(NAMES))
    def call_that_lands(self, by: Driver, name: str) -> None:
        lease = self.lease_of(by)
        self.begin_with(lease, name, None)
        self.finish_as(lease, name, "done")

    @rule(by=DRIVERS, name=st.sampled_from(NAMES))
    def certainly_not_done(self, by: Driver, name: str) -> None:
        lease = self.lease_of(by)
        key = key_of(lease.run_id, name)

        def expected() -> None:
            self.must_hold(lease)
            effect = self.model.effects.get(key)
            if effect is not None and effect.state == "intent":
                effect.state = "failed"

        self.write(expected, lambda: self.store.ledger.not_done(lease, key, Failure(code="tool_failed", message="refused")))

    # ── the run and its trace ─────────────────────────────────────────────────────────────────────────────────────────

    @rule(run=st.sampled_from(RUNS))
    def say(self, run: RunId) -> None:
        """Queued."""
        line = self.fresh("line")
        self.store.events.add(Note(run_id=run, at=self.now(), message=line))
        self.queued.append(lambda: self.model.said[run].append(line))

    @rule(by=DRIVERS, status=st.sampled_from(["succeeded", "failed", "cancelled"]))
    def end_run(self, by: Driver, status: StoredStatus) -> None:
        lease = self.lease_of(by)

        def expected() -> None:
            self.must_hold(lease)
            if self.model.status[lease.run_id] not in ("running", "paused"):
                return
            self.model.status[lease.run_id] = status
            for asked in self.model.asked.values():
                if asked.run == lease.run_id and asked.verdict is None:
                    asked.closed = True

        self.write(expected, lambda: self.store.runs.finish(lease, status, error=diagnose("x", "y")))

    @rule(by=DRIVERS, what=st.sampled_from(["paused", "running", "step", "reason", "plan", "report", "checkpoints", "again"]))
    def write_something_else(self, by: Driver, what: str) -> None:
        lease = self.lease_of(by)
        plan = Plan.model_validate({"goal": "tell them", "steps": [{"id": "a", "tool": "send"}]})
        some = next(iter(self.model.asked), None)
        writes: dict[str, Callable[[], Any]] = {
            "paused": lambda: self.store.runs.set_status(lease, "paused"),
            "running": lambda: self.store.runs.set_status(lease, "running"),
            "step": lambda: self.store.ledger.reopen(lease, key_of(lease.run_id, "ann")),
            "reason": lambda: self.store.runs.blame(lease, diagnose("x", "y")),
            "plan": lambda: self.store.runs.add_plan(lease, plan),
            "report": lambda: self.store.runs.judge_plan(lease, 1, Report()),
            "checkpoints": lambda: self.store.drop_checkpoints(lease),
            "again": lambda: self.store.approvals.again(lease, some or "", "it made no sense") if some else self.store.leases.renew(lease),
        }

        def expected() -> None:
            self.must_hold(lease)
            if what in ("paused", "running") and self.model.status[lease.run_id] in ("running", "paused"):
                self.model.status[lease.run_id] = cast("StoredStatus", what)

        self.write(expected, writes[what])

    @rule(really=st.sampled_from([False, False, False, True]))
    def ask_to_cancel(self, really: bool) -> None:
        """Seldom, since nothing can begin after it, and only of one run."""
        run = RUNS[1]
        if not really:
            return

        def expected() -> None:
            if self.model.status[run] in ("running", "paused"):
                self.model.cancelled.add(run)

        self.write(expected, lambda: self.store.runs.ask_cancel(run, "ann"))

    # ── the store ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule()
    def flush(self) -> None:
        """Whoever queued what was refused is told."""
        self.commit()
        if self.refusals:
            self.refusals = 0
            with pytest.raises(StoreError):
                self.store.flush()
        else:
            self.store.flush()

    @precondition(lambda self: self.crashes)
    @rule()
    def crash(self) -> None:
        """What is queued is lost, and nothing else."""
        self.forget()
        self.queued, self.refusals = [], 0
        self.store = self.new_store()

    # ── what always holds ─────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def no_run_has_two_drivers(self) -> None:
        for run in RUNS:
            holding = self.model.held[run]
            driver = self.store.leases.holder(run)
            assert driver == (holding.lease.owner if holding is not None and self.lives(run) else None)
            row = self.store.database.row("SELECT fence FROM leases WHERE run_id = ?", (run,))
            assert (0 if row is None else row["fence"]) == self.highest[run]

    @invariant()
    def effects_are_as_they_were_written(self) -> None:
        for key, expected in self.model.effects.items():
            effect = self.store.ledger.effect(key)
            if effect is None:
                assert expected.attempt == 0
                continue
            assert (effect.state, effect.attempt, effect.approval_id) == (expected.state, expected.attempt, expected.approval)

    @invariant()
    def what_has_landed_stays_landed_and_is_not_begun_again(self) -> None:
        for row in self.store.database.rows("SELECT key, state, attempt FROM effects"):
            if row["state"] == "done":
                self.landed.setdefault(row["key"], row["attempt"])
            if row["key"] in self.landed:
                assert (row["state"], row["attempt"]) == ("done", self.landed[row["key"]])

    @invariant()
    def an_intent_is_never_lost(self) -> None:
        begun = {row["key"]: row["attempt"] for row in self.store.database.rows("SELECT key, attempt FROM effects")}
        assert {key: begun.get(key) for key in self.intents} == self.intents

    @invariant()
    def a_decision_never_changes(self) -> None:
        for row in self.store.database.rows("SELECT id, verdict, by FROM approvals WHERE decided IS NOT NULL"):
            assert self.decisions.setdefault(row["id"], (row["verdict"], row["by"])) == (row["verdict"], row["by"])

    @invariant()
    def a_yes_is_used_by_one_intent(self) -> None:
        used = {
            row["id"]: row["consumed_by"]
            for row in self.store.database.rows("SELECT id, consumed_by FROM approvals WHERE consumed_by IS NOT NULL")
        }
        assert used == self.used  # neither without its intent nor its intent without it

    @invariant()
    def requests_are_as_the_model_has_them(self) -> None:
        now = self.now()
        for asked in self.model.asked.values():
            record = self.store.approvals.get(asked.id)
            assert record is not None
            verdict = None if record.decision is None else record.decision.type
            assert (verdict, record.handled, record.consumed_by) == (asked.verdict, asked.handled, asked.consumed_by)
        for run in RUNS:
            assert {each.id for each in self.store.approvals.open(run)} == {
                each.id for each in self.model.asked.values() if each.run == run and each.open(now)
            }
            for name in NAMES:
                fit = {each.id for each in self.model.asked.values() if each.covers(run, name, now)}
                found = self.store.approvals.grant(run, bound(run, name))
                assert found in fit if fit else found is None

    @invariant()
    def the_trace_only_grows(self) -> None:
        for run in RUNS:
            lines = [line_of(event) for event in self.store.events.of(run)]
            assert lines == self.model.said[run]
            assert lines[: len(self.lines[run])] == self.lines[run]
            self.lines[run] = lines
            places = "SELECT seq FROM events WHERE run_id = :run UNION ALL SELECT seq FROM effects WHERE run_id = :run AND seq IS NOT NULL"
            found = [row["seq"] for row in self.store.database.rows(places, {"run": run})]
            assert sorted(found) == sorted(set(found))

    @invariant()
    def runs_stand_as_they_were_left(self) -> None:
        for run in RUNS:
            assert self.store.runs.get(run).status == self.model.status[run]


class OnDisk(Machine):
    crashes = True

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()

    def new_store(self) -> SqliteStore:
        return SqliteStore(Path(self._folder.name) / "runs.db", clock=self.clock)

    def teardown(self) -> None:
        super().teardown()
        self._folder.cleanup()


class InMemory(Machine):
    def new_store(self) -> SqliteStore:
        return MemoryStore(clock=self.clock)


@pytest.mark.parametrize("kind", [OnDisk, InMemory], ids=["sqlite", "memory"])
def test_whatever_happens_in_whatever_order_what_must_hold_holds(kind: type[Machine]) -> None:
    bounds = settings(max_examples=40 if kind.crashes else 200, stateful_step_count=50, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(kind, settings=bounds)
