"""What a planner is given to plan with: how much it plans, and the tools that it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent_graph.events import Note
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan
from agent_graph.planners.inline import InlinePlanner
from agent_graph.planners.modes import Choice, choose, goal_words
from agent_graph.planners.narrowing import Narrowed, narrow
from agent_graph.policy.matching import fits
from agent_graph.ports import Planner, PlanningContext, ToolSpec
from agent_graph.verdicts import Deny

MOST_BY_RULE = 8
"""Tools that one order rule keeps in a planner's sight. A rule about more, such as all reads, is about none of them in particular."""


def asks_a_model(planner: Planner) -> bool:
    """Whether its plans come from a model's reply: such a planner takes a mode, and is shown tools in a prompt. Others have their own way."""
    return bool(getattr(planner, "prompt_version", ""))


def mode_of(visit: Visit) -> Choice:
    """How much is planned. A plan that there is stays in its mode; what could not be answered inline is planned whole."""
    deps = visit.deps
    if isinstance(visit.planner, InlinePlanner):
        return Choice("inline", "there is no planner")
    if visit.current is not None:
        return Choice("iterative" if visit.plan.mode == "iterative" else "single_shot", "as the plan has it")
    if deps.mode in ("single_shot", "iterative"):
        return Choice(deps.mode, "as configured")
    if not asks_a_model(visit.planner) or deps.mode is None:
        return Choice("single_shot", "as the planner has it")
    if deps.mode == "inline":
        return Choice("inline", "as configured")
    reviewed = deps.rules.policy.review_plans
    return choose(visit.record.goal, deps.tools.specs, executor=deps.models.has("executor"), reviewed=reviewed)


def shown(visit: Visit) -> Narrowed:
    """The tools that the planner is shown: all, unless a model is to read about very many. The same for the whole run."""
    specs = visit.deps.tools.specs
    most = getattr(visit.planner, "max_tools", None)
    if most is None or not asks_a_model(visit.planner):
        return Narrowed(tools=specs)
    plan = visit.plan if visit.current is not None else None
    return narrow(specs, goal_words(visit.record.goal), keep={*_by_rule(visit, specs), *_in(plan)}, most=most)


def readable(visit: Visit) -> dict[str, ToolSpec]:
    """For ``inline``: tools that only read, and that the policy and the principal's scopes do not rule out."""
    rules, principal = visit.deps.rules, visit.record.goal.principal
    scopes = rules.scopes_of(principal)

    def may(spec: ToolSpec) -> bool:
        allowed = all(scopes and fits(scope, scopes) for scope in spec.scopes)
        return allowed and not isinstance(rules.policy.judge(spec, principal=principal, scopes=scopes), Deny)

    reading = {name: spec for name, spec in visit.deps.tools.specs.items() if not spec.changes and may(spec)}
    return dict(narrow(reading, goal_words(visit.record.goal)).tools)


def note_choices(visit: Visit, choice: Choice, context: PlanningContext) -> None:
    """What was chosen on the user's behalf, in the trace: the mode, and which of many tools the planner is shown."""
    said = [f"mode {choice.mode}, chosen by auto: {choice.why}"] if visit.deps.mode == "auto" and asks_a_model(visit.planner) else []
    if choice.mode != "inline" and len(context.tools) < len(visit.deps.tools.specs):
        said.append(str(shown(visit)))
    for message in said:
        visit.trace(Note(run_id=visit.run_id, at=visit.now(), message=message))


def hidden(visit: Visit, context: PlanningContext) -> str:
    """What a planner that sees no way did not see."""
    there = len(visit.deps.tools.specs)
    if len(context.tools) == there:
        return ""
    return f"\nIt was shown {len(context.tools)} of {there} tools; where it lacks one, name the tool in the goal, or raise the planner's max_tools."


def _by_rule(visit: Visit, specs: Mapping[str, ToolSpec]) -> Iterator[str]:
    """Tools that an order rule wants before or after a call."""
    for rule in visit.deps.rules.policy.order:
        for match in (rule.after, rule.followed_by):
            wanted = [name for name, spec in specs.items() if match is not None and match.matches(spec)]
            if len(wanted) <= MOST_BY_RULE:
                yield from wanted


def _in(plan: Plan | None) -> Iterator[str]:
    for step in plan.steps if plan is not None else ():
        yield from (step.tool,) if step.tool is not None else step.allowed_tools
