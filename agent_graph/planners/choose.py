"""From what a user names to a planner."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

from agent_graph.errors import UsageError
from agent_graph.models.clients import Clients
from agent_graph.models.roles import names_model
from agent_graph.plan import Blueprint, Granularity, Mode, Plan
from agent_graph.planners.blueprint import BlueprintPlanner, StaticPlanner
from agent_graph.ports import Planner

__all__ = ["as_planner", "names_model", "planner_with"]


def planner_with(thing: Any, clients: Clients, mode: Mode | None = None, granularity: Granularity = "auto") -> Planner | None:
    """What ``as_planner`` makes of the thing, or of the planner's role when there is none; the replanner's role revises what a model planned.

    With a mode that needs no planner, an executor's model is enough. None when there is nothing to plan with. Raises UsageError or
    InvalidDocument.
    """
    for name, given, known in (("mode", mode or "auto", get_args(Mode)), ("granularity", granularity, get_args(Granularity))):
        if given not in known:
            raise UsageError(f"{name} is {given!r}; it is one of {', '.join(known)}")
    planner = _planner(thing, clients)
    if mode == "inline" and not clients.has("executor"):
        raise UsageError("mode inline needs a model that answers: give AgentGraph(models={'executor': 'openai:MODEL'})")
    if planner is None and mode in ("inline", "auto") and clients.has("executor"):
        from agent_graph.planners.inline import InlinePlanner

        return InlinePlanner()
    return planner


def _planner(thing: Any, clients: Clients) -> Planner | None:
    if thing is None:
        if not clients.has("planner"):
            return None
        from agent_graph.planners.chat_model import planner_from

        return planner_from(clients)
    planner = as_planner(thing)
    if clients.models.replanner is not None:
        from agent_graph.planners.chat_model import ChatModelPlanner

        if isinstance(planner, ChatModelPlanner) and planner.replanner is planner.client:
            planner.replanner = clients.of("replanner")
    return planner


def as_planner(thing: Any) -> Planner:
    """A planner, a chat model or ``openai:MODEL``, ``chain``, a ``Plan``, a ``Blueprint`` or the path of one.

    Raises UsageError or InvalidDocument.
    """
    match thing:
        case Plan():
            return StaticPlanner(thing)
        case Blueprint():
            return BlueprintPlanner(thing)
        case "chain":
            from agent_graph.planners.chain import ChainPlanner

            return ChainPlanner()
        case str() if names_model(thing):
            from agent_graph.planners.chat_model import planner_of

            return planner_of(thing)
        case str() | Path():
            return BlueprintPlanner(thing)
        case _ if _is_chat_model(thing):
            from agent_graph.planners.chat_model import ChatModelPlanner

            return ChatModelPlanner(thing)
        case Planner():
            return thing
        case _:
            wanted = "an object with plan() and replan(), a chat model, openai:MODEL, chain, a Plan, a Blueprint, or the path of a blueprint file"
            raise UsageError(f"{thing!r} is not a planner: give {wanted}")


def _is_chat_model(thing: Any) -> bool:
    """Whoever holds a chat model has imported its class, so nothing needs to be imported to see it."""
    module = sys.modules.get("langchain_core.language_models.chat_models")
    return module is not None and isinstance(thing, module.BaseChatModel)
