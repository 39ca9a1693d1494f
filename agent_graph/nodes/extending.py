"""The next steps of a plan that is open: mode ``iterative`` plans on when what is planned has ended, and nothing went wrong.

An extension only adds. It counts against the steps that a plan may have, not against the replans.
"""

from __future__ import annotations

from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan, Step
from agent_graph.planners.extending import extended as goes_on

NEXT = " (next step)"
"""After the planner's name in ``created_by`` of a version that only adds: it is none of its replans."""

MOST_ASKS = 2
"""How often a planner is asked for one next step. One that twice gives nothing new is stuck."""


def wants_more(visit: Visit) -> bool:
    """Whether the newest version is open, has ended well, and its planner can say how it goes on."""
    if visit.current is None or visit.current.verdict != "valid" or not visit.plan.open or visit.revised:
        return False
    results = visit.results
    if results.all_halted() or results.open_steps() or results.any_unsettled():
        return False
    return visit.planner.can_replan and not results.may_stop()


def room(visit: Visit) -> int:
    """How many steps may still be added."""
    limits, plan = visit.deps.rules.limits, visit.plan
    most = min(limits.max_steps, limits.mode_steps.get(plan.mode, limits.max_steps))
    return max(0, most - len(plan.steps))


def reason(visit: Visit, problem: str = "") -> str:
    """What the planner is told."""
    said = [f"the {len(visit.plan.steps)} steps of version {visit.plan.version} have ended; say what comes next, or close the plan"]
    if room(visit) == 0:
        said.append("no further step is allowed: close the plan with its answer")
    return "; ".join([*said, problem] if problem else said)


def new_steps(plan: Plan, came: Plan) -> list[Step]:
    return [step for step in came.steps if plan.by_id.get(step.id) != step]


def no_progress(plan: Plan, came: Plan) -> str:
    """What is wrong with an answer that leads nowhere: an open plan without a new step, or with the last one once more. Empty: it is good."""
    added = new_steps(plan, came)
    if not added:
        return "the plan you gave has no new step and is open: add the next step, or close the plan" if came.open else ""
    if plan.steps and all(_same_call(step, plan.steps[-1]) for step in added):
        return (
            f"{', '.join(step.id for step in added)} would do exactly what step {plan.steps[-1].id} has just done: go on from what it gave"
        )
    return ""


def _same_call(one: Step, other: Step) -> bool:
    return (one.kind, getattr(one, one.kind), one.args, one.when) == (other.kind, getattr(other, other.kind), other.args, other.when)


def extended(plan: Plan, came: Plan) -> Plan:
    """The open plan with what came added."""
    by_id = came.by_id
    steps = [by_id.get(step.id, step) for step in plan.steps]
    steps += [step for step in came.steps if step.id not in plan.by_id]
    return goes_on(came, plan).model_copy(update={"steps": tuple(steps)})
