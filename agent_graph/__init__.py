"""agent-graph: the planner decides intent, the executor enforces reality.

Names load at first use, so that importing the package, or asking the command line for help, does not load LangGraph.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_graph.agent import AgentGraph
    from agent_graph.errors import AgentGraphError, BudgetExceeded, InvalidPlan, ModelError, NotAnApprover, NotDone, RunBusy, UsageError
    from agent_graph.models.roles import Models, RoleModel, Specialist
    from agent_graph.plan import Blueprint, Goal, Judge, Plan, Step, StepBudget
    from agent_graph.policy.limits import Limits, Price, RoleLimits
    from agent_graph.policy.rules import ApproverRule, FlowRule, Match, OrderRule, Policy, Principal, Rule, Time
    from agent_graph.ports import Answer, GiveUp, Planner, PlanningContext, Question, ReplanningContext
    from agent_graph.revision import Revision
    from agent_graph.state import Run
    from agent_graph.tools.mcp import MCPServers
    from agent_graph.tools.tool import Tool, ToolContext, tool
    from agent_graph.verdicts import (
        Absent,
        Approve,
        Edit,
        Grant,
        Issue,
        Landed,
        Reject,
        Request,
        Resolve,
        Respond,
        Source,
        StepResult,
        Undo,
        Unknown,
    )

_HOMES = {
    "agent_graph.agent": ("AgentGraph",),
    "agent_graph.errors": (
        "AgentGraphError",
        "BudgetExceeded",
        "InvalidPlan",
        "ModelError",
        "NotAnApprover",
        "NotDone",
        "RunBusy",
        "UsageError",
    ),
    "agent_graph.models.roles": ("Models", "RoleModel", "Specialist"),
    "agent_graph.plan": ("Blueprint", "Goal", "Judge", "Plan", "Step", "StepBudget"),
    "agent_graph.policy.limits": ("Limits", "Price", "RoleLimits"),
    "agent_graph.policy.rules": ("ApproverRule", "FlowRule", "Match", "OrderRule", "Policy", "Principal", "Rule", "Time"),
    "agent_graph.ports": ("Answer", "GiveUp", "Planner", "PlanningContext", "Question", "ReplanningContext"),
    "agent_graph.revision": ("Revision",),
    "agent_graph.state": ("Run",),
    "agent_graph.tools.mcp": ("MCPServers",),
    "agent_graph.tools.tool": ("Tool", "ToolContext", "tool"),
    "agent_graph.verdicts": (
        "Absent",
        "Approve",
        "Edit",
        "Grant",
        "Issue",
        "Landed",
        "Reject",
        "Request",
        "Resolve",
        "Respond",
        "Source",
        "StepResult",
        "Undo",
        "Unknown",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Absent",
    "AgentGraph",
    "AgentGraphError",
    "Answer",
    "Approve",
    "ApproverRule",
    "Blueprint",
    "BudgetExceeded",
    "Edit",
    "FlowRule",
    "GiveUp",
    "Goal",
    "Grant",
    "InvalidPlan",
    "Issue",
    "Judge",
    "Landed",
    "Limits",
    "MCPServers",
    "Match",
    "ModelError",
    "Models",
    "NotAnApprover",
    "NotDone",
    "OrderRule",
    "Plan",
    "Planner",
    "PlanningContext",
    "Policy",
    "Price",
    "Principal",
    "Question",
    "Reject",
    "ReplanningContext",
    "Request",
    "Resolve",
    "Respond",
    "Revision",
    "RoleLimits",
    "RoleModel",
    "Rule",
    "Run",
    "RunBusy",
    "Source",
    "Specialist",
    "Step",
    "StepBudget",
    "StepResult",
    "Time",
    "Tool",
    "ToolContext",
    "Undo",
    "Unknown",
    "UsageError",
    "tool",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'agent_graph' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
