"""From what came to a result: no step succeeds without evidence, and what is not called says why."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

from agent_graph.events import Note
from agent_graph.execution.context import RunContext
from agent_graph.execution.criteria import check, checked, unmet
from agent_graph.execution.normalise import TOO_LARGE, UNREADABLE, Kept, keep, receive, receive_async
from agent_graph.execution.outcome import Outcome, Prepared, Returned, describe, words
from agent_graph.execution.results import Results
from agent_graph.execution.triggers import is_empty
from agent_graph.identity import EffectKey, digest
from agent_graph.plan import Step
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.schemas import mismatches
from agent_graph.records import Effect, EffectState
from agent_graph.verdicts import Evidence, Failure, Provenance, StepResult, StepStatus, Undo

UNVERIFIED = "it was carried out; whether a criterion holds that code cannot check, a judge or a person has still to say"

GRACE = 1.0
"""Seconds after its deadline at which a generator that nobody waits for any more is ended."""


class Judging:
    """Of one visit of ``execute``."""

    def __init__(self, run: RunContext, results: Results) -> None:
        self.run = run
        self.results = results

    def received(self, prepared: Prepared, value: Any) -> Kept:
        """
        What is kept of an answer. Called before its call counts as over: the work of a generator is done while its items are taken, and
        whatever a value's own code does has the call's deadline.
        """
        clock = self.run.clock
        until = (prepared.until or clock.monotonic()) + GRACE  # what a probe found has no deadline
        return receive(
            value,
            prepared.tool.dump,
            self.run.rules.limits.max_output_bytes,
            self.run.redaction,
            to_the_end=prepared.changes,
            late=lambda: clock.monotonic() > until,
        )

    async def received_async(self, prepared: Prepared, items: AsyncIterator[Any]) -> Kept:
        return await receive_async(items, self.run.rules.limits.max_output_bytes, self.run.redaction, to_the_end=prepared.changes)

    def returned(self, prepared: Prepared, reply: Returned) -> Outcome:
        """A reply came; now it must be what was expected."""
        tool, step = prepared.tool, prepared.step
        try:
            kept = reply.value if isinstance(reply.value, Kept) else self.received(prepared, reply.value)
        except BaseException as error:  # what a probe found, and cannot be read
            kept = UNREADABLE._replace(remark=self.describe(error))
        self.note_kept(step, kept)
        result = self.judged(
            step,
            kept.value,
            attempts=prepared.attempt,
            started=prepared.started,
            finished=self.run.clock.now(),
            schema=tool.spec.output_schema,
            failure=kept.failure,
            provenance=prepared.provenance,
            landed=True,
        )
        return self.outcome(prepared, "done", result)

    def note_kept(self, step: Step, kept: Kept) -> None:
        if kept.remark is not None:
            self.note(step.id, kept.remark)
        if kept.redacted:
            self.note(step.id, "something in the output was a secret, or looked like one, and was replaced; no later step can use it")

    def judged(
        self,
        step: Step,
        output: Any,
        *,
        attempts: int,
        started: float,
        finished: float,
        schema: dict[str, Any] | None = None,
        failure: Failure | None = None,
        provenance: Provenance | None = None,
        landed: bool = False,
    ) -> StepResult:
        """No step succeeds without evidence: output valid against its schemas, and every criterion evaluated and true.

        Where only criteria are left that code cannot check, the step needs clarification: ``verifying`` goes on from there.
        """
        status: StepStatus = "failed"
        wrong: list[str] = []
        for expected in (schema, step.expected_output):
            if expected is not None and failure is None:
                wrong.extend(mismatches(expected, output))
        if wrong and failure is None:
            failure = Failure(code="unexpected_output", message="; ".join(wrong))
        if failure is None and not step.allow_empty and is_empty(output):
            failure = Failure(
                code="empty_result", message=f"it gave nothing ({json.dumps(output)}), and its step says that this is a failure"
            )
        evidence: tuple[Evidence, ...] = ()
        if step.success_criteria:
            context = self.context(expression_reads(step) - {step.id}, {step.id: output})
            context["output"] = output
            evidence = tuple([self.without_secrets(each) for each in check(step.success_criteria, context)])
            sure = checked(step.success_criteria, evidence)
            if failure is None and (missed := unmet(sure)):
                failure = Failure(code="criteria_unmet", message="; ".join(missed))
            if failure is None and len(sure) < len(evidence):
                status, failure = "needs_clarification", Failure(code="unverified", message=UNVERIFIED)
        return StepResult(
            step_id=step.id,
            status="succeeded" if failure is None else status,
            output=output,
            evidence=evidence,
            error=failure,
            attempts=attempts,
            started=started,
            finished=finished,
            plan_version=self.run.plan.version,
            provenance=provenance,
            landed=landed,
        )

    def judge_again(self, prepared: Prepared, effect: Effect) -> Outcome:
        """The effect has landed before; only what is expected of it may have changed."""
        before = self.run.store.ledger.result(effect.key)
        output, failure, schema = None, None, None
        if before is not None:
            output = before.output
            if before.error is not None and before.error.code == TOO_LARGE:
                failure = before.error  # what is kept of it is not what it was
            if before.provenance is None or before.provenance.source != "person":
                schema = prepared.tool.spec.output_schema
        result = self.judged(
            prepared.step,
            output,
            attempts=effect.attempt,
            started=effect.started,
            finished=self.run.clock.now(),
            schema=schema,
            failure=failure,
            provenance=prepared.provenance,
            landed=True,
        )
        return self.outcome(prepared, "done", result)

    def landed_says_person(self, step: Step, effect: Effect, output: Any) -> Outcome:
        now = self.run.clock.now()
        kept = keep(output, self.run.rules.limits.max_output_bytes, self.run.redaction)
        self.note_kept(step, kept)
        result = self.judged(
            step,
            kept.value,
            attempts=effect.attempt,
            started=effect.started,
            finished=now,
            failure=kept.failure,
            provenance=Provenance(source="person", trusted=True),
            landed=True,
        )
        return Outcome(key=effect.key, state="done", result=result, durable=True)

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

    def outcome(self, prepared: Prepared, state: EffectState, result: StepResult) -> Outcome:
        return Outcome(
            key=prepared.key,
            state=state,
            result=result,
            tool=prepared.tool.name,
            args=prepared.args,
            risk=prepared.tool.spec.risk,
            durable=prepared.changes,
            undo=self.undo(prepared, result.output) if state == "done" else None,
            judged=prepared.judged,
        )

    def undo(self, prepared: Prepared, output: Any) -> Undo | None:
        """What the tool says takes the effect back. A tool that cannot say so loses no outcome by it."""
        if prepared.tool.undo is None:
            return None
        try:
            said: Any = prepared.tool.undo(copy.deepcopy(prepared.args), output)
        except Exception as error:
            why = self.describe(error)
        else:
            if said is None or isinstance(said, Undo):
                return said
            why = f"it returned {type(said).__name__} instead of Undo or None"
        self.note(prepared.step.id, f"what would undo {prepared.tool.name} could not be said: {why}")
        return None

    def skipped(self, step: Step, code: str, message: str) -> Outcome:
        return self.not_called(step, "skipped", Failure(code=code, message=message), None)

    def blocked(self, step: Step, code: str, message: str, args: dict[str, Any] | None = None, judged: str | None = None) -> Outcome:
        return self.not_called(step, "blocked", Failure(code=code, message=message), args, judged)

    def not_called(self, step: Step, status: StepStatus, why: Failure, args: dict[str, Any] | None, judged: str | None = None) -> Outcome:
        now = self.run.clock.now()
        key = EffectKey(digest(["not called", self.run.run_id, step.id])[:32])
        result = StepResult(step_id=step.id, status=status, error=why, started=now, finished=now, plan_version=self.run.plan.version)
        return Outcome(key=key, state="skipped", result=result, tool=step.tool, args=args, judged=judged)

    def context(self, steps: frozenset[str], own: dict[str, Any] | None = None) -> dict[str, Any]:
        """What an expression sees."""
        seen = self.results.view(steps & self.run.plan.by_id.keys()) if steps else {}
        for step_id, output in (own or {}).items():
            seen[step_id] = {"status": "succeeded", "output": output}
        return {"steps": seen, "params": self.run.plan.goal.params, "goal": self.run.plan.goal.text}

    def note(self, step_id: str, message: str) -> None:
        self.run.record(Note(run_id=self.run.run_id, at=self.run.clock.now(), step_id=step_id, message=message))

    def describe(self, error: BaseException) -> str:
        return describe(error, self.run.redaction)

    def words(self, text: Any) -> str:
        return words(text, self.run.redaction)

    def without_secrets(self, evidence: Evidence) -> Evidence:
        """What a criterion saw may also come from the goal and its parameters, which are as the host gave them; outputs are without secrets."""
        if "params" not in evidence.criterion and "goal" not in evidence.criterion:
            return evidence
        kept = keep(dict(evidence.values), self.run.rules.limits.max_output_bytes, self.run.redaction)
        return evidence.model_copy(update={"values": kept.value, "why": self.words(evidence.why)}) if kept.redacted else evidence
