"""How the steps of a plan version stand, read from the ledger; outputs are read when somebody asks for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, Literal

from agent_graph.errors import UsageError
from agent_graph.execution.budget import Budget
from agent_graph.execution.outdated import RanWith, outdated
from agent_graph.execution.references import MissingOutput
from agent_graph.identity import EffectKey, RunId, call_key
from agent_graph.plan import Goal, Plan, Step
from agent_graph.policy.dataflow import Dataflow
from agent_graph.policy.expressions import ExpressionError, evaluate, steps_read
from agent_graph.policy.provenance import OUTSIDE, Label
from agent_graph.ports import Store
from agent_graph.records import PlanRecord, Standing
from agent_graph.verdicts import CONDITION_FALSE, StepResult, StepStatus

ENDED: frozenset[StepStatus] = frozenset({"succeeded", "failed", "blocked", "skipped"})

MOST_OUTPUTS = 128
"""Outputs that are kept at hand; an older one is read again when somebody refers to it."""

_LABELS = tuple(Label(trusted=bool(number & 1), sensitive=bool(number & 2)) for number in range(4))
"""By ``Standing.label``."""

Way = Literal["open", "good", "absent", "halt"]
"""
What a step means for those that need it. ``open``: not ended; ``good``: it has an output, its own or its fallback's;
``absent``: it ended without one, and may; ``halt``: it failed, and somebody must look before anything else starts.
"""


class Results:
    """Workers read while the scheduler, who holds its lock, writes."""

    def __init__(self, store: Store, run_id: RunId, plan: Plan, ran_with: RanWith | None = None) -> None:
        """``ran_with``: what is known of earlier versions."""
        self._store = store
        self._run_id = run_id
        self.plan = plan
        self._standings = store.ledger.standings(run_id)
        self._ran_with: RanWith = {} if ran_with is None else ran_with
        self._outdated = self.outdated(plan.goal) if plan.parent is not None else frozenset()
        self.statuses: dict[str, StepStatus] = {
            step_id: status for step_id, standing in self._standings.items() if (status := self._status(standing)) is not None
        }
        """How steps ended in this plan version, those that have."""
        self._outputs: dict[str, Any] = {}
        """Those that came last."""
        self._landed: dict[str, tuple[str, int]] | None = None
        """Read at the first call of a later plan version that could repeat an effect."""
        self._calls: dict[str, set[str]] = {}
        """By ``agent`` step, the ids of the calls that it made or wanted to make."""
        for step_id in self._standings:
            self._note_call(step_id)
        self._lock = threading.Lock()

    def standing(self, step_id: str) -> Standing | None:
        return self._standings.get(step_id)

    def calls_of(self, step_id: str) -> tuple[str, ...]:
        """Ids of the calls that an ``agent`` step made, or wanted to make, in the order of their numbers."""
        return tuple(sorted(self._calls.get(step_id, ()), key=lambda call_id: int(call_id.rpartition(".")[2])))

    def _note_call(self, step_id: str) -> None:
        outer, dot, _ = step_id.rpartition(".")
        if dot:
            self._calls.setdefault(outer, set()).add(step_id)

    def record(self, standing: Standing, output: Any = None) -> None:
        """What just happened in this process."""
        step_id = standing.step_id
        self._standings[step_id] = standing
        self._note_call(step_id)
        status = self._status(standing)
        if status is None:
            self.statuses.pop(step_id, None)
        else:
            self.statuses[step_id] = status
        self._remember(step_id, output, there=status == "succeeded")

    def _remember(self, step_id: str, output: Any, *, there: bool = True) -> None:
        with self._lock:
            self._outputs.pop(step_id, None)
            if there:
                self._outputs[step_id] = output
                if len(self._outputs) > MOST_OUTPUTS:
                    del self._outputs[next(iter(self._outputs))]

    def status(self, step_id: str) -> StepStatus | None:
        """How the step ended in this plan version; None when it has not."""
        return self.statuses.get(step_id)

    def _status(self, standing: Standing) -> StepStatus | None:
        """A failure counts only for the version that ran it."""
        if standing.status is not None and (standing.plan_version == self.plan.version or self._is_final(standing)):
            return standing.status
        return None

    def _is_final(self, standing: Standing) -> bool:
        """Whether the step stays as it is in every later version: it succeeded, its condition was false, or the plan goes on without it."""
        if standing.step_id in self._outdated and standing.plan_version < self.plan.version:
            return False
        if standing.status == "succeeded" or (standing.status == "skipped" and standing.error_code == CONDITION_FALSE):
            return True
        step = self.plan.by_id.get(standing.step_id)
        if standing.status != "failed" or step is None or step.fallback is None:
            return standing.status == "failed" and step is not None and step.on_failure == "continue"
        other = self._standings.get(step.fallback)  # one that failed as well leaves nothing to go on with
        return other is None or other.status not in ("failed", "blocked") or self._is_final(other)

    def unsettled(self, step_id: str) -> bool:
        """Whether an effect of the step, or of a call that it made, was begun and its outcome is not known."""
        standing = self._standings.get(step_id)
        if standing is not None and standing.state in ("intent", "in_doubt") and standing.status in (None, "in_doubt"):
            return True
        return any(self.unsettled(call_id) for call_id in tuple(self._calls.get(step_id, ())))

    def ended(self, step_id: str) -> bool:
        return self.statuses.get(step_id) in ENDED

    def way(self, step_id: str) -> Way:
        match self.status(step_id):
            case "succeeded":
                return "good"
            case "skipped":
                return "absent"
            case "failed" | "blocked":
                step = self.plan.by_id[step_id]
                if step.on_failure == "continue":
                    return "absent"
                if step.fallback is not None:
                    return self.way(step.fallback)
                return "halt"
            case None | "in_doubt" | "needs_clarification":
                return "open"

    def halted(self, step_id: str) -> bool:
        """Whether this very step failed in a way that somebody must look at."""
        if self.statuses.get(step_id) not in ("failed", "blocked"):
            return False
        step = self.plan.by_id[step_id]
        return step.fallback is None and step.on_failure != "continue"

    def all_halted(self) -> list[Step]:
        """In the order of the plan."""
        halted = {step_id for step_id, status in self.statuses.items() if step_id in self.plan.by_id and self.halted(step_id)}
        return [step for step in self.plan.steps if step.id in halted] if halted else []

    def output(self, step_id: str) -> Any:
        """The step's output, or its fallback's where it failed. Raises MissingOutput when there is none."""
        status = self.status(step_id)
        if status in ("failed", "blocked"):
            fallback = self.plan.by_id[step_id].fallback
            if fallback is not None:
                return self.output(fallback)
        if status != "succeeded":
            raise MissingOutput(f"step {step_id!r} has no output: it {'has not ended' if status is None else f'is {status}'}")
        try:
            return self._outputs[step_id]
        except KeyError:
            result = self.result(step_id)
            output = None if result is None else result.output
            self._remember(step_id, output)
            return output

    def label(self, step_id: str) -> Label:
        """Of what stands for the step: its own output, or its fallback's where it failed and that has ended."""
        if self.status(step_id) in ("failed", "blocked"):
            fallback = self.plan.by_id[step_id].fallback
            if fallback is not None and self.ended(fallback):
                return self.label(fallback)
        standing = self._standings.get(step_id)
        return OUTSIDE if standing is None else _LABELS[standing.label]

    def landed(self, key: str) -> tuple[str, int] | None:
        """By ``call_key``: the step and the plan version whose effect was this very call."""
        with self._lock:
            if self._landed is None:
                self._landed = landed_calls(self._store, self._run_id)
            return self._landed.get(key)

    def note_landed(self, tool: str, args: dict[str, Any], step_id: str, version: int) -> None:
        with self._lock:
            if self._landed is not None:
                self._landed.setdefault(call_key(tool, args), (step_id, version))

    def result(self, step_id: str) -> StepResult | None:
        standing = self._standings.get(step_id)
        return None if standing is None else self._store.ledger.result(EffectKey(standing.key))

    def view(self, step_ids: frozenset[str]) -> dict[str, Any]:
        """The named steps as expressions see them."""
        seen: dict[str, Any] = {}
        for step_id in step_ids:
            entry: dict[str, Any] = {"status": self.status(step_id) or "pending"}
            if self.way(step_id) == "good":
                entry["output"] = self.output(step_id)
            seen[step_id] = entry
        return seen

    def frozen(self) -> dict[str, Step]:
        """The steps of the plan that have ended for good, or whose effect is not settled yet."""
        return {
            step.id: step
            for step in self.plan.steps
            if ((at := self._standings.get(step.id)) is not None and self._is_final(at)) or self.unsettled(step.id)
        }

    def outdated(self, goal: Goal) -> frozenset[str]:
        """The steps that had ended for a goal with other parameters, and say nothing about those of ``goal``."""
        return outdated(self._store, self._run_id, self._standings, goal, self._ran_with)

    def versions(self) -> set[int]:
        """The plan versions of which something ran, and was not run again in a later one."""
        return {at.plan_version for at in self._standings.values()}

    def any_unsettled(self) -> bool:
        """Whether the outcome of a begun effect of the plan is not known."""
        return any(step_id in self.plan.by_id and self.unsettled(step_id) for step_id in (*self._standings, *self._calls))

    def may_stop(self) -> bool:
        """Whether the plan's ``stop_when`` holds on what has come so far; while it cannot be evaluated yet, it does not."""
        condition = self.plan.stop_when
        if condition is None:
            return False
        goal = self.plan.goal
        context = {"steps": self.view(steps_read(condition) & self.plan.by_id.keys()), "params": goal.params, "goal": goal.text}
        try:
            return evaluate(condition, context) is True
        except ExpressionError:
            return False

    def open_steps(self) -> list[Step]:
        return [step for step in self.plan.steps if self.statuses.get(step.id) not in ENDED]


def landed_calls(store: Store, run_id: RunId) -> dict[str, tuple[str, int]]:
    """Effects that happened: by ``call_key``, the step and the plan version that made the call."""
    return {call_key(tool, args): (step_id, version) for tool, args, step_id, version in store.ledger.landed_calls(run_id)}


class Known:
    """The plan of a run, how its steps stand, and how they wait for each other: read once, since nobody else writes while its lease is held."""

    def __init__(self) -> None:
        self._current: PlanRecord | None = None
        self._results: Results | None = None
        self._flow: Dataflow | None = None
        self._budget: Budget | None = None
        self.ran_with: RanWith = {}

    def budget(self, make: Callable[[], Budget]) -> Budget:
        """What the run may still use. It counts on over everything that happens in the drive."""
        if self._budget is None:
            self._budget = make()
        return self._budget

    def current(self, store: Store, run_id: RunId) -> PlanRecord | None:
        """The newest plan version; None while there is none."""
        if self._current is None:
            self._current = store.runs.plan(run_id)
        return self._current

    def results(self, store: Store, run_id: RunId, plan: Plan) -> Results:
        if self._results is None or self._results.plan.version != plan.version:
            self._results, self._flow = Results(store, run_id, plan, self.ran_with), None
        return self._results

    def flow(self, store: Store, run_id: RunId, plan: Plan, *, every: bool = False) -> Dataflow:
        """Of what had not ended when it was asked for first. ``every``: with ``every_need``."""
        results = self.results(store, run_id, plan)
        if self._flow is None:
            self._flow = Dataflow.of(plan, {step_id for step_id in results.statuses if results.ended(step_id)}, every=every)
        return self._flow

    def forget(self) -> None:
        """Something was written that they do not know of."""
        self._current = self._results = self._flow = None


def _tools_of(step: Step) -> set[str]:
    return {step.tool} if step.tool is not None else set(step.allowed_tools) if step.agent is not None else set()


def check_tools(run_id: RunId, plan: Plan, tools: AbstractSet[str], results: Callable[[], Results]) -> None:
    """Raises UsageError when a step that has not ended needs a tool that is not there. ``results`` is only asked when one is missing."""
    if {step.tool for step in plan.steps} - tools - {None} or any(_tools_of(step) - tools for step in plan.steps if step.agent is not None):
        missing = {step.id: lacking for step in plan.steps if (lacking := _tools_of(step) - tools)}
        still = sorted({name for step in results().open_steps() for name in missing.get(step.id, ())})
        if still:
            raise UsageError(
                f"run {run_id} needs tools that this agent does not have: {', '.join(still)}; nothing was changed: "
                "resume it with an agent that has them (on the command line: --tools)"
            )
