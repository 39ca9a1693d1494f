"""Another tool in the place of one that failed, found without asking a model; each tool is tried once in a run."""

from __future__ import annotations

from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan, Step
from agent_graph.policy.lineage import FIRST
from agent_graph.verdicts import Source


def another_tool(visit: Visit) -> Plan | None:
    """The next version, where a tool gives what the one that failed was to give. Only for a failure that leaves it to the planner."""
    if visit.current is None or visit.current.verdict != "valid" or visit.revised:
        return None
    halted = [step for step in visit.results.all_halted() if step.on_failure == "replan" and step.tool is not None]
    if not halted:
        return None
    given_up = {record.request.step_id for record in visit.deps.store.approvals.rejections(visit.run_id, visit.plan.version)}
    for step in halted:  # what a person gave up is not tried another way behind their back
        if step.id not in given_up and (made := _instead(visit, step)) is not None:
            return made
    return None


def _instead(visit: Visit, step: Step) -> Plan | None:
    from agent_graph.planners.alternative import alternative

    tools, results = visit.deps.tools.specs, visit.deps.store.ledger.results(visit.run_id)
    return alternative(step, visit.plan, tools, results, visit.deps.rules)


def read_before(visit: Visit, made: Plan) -> tuple[Source, ...]:
    """What had been read by whoever proposed the steps that are changed: nothing else has a say in the new ones, and all of that has."""
    changed = (step.id for step in visit.plan.steps if made.by_id.get(step.id) != step)
    origins = (visit.lineage.get(step_id, FIRST) for step_id in changed)
    return tuple(dict.fromkeys(source for origin in origins for source in (*origin.read, *origin.around)))
