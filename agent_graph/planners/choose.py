"""From what a user names to a planner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent_graph.errors import UsageError
from agent_graph.plan import Blueprint, Plan
from agent_graph.planners.blueprint import BlueprintPlanner, StaticPlanner
from agent_graph.ports import Planner


def as_planner(thing: Any) -> Planner:
    """A planner, a ``Plan``, a ``Blueprint`` or the path of one. Raises UsageError or InvalidDocument."""
    match thing:
        case Plan():
            return StaticPlanner(thing)
        case Blueprint():
            return BlueprintPlanner(thing)
        case str() | Path():
            return BlueprintPlanner(thing)
        case Planner():
            return thing
        case _:
            wanted = "an object with plan() and replan(), a Plan, a Blueprint, or the path of a blueprint file"
            raise UsageError(f"{thing!r} is not a planner: give {wanted}")
