"""What became of an effect whose outcome is not known: by its recovery class, never by guessing."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from agent_graph.execution.allowing import Allowing
from agent_graph.execution.asking import doubt, doubt_digest
from agent_graph.execution.context import RunContext
from agent_graph.execution.judging import Judging
from agent_graph.execution.outcome import NothingHappened, Outcome, Prepared, Returned, Waits
from agent_graph.plan import Step
from agent_graph.records import Effect
from agent_graph.threads import run_coroutine, start
from agent_graph.tools.tool import Tool, ToolContext
from agent_graph.verdicts import Absent, Deny, Landed, Unknown

ORPHANED = 1.0
"""Seconds for which the worker process of a driver that was killed may go on, where its tool holds up its own end."""

PROBE_PATIENCE = 30.0
"""Seconds that a probe may take at most."""

_STILL_RUNS = "it was given up at its deadline, and still runs in {}"


class Recovery:
    """Of one visit of ``execute``. ``pause`` waits, and raises when the run is stopped."""

    def __init__(self, run: RunContext, judging: Judging, allowing: Allowing, pause: Callable[[float], None]) -> None:
        self.run = run
        self.judging = judging
        self.allowing = allowing
        self.pause = pause

    def recover(self, step: Step, effect: Effect) -> Prepared | Outcome | Waits | NothingHappened:
        """Settle an effect that was begun, before anything of its step is looked at anew. ``Prepared``: the same call is to be made again."""
        if effect.state == "failed":
            return NothingHappened()  # and it was to be tried again
        tool = self.run.tools.get(effect.tool)
        said = self.run.store.approvals.decision(self.run.run_id, doubt_digest(effect), "in_doubt")
        if said is not None and said.decision is not None and said.decision.type == "resolve":
            if said.decision.outcome == "landed":
                return self.judging.landed_says_person(step, effect, said.decision.output)
            return NothingHappened()
        if tool is not None and tool.spec.isolation == "process" and effect.state == "intent":
            self.pause(ORPHANED)
        if effect.left is not None and effect.recovery != "probeable":
            return Waits(doubt(self.run, step, effect, _STILL_RUNS.format(effect.left)))
        if tool is None:
            return Waits(doubt(self.run, step, effect, f"the tool {effect.tool!r} is not registered any more"))
        match effect.recovery:
            case "rerun" | "idempotent" | "keyed":
                verdict = self.allowing.permission(step, tool.spec, effect.args).verdict
                if isinstance(verdict, Deny):  # since it was begun, for example by a policy that was changed
                    return Waits(doubt(self.run, step, effect, f"it was begun, and is not sent again: {verdict.reason}"))
                return self.prepared_again(step, effect, tool)
            case "probeable" if tool.probe is not None:
                context = ToolContext(run_id=self.run.run_id, step_id=step.id, idempotency_key=effect.key, deadline=effect.deadline)
                match self.probe(tool, effect.args, context, self.until(effect, tool), step.id):
                    case Landed(output):
                        return self.judging.returned(self.prepared_again(step, effect, tool), Returned(output))
                    case Absent() if effect.left is not None:
                        return Waits(doubt(self.run, step, effect, _STILL_RUNS.format(effect.left)))
                    case Absent():
                        return NothingHappened()
                    case Unknown(why):
                        return Waits(doubt(self.run, step, effect, f"its outcome is not known, and its probe cannot say: {why}"))
            case _:
                return Waits(doubt(self.run, step, effect, "it was begun, and nothing tells whether it happened"))

    def until(self, effect: Effect, tool: Tool) -> float:
        """Until when the effect of a call that another process made may still land, on this process's monotonic clock.

        Only the wall clock knows how long ago that was, and it may have been set since: it never shortens the tool's time to settle, and
        never makes the wait longer than a whole call.
        """
        wall = effect.deadline + tool.spec.settle - self.run.clock.now()
        whole = (effect.deadline - effect.started) + tool.spec.settle
        return self.run.clock.monotonic() + min(max(wall, tool.spec.settle), whole)

    def prepared_again(self, step: Step, effect: Effect, tool: Tool) -> Prepared:
        prepared = Prepared(
            step=step,
            tool=tool,
            args=effect.args,
            key=effect.key,
            timeout=step.timeout_s or tool.spec.timeout,
            approval=None,
            provenance=self.allowing.provenance(step, tool.spec),
        )
        prepared.attempt, prepared.started, prepared.deadline = effect.attempt, effect.started, effect.deadline
        return prepared

    def probe(self, tool: Tool, args: dict[str, Any], context: ToolContext, until: float, step_id: str) -> Landed | Absent | Unknown:
        """Ask the system. ``Absent`` counts only after ``until`` (monotonic): a slow effect may still land."""
        while True:
            said = self.ask(tool, args, context)
            left = until - self.run.clock.monotonic()
            if not isinstance(said, Absent) or left <= 0:
                return said
            if left > 1:
                self.judging.note(step_id, f"not there yet; it may still land for {left:.0f} s, then it is called again")
            self.pause(min(left, max(1.0, left / 4)))

    def ask(self, tool: Tool, args: dict[str, Any], context: ToolContext) -> Landed | Absent | Unknown:
        """One call of the probe, within the tool's own time limit. Whatever goes wrong with it, the answer is that nobody knows."""
        assert tool.probe is not None  # noqa: S101  # declared with the recovery class
        patience = min(tool.spec.timeout, PROBE_PATIENCE)
        asked: Any = start(tool.probe, context, copy.deepcopy(args))
        try:
            said: Any = asked.result(patience)
            if inspect.iscoroutine(said):
                asked = run_coroutine(said, self.run.loop)
                said = asked.result(patience)
        except TimeoutError as error:
            return Unknown(self.judging.describe(error) if asked.done() else f"its probe gave no answer within {patience:g} s")
        except BaseException as error:
            return Unknown(self.judging.describe(error))
        if not isinstance(said, Landed | Absent | Unknown):
            return Unknown(f"its probe returned {type(said).__name__} instead of Landed, Absent or Unknown")
        return Unknown(self.judging.words(said.why)) if isinstance(said, Unknown) else said
