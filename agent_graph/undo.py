"""What a run that ended left behind, as a plan that takes it back: the ``undo`` calls of its tools, the last effect first.

Nothing is undone by itself. The plan is a run of its own, and each call in it waits for a person like any other.
"""

from __future__ import annotations

from collections import Counter

from agent_graph.errors import UsageError
from agent_graph.identity import RunId, canonical
from agent_graph.plan import Plan
from agent_graph.ports import Store
from agent_graph.verdicts import LandedEffect

UNDOES = "undoes"
"""Key in a run's metadata: the run whose effects it takes back."""


def undo_plan(store: Store, run_id: RunId) -> Plan:
    """Raises UsageError for a run that has not ended, that left nothing which a tool can undo, or that is being undone already."""
    record = store.runs.get(run_id)
    if not record.finished:
        raise UsageError(f"run {run_id} has not ended; end it first with: agent-graph cancel {run_id}")
    taken_back: Counter[tuple[str, str]] = Counter()
    for other in store.runs.with_metadata(UNDOES, run_id):
        if not other.finished:
            raise UsageError(f"run {other.id} is undoing run {run_id} already; go on with it: agent-graph resume {other.id}")
        taken_back.update((effect.tool, canonical(effect.args)) for effect in store.ledger.landed(other.id))
    before = taken_back.total()
    left = []
    for effect in store.ledger.landed(run_id):
        if effect.undo is None:
            continue
        call = (effect.undo.tool, canonical(effect.undo.args))
        if taken_back[call]:
            taken_back[call] -= 1  # two effects may be taken back by the same call, each by one of its own
        else:
            left.append(effect)
    if not left:
        raise UsageError(f"run {run_id} left nothing that can be undone{': it was taken back before' if before else ''}")
    steps = [_step(number, effect, left) for number, effect in enumerate(left)]
    return Plan.model_validate({"goal": f"Take back what run {run_id} did", "steps": steps, "created_by": "undo"})


def _step(number: int, effect: LandedEffect, left: list[LandedEffect]) -> dict[str, object]:
    assert effect.undo is not None  # noqa: S101  # only those were kept
    return {
        "id": _id(number, effect),
        "description": f"takes back {effect.tool} of step {effect.step_id}",
        "tool": effect.undo.tool,
        "args": effect.undo.args,
        "approval": "required",
        "depends_on": [_id(number - 1, left[number - 1])] if number else [],
        "on_failure": "ask",
    }


def _id(number: int, effect: LandedEffect) -> str:
    return f"undo_{number + 1}_{effect.step_id.replace('.', '_')}"[:64]
