"""Plans without a model: from what is wanted back over what tools need and give, to what is at hand. The least cost wins.

``agent.run("report", params={"metric": "cpu"}, …)`` with ``planner="chain"``: the goal names the kinds of fact that it wants, parameters are
facts that are at hand, and each tool says what it needs and gives (docs/chain.md). Nothing that a step gave, and no value of a parameter, has
a say in the plan.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from agent_graph.errors import UsageError
from agent_graph.plan import Goal, Plan, Step
from agent_graph.planners.alternative import alternative
from agent_graph.planners.composing import WANT, Writing, solve
from agent_graph.planners.facts import Maker, Need, at_hand, maker_of
from agent_graph.planners.search import Missing
from agent_graph.policy.touched import touched
from agent_graph.ports import Answer, GiveUp, Planner, PlanningContext, Question, ReplanningContext, ToolSpec

__all__ = ["ChainPlanner", "alternative", "wanted_by"]

_KIND = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_LEAD = re.compile(r"^\s*(?:gives?|wants?)\s*:\s*", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+")


def wanted_by(goal: Goal) -> tuple[str, ...]:
    """The kinds of fact that a goal wants: its parameter ``want``, else its text (``report``, ``report, chart``, ``gives: report``).

    Raises UsageError when it names none.
    """
    if WANT in goal.params:
        if WANT in goal.untrusted:
            raise UsageError(f"params.{WANT} says what is planned, and is marked untrusted; name what is wanted in the goal's text")
        said = goal.params[WANT]
        named = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    else:
        named = _BETWEEN.split(_LEAD.sub("", goal.text).strip())
    kinds = [kind for kind in named if isinstance(kind, str) and _KIND.fullmatch(kind)]
    if not kinds or len(kinds) != len(named):
        raise UsageError(
            f'the chain planner reads no sentences: name the kinds of fact that are wanted, as in "report" or "report, chart", or in the '
            f"parameter {WANT!r}; the goal is {goal.text[:200]!r}"
        )
    return tuple(dict.fromkeys(kinds))


class ChainPlanner(Planner):
    """Plans from the tools' ``needs`` and ``gives``, at the least cost. Replans around tools that failed, were refused or rejected."""

    name = "chain"
    can_replan = True
    reads_values = False

    def complete(self, goal: Goal) -> Goal:
        wanted_by(goal)
        return goal

    def plan(self, context: PlanningContext) -> Plan | Question | Answer:
        """Raises UsageError that names what is missing."""
        return chain(context.goal, context.tools, before=None)

    def replan(self, context: ReplanningContext) -> Plan | Question | GiveUp:
        dropped = _dropped(context)
        try:
            made = chain(context.goal, {name: spec for name, spec in context.tools.items() if name not in dropped}, before=context)
        except UsageError as error:
            without = f", without {', '.join(sorted(dropped))}" if dropped else ""
            return GiveUp(f"{context.reason}{without}: {error}")
        if made.steps == context.plan.steps and made.answer == context.plan.answer and context.goal == context.plan.goal:
            return GiveUp(f"nothing else leads to {', '.join(wanted_by(context.goal))}: {context.reason}")
        return made


def chain(goal: Goal, tools: Mapping[str, ToolSpec], *, before: ReplanningContext | None) -> Plan:
    """The plan of least cost. ``before``: what has been done of an earlier version stays, and what it gave is at hand. Raises UsageError."""
    kinds = wanted_by(goal)
    makers = [maker_of(spec) for spec in tools.values()]
    kept, done = _kept(before)
    there = at_hand(Plan(goal=goal, steps=kept), done)
    found = solve([Need(kind) for kind in kinds], there, makers)
    if isinstance(found, Missing):
        raise UsageError(explain(found, makers))
    steps = Writing(there, {step.id for step in kept} | _ids(before))
    made = [steps.step(makers[number], goal) for number in found.order]
    answers = {kind: steps.of(Need(kind)) for kind in kinds}
    names = " → ".join(step.tool or "" for step in made) or "everything is at hand"
    return Plan(
        goal=goal,
        steps=(*kept, *made),
        answer=answers[kinds[0]] if len(kinds) == 1 else answers,
        created_by=ChainPlanner.name,
        reason=f"{'least' if found.least else 'low'} cost {found.cost:g}: {names}",
    )


def explain(missing: Missing[Need], makers: list[Maker]) -> str:
    """What is missing, and who would need it."""
    wanted = ", ".join(need.kind for need in missing.wanted)
    every = sorted({kind for maker in makers for kind in maker.gives})
    lines = [f"no chain of tools leads to {wanted}"]
    for need, users in list(missing.lacking.items())[:MOST_TOLD]:
        mistyped = [maker.spec.name for maker in makers if need.kind in maker.gives and not maker.has(need)]
        near = difflib.get_close_matches(need.kind, every, n=1)
        hint = (
            f"{', '.join(mistyped)} gives one of another type than {' or '.join(sorted(need.types or ()))}"
            if mistyped
            else f"did you mean {near[0]!r}?"
            if near and not users
            else "give it with params, or add a tool that gives it"
        )
        whose = f"{', '.join(makers[number].spec.name for number in users[:MOST_TOLD])} would need it" if users else "it is what is wanted"
        lines.append(f"missing is {need.kind}: nothing gives it, and {whose}; {hint}")
    if len(missing.lacking) > MOST_TOLD:
        lines.append(f"and {len(missing.lacking) - MOST_TOLD} more are missing")
    if not missing.lacking:
        lines.append("the tools that give it wait for each other: each needs what another one gives")
    if not any(users for users in missing.lacking.values()):
        lines.append(
            f"the tools give: {', '.join(every[:30]) or 'nothing (only reads give by themselves; what changes something says gives=…)'}"
        )
    return "; ".join(lines)


MOST_TOLD = 5


# ── what an earlier version leaves ────────────────────────────────────────────────────────────────────────────────────


def _kept(before: ReplanningContext | None) -> tuple[tuple[Step, ...], dict[str, Maker]]:
    """The steps that have succeeded, and the tools by which they gave what they gave; none that worked on parameters that are others now."""
    if before is None:
        return (), {}
    other = touched(before.plan, before.goal)
    kept = tuple(
        step
        for step in before.plan.steps
        if step.id not in other and (result := before.results.get(step.id)) is not None and result.status == "succeeded"
    )
    return kept, {step.id: maker_of(spec) for step in kept if (spec := before.tools.get(step.tool or "")) is not None}


def _ids(before: ReplanningContext | None) -> set[str]:
    """Of steps that the run has had: a new one is another."""
    return set() if before is None else {*before.plan.by_id, *before.results}


def _dropped(context: ReplanningContext) -> set[str]:
    """Tools that failed, that the rules refuse, or whose call a person rejected."""
    steps = {issue.step_id for issue in context.issues if issue.severity == "error"}
    steps |= {step_id for step_id, stands in context.approvals.items() if stands.startswith("rejected")}
    found = set()
    for step_id, result in context.results.items():
        if result.status in ("failed", "blocked"):
            steps.add(step_id)
            found.add(result.provenance.source if result.provenance is not None else "")
    found |= {step.tool for step in context.plan.steps if step.id in steps and step.tool is not None}
    return found & context.tools.keys()
