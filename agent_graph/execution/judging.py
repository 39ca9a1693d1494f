"""From what came to a result: no step succeeds without evidence, and what is not called says why."""

from __future__ import annotations

import copy
from typing import Any

from agent_graph.events import Note
from agent_graph.execution.context import RunContext
from agent_graph.execution.criteria import check, unmet
from agent_graph.execution.normalise import normalise
from agent_graph.execution.outcome import Outcome, Prepared, Returned, describe
from agent_graph.execution.results import Results
from agent_graph.identity import EffectKey, digest
from agent_graph.plan import Step
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.schemas import mismatches
from agent_graph.records import Effect, EffectState
from agent_graph.verdicts import Evidence, Failure, Provenance, StepResult, StepStatus, Undo


class Judging:
    """Of one visit of ``execute``."""

    def __init__(self, run: RunContext, results: Results) -> None:
        self.run = run
        self.results = results

    def returned(self, prepared: Prepared, reply: Returned) -> Outcome:
        """A reply came; now it must be what was expected."""
        tool, step, value, problem = prepared.tool, prepared.step, reply.value, reply.problem
        if tool.dump is not None and not reply.plain:
            try:
                value = tool.dump(value)
            except Exception as error:
                problem = f"the tool returned {type(value).__name__}, which is not what it declares: {describe(error)}"
        output, unusable = normalise(value, self.run.rules.limits.max_output_bytes)
        for said in (reply.note, unusable):
            if said is not None:
                self.note(step.id, said)
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

    def judge_again(self, prepared: Prepared, effect: Effect) -> Outcome:
        """The effect has landed before; only what is expected of it may have changed."""
        before = self.run.store.ledger.result(effect.key)
        output = None if before is None else before.output
        result = self.judged(prepared.step, output, attempts=effect.attempt, started=effect.started, finished=self.run.clock.now())
        return self.outcome(prepared, "done", result.model_copy(update={"provenance": prepared.provenance, "landed": True}))

    def landed_says_person(self, step: Step, effect: Effect, output: Any) -> Outcome:
        now = self.run.clock.now()
        result = self.judged(step, output, attempts=effect.attempt, started=effect.started, finished=now)
        result = result.model_copy(update={"provenance": Provenance(source="person"), "landed": True})
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
        )

    def undo(self, prepared: Prepared, output: Any) -> Undo | None:
        """What the tool says takes the effect back. A tool that cannot say so loses no outcome by it."""
        if prepared.tool.undo is None:
            return None
        try:
            said: Any = prepared.tool.undo(copy.deepcopy(prepared.args), output)
        except Exception as error:
            why = describe(error)
        else:
            if said is None or isinstance(said, Undo):
                return said
            why = f"it returned {type(said).__name__} instead of Undo or None"
        self.note(prepared.step.id, f"what would undo {prepared.tool.name} could not be said: {why}")
        return None

    def skipped(self, step: Step, code: str, message: str) -> Outcome:
        return self.not_called(step, "skipped", Failure(code=code, message=message), None)

    def blocked(self, step: Step, code: str, message: str, args: dict[str, Any] | None = None) -> Outcome:
        return self.not_called(step, "blocked", Failure(code=code, message=message), args)

    def not_called(self, step: Step, status: StepStatus, why: Failure, args: dict[str, Any] | None) -> Outcome:
        now = self.run.clock.now()
        key = EffectKey(digest(["not called", self.run.run_id, step.id])[:32])
        result = StepResult(step_id=step.id, status=status, error=why, started=now, finished=now, plan_version=self.run.plan.version)
        return Outcome(key=key, state="skipped", result=result, tool=step.tool, args=args)

    def context(self, steps: frozenset[str], own: dict[str, Any] | None = None) -> dict[str, Any]:
        """What an expression sees."""
        seen = self.results.view(steps & self.run.plan.by_id.keys())
        for step_id, output in (own or {}).items():
            seen[step_id] = {"status": "succeeded", "output": output}
        return {"steps": seen, "params": self.run.plan.goal.params, "goal": self.run.plan.goal.text}

    def note(self, step_id: str, message: str) -> None:
        self.run.record(Note(run_id=self.run.run_id, at=self.run.clock.now(), step_id=step_id, message=message))
