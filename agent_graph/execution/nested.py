"""A nested plan at run time: nothing of it starts once it has failed, and its step ends with the blueprint's answer when its parts have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_graph.execution.outcome import Outcome
from agent_graph.execution.references import resolve_answer
from agent_graph.execution.results import Results
from agent_graph.identity import StepId, effect_key
from agent_graph.plan import Plan, Step
from agent_graph.policy.nesting import parts_that_must_not_fail
from agent_graph.policy.provenance import of_step
from agent_graph.verdicts import Failure, Provenance

if TYPE_CHECKING:
    from agent_graph.execution.step import Pipeline


def broken_around(plan: Plan, results: Results, step: Step) -> str | None:
    """The part by whose failure a nested plan that the step is part of has failed; None while none has."""
    at = plan.by_id.get(step.part_of or "")
    while at is not None:
        found = failed_part(results, at)
        if found is not None:
            return found
        at = plan.by_id.get(at.part_of or "")
    return None


def failed_part(results: Results, step: Step) -> str | None:
    return next((part for part in parts_that_must_not_fail(step) if results.status(part) in ("failed", "blocked")), None)


def conclude(pipeline: Pipeline, step: Step) -> Outcome:
    """What a ``blueprint`` step came to, all of whose parts have ended."""
    run, results = pipeline.run, pipeline.results
    run.store.flush()  # the parts' results are read from there
    failure, answer = None, None
    failed = failed_part(results, step)
    if failed is not None:
        result = results.result(failed)
        why = result.error.message if result is not None and result.error is not None else "no reason is recorded"
        failure = Failure(code="part_failed", message=f"step {failed!r} of its nested plan failed: {why}")
    else:
        answer = resolve_answer(step.args.get("answer"), results.output, run.plan.goal.params)
    now = run.clock.now()
    started = [at.started for part in run.plan.steps if part.part_of == step.id and (at := results.result(part.id)) and at.started]
    label = of_step(step, None, run.plan.goal, results.label, pipeline.allowing.spec_of, primary=run.flow.fallback_of.get(step.id))
    judged = pipeline.judging.judged(
        step,
        answer,
        attempts=0,
        started=min(started, default=now),
        finished=now,
        failure=failure,
        provenance=Provenance(
            source=f"blueprint:{step.blueprint}", steps=tuple(sorted(step.reads)), trusted=label.trusted, sensitive=label.sensitive
        ),
    )
    key = effect_key(run.run_id, StepId(step.id), f"blueprint:{step.blueprint}", step.args)
    return Outcome(key=key, state="done" if judged.status == "succeeded" else "failed", result=judged)
