"""The pipeline that every step passes, in this order:

condition → references → arguments against the schema → scope → policy → approval → intent → call with a deadline → normalise →
schema and success criteria → evidence → outcome.

A step that cannot go on for want of a person returns what it asks; nothing here waits for one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from agent_graph.errors import NotDone
from agent_graph.events import Note, StepStarted
from agent_graph.execution.context import RunContext
from agent_graph.execution.criteria import check, unmet
from agent_graph.execution.normalise import normalise
from agent_graph.execution.references import MissingOutput, ReferenceError_, resolve
from agent_graph.execution.results import CONDITION_FALSE, Results
from agent_graph.identity import Digest, EffectKey, RequestId, StepId, call_digest, digest, effect_key, new_id
from agent_graph.plan import Reference, Step, references
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.expressions import ExpressionError, evaluate, steps_read
from agent_graph.policy.schemas import mismatches
from agent_graph.records import Effect, EffectState, Intent
from agent_graph.tools.tool import Tool, ToolContext
from agent_graph.verdicts import (
    Absent,
    Allow,
    Ask,
    Deny,
    Evidence,
    Failure,
    Landed,
    Provenance,
    Request,
    StepResult,
    StepStatus,
    Unknown,
)

BACKOFF = 0.1
"""Seconds before the second attempt; doubled, with jitter, for each one after it."""

SAFE_RESENDS = 3
"""How often a call of unknown outcome is sent in all when sending it again is safe (``idempotent``, ``keyed``)."""


# ── what a step comes to ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The step has ended, or is in doubt."""

    key: EffectKey
    state: EffectState
    result: StepResult
    tool: str | None = None
    args: dict[str, Any] | None = None
    risk: str | None = None
    durable: bool = False
    request: Request | None = None
    """What a person is asked, when the step is in doubt."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The step cannot go on without this."""

    request: Request


@dataclass(frozen=True, slots=True)
class Returned:
    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    error: BaseException


@dataclass(frozen=True, slots=True)
class TimedOut:
    seconds: float
    still_running: bool
    """A thread cannot be killed: the call was left behind and may still do something."""


Reply = Returned | Raised | TimedOut


@dataclass(slots=True, kw_only=True)
class Prepared:
    """A call that may be made: everything before the intent is done."""

    step: Step
    tool: Tool
    args: dict[str, Any]
    key: EffectKey
    timeout: float
    approval: RequestId | None
    provenance: Provenance
    attempt: int = 0
    started: float = 0.0
    deadline: float = 0.0
    announced: bool = False

    @property
    def changes(self) -> bool:
        return self.tool.spec.changes


class Pipeline:
    """Of one visit of ``execute``. ``call`` makes the call and says what came of it; ``pause`` waits and raises when the run is stopped."""

    def __init__(
        self, run: RunContext, results: Results, call: Callable[[Prepared, ToolContext], Reply], pause: Callable[[float], None]
    ) -> None:
        self.run = run
        self.results = results
        self.call = call
        self.pause = pause

    def carry_out(self, step: Step) -> Outcome | Waits:
        standing = self.results.standing(step.id)
        if standing is not None and standing.state in ("intent", "in_doubt") and standing.status in (None, "in_doubt"):
            effect = self.run.store.ledger.effect(standing.key)
            if effect is not None:
                return self.recover(step, effect)
        prepared = self.prepare(step)
        if not isinstance(prepared, Prepared):
            return prepared
        return self.carry_on(prepared, None)

    # ── before the call ───────────────────────────────────────────────────────────────────────────────────────────────

    def prepare(self, step: Step) -> Prepared | Outcome | Waits:
        skipped = self.skip(step)
        if skipped is not None:
            return skipped
        if step.kind == "ask":
            return self.ask(step)
        tool = self.run.tools.get(step.tool or "")
        if tool is None:
            return self.blocked(step, "unknown_tool", f"there is no tool {step.tool!r}")
        try:
            args = resolve(step.args, self.results.output, self.run.plan.goal.params)
        except MissingOutput as missing:
            return self.skipped(step, "upstream_missing", str(missing))
        except ReferenceError_ as error:
            return self.blocked(step, "invalid_reference", str(error))
        wrong = mismatches(tool.spec.args_schema, args)
        if wrong:
            return self.blocked(step, "invalid_arguments", f"{tool.name}: {'; '.join(wrong)}", args)
        if step.allowed_tools and tool.name not in step.allowed_tools:
            return self.blocked(step, "tool_not_allowed", f"the step allows only {', '.join(step.allowed_tools)}", args)
        key = effect_key(self.run.run_id, StepId(step.id), tool.name, args)
        provenance = Provenance(source=tool.name, steps=tuple(sorted(self.run.flow.reads[step.id])), params=tuple(sorted(_params(step))))
        prepared = Prepared(
            step=step, tool=tool, args=args, key=key, timeout=step.timeout_s or tool.spec.timeout, approval=None, provenance=provenance
        )
        if tool.spec.changes:
            landed = self.run.store.ledger.effect(key)
            if landed is not None and landed.state == "done":
                return self.judge_again(prepared, landed)
        verdict = self.run.rules.policy.judge(tool.spec)
        match verdict:
            case Deny(reason):
                return self.blocked(step, "denied_by_policy", reason, args)
            case Ask(reason):
                return self.approved(prepared, reason)
            case Allow():
                return self.approved(prepared, f"step {step.id} requires approval") if step.approval == "required" else prepared

    def skip(self, step: Step) -> Outcome | None:
        """Whether the step does not run at all."""
        primary = self.run.flow.fallback_of.get(step.id)
        if primary is not None and self.results.status(primary) not in ("failed", "blocked"):
            return self.skipped(step, "not_needed", f"step {primary!r} did not fail")
        for need in sorted(self.run.flow.reads[step.id]):
            if self.results.way(need) != "good":
                return self.skipped(step, "upstream_missing", f"step {need!r} has no output")
        if step.when is None:
            return None
        try:
            wanted = evaluate(step.when, self.context(steps_read(step.when)))
        except ExpressionError as error:
            return self.blocked(step, "condition_failed", f"when ({step.when}): {error}")
        if wanted is not True:
            return self.skipped(step, CONDITION_FALSE, f"when ({step.when}) is {str(wanted).lower()}")
        return None

    def ask(self, step: Step) -> Outcome | Waits:
        bound = digest(["ask", self.run.run_id, step.id, step.ask])
        answered = self.run.store.approvals.decision(self.run.run_id, bound, "question")
        now = self.run.clock.now()
        key = effect_key(self.run.run_id, StepId(step.id), "ask", {"ask": step.ask})
        if answered is None or answered.decision is None:
            request = self.request(step, "question", bound, "the plan asks", question=step.ask)
            return Waits(request)
        if answered.decision.type != "respond":
            why = getattr(answered.decision, "reason", "") or "nobody answered"
            return self.blocked(step, "not_answered", why)
        result = self.judged(step, answered.decision.text, attempts=1, started=answered.request.asked, finished=now)
        result = result.model_copy(update={"provenance": Provenance(source="person")})
        return Outcome(key=key, state="done", result=result, tool="ask", durable=True)

    def approved(self, prepared: Prepared, reason: str) -> Prepared | Waits:
        """The call with the unused yes that covers exactly it, or what is asked."""
        spec = prepared.tool.spec
        bound = call_digest(self.run.run_id, StepId(prepared.step.id), spec.name, spec.digest, prepared.args)
        prepared.approval = self.run.store.approvals.grant(self.run.run_id, bound)
        if prepared.approval is not None:
            return prepared
        return Waits(
            self.request(
                prepared.step,
                "step",
                bound,
                reason,
                tool=spec.name,
                args=prepared.args,
                risk=spec.risk,
                recovery=spec.recovery,
                idempotency_key=prepared.key,
            )
        )

    # ── the call ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def carry_on(self, prepared: Prepared, reply: Reply | None) -> Outcome:
        """From the intent to the outcome, retries included. With a reply: from there (a call that was given up at its deadline)."""
        settled = self.settle(prepared, self.attempt(prepared) if reply is None else reply)
        if settled is not None:
            return settled
        import tenacity

        # The outcome classes have said that calling again is safe, and how often.
        again = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda settled: settled is None),
            wait=tenacity.wait_exponential_jitter(initial=BACKOFF, max=10),
            sleep=self.pause,
        )
        self.pause(BACKOFF)
        return cast("Outcome", again(lambda: self.settle(prepared, self.attempt(prepared))))

    def attempt(self, prepared: Prepared) -> Reply:
        self.pause(0)  # a stopped run begins no call
        clock, step = self.run.clock, prepared.step
        prepared.started = clock.now()
        prepared.deadline = prepared.started + prepared.timeout
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
                ),
                prepared.approval,
            )
            prepared.approval = None  # used up
        else:
            prepared.attempt += 1
        if not prepared.announced:
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
        return self.call(prepared, self.tool_context(prepared))

    def tool_context(self, prepared: Prepared) -> ToolContext:
        return ToolContext(run_id=self.run.run_id, step_id=prepared.step.id, idempotency_key=prepared.key, deadline=prepared.deadline)

    def settle(self, prepared: Prepared, reply: Reply) -> Outcome | None:
        """What came of the call; None when it is to be made again."""
        match reply:
            case Returned(value):
                return self.returned(prepared, value)
            case Raised(error):
                definite = isinstance(error, (NotDone, *prepared.tool.definite)) or not prepared.changes
                failure = Failure(code="tool_failed", message=describe(error), retryable=definite)
            case TimedOut(seconds, still_running):
                definite = not prepared.changes
                left = "; the call was left behind and may still end" if still_running else ""
                failure = Failure(code="timeout", message=f"no answer within {seconds:g} s{left}", retryable=True)
        if definite:
            return None if prepared.attempt < prepared.step.max_attempts else self.failed(prepared, failure)
        return self.ambiguous(prepared, failure)

    def ambiguous(self, prepared: Prepared, failure: Failure) -> Outcome | None:
        """A call that can change something ended without a reply that can be trusted."""
        match prepared.tool.spec.recovery:
            case "idempotent" | "keyed" | "rerun":
                if prepared.attempt < max(prepared.step.max_attempts, SAFE_RESENDS):
                    return None
                unknown = failure.model_copy(
                    update={"code": "outcome_unknown", "message": f"{failure.message}; sent {prepared.attempt} times"}
                )
                return self.failed(prepared, unknown, state="in_doubt")
            case "probeable":
                match self.probe(prepared.tool, prepared.args, self.tool_context(prepared), prepared.deadline, prepared.step.id):
                    case Landed(output):
                        return self.returned(prepared, output)
                    case Absent():
                        return None if prepared.attempt < prepared.step.max_attempts else self.failed(prepared, failure)
                    case Unknown(why):
                        return self.in_doubt(prepared, f"{failure.message}; its probe cannot say: {why}")
            case "blind":
                return self.in_doubt(prepared, failure.message)

    def probe(self, tool: Tool, args: dict[str, Any], context: ToolContext, deadline: float, step_id: str) -> Landed | Absent | Unknown:
        """Ask the system. ``Absent`` counts only once the call's deadline and its time to settle are over: a slow effect may still land."""
        assert tool.probe is not None  # noqa: S101  # declared with the recovery class
        while True:
            try:
                said: Any = tool.probe(context, args)  # whatever a probe of the user returns
            except Exception as error:
                return Unknown(describe(error))
            if not isinstance(said, Landed | Absent | Unknown):
                return Unknown(f"its probe returned {type(said).__name__} instead of Landed, Absent or Unknown")
            left = deadline + tool.spec.settle - self.run.clock.now()
            if not isinstance(said, Absent) or left <= 0:
                return said
            if left > 1:
                self.note(step_id, f"not there yet; it may still land for {left:.0f} s, then it is called again")
            self.pause(min(left, max(1.0, left / 4)))

    # ── after a crash ─────────────────────────────────────────────────────────────────────────────────────────────────

    def recover(self, step: Step, effect: Effect) -> Outcome | Waits:
        """An effect was begun and its outcome is not known. It is settled before anything of the step is looked at anew."""
        tool = self.run.tools.get(effect.tool)
        doubt = digest(["in_doubt", effect.key, effect.attempt])
        said = self.run.store.approvals.decision(self.run.run_id, doubt, "in_doubt")
        if said is not None and said.decision is not None and said.decision.type == "resolve":
            if said.decision.outcome == "landed":
                return self.landed_says_person(step, effect, said.decision.output)
            return self.again(step, effect, tool)
        if tool is None:
            return Waits(self.doubt(step, effect, f"the tool {effect.tool!r} is not registered any more"))
        match effect.recovery:
            case "rerun" | "idempotent" | "keyed":
                return self.again(step, effect, tool)
            case "probeable" if tool.probe is not None:
                context = ToolContext(run_id=self.run.run_id, step_id=step.id, idempotency_key=effect.key, deadline=effect.deadline)
                match self.probe(tool, effect.args, context, effect.deadline, step.id):
                    case Landed(output):
                        return self.returned(self.prepared_again(step, effect, tool), output)
                    case Absent():
                        return self.again(step, effect, tool)
                    case Unknown(why):
                        return Waits(self.doubt(step, effect, f"its outcome is not known, and its probe cannot say: {why}"))
            case _:
                return Waits(self.doubt(step, effect, "it was begun, and nothing tells whether it happened"))

    def prepared_again(self, step: Step, effect: Effect, tool: Tool) -> Prepared:
        prepared = Prepared(
            step=step,
            tool=tool,
            args=effect.args,
            key=effect.key,
            timeout=step.timeout_s or tool.spec.timeout,
            approval=None,
            provenance=Provenance(source=tool.name, steps=tuple(sorted(self.run.flow.reads[step.id]))),
        )
        prepared.attempt, prepared.started, prepared.deadline = effect.attempt, effect.started, effect.deadline
        return prepared

    def again(self, step: Step, effect: Effect, tool: Tool | None) -> Outcome | Waits:
        """The same effect under the same key; its approval was used up by it and covers it still."""
        if tool is None:
            return self.blocked(step, "unknown_tool", f"there is no tool {effect.tool!r} any more")
        return self.carry_on(self.prepared_again(step, effect, tool), None)

    def landed_says_person(self, step: Step, effect: Effect, output: Any) -> Outcome:
        now = self.run.clock.now()
        result = self.judged(step, output, attempts=effect.attempt, started=effect.started, finished=now)
        result = result.model_copy(update={"provenance": Provenance(source="person"), "landed": True})
        return Outcome(key=effect.key, state="done", result=result, durable=True)

    def judge_again(self, prepared: Prepared, effect: Effect) -> Outcome:
        """The effect has landed before; only what is expected of it may have changed."""
        before = self.run.store.ledger.result(effect.key)
        output = None if before is None else before.output
        result = self.judged(prepared.step, output, attempts=effect.attempt, started=effect.started, finished=self.run.clock.now())
        return self.outcome(prepared, "done", result.model_copy(update={"provenance": prepared.provenance, "landed": True}))

    # ── outcomes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def returned(self, prepared: Prepared, value: Any) -> Outcome:
        """A reply came; now it must be what was expected."""
        tool, step = prepared.tool, prepared.step
        problem = None
        if tool.dump is not None:
            try:
                value = tool.dump(value)
            except Exception as error:
                problem = f"the tool returned {type(value).__name__}, which is not what it declares: {describe(error)}"
        output, unusable = normalise(value, self.run.rules.limits.max_output_bytes)
        if unusable is not None:
            self.note(step.id, unusable)
        result = self.judged(
            step,
            output,
            attempts=prepared.attempt,
            started=prepared.started,
            finished=self.run.clock.now(),
            schema=tool.spec.output_schema,
            problem=problem,
        )
        return self.outcome(prepared, "done", result.model_copy(update={"provenance": prepared.provenance, "landed": True}))

    def judged(
        self,
        step: Step,
        output: Any,
        *,
        attempts: int,
        started: float,
        finished: float,
        schema: dict[str, Any] | None = None,
        problem: str | None = None,
    ) -> StepResult:
        """No step succeeds without evidence: output valid against its schemas, and every criterion evaluated and true."""
        failure: Failure | None = None
        wrong = [problem] if problem else []
        if isinstance(output, dict) and output.get("truncated") is True and "sha256" in output:
            failure = Failure(
                code="output_too_large", message=f"the output has {output['bytes']:,} bytes; raise limits.max_output_bytes, or return less"
            )
        for expected in (schema, step.expected_output):
            if expected is not None and failure is None:
                wrong.extend(mismatches(expected, output))
        if wrong and failure is None:
            failure = Failure(code="unexpected_output", message="; ".join(wrong))
        evidence: tuple[Evidence, ...] = ()
        if step.success_criteria:
            evidence = check(
                step.success_criteria, {**self.context(expression_reads(step) - {step.id}, {step.id: output}), "output": output}
            )
            if failure is None and (missed := unmet(evidence)):
                failure = Failure(code="criteria_unmet", message="; ".join(missed))
        status: StepStatus = "succeeded" if failure is None else "failed"
        return StepResult(
            step_id=step.id,
            status=status,
            output=output,
            evidence=evidence,
            error=failure,
            attempts=attempts,
            started=started,
            finished=finished,
            plan_version=self.run.plan.version,
        )

    def failed(self, prepared: Prepared, failure: Failure, state: EffectState = "failed") -> Outcome:
        result = StepResult(
            step_id=prepared.step.id,
            status="failed",
            error=failure,
            attempts=prepared.attempt,
            started=prepared.started,
            finished=self.run.clock.now(),
            plan_version=self.run.plan.version,
            provenance=prepared.provenance,
        )
        return self.outcome(prepared, state, result)

    def in_doubt(self, prepared: Prepared, why: str) -> Outcome:
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
        outcome = self.outcome(prepared, "in_doubt", result)
        return Outcome(
            key=outcome.key,
            state="in_doubt",
            result=result,
            tool=outcome.tool,
            args=outcome.args,
            risk=outcome.risk,
            durable=True,
            request=self.doubt(prepared.step, effect, why),
        )

    def outcome(self, prepared: Prepared, state: EffectState, result: StepResult) -> Outcome:
        return Outcome(
            key=prepared.key,
            state=state,
            result=result,
            tool=prepared.tool.name,
            args=prepared.args,
            risk=prepared.tool.spec.risk,
            durable=prepared.changes,
        )

    def skipped(self, step: Step, code: str, message: str) -> Outcome:
        return self.not_called(step, "skipped", Failure(code=code, message=message), None)

    def blocked(self, step: Step, code: str, message: str, args: dict[str, Any] | None = None) -> Outcome:
        return self.not_called(step, "blocked", Failure(code=code, message=message), args)

    def not_called(self, step: Step, status: StepStatus, why: Failure, args: dict[str, Any] | None) -> Outcome:
        now = self.run.clock.now()
        key = EffectKey(digest(["not called", self.run.run_id, step.id])[:32])
        result = StepResult(step_id=step.id, status=status, error=why, started=now, finished=now, plan_version=self.run.plan.version)
        return Outcome(key=key, state="skipped", result=result, tool=step.tool, args=args)

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def request(self, step: Step, kind: Any, bound: Digest, reason: str, **more: Any) -> Request:
        now = self.run.clock.now()
        ttl = self.run.rules.policy.approval_ttl_s
        return Request(
            id=new_id(),
            run_id=self.run.run_id,
            kind=kind,
            digest=bound,
            reason=reason,
            asked=now,
            expires=None if ttl is None else now + ttl,
            plan_version=self.run.plan.version,
            step_id=step.id,
            **more,
        )

    def doubt(self, step: Step, effect: Effect, why: str) -> Request:
        return Request(
            id=new_id(),
            run_id=self.run.run_id,
            kind="in_doubt",
            digest=digest(["in_doubt", effect.key, effect.attempt]),
            reason=why,
            asked=self.run.clock.now(),
            plan_version=self.run.plan.version,
            step_id=step.id,
            tool=effect.tool,
            args=effect.args,
            risk=effect.risk,
            recovery=effect.recovery,
            idempotency_key=effect.key,
            sent_at=effect.started,
        )

    def context(self, steps: frozenset[str], own: dict[str, Any] | None = None) -> dict[str, Any]:
        """What an expression sees."""
        seen = self.results.view(steps & self.run.plan.by_id.keys())
        for step_id, output in (own or {}).items():
            seen[step_id] = {"status": "succeeded", "output": output}
        return {"steps": seen, "params": self.run.plan.goal.params, "goal": self.run.plan.goal.text}

    def note(self, step_id: str, message: str) -> None:
        self.run.record(Note(run_id=self.run.run_id, at=self.run.clock.now(), step_id=step_id, message=message))


def describe(error: BaseException) -> str:
    """An exception as one line."""
    text = str(error).strip() or "(no message)"
    return f"{type(error).__name__}: {text}"[:2000]


def _params(step: Step) -> set[str]:
    return {found for _, text in references(step.args) if (found := Reference.parse(text).param) is not None}
