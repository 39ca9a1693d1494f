"""The second message of a planner's prompt: the goal, and for a new version the plan with all that came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent_graph.models.wording import delimited
from agent_graph.plan import Criterion, Judge, Plan
from agent_graph.planners.measure import BYTES, Measure
from agent_graph.planners.plan_schema import write_steps
from agent_graph.planners.reply import write_references
from agent_graph.planners.wording import as_json, listed, sections
from agent_graph.ports import Attempt, PlanningContext, ReplanningContext
from agent_graph.verdicts import CONDITION_FALSE, StepResult

MAX_OUTPUT_BYTES = 4_000
"""Of one step's output, as the model is shown it."""
MAX_OUTPUTS_BYTES = 40_000
"""Of all outputs together, the newest first."""
MAX_PARAM_BYTES = 4_000
MAX_ATTEMPTS_BYTES = 8_000
"""Of what is told of earlier versions, the newest first."""
MAX_ISSUES = 40
MAX_REASON_BYTES = 1_000
"""Of why one earlier version was given up, or one step of it failed."""


def task(context: PlanningContext, measure: Measure = BYTES) -> str:
    """The goal, and for a revision the plan with what came of it. ``measure``: in what the model's inputs are counted and capped."""
    goal = context.goal
    params = {name: measure.cut(as_json(value), MAX_PARAM_BYTES) for name, value in goal.params.items()}
    text = sections(
        "task",
        goal=goal.text,
        params=listed(f"params.{name} = {value}" for name, value in params.items()),
        constraints=listed(goal.constraints),
        criteria=listed(map(_criterion, goal.success_criteria)),
        answers=listed(f"{question} — {measure.cut(answer, MAX_PARAM_BYTES)}" for question, answer in context.answers.items()),
    )
    return text + _revision(context, measure) if isinstance(context, ReplanningContext) else text


def _revision(context: ReplanningContext, measure: Measure) -> str:
    if context.extending:
        return sections(
            "extend",
            done=_done(context, measure),
            most=measure.said(MAX_OUTPUT_BYTES),
            rest=_rest(context.plan),
            reason=context.reason or "the steps so far have ended",
        )
    frozen = [step.id for step in context.plan.steps if is_frozen(context.results.get(step.id))]
    return sections(
        "replan",
        version=str(context.plan.version),
        plan=_plan(context.plan),
        results=_results(context, measure),
        most=measure.said(MAX_OUTPUT_BYTES),
        approvals=listed(f"{step_id} {_one_line(standing)}" for step_id, standing in context.approvals.items()),
        frozen=", ".join(frozen),
        attempts=_attempts(context, measure),
        reason=delimited("reason", measure.cut(context.reason, MAX_OUTPUT_BYTES)) if context.reason else "It is not said.",
        issues=_issues(context),
        left=str(context.replans_left),
    )


def is_frozen(result: StepResult | None) -> bool:
    """Whether the step stays as it is in every later version: it succeeded, or its own condition was false."""
    if result is None:
        return False
    return result.status == "succeeded" or (
        result.status == "skipped" and result.error is not None and result.error.code == CONDITION_FALSE
    )


def _plan(plan: Plan) -> str:
    """The plan as the model is to write one."""
    return as_json({"steps": write_steps(plan), **_about(plan)})


def _rest(plan: Plan) -> str:
    return as_json(about) if (about := _about(plan)) else ""


def _about(plan: Plan) -> dict[str, Any]:
    """What a plan says beside its steps."""
    document = write_references(plan.document())
    return {name: document[name] for name in ("assumptions", "success_criteria", "stop_when", "answer") if name in document}


def _done(context: ReplanningContext, measure: Measure) -> str:
    """Each step with what came of it, in the plan's order: the next request begins with the same bytes, and only adds."""
    outputs = _outputs(context, measure)
    lines = []
    for step, written in zip(context.plan.steps, write_steps(context.plan), strict=True):
        result = context.results.get(step.id)
        came = ["not run"] if result is None else [result.status, *_said(result, measure), *outputs[step.id]]
        lines.append(f"- {as_json(written)} → {'; '.join(came)}")
    return "\n".join(lines) or "Nothing yet."


def _results(context: ReplanningContext, measure: Measure) -> str:
    """Each result in the order in which it ended."""
    outputs = _outputs(context, measure)
    lines = []
    for result in sorted(context.results.values(), key=lambda result: result.finished or 0.0):
        step = context.plan.by_id.get(result.step_id)
        after = [f"after {', '.join(sorted(step.needs))}"] if step is not None and step.needs else []
        head = f"- {result.step_id} (version {result.plan_version}): {result.status}"
        lines.append("; ".join([head, *after, *_said(result, measure), *outputs[result.step_id]]))
    return "\n".join(lines) or "Nothing has ended yet."


def _outputs(context: ReplanningContext, measure: Measure) -> dict[str, list[str]]:
    """By step, its output as it is shown; when there is too much, those of the oldest are left out."""
    left, shown = MAX_OUTPUTS_BYTES, {}
    for result in sorted(context.results.values(), key=lambda result: result.finished or 0.0, reverse=True):
        shown[result.step_id] = list[str]()
        if result.output is not None:
            output = measure.cut(as_json(result.output), min(MAX_OUTPUT_BYTES, left))
            left -= len(output.encode())
            said = delimited(f"output of {result.step_id}", output) if left > 0 else "output left out, since there is too much of it"
            shown[result.step_id].append(said)
    return shown


def _said(result: StepResult, measure: Measure) -> Iterator[str]:
    """What is wrong with it."""
    if result.landed and result.status != "succeeded":
        yield "its effect has happened all the same"
    if result.error is not None:
        yield f"{result.error.code}: {delimited(f'error of {result.step_id}', measure.cut(result.error.message, MAX_OUTPUT_BYTES))}"
    unmet = [f"{each.criterion} ({each.why or f'saw {as_json(dict(each.values))}'})" for each in result.evidence if each.holds is not True]
    if unmet:
        yield delimited(f"criteria of {result.step_id} that do not hold", measure.cut("; ".join(unmet), MAX_OUTPUT_BYTES))


def _attempts(context: ReplanningContext, measure: Measure) -> str:
    """Earlier versions, the oldest first; where there is too much, the oldest are left out."""
    left, lines = MAX_ATTEMPTS_BYTES, list[str]()
    for attempt in reversed(context.attempts):
        line = _attempt(attempt, measure)
        left -= len(line.encode())
        if left < 0:
            lines.append(f"- {len(context.attempts) - len(lines)} older versions are left out, since there is too much of them")
            break
        lines.append(line)
    return "\n".join(reversed(lines))


def _attempt(attempt: Attempt, measure: Measure) -> str:
    parts = [f"- version {attempt.version}: {delimited('reason', measure.cut(attempt.reason, MAX_REASON_BYTES))}"]
    parts += [
        f"{step_id} failed: {delimited(f'failure of {step_id}', measure.cut(said, MAX_REASON_BYTES))}"
        for step_id, said in attempt.failed.items()
    ]
    return "; ".join(parts)


def _issues(context: ReplanningContext) -> str:
    shown = [str(issue) for issue in context.issues[:MAX_ISSUES]]
    more = len(context.issues) - len(shown)
    return listed([*shown, f"… and {more} more"] if more > 0 else shown)


def _criterion(criterion: Criterion) -> str:
    return criterion.judge if isinstance(criterion, Judge) else criterion


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MAX_REASON_BYTES]
