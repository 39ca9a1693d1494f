"""The next steps of an open plan: what was said of the whole plan before still holds."""

from __future__ import annotations

from agent_graph.plan import Plan


def extended(came: Plan, before: Plan) -> Plan:
    """``came`` with the criteria and assumptions of the plan that it goes on from; its answer and early stop, where it names none."""
    return came.model_copy(
        update={
            "mode": before.mode,
            "granularity": before.granularity,
            "success_criteria": (
                *before.success_criteria,
                *(each for each in came.success_criteria if each not in before.success_criteria),
            ),
            "assumptions": (*before.assumptions, *(each for each in came.assumptions if each not in before.assumptions)),
            "stop_when": came.stop_when or before.stop_when,
            "answer": came.answer if came.answer is not None else before.answer,
            "interpretation": came.interpretation or before.interpretation,
            "template": before.template,
        }
    )
