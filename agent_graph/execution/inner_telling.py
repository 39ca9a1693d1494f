"""What an agent is told of a call: how it ended, and what came of it, as data."""

from __future__ import annotations

from typing import Any

from agent_graph.execution.context import RunContext
from agent_graph.execution.evidence import cut, delimited
from agent_graph.execution.telling import as_text
from agent_graph.plan import Step
from agent_graph.verdicts import StepResult

MAX_SHOWN_BYTES = 40_000
"""Of what one call gave, as the model is shown it."""

_SAID = {"succeeded": "succeeded", "failed": "failed", "blocked": "was not called", "skipped": "was not called"}


def told(run: RunContext, call: Step, result: StepResult, asked: dict[str, Any]) -> str:
    """``asked``: the arguments that the model had given."""
    head = f"{call.id}: {_SAID.get(result.status, result.status)}"
    if result.error is not None:
        head += f" ({result.error.code}): {result.error.message}" if result.status == "blocked" else f" ({result.error.code})"
    sent = _edited(run, call, result, asked)
    if sent is not None:
        head += f". A person changed its arguments; what was sent: {as_text(sent)}"
    lines = [head]
    if result.error is not None and result.status != "blocked":
        lines.append(_data(f"error of {call.id}", result.error.message))
    if result.output is not None or result.status == "succeeded":
        lines.append(_data(call.id, result.output))
    return "\n".join(lines)


def told_again(run: RunContext, call: Step, before: str) -> str:
    """Of a call that was not made, since it was made as ``before``."""
    result = run.results.result(before)
    said = f"{call.id}: the very same call was made as {before}, and is not made again. {before} gave:"
    return f"{said}\n{_data(before, result.output if result is not None else None)}"


def _edited(run: RunContext, call: Step, result: StepResult, asked: dict[str, Any]) -> dict[str, Any] | None:
    """What was sent in place of what the model had asked for."""
    standing = run.results.standing(call.id)
    effect = run.store.ledger.effect(standing.key) if standing is not None and result.status != "blocked" else None
    return effect.args if effect is not None and effect.tool == call.tool and effect.args != asked else None


def _data(of: str, value: Any) -> str:
    return delimited(of, cut(as_text(value), MAX_SHOWN_BYTES))
