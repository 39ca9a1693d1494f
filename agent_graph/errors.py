"""Every error that the package raises on purpose, in one tree.

    AgentGraphError
    ├── UsageError                 the caller can put it right; nothing was changed
    │   ├── InvalidDocument        a plan, blueprint, policy or params file does not parse
    │   ├── InvalidPlan            a plan was handed in that cannot run; carries all its issues
    │   ├── InvalidToolError       a tool was declared in a way that cannot work
    │   ├── UnknownRun
    │   ├── RunFinished
    │   ├── NothingPending         a decision, but no request waits for one
    │   ├── AmbiguousDecision      a bare decision, but several requests wait
    │   ├── InvalidDecision        the decision does not fit its request
    │   │   └── NotAnApprover      this person's yes does not count for the request
    │   └── DecisionConflict       somebody else decided first
    ├── RunBusy                    another process drives this run
    ├── PlannerError               a planner returned what is not a plan, or failed
    ├── ModelError                 a chat model could not be asked, or gave no usable reply
    ├── StoreError
    │   ├── StoreTooNew            written by a newer version of this package
    │   ├── StoreUnreadable        truncated, corrupt or not a store
    │   ├── LeaseLost              another driver took over; this one must stop
    │   └── ApprovalMissing        an effect was about to begin without a grant; it was not called
    ├── Interrupted                the operator stopped the run; it can be resumed
    ├── CancelAsked                the run is to end: no effect begins any more
    ├── BudgetExceeded             what comes next would overrun a limit of the run; it was not begun
    └── NotDone                    raised BY a tool: the effect certainly did not happen

A message says what happened, to what, and what to do now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent_graph.visible import visible_lines

if TYPE_CHECKING:
    from agent_graph.verdicts import Issue


class AgentGraphError(RuntimeError):
    """The root of all errors of this package. A ``RuntimeError``, since LangGraph's server passes on the messages of built-in errors only."""

    def __str__(self) -> str:
        """A message may name what came from outside: a traceback on a terminal must not obey it."""
        return "\n".join(visible_lines(super().__str__()))


class UsageError(AgentGraphError):
    """The call cannot be carried out as it was made. Nothing was changed."""


class InvalidDocument(UsageError):
    """A file or text does not hold what it should; names the file, the line or path, and what is allowed."""


class InvalidPlan(UsageError):
    """A plan that was handed in cannot run. ``issues`` lists everything that is wrong with it, at once."""

    def __init__(self, issues: Sequence[Issue], what: str = "the plan") -> None:
        self.issues = tuple(issues)
        count = len(self.issues)
        lines = "\n".join(f"  {issue}" for issue in self.issues)
        super().__init__(f"{what} cannot run: {count} issue{'s' if count != 1 else ''}\n{lines}")


class InvalidToolError(UsageError):
    """A tool was declared in a way that cannot work."""


class UnknownRun(UsageError):
    """No run of this id is in the store."""


class RunFinished(UsageError):
    """The run has ended; there is nothing to resume or cancel."""


class NothingPending(UsageError):
    """A decision was given, but no request of the run waits for one."""


class AmbiguousDecision(UsageError):
    """A decision without an address, while more than one request waits."""


class InvalidDecision(UsageError):
    """The decision does not fit the request: a kind that is not allowed there, or edited arguments that do not validate."""


class NotAnApprover(InvalidDecision):
    """The policy does not let this person say yes to the request. It still waits."""


class DecisionConflict(UsageError):
    """The request was decided before; the first decision stands."""


class RunBusy(AgentGraphError):
    """Another driver holds the run's lease."""


class PlannerError(AgentGraphError):
    """The planner failed, or returned something that is not a plan."""


class ModelError(AgentGraphError):
    """A chat model could not be asked, or gave nothing that can be used, however often it was told what was wrong."""


class StoreError(AgentGraphError):
    """The store cannot do what was asked of it."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of this package."""


class StoreUnreadable(StoreError):
    """The file is not a store, or is damaged."""

    @classmethod
    def of_row(cls, table: str, run_id: str, error: Exception) -> StoreUnreadable:
        """Of a row whose values do not parse."""
        first = str(error).strip().partition("\n")[0]
        return cls(
            f"a row of {table} of run {run_id} is damaged ({first[:200]}); nothing was done with it. See what else is, with: "
            "agent-graph doctor; then restore the store from a copy"
        )


class LeaseLost(StoreError):
    """The lease was taken over by another driver; this one must not write any more."""


class ApprovalMissing(StoreError):
    """An effect needs an approval that is not there, was used, was rejected or has expired. The tool was not called."""


class Interrupted(AgentGraphError):
    """The operator stopped the run between calls. What was in flight is recorded; the run can be resumed."""


class CancelAsked(AgentGraphError):
    """Somebody cancelled the run, so no effect of it begins any more. The effect that was about to was not called."""


class BudgetExceeded(AgentGraphError):
    """The worst case of what comes next would overrun a limit of the run. It was not begun."""


class NotDone(AgentGraphError):
    """Raised by a tool to say that its effect certainly did not happen, so that the failure is definite."""
