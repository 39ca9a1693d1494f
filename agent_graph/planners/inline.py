"""Mode ``inline``: no plan is asked for. One step reads what it needs and answers; code writes the plan around it, so that it is checked,
recorded and shown like any other.
"""

from __future__ import annotations

from agent_graph.plan import Goal, Judge, Plan, Step
from agent_graph.planners.wording import listed, sections
from agent_graph.ports import GiveUp, PlanningContext, ReplanningContext

NAME = "inline"
STEP = "answer"


def inline_plan(context: PlanningContext) -> Plan:
    """An ``agent`` step over those of the tools that only read; a ``model`` step where there is none."""
    goal = context.goal
    reading = tuple(spec.name for spec in context.tools.values() if not spec.changes)
    step = Step(
        id=STEP,
        description="finds out and answers, without a plan",
        agent=_text(goal) if reading else None,
        model=None if reading else _text(goal),
        args={name: {"$ref": f"params.{name}"} for name in goal.params},
        allowed_tools=reading,
    )
    return Plan(
        goal=goal,
        steps=(step,),
        answer={"$ref": f"steps.{STEP}.output"},
        mode="inline",
        created_by=NAME,
        reason="no plan is needed: it is looked up and answered",
    )


def _text(goal: Goal) -> str:
    criteria = [each.judge if isinstance(each, Judge) else each for each in goal.success_criteria]
    return sections("inline", goal=goal.text, constraints=listed(goal.constraints), criteria=listed(criteria)).strip()


class InlinePlanner:
    """For an agent that has an executor's model and no planner: it answers without a plan, or not at all."""

    name = NAME
    can_replan = False
    reads_values = False
    """The plan is the same whatever the values are."""

    def complete(self, goal: Goal) -> Goal:
        return goal

    def plan(self, context: PlanningContext) -> Plan:
        return inline_plan(context)

    def replan(self, context: ReplanningContext) -> GiveUp:
        return GiveUp("there is no planner that could plan what could not be answered without a plan")
