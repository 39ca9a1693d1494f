"""How a model is held to a schema, by what it supports."""

from __future__ import annotations

import sys

from langchain_core.language_models.chat_models import BaseChatModel

from agent_graph.models.roles import Method


def method_of(model: BaseChatModel) -> Method:
    """The strictest method that the model is known to have: by its profile where LangChain has one, else by its class."""
    profile = getattr(model, "profile", None) or {}
    calls = type(model).bind_tools is not BaseChatModel.bind_tools
    if is_openai(model) and profile.get("structured_output", True):
        return "json_schema"
    return "function_calling" if calls and profile.get("tool_calling", True) else "plain"


def is_openai(model: BaseChatModel) -> bool:
    """Whether it speaks OpenAI's protocol."""
    module = sys.modules.get("langchain_openai.chat_models.base")
    return module is not None and isinstance(model, module.BaseChatOpenAI)
