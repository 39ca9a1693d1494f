"""The pipeline that every step passes, in this order:

condition → references → arguments against the schema → scope → policy → approval → intent → call with a deadline → normalise →
schema and success criteria → evidence → outcome.

A step that cannot go on for want of a person returns what it asks; nothing here waits for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from agent_graph.errors import NotDone
from agent_graph.events import StepStarted
from agent_graph.execution import nested
from agent_graph.execution.allowing import Allowing
from agent_graph.execution.asking import doubt, request
from agent_graph.execution.caching import Caching
from agent_graph.execution.calls import Calls
from agent_graph.execution.clarifying import Clarifying
from agent_graph.execution.context import RunContext
from agent_graph.execution.freshness import Freshness
from agent_graph.execution.judging import Judging
from agent_graph.execution.outcome import Later, NothingHappened, Outcome, Prepared, Raised, Refused, Reply, Returned, TimedOut, Waits
from agent_graph.execution.reasoning import Reasoning
from agent_graph.execution.recovery import Recovery
from agent_graph.execution.references import MissingOutput, ReferenceError_, resolve
from agent_graph.execution.results import Results
from agent_graph.execution.verifying import StepVerifying
from agent_graph.identity import StepId, effect_key
from agent_graph.plan import Step
from agent_graph.policy.expressions import ExpressionError, evaluate, steps_read
from agent_graph.policy.nesting import inputs_of
from agent_graph.policy.permission import Permission
from agent_graph.policy.schemas import mismatches
from agent_graph.records import Effect, Intent
from agent_graph.redaction import is_stand_in
from agent_graph.tools.tool import ToolContext
from agent_graph.verdicts import (
    CONDITION_FALSE,
    Absent,
    Allow,
    Ask,
    Deny,
    Failure,
    Landed,
    StepResult,
    Unknown,
)

BACKOFF = 0.1
"""Seconds before the second attempt; before each later one a random time below a bound that doubles (full jitter)."""

RATE_POLL = 0.02
"""Seconds between two looks whether a tool's rate allows the next call."""

SAFE_RESENDS = 3
"""How often a call of unknown outcome is sent in all when sending it again is safe (``idempotent``, ``keyed``)."""


class Pipeline:
    """
    Of one visit of ``execute``. ``pause`` waits, and raises when the run is stopped; ``record`` writes what came of a step that the scheduler
    did not start: a finished read that was made anew, a call of an agent. ``stays``: whoever makes a call stays with it to its deadline.
    """

    def __init__(
        self,
        run: RunContext,
        results: Results,
        judging: Judging,
        calls: Calls,
        pause: Callable[[float], None],
        record: Callable[[Step, Outcome], None],
        *,
        allowing: Allowing | None = None,
        stays: bool = False,
    ) -> None:
        self.run = run
        self.results = results
        self.judging = judging
        self.allowing = allowing or Allowing(run)
        self.clarifying = Clarifying(run, judging, self.allowing)
        self.recovery = Recovery(run, judging, self.allowing, pause)
        self.calls = calls
        self.caching = Caching(run, judging)
        self.pause = pause
        self.record = record
        self.stays = stays
        self.freshness = Freshness(self, record)
        self.verifying = StepVerifying(run, pause)

    def carry_out(self, step: Step, *, only_settle: bool = False) -> Outcome | Waits | Later:
        """``only_settle``: what was begun is settled, and nothing else is begun."""
        if self.verifying.pending(step):
            return self.verifying.verify(step)
        if step.model is not None or step.agent is not None:
            return Reasoning(self).carry_out(step, only_settle=only_settle)
        begun = self.begun(step)
        settled: Prepared | Outcome | Waits | NothingHappened = NothingHappened()
        if begun is not None:
            settled = self.recovery.recover(step, begun)
        if isinstance(settled, NothingHappened):
            settled = self.prepare(step, begun)
        return self.carry_on(settled, None) if isinstance(settled, Prepared) else self.with_label(step, settled)

    def with_label(self, step: Step, came: Outcome | Waits) -> Outcome | Waits:
        """That a step was not called, and why, is as trusted as what decided it: others may read its status."""
        tool = self.run.tools.get(step.tool or "")
        if isinstance(came, Waits) or came.result.provenance is not None or tool is None:
            return came
        return replace(came, result=came.result.model_copy(update={"provenance": self.allowing.provenance(step, tool.spec)}))

    def begun(self, step: Step) -> Effect | None:
        """The step's effect that was begun and has not come to an end. A read has none: it is simply made again."""
        standing = self.results.standing(step.id)
        if standing is None or standing.state not in ("intent", "in_doubt", "failed") or standing.status not in (None, "in_doubt"):
            return None
        effect = self.run.store.ledger.effect(standing.key)
        return effect if effect is not None and effect.recovery is not None else None

    def prepare(self, step: Step, begun: Effect | None = None) -> Prepared | Outcome | Waits:
        """Everything before the intent. ``begun`` is an effect of the step that certainly did not happen."""
        stale = self.freshness.renew(step)
        if stale is not None:
            return self.judging.blocked(step, "stale_input", stale)
        skipped = self.skip(step)
        if skipped is not None:
            return skipped
        if step.kind == "ask":
            return self.ask(step)
        if step.kind == "blueprint":
            return nested.conclude(self, step)
        tool = self.run.tools.get(step.tool or "")
        if tool is None:
            return self.judging.blocked(step, "unknown_tool", f"there is no tool {step.tool!r}")
        try:
            args = resolve(step.args, self.results.output, self.run.plan.goal.params)
        except MissingOutput as missing:
            return self.judging.skipped(step, "upstream_missing", str(missing))
        except ReferenceError_ as error:
            return self.judging.blocked(step, "invalid_reference", str(error))
        wrong = mismatches(tool.spec.args_schema, args)
        if tool.spec.changes:
            wrong += [f"{name} was a secret, and no plan hands one on" for name, value in args.items() if is_stand_in(value)]
        if wrong:
            return self.judging.blocked(step, "invalid_arguments", f"{tool.name}: {'; '.join(wrong)}", args)
        if step.allowed_tools and tool.name not in step.allowed_tools:
            return self.judging.blocked(step, "tool_not_allowed", f"the step allows only {', '.join(step.allowed_tools)}", args)
        late = self.allowing.out_of_order(step, tool.spec)
        if late:
            return self.judging.blocked(step, "order_violated", late, args)
        key = effect_key(self.run.run_id, StepId(step.id), tool.name, args)
        prepared = Prepared(
            step=step,
            tool=tool,
            args=args,
            key=key,
            timeout=step.timeout_s or tool.spec.timeout,
            approval=None,
            provenance=self.allowing.provenance(step, tool.spec),
        )
        said = self.allowing.permission(step, tool.spec, args)
        verdict = said.verdict
        prepared.judged = self.allowing.recorded(verdict)
        if isinstance(verdict, Deny):
            return self.judging.blocked(step, said.code, verdict.reason, args, prepared.judged)
        if begun is not None and begun.key == key:
            # The very same call is tried again: its yes was used up by it, and covers it still.
            prepared.attempt = begun.attempt
            return prepared
        if tool.spec.changes and self.results.standing(step.id) is not None:  # else there is no row of the step
            landed = self.run.store.ledger.effect(key)
            if landed is not None and landed.state == "done":
                return self.judging.judge_again(prepared, landed)
        return prepared if isinstance(verdict, Allow) else self.approved(prepared, verdict, said)

    def skip(self, step: Step) -> Outcome | None:
        """Whether the step does not run at all."""
        primary = self.run.flow.fallback_of.get(step.id)
        if primary is not None and self.results.status(primary) not in ("failed", "blocked"):
            return self.judging.skipped(step, "not_needed", f"step {primary!r} did not fail")
        for need in sorted(inputs_of(step)):
            if self.results.way(need) != "good":
                return self.judging.skipped(step, "upstream_missing", f"step {need!r} has no output")
        broken = nested.broken_around(self.run.plan, self.results, step) if step.part_of is not None else None
        if broken is not None:
            return self.judging.skipped(step, "upstream_missing", f"the nested plan failed with step {broken!r}")
        if step.when is None:
            return None
        try:
            wanted = evaluate(step.when, self.judging.context(steps_read(step.when)))
        except ExpressionError as error:
            return self.judging.blocked(step, "condition_failed", f"when ({step.when}): {error}")
        if wanted is not True:
            return self.judging.skipped(step, CONDITION_FALSE, f"when ({step.when}) is {str(wanted).lower()}")
        return None

    def ask(self, step: Step) -> Outcome | Waits:
        return self.clarifying.ask(step)

    def approved(self, prepared: Prepared, verdict: Ask, said: Permission) -> Prepared | Waits:
        """The call with the unused yes that covers exactly it, or with a standing one; else what is asked."""
        step, spec = prepared.step, prepared.tool.spec
        prepared.approval = self.allowing.approval(step, spec, prepared.args)
        if prepared.approval is not None:
            return prepared
        standing = self.allowing.standing(spec, prepared.args) if said.standing else None
        if standing is not None:
            prepared.judged = self.allowing.recorded(verdict, standing)
            return prepared
        return Waits(
            request(
                self.run,
                step,
                "step",
                self.allowing.bound(step, spec, prepared.args),
                verdict.reason,
                tool=spec.name,
                args=prepared.args,
                risk=spec.risk,
                recovery=spec.recovery,
                idempotency_key=prepared.key,
                sources=said.sources,
                rule=verdict.rule,
                policy=self.run.rules.policy.digest,
            )
        )

    def carry_on(self, prepared: Prepared, reply: Reply | None) -> Outcome:
        """From the intent to the outcome, retries included. With a reply: from there (a call that was given up at its deadline)."""
        settled = self.settle(prepared, self.attempt(prepared, waits=self.stays) if reply is None else reply)
        if settled is not None:
            return settled
        import tenacity

        # The outcome classes have said that calling again is safe, and how often.
        again = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda settled: settled is None),
            wait=tenacity.wait_random_exponential(multiplier=BACKOFF, max=10),
            sleep=self.pause,
        )
        self.pause(BACKOFF)
        return cast("Outcome", again(lambda: self.settle(prepared, self.attempt(prepared, waits=self.stays))))

    def attempt(self, prepared: Prepared, *, waits: bool = False) -> Reply:
        self.pause(0)  # a stopped run begins no call
        given = self.caching.given_again(prepared)
        if given is not None:
            return given
        refused = self.refused(prepared)
        if refused is not None:
            return refused
        while not self.run.slots.may_start(prepared.tool.spec):
            self.pause(RATE_POLL)
        clock, step = self.run.clock, prepared.step
        prepared.started = clock.now()
        prepared.deadline = prepared.started + prepared.timeout
        prepared.until = clock.monotonic() + prepared.timeout
        if prepared.changes:
            # Intent before call: a crash between the two must leave a trace.
            prepared.attempt = self.run.store.ledger.begin(
                self.run.lease,
                Intent(
                    key=prepared.key,
                    step_id=step.id,
                    plan_version=self.run.plan.version,
                    tool=prepared.tool.name,
                    args=prepared.args,
                    risk=prepared.tool.spec.risk,
                    recovery=prepared.tool.spec.recovery,
                    started=prepared.started,
                    deadline=prepared.deadline,
                    judged=prepared.judged,
                ),
                prepared.approval,
            )
            prepared.approval = None  # used up
            self.caching.changes()
        else:
            prepared.attempt += 1
        if self.run.emit is not None and not prepared.announced:
            prepared.announced = True
            self.run.emit(
                StepStarted(
                    run_id=self.run.run_id,
                    at=prepared.started,
                    step_id=step.id,
                    plan_version=self.run.plan.version,
                    tool=prepared.tool.name,
                )
            )
        return self.calls.make(prepared, self.tool_context(prepared), waits=waits)

    def refused(self, prepared: Prepared) -> Refused | None:
        """A call whose worst case does not fit into what is left is not made, nor tried again."""
        call, first = (prepared.tool.spec, prepared.args, prepared.timeout), prepared.attempt == 0
        if self.run.parts is not None and (why := self.run.parts.take(prepared.step, *call, first=first)):
            return Refused(why, "part_over_budget")
        if self.run.budget is not None and (why := self.run.budget.take(*call, first=first)):
            return Refused(why)
        return None

    def tool_context(self, prepared: Prepared) -> ToolContext:
        return ToolContext(run_id=self.run.run_id, step_id=prepared.step.id, idempotency_key=prepared.key, deadline=prepared.deadline)

    def settle(self, prepared: Prepared, reply: Reply) -> Outcome | None:
        """What came of the call; None when it is to be made again."""
        if prepared.changes:
            self.caching.changes()
        if self.run.parts is not None and not isinstance(reply, Refused) and prepared.as_of is None:
            nothing = isinstance(reply, Raised) and (not prepared.changes or isinstance(reply.error, (NotDone, *prepared.tool.definite)))
            took = max(0.0, self.run.clock.now() - prepared.started)
            self.run.parts.done(prepared.step, prepared.tool.spec, prepared.args, prepared.timeout, took, nothing=nothing)
        match reply:
            case Returned():
                return self.caching.keep(prepared, self.judging.returned(prepared, reply))
            case Raised(error):
                definite = isinstance(error, (NotDone, *prepared.tool.definite)) or not prepared.changes
                failure = Failure(code="tool_failed", message=self.judging.describe(error), retryable=definite)
            case Refused(why, code):
                return self.judging.blocked(prepared.step, code, why, prepared.args, prepared.judged)
            case TimedOut(still_running):
                definite = not prepared.changes
                left = "; the call was left behind and may still end" if still_running else ""
                failure = Failure(code="timeout", message=f"no answer within {prepared.timeout:g} s{left}", retryable=True)
        if definite:
            if self.run.budget is not None:
                self.run.budget.give_back(prepared.tool.spec, prepared.args)
            if prepared.attempt >= prepared.step.max_attempts:
                return self.judging.failed(prepared, failure)
            if prepared.changes:
                self.run.store.ledger.not_done(self.run.lease, prepared.key, failure)  # a stop before the next attempt leaves no doubt
            return None
        return self.ambiguous(prepared, failure, still_running=isinstance(reply, TimedOut) and reply.still_running)

    def ambiguous(self, prepared: Prepared, failure: Failure, *, still_running: bool) -> Outcome | None:
        """A call that can change something ended without a reply that can be trusted."""
        over = not still_running or self.calls.is_over(prepared)
        match prepared.tool.spec.recovery:
            case "idempotent" | "keyed" | "rerun":
                if not over:
                    return self.in_doubt(prepared, failure.message, still_running=True)
                if prepared.attempt < max(prepared.step.max_attempts, SAFE_RESENDS):
                    return None
                unknown = failure.model_copy(
                    update={"code": "outcome_unknown", "message": f"{failure.message}; sent {prepared.attempt} times"}
                )
                return self.judging.failed(prepared, unknown, state="in_doubt")
            case "probeable":
                match self.recovery.probe(
                    prepared.tool, prepared.args, self.tool_context(prepared), prepared.until + prepared.tool.spec.settle, prepared.step.id
                ):
                    case Landed(output):
                        return self.judging.returned(prepared, Returned(output))
                    case Absent() if not over:
                        return self.in_doubt(prepared, f"{failure.message}; it has not landed yet", still_running=True)
                    case Absent():
                        return None if prepared.attempt < prepared.step.max_attempts else self.judging.failed(prepared, failure)
                    case Unknown(why):
                        return self.in_doubt(prepared, f"{failure.message}; its probe cannot say: {why}", still_running=not over)
            case "blind":
                return self.in_doubt(prepared, failure.message, still_running=not over)

    def in_doubt(self, prepared: Prepared, why: str, *, still_running: bool) -> Outcome:
        result = StepResult(
            step_id=prepared.step.id,
            status="in_doubt",
            error=Failure(code="in_doubt", message=why),
            attempts=prepared.attempt,
            started=prepared.started,
            plan_version=self.run.plan.version,
            provenance=prepared.provenance,
        )
        effect = self.run.store.ledger.effect(prepared.key)
        assert effect is not None  # noqa: S101  # its intent was written before the call
        outcome = self.judging.outcome(prepared, "in_doubt", result)
        return Outcome(
            key=outcome.key,
            state="in_doubt",
            result=result,
            tool=outcome.tool,
            args=outcome.args,
            risk=outcome.risk,
            durable=True,
            request=doubt(self.run, prepared.step, effect, why),
            left=self.run.lease.owner if still_running else None,
        )


def _params(step: Step) -> set[str]:
    return {reference.param for _, reference in step.references if reference.param is not None}
