"""What the model of a step is told: its task, and what it works on, as data. The wording is in ``prompts/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent_graph.execution.evidence import VERSION, cut, delimited, filled
from agent_graph.models.roles import Models
from agent_graph.plan import Step

__all__ = ["MAX_INPUT_BYTES", "VERSION", "as_text", "instructions", "task"]

MAX_INPUT_BYTES = 120_000
"""Of one input, as a model is shown it."""


def instructions(step: Step, models: Models) -> str:
    """What never changes from one request of the step to the next."""
    specialist = models.specialists.get(step.executor or "")
    own = filled("specialist", prompt=specialist.prompt) if specialist is not None and specialist.prompt else ""
    if step.agent is not None:
        return filled("agent", specialist=own, example=f"{step.id}.1").rstrip()
    return filled("model", specialist=own).rstrip()


def task(step: Step, inputs: Mapping[str, Any], schema: Mapping[str, Any] | None = None) -> str:
    """``schema``: written into it, for a model that is held to it in no other way."""
    shown = [delimited(name, cut(as_text(value), MAX_INPUT_BYTES)) for name, value in inputs.items()]
    form = filled("form", schema=json.dumps(schema, ensure_ascii=False)) if schema is not None else ""
    told = filled("model_task", task=step.model or step.agent or "", inputs="\n\n".join(shown) or "Nothing but the task itself.", form=form)
    return told.rstrip()


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
