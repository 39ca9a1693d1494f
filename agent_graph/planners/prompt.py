"""What a model is told: first what never changes between calls, then the goal, then what has come so far.

The wording is in ``prompts/``, one file per part and version. Servers cache the beginning of a prompt, so its first message depends on
nothing but the tools. What tools have returned is delimited, capped, and said to be data.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from agent_graph.plan import Criterion, Judge
from agent_graph.planners.reply import write_references
from agent_graph.ports import PlanningContext, ReplanningContext, ToolSpec
from agent_graph.verdicts import CONDITION_FALSE, StepResult

VERSION = "v1"
"""Of the files in ``prompts/``. A changed wording is a new version."""

MAX_OUTPUT_BYTES = 4_000
"""Of one step's output, as the model is shown it."""
MAX_OUTPUTS_BYTES = 40_000
"""Of all outputs together, the newest first."""
MAX_SCHEMA_BYTES = 2_000
"""Of one tool's output schema."""
MAX_PARAM_BYTES = 4_000


def instructions(tools: Mapping[str, ToolSpec], schema: dict[str, Any] | None = None) -> str:
    """The first message: the same bytes for the same tools. ``schema`` is written into it for models that take it no other way."""
    text = _filled("plan", tools="\n\n".join(_tool(spec) for spec in tools.values()) or "There are none.")
    return text if schema is None else text + _filled("schema", schema=_json(schema))


def task(context: PlanningContext) -> str:
    """The second message: the goal, and for a revision the plan with what came of it."""
    goal = context.goal
    params = {name: _capped(_json(value), MAX_PARAM_BYTES) for name, value in goal.params.items()}
    text = _filled(
        "task",
        goal=goal.text,
        params=_listed(f"params.{name} = {value}" for name, value in params.items()),
        constraints=_listed(goal.constraints),
        criteria=_listed(map(_criterion, goal.success_criteria)),
        answers=_listed(f"{question} — {answer}" for question, answer in context.answers.items()),
    )
    return text + _revision(context) if isinstance(context, ReplanningContext) else text


def again(problem: str) -> str:
    """What is said after a reply that could not be used."""
    return _filled("again", problem=problem)


def _revision(context: ReplanningContext) -> str:
    plan = write_references(context.plan.document())
    shown = {key: plan[key] for key in ("steps", "success_criteria", "stop_when", "answer") if key in plan}
    frozen = [step.id for step in context.plan.steps if is_frozen(context.results.get(step.id))]
    return _filled(
        "replan",
        version=str(context.plan.version),
        plan=_json(shown),
        results=_results(context),
        frozen=", ".join(frozen) or "none",
        reason=_data("reason", context.reason) if context.reason else "It is not said.",
        issues=_listed(str(issue) for issue in context.issues),
        left=str(context.replans_left),
    )


def is_frozen(result: StepResult | None) -> bool:
    """Whether the step stays as it is in every later version: it succeeded, or its own condition was false."""
    if result is None:
        return False
    return result.status == "succeeded" or (
        result.status == "skipped" and result.error is not None and result.error.code == CONDITION_FALSE
    )


def _results(context: ReplanningContext) -> str:
    """Each result in the order in which it ended; when there is too much, the outputs of the oldest are left out."""
    newest = sorted(context.results.values(), key=lambda result: result.finished or 0.0, reverse=True)
    left, lines = MAX_OUTPUTS_BYTES, []
    for result in newest:
        parts = [f"- {result.step_id} (version {result.plan_version}): {result.status}"]
        if result.landed and result.status != "succeeded":
            parts.append("its effect has happened all the same")
        if result.error is not None:
            parts.append(f"{result.error.code}: {_data(f'error of {result.step_id}', result.error.message[:MAX_OUTPUT_BYTES])}")
        unmet = [
            f"{each.criterion} ({each.why or f'saw {_json(dict(each.values))}'})" for each in result.evidence if each.holds is not True
        ]
        if unmet:
            parts.append(_data(f"criteria of {result.step_id} that do not hold", "; ".join(unmet)[:MAX_OUTPUT_BYTES]))
        if result.output is not None:
            output = _capped(_json(result.output), min(MAX_OUTPUT_BYTES, left))
            left -= len(output.encode())
            parts.append(_data(f"output of {result.step_id}", output) if left > 0 else "output left out, since there is too much of it")
        lines.append("; ".join(parts))
    return "\n".join(reversed(lines)) or "Nothing has ended yet."


def _tool(spec: ToolSpec) -> str:
    output = "not known" if spec.output_schema is None else _capped(_json(spec.output_schema), MAX_SCHEMA_BYTES)
    return f"## {spec.name}\n{spec.description.strip()}\nRisk: {spec.risk}. Output: {output}"


def _criterion(criterion: Criterion) -> str:
    return criterion.judge if isinstance(criterion, Judge) else criterion


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "None."


def _data(of: str, text: str) -> str:
    """Delimited. What is inside cannot close it: it holds no `<`."""
    inside = text.replace("<", "\\u003c")
    return f'<data of="{of}">{inside}</data>'


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _capped(text: str, most: int) -> str:
    raw = text.encode()
    return text if len(raw) <= most else f"{raw[: max(0, most)].decode(errors='ignore')} … (cut here; {len(raw)} bytes in all)"


def _filled(part: str, **values: str) -> str:
    """The wording with its placeholders filled in at once: a value that looks like a placeholder stays what it is."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], _wording(part))


@functools.cache
def _wording(part: str) -> str:
    return (resources.files("agent_graph.planners") / "prompts" / f"{part}.{VERSION}.md").read_text(encoding="utf-8")
