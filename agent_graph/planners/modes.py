"""How much is planned before anything runs, and how fine: one dial each. docs/modes.md says what a mode costs in model calls.

``auto`` is decided by rules from the goal and the tools, and by no model, so that it costs nothing and can be explained. It is wrong at no
great price: ``inline`` only ever reads, and what fails there is planned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agent_graph.plan import RISKS, Goal, Granularity
from agent_graph.planners.narrowing import relevant
from agent_graph.ports import ToolSpec

Chosen = Literal["inline", "single_shot", "iterative"]

MAX_INLINE_WORDS = 60
"""Of a goal that is short."""
MAX_INLINE_SYSTEMS = 2
"""Systems that a goal may touch and still be looked up without a plan."""


@dataclass(frozen=True, slots=True)
class Choice:
    mode: Chosen
    why: str


def choose(goal: Goal, tools: Mapping[str, ToolSpec], *, executor: bool, reviewed: bool = False) -> Choice:
    """The mode for a goal, and why. The first rule that holds decides.

    ``executor``: whether there is a model for ``inline``. ``reviewed``: whether a person is to see each plan.
    """
    if not executor:
        return Choice("single_shot", "there is no executor model, which inline would need")
    if reviewed:
        return Choice("single_shot", "the policy has each plan reviewed")
    if goal.success_criteria:
        return Choice("single_shot", "the goal has success criteria, which a plan is held to")
    fitting = relevant(tools, goal_words(goal))
    changing = [spec for spec in fitting if spec.changes]
    if changing or (not fitting and any(spec.changes for spec in tools.values())):
        named = f"it may need {_names(changing)}" if changing else "its words name no tool, and some of the tools change something"
        if _open_ended(goal) and any(is_grave(spec) for spec in changing):
            return Choice("iterative", f"{named}, and what is to be done hangs on what is found")
        return Choice("single_shot", named)
    if any(spec.changes for spec in tools.values()) and not _LOOK_UP.search(goal.text):
        return Choice("single_shot", "it does not read like a question, and some of the tools change something")
    words = len(goal.text.split())
    if words > MAX_INLINE_WORDS or goal.constraints:
        return Choice("single_shot", f"it only reads, but has {'constraints' if goal.constraints else f'{words} words'}")
    if _SEQUENCE.search(goal.text):
        return Choice("single_shot", "it only reads, but asks for one thing after another")
    systems = sorted({system_of(spec) for spec in fitting})
    if len(systems) > MAX_INLINE_SYSTEMS:
        named = ", ".join(systems[:5]) + (" …" if len(systems) > 5 else "")
        return Choice("single_shot", f"it only reads, but across {len(systems)} systems: {named}")
    return Choice("inline", f"it only reads, and is short: {words} words")


def is_fine(wanted: Granularity, tools: Mapping[str, ToolSpec]) -> bool:
    """Whether what changes something must be a step of its own. ``auto``: when a tool is there that can do more than write."""
    return wanted == "fine" or (wanted == "auto" and any(is_grave(spec) for spec in tools.values()))


def is_grave(spec: ToolSpec) -> bool:
    return RISKS.index(spec.risk) > RISKS.index("write")


def goal_words(goal: Goal) -> str:
    """What a goal is about, as the operator or the user said it. Values of parameters, which may come from outside, have no say."""
    criteria = [each if isinstance(each, str) else each.judge for each in goal.success_criteria]
    return "\n".join([goal.text, *goal.constraints, *criteria, *goal.params])


def system_of(spec: ToolSpec) -> str:
    """The system that a tool belongs to: its server where its name has one, else what its scopes are about. The rest is one system."""
    server, dot, _ = spec.name.partition(".")
    if dot:
        return server
    return re.split(r"[:.]", spec.scopes[0])[0] if spec.scopes else "the agent's own"


_SEQUENCE = re.compile(
    r"\b(?:then|afterwards|after that|finally|once (?:that|this|it)|step by step)\b|(?m:^\s*(?:\d+[.)]|[-*])\s)", re.IGNORECASE
)
_LOOK_UP = re.compile(
    r"\?|^\s*(?:please\s+)?(?:what|which|how|when|where|who|whose|why|is|are|was|were|do|does|did|has|have|show|list|find|look|read|search|count|"
    r"compare|summari[sz]e|explain|describe|check|tell me)\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\b(?:if|unless|until|whether|depending|investigate|diagnose|debug|find out|figure out|why|troubleshoot|work out)\b", re.IGNORECASE
)


def _open_ended(goal: Goal) -> bool:
    """Whether a later step hangs on what an earlier one finds."""
    return _UNSURE.search("\n".join([goal.text, *goal.constraints])) is not None


def _names(specs: list[ToolSpec]) -> str:
    """The gravest first."""
    ordered = sorted(specs, key=lambda spec: (-RISKS.index(spec.risk), spec.name))
    named = [f"{spec.name} ({spec.risk})" for spec in ordered[:3]]
    return ", ".join(named) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")
