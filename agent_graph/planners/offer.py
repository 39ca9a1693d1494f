"""What a plan may be made of: tools, models, nested plans, and how much of it is wanted. Schema and prompt are built from this alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agent_graph.plan import Blueprint
from agent_graph.planners.modes import is_fine
from agent_graph.ports import PlanningContext, ToolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    tools: tuple[ToolSpec, ...] = ()
    executor: bool = False
    """Whether there is a model for steps that name no specialist."""
    specialists: tuple[tuple[str, str], ...] = ()
    """Named executors, and what each is good at."""
    blueprints: tuple[Blueprint, ...] = ()
    mode: Literal["single_shot", "iterative"] = "single_shot"
    fine: bool = False
    """Whether what changes something must be a step of its own."""

    @staticmethod
    def of(context: PlanningContext) -> Offer:
        return Offer(
            tools=tuple(context.tools.values()),
            executor=context.executor,
            specialists=tuple(context.specialists.items()),
            blueprints=tuple(context.blueprints.values()),
            mode="iterative" if context.mode == "iterative" else "single_shot",
            fine=is_fine(context.granularity, context.tools),
        )

    @property
    def reasons(self) -> bool:
        """Whether there are ``model`` and ``agent`` steps."""
        return self.executor or bool(self.specialists)

    @property
    def agent_tools(self) -> tuple[str, ...]:
        """Those that an ``agent`` step may be allowed."""
        return tuple(spec.name for spec in self.tools if not (self.fine and spec.changes))


def of_tools(tools: Mapping[str, ToolSpec]) -> Offer:
    """Tools and nothing else."""
    return Offer(tools=tuple(tools.values()))
