"""What a plan version changed of the one before, line by line, as a person reads a diff."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from agent_graph.lookalikes import told
from agent_graph.plan import Plan, Step
from agent_graph.revision import Revision, field_of, named
from agent_graph.visible import visible

MOST_CHARACTERS = 160
"""Of one value."""


def revision_lines(revision: Revision, before: Plan, after: Plan) -> Iterator[str]:
    """``=`` stays, ``-`` goes, ``~`` is changed (from → to), ``+`` is new. Whatever came from outside is made visible."""
    for ids, what in ((revision.finished, "had ended"), (revision.kept, "as it was")):
        if ids:
            yield f"= {named(ids)} ({what})"
    for step_id in revision.dropped:
        yield f"- {step_id}  {_step(before.by_id[step_id])}"
    for step_id, fields in revision.changed.items():
        for name in fields:
            yield f"~ {step_id}  {_change(before.by_id[step_id], after.by_id[step_id], name)}"
    for step_id in revision.added:
        yield f"+ {step_id}  {_step(after.by_id[step_id])}"
    for name in revision.plan:
        yield f"~ the plan  {_change(before, after, name)}"


def _step(step: Step) -> str:
    args = ", ".join(f"{visible(name)}: {_value(value)}" for name, value in step.args.items())
    said = step.tool if step.tool is not None else f"{step.kind} {_value(getattr(step, step.kind))}"
    waits = f"  after {', '.join(sorted(step.needs))}" if step.needs else ""
    return f"{visible(said)}({args}){waits}" if step.tool is not None else f"{said}{f' ({args})' if args else ''}{waits}"


def _change(before: Step | Plan, after: Step | Plan, name: str) -> str:
    return f"{name}: {_value(field_of(before, name))} → {_value(field_of(after, name))}"


def _value(value: Any) -> str:
    return told(json.dumps(value, ensure_ascii=False), width=MOST_CHARACTERS)
