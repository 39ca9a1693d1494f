"""The dataflow scheduler: a step starts as soon as its own inputs are there, the longest remaining chain first.

One coordinator, the node's thread, watches deadlines and the operator's stop. Workers are daemon threads; each runs a whole pipeline and
then takes the next ready step itself, so that a chain of steps costs no change of thread. While a result needs looking at, nothing new
starts, and what runs is awaited.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent_graph.checkpoints.leases import DURATION
from agent_graph.errors import CancelAsked, Interrupted, LeaseLost, StoreError, UsageError
from agent_graph.events import StepFinished
from agent_graph.execution.asking import put
from agent_graph.execution.calls import Abandoned, Calls
from agent_graph.execution.context import RunContext
from agent_graph.execution.judging import Judging
from agent_graph.execution.outcome import Later, Outcome, Prepared, Reply, Waits
from agent_graph.execution.step import Pipeline
from agent_graph.execution.triggers import broken
from agent_graph.plan import Step
from agent_graph.ports import ToolSpec
from agent_graph.records import Owner, Standing
from agent_graph.threads import BackgroundLoop
from agent_graph.verdicts import StepResult

LOOK = 1.0
"""Seconds between two looks for somebody who cancels the run."""


@dataclass(slots=True)
class _Task:
    step: Step
    work: Callable[[Pipeline], Outcome | Waits | Later]


@dataclass(slots=True)
class _Board:
    """What the workers share, under one lock."""

    ready: list[tuple[int, int, str]] = field(default_factory=list)
    unmet: dict[str, int] = field(default_factory=dict)
    handed_over: list[_Task] = field(default_factory=list)
    """Steps whose call was given up; another worker goes on with them."""
    active: int = 0
    starved: bool = False
    """Something could start, if its tool were not busy in another run."""
    unsettled: list[str] = field(default_factory=list)
    """Steps whose effect was begun and whose outcome is not known: they are settled first, also while nothing new may start."""
    held: bool = False
    """Nothing new starts: a result needs looking at, or the plan's mode says so."""
    failure: BaseException | None = None


class Execution:
    """One visit of ``execute``. ``drive`` returns when nothing more may run now; it raises Interrupted when the run was stopped."""

    def __init__(self, run: RunContext) -> None:
        if BackgroundLoop.is_here():
            raise UsageError("a run cannot be driven from inside an async tool of another run: await agent.arun(…) there instead")
        self.run = run
        self.results = run.results
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._board = _Board()
        judging = Judging(run, self.results)
        self._calls = Calls(run, judging, self._lock, self._changed)
        self._pipeline = Pipeline(run, self.results, judging, self._calls, self._pause, self._record)
        self._holding: set[str] = set()
        """Steps that hold a place among their tool's calls."""
        self._renew_at = run.clock.monotonic() + DURATION / 3
        self._look_at = run.clock.monotonic() + LOOK

    def drive(self) -> None:
        self._lay_out()
        self._staff_first()
        while True:
            try:
                self._watch()
                break
            except (KeyboardInterrupt, SystemExit) as stopped:
                # The operator's Ctrl-C under a plain `graph.invoke`: no new call; those in flight are recorded first.
                self.run.stop.set()
                with self._lock:
                    self._board.failure = self._board.failure or stopped
        self.run.store.flush()
        if isinstance(self._board.failure, CancelAsked):
            return  # the wish is on record: `observe` finds it, and `conclude` ends the run
        if self._board.failure is not None:
            raise self._board.failure
        if self.run.stop.is_set():
            # Returning would let the next node find free steps and go on.
            raise Interrupted(f"run {self.run.run_id} was stopped; what was in flight is recorded: resume it to go on")

    def _staff_first(self) -> None:
        with self._lock:
            self._staff()

    def _watch(self) -> None:
        """Until no worker is left."""
        clock = self.run.clock
        with self._lock:
            while self._board.active or self._is_starved():
                patience = self._patience()
                self._calls.looked_at_next = clock.monotonic() + patience
                self._changed.wait(patience)
                self._give_up_late_calls()
                if clock.monotonic() >= self._renew_at:
                    self._renew_at = clock.monotonic() + DURATION / 3
                    self._renew()
                if clock.monotonic() >= self._look_at:
                    self._look_at = clock.monotonic() + LOOK
                    self._look_for_cancel()
                self._staff()

    def _is_starved(self) -> bool:
        board = self._board
        return board.starved and board.failure is None and not self.run.stop.is_set()

    def _renew(self) -> None:
        """Push the lease's expiry out. A store that is busy is tried again; a lease that was lost ends the drive, after the calls in flight."""
        try:
            self.run.store.leases.renew(self.run.lease)
        except LeaseLost as lost:
            self._board.failure = self._board.failure or lost
        except StoreError:
            self._renew_at = self.run.clock.monotonic() + 1.0

    def _look_for_cancel(self) -> None:
        """Effects are refused by the ledger from the moment of the wish; this ends reads, pauses and probes as well."""
        with contextlib.suppress(StoreError):
            if self.run.store.runs.get(self.run.run_id).cancel_asked is not None:
                self._board.failure = self._board.failure or CancelAsked(f"run {self.run.run_id} was cancelled")

    # ── the board ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _lay_out(self) -> None:
        board, flow = self._board, self.run.flow
        for step in self.run.plan.steps:
            if self.results.ended(step.id):
                board.held = board.held or self.results.halted(step.id)
                continue
            if self.results.unsettled(step.id):
                board.unsettled.append(step.id)
                continue
            missing = sum(not self.results.ended(need) for need in flow.needs[step.id])
            board.unmet[step.id] = missing
            if missing == 0:
                self._offer(step.id)
        # Also after a crash, which came before anybody had looked.
        board.held = board.held or self.results.may_stop() or bool(broken(self.results))

    def _offer(self, step_id: str) -> None:
        heapq.heappush(self._board.ready, (-self.run.flow.rank[step_id], self.run.flow.order[step_id], step_id))

    def _staff(self) -> None:
        """Start as many workers as there is work for. Holds the lock."""
        board = self._board
        while board.active < self.run.rules.limits.max_parallel and (task := self._take()) is not None:
            board.active += 1
            threading.Thread(target=self._work, args=(task,), name=f"agent-graph {task.step.id}", daemon=True).start()

    def _take(self) -> _Task | None:
        """The next thing to do, if anything may start. Holds the lock."""
        board = self._board
        if board.handed_over:
            return board.handed_over.pop()
        if board.failure is not None or self.run.stop.is_set():
            return None
        board.starved = False
        for step_id in board.unsettled:
            if self._occupy(step_id):
                board.unsettled.remove(step_id)
                return self._task(step_id, only_settle=board.held)
        if board.held:
            return None
        passed_over, found = [], None
        while board.ready:
            entry = heapq.heappop(board.ready)
            if self._occupy(entry[2]):
                found = entry[2]
                break
            passed_over.append(entry)
        for entry in passed_over:
            heapq.heappush(board.ready, entry)
        return None if found is None else self._task(found)

    def _task(self, step_id: str, *, only_settle: bool = False) -> _Task:
        step = self.run.plan.by_id[step_id]
        return _Task(step, lambda pipeline: pipeline.carry_out(step, only_settle=only_settle))

    def _occupy(self, step_id: str) -> bool:
        """Take a place among the calls of the step's tool. Calls that change something do not overlap unless the tool says so."""
        spec = self._spec(step_id)
        if spec is None or spec.at_once is None or self._pipeline.verifying.pending(self.run.plan.by_id[step_id]):
            return True
        if not self.run.slots.take(spec, self._wake):
            self._board.starved = True
            return False
        self._holding.add(step_id)
        return True

    def _vacate(self, step_id: str) -> None:
        """Give the place back; not under our lock, since other runs are woken."""
        if step_id in self._holding:
            self._holding.discard(step_id)
            spec = self._spec(step_id)
            if spec is not None:
                self.run.slots.give_back(spec)

    def _wake(self) -> None:
        with self._lock:
            self._changed.notify_all()

    def _spec(self, step_id: str) -> ToolSpec | None:
        return self.run.rules.tools.get(self.run.plan.by_id[step_id].tool or "")

    # ── a worker ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _work(self, task: _Task | None) -> None:
        try:
            while task is not None:
                came = task.work(self._pipeline)
                task = self._settle(task.step, came)
        except Abandoned:
            return  # another worker took over, and with it this one's place
        except BaseException as error:
            with self._lock:
                board = self._board
                board.failure = board.failure or error
        try:
            self.run.store.flush()  # the last outcome is on disk before the worker is gone
        except BaseException as error:
            with self._lock:
                self._board.failure = self._board.failure or error
        if task is not None:
            self._vacate(task.step.id)
        with self._lock:
            self._board.active -= 1
            self._changed.notify_all()

    def _settle(self, step: Step, came: Outcome | Waits | Later) -> _Task | None:
        """Record what came of the step, and take the next one."""
        run = self.run
        if isinstance(came, Waits):
            put(run.store, run.lease, came.request, run.record)
        elif isinstance(came, Outcome):
            self._write(step, came)
            if came.request is not None:
                put(run.store, run.lease, came.request, run.record)
        self._vacate(step.id)
        with self._lock:
            board = self._board
            if isinstance(came, Outcome):
                self._note(step, came)
                if self.results.ended(step.id):
                    self._ended(step)
            following = self._task(step.id) if self._is_unverified(came) else self._take()
            if board.ready or board.handed_over or board.unsettled:
                self._staff()
            return following

    def _is_unverified(self, came: Outcome | Waits | Later) -> bool:
        """Whether what the step gave, which is recorded now, is to be held against what code cannot check. Holds the lock."""
        if not isinstance(came, Outcome) or came.result.status != "needs_clarification":
            return False
        return self._board.failure is None and not self.run.stop.is_set()

    def _record(self, step: Step, came: Outcome) -> None:
        """Record what came of a step that was not started here: one that had ended and was read again, a call of an agent."""
        self._write(step, came)
        with self._lock:
            self._note(step, came)

    def _write(self, step: Step, came: Outcome) -> None:
        run, result = self.run, came.result
        if came.left is None:
            self._finish(came, None)
        else:
            with self._lock:
                # Either the call is still running and `_late` clears the mark after us, or it came back and there is none to set.
                self._finish(came, came.left if self._calls.runs_on(came.key) else None)
        # An outcome that has ended is its own line of the trace.
        say = run.record if result.finished is None else run.emit
        if say is not None:
            say(_finished(run.run_id, result, run.clock.now()))

    def _finish(self, came: Outcome, left: Owner | None) -> None:
        self.run.store.ledger.finish(
            self.run.lease,
            came.key,
            came.state,
            came.result,
            tool=came.tool,
            args=came.args,
            risk=came.risk,
            durable=came.durable,
            left=left,
            undo=came.undo,
            judged=came.judged,
        )

    def _note(self, step: Step, came: Outcome) -> None:
        """Holds the lock."""
        result = came.result
        standing = Standing(
            key=came.key,
            step_id=step.id,
            plan_version=result.plan_version,
            state=came.state,
            status=result.status,
            error_code=result.error.code if result.error else None,
            label=0 if result.provenance is None else result.provenance.trusted + 2 * result.provenance.sensitive,
        )
        self.results.record(standing, result.output)
        if result.landed and came.tool is not None and came.durable:
            self.results.note_landed(came.tool, came.args or {}, step.id, result.plan_version)

    def _ended(self, step: Step) -> None:
        board = self._board
        if self.results.halted(step.id) or self.run.plan.mode == "iterative" or self.results.may_stop() or broken(self.results, step.id):
            board.held = True
        for follower in self.run.flow.followers.get(step.id, ()):
            if follower in board.unmet:
                board.unmet[follower] -= 1
                if board.unmet[follower] == 0:
                    self._offer(follower)

    # ── calls and deadlines ───────────────────────────────────────────────────────────────────────────────────────────

    def _give_up_late_calls(self) -> None:
        """A sync call cannot be stopped; it is left behind, and its step goes on as timed out. Holds the lock."""
        for prepared, reply in self._calls.given_up():
            self._board.active -= 1  # the abandoned worker's place
            self._board.handed_over.append(_Task(prepared.step, _goes_on(prepared, reply)))

    def _patience(self) -> float:
        """Seconds until somebody must be looked at."""
        now = self.run.clock.monotonic()
        nearest = self._calls.first_deadline(now + 1.0)
        return max(0.001, min(nearest - now, 1.0 if not self.run.stop.is_set() else 0.05, self._renew_at - now, self._look_at - now))

    def _pause(self, seconds: float) -> None:
        """Wait, or raise Interrupted when the run is stopped, cancelled or taken over; with 0, only look."""
        until = time.monotonic() + seconds
        while True:
            if self.run.stop.is_set():
                raise Interrupted(f"run {self.run.run_id} was stopped")
            if isinstance(self._board.failure, CancelAsked | LeaseLost):
                raise Interrupted(str(self._board.failure))  # that failure stands
            left = until - time.monotonic()
            if left <= 0:
                return
            self.run.stop.wait(min(left, LOOK / 2))


def _goes_on(prepared: Prepared, reply: Reply) -> Callable[[Pipeline], Outcome]:
    return lambda pipeline: pipeline.carry_on(prepared, reply)


def _finished(run_id: str, result: StepResult, now: float) -> StepFinished:
    ended = result.finished
    return StepFinished(
        run_id=run_id,
        at=now if ended is None else ended,
        step_id=result.step_id,
        plan_version=result.plan_version,
        status=result.status,
        attempts=result.attempts,
        seconds=0.0 if ended is None else ended - (ended if result.started is None else result.started),
        error=result.error.model_dump() if result.error else None,
    )
