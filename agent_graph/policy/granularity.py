"""Work that is planned fine: what changes something is a step of its own, so that a person sees what it is before it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent_graph.plan import Plan, Step
from agent_graph.ports import ToolSpec


def too_coarse(plan: Plan, tools: Mapping[str, ToolSpec]) -> Iterator[tuple[Step, str]]:
    """Agent steps of a plan that is to be fine, which could change something on their way, and what they could call.

    Those of a blueprint were designed by people, who knew what they left to an agent.
    """
    if plan.granularity != "fine":
        return
    for step in plan.steps:
        changing = [name for name in step.allowed_tools if (spec := tools.get(name)) is not None and spec.changes]
        if step.agent is not None and step.part_of is None and changing:
            yield step, f"its agent may call {', '.join(changing)}, and this plan is to be fine"
