"""What is worth saying of a role's model before it is asked for the first time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_graph.models.roles import Role, RoleModel

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

_REASONS = re.compile(r"(?:^|[:/])(?:o\d|gpt-5(?!\S*-chat)|deepseek-reasoner|deepseek-r\d|magistral|qwq|grok-\d+\S*-reasoning)|-thinking")
"""Names of models that think before they write, for those that LangChain has no profile of."""
LITTLE = ("none", "minimal", "low")


def advice_on(role: Role, specialist: str, spec: RoleModel, model: BaseChatModel) -> str:
    """Empty: there is nothing to say. An executor that reasons long is slow and dear at each turn of each step; the plan has been reasoned about."""
    if role != "executor" or not _thinks(spec, model):
        return ""
    effort = spec.reasoning_effort or getattr(model, "reasoning_effort", None)
    named = spec.model if isinstance(spec.model, str) else f"model {getattr(model, 'model_name', type(model).__name__)}"
    return (
        f"{f'specialist {specialist}' if specialist else 'role executor'} is {named}, a model that reasons before it writes (effort {effort or 'as the provider has it'}): it does so at each "
        "request of each step, which is slow and costs tokens that nobody reads; a smaller model, or reasoning_effort: low, usually does here"
    )


def _thinks(spec: RoleModel, model: BaseChatModel) -> bool:
    effort = spec.reasoning_effort or getattr(model, "reasoning_effort", None)
    if effort is not None:
        return effort not in LITTLE
    profile = getattr(model, "profile", None) or {}
    if "reasoning_output" in profile:
        return bool(profile["reasoning_output"])
    name = spec.model if isinstance(spec.model, str) else str(getattr(model, "model_name", None) or getattr(model, "model", None) or "")
    return _REASONS.search(name.lower()) is not None
