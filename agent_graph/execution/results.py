"""How the steps of a plan version stand, read from the ledger; outputs are read when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Literal

from agent_graph.errors import UsageError
from agent_graph.execution.references import MissingOutput
from agent_graph.identity import EffectKey, RunId
from agent_graph.plan import Plan, Step
from agent_graph.policy.dataflow import Dataflow
from agent_graph.policy.expressions import ExpressionError, evaluate, steps_read
from agent_graph.ports import Store
from agent_graph.records import Standing
from agent_graph.verdicts import CONDITION_FALSE, StepResult, StepStatus

ENDED: frozenset[StepStatus] = frozenset({"succeeded", "failed", "blocked", "skipped"})

Way = Literal["open", "good", "absent", "halt"]
"""
What a step means for those that need it. ``open``: not ended; ``good``: it has an output, its own or its fallback's;
``absent``: it ended without one, and may; ``halt``: it failed, and somebody must look before anything else starts.
"""


class Results:
    """Not thread-safe; the scheduler holds its lock while it writes."""

    def __init__(self, store: Store, run_id: RunId, plan: Plan, flow: Dataflow) -> None:
        self._store = store
        self._plan = plan
        self._flow = flow
        self._standings = store.ledger.standings(run_id)
        self._outputs: dict[str, Any] = {}

    def standing(self, step_id: str) -> Standing | None:
        return self._standings.get(step_id)

    def record(self, standing: Standing, output: Any = None) -> None:
        """What just happened in this process."""
        self._standings[standing.step_id] = standing
        self._outputs.pop(standing.step_id, None)
        if standing.status == "succeeded":
            self._outputs[standing.step_id] = output

    def status(self, step_id: str) -> StepStatus | None:
        """How the step ended in this plan version; None when it has not. A failure counts only for the version that ran it."""
        standing = self._standings.get(step_id)
        if standing is None or standing.status is None:
            return None
        if self._is_final(standing) or standing.plan_version == self._plan.version:
            return standing.status
        return None

    def _is_final(self, standing: Standing) -> bool:
        """Whether the step stays as it is in every later version: it succeeded, its condition was false, or the plan goes on without it."""
        if standing.status == "succeeded" or (standing.status == "skipped" and standing.error_code == CONDITION_FALSE):
            return True
        step = self._plan.by_id.get(standing.step_id)
        return standing.status == "failed" and step is not None and (step.on_failure == "continue" or step.fallback is not None)

    def unsettled(self, step_id: str) -> bool:
        """Whether an effect of the step was begun and its outcome is not known."""
        standing = self._standings.get(step_id)
        return standing is not None and standing.state in ("intent", "in_doubt") and standing.status in (None, "in_doubt")

    def ended(self, step_id: str) -> bool:
        return self.status(step_id) in ENDED

    def way(self, step_id: str) -> Way:
        match self.status(step_id):
            case "succeeded":
                return "good"
            case "skipped":
                return "absent"
            case "failed" | "blocked":
                step = self._plan.by_id[step_id]
                if step.on_failure == "continue":
                    return "absent"
                if step.fallback is not None:
                    return self.way(step.fallback)
                return "halt"
            case None | "in_doubt" | "needs_clarification":
                return "open"

    def halted(self, step_id: str) -> bool:
        """Whether this very step failed in a way that somebody must look at."""
        step = self._plan.by_id[step_id]
        return self.status(step_id) in ("failed", "blocked") and step.fallback is None and step.on_failure != "continue"

    def output(self, step_id: str) -> Any:
        """The step's output, or its fallback's where it failed. Raises MissingOutput when there is none."""
        status = self.status(step_id)
        if status in ("failed", "blocked"):
            fallback = self._plan.by_id[step_id].fallback
            if fallback is not None:
                return self.output(fallback)
        if status != "succeeded":
            raise MissingOutput(f"step {step_id!r} has no output: it {'has not ended' if status is None else f'is {status}'}")
        if step_id not in self._outputs:
            result = self.result(step_id)
            self._outputs[step_id] = None if result is None else result.output
        return self._outputs[step_id]

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
            for step in self._plan.steps
            if (at := self._standings.get(step.id)) is not None and (self._is_final(at) or self.unsettled(step.id))
        }

    def may_stop(self) -> bool:
        """Whether the plan's ``stop_when`` holds on what has come so far; while it cannot be evaluated yet, it does not."""
        condition = self._plan.stop_when
        if condition is None:
            return False
        goal = self._plan.goal
        context = {"steps": self.view(steps_read(condition) & self._plan.by_id.keys()), "params": goal.params, "goal": goal.text}
        try:
            return evaluate(condition, context) is True
        except ExpressionError:
            return False

    def open_steps(self) -> list[Step]:
        return [step for step in self._plan.steps if not self.ended(step.id)]


def check_tools(run_id: RunId, plan: Plan, tools: Container[str], results: Callable[[], Results]) -> None:
    """Raises UsageError when a step that has not ended needs a tool that is not there. ``results`` is only asked when one is missing."""
    missing = {step.id: step.tool for step in plan.steps if step.tool is not None and step.tool not in tools}
    if missing:
        still = sorted({missing[step.id] for step in results().open_steps() if step.id in missing})
        if still:
            raise UsageError(
                f"run {run_id} needs tools that this agent does not have: {', '.join(still)}; nothing was changed: "
                "resume it with an agent that has them (on the command line: --tools)"
            )
