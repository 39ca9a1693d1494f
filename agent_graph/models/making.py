"""From a role's configuration to a chat model of LangChain's. This is where keys are read from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent_graph.errors import UsageError
from agent_graph.models.roles import RoleModel

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel


def make_model(spec: RoleModel, whose: str, environ: Mapping[str, str] = os.environ) -> BaseChatModel:
    """``whose``: for errors, such as ``role executor``. Loads LangChain. Raises UsageError that says what to set or to install."""
    if not isinstance(spec.model, str):
        return _object(spec.model, whose)
    provider, colon, name = spec.model.partition(":")
    if colon and not name:
        raise UsageError(f"{whose}: {spec.model!r} names no model; write it behind the provider, such as openai:gpt-5-mini")
    if provider == "openai" and name:
        return _openai(spec, name, whose, environ)
    return _any(spec, whose, environ)


def _object(model: Any, whose: str) -> BaseChatModel:
    from langchain_core.language_models.chat_models import BaseChatModel

    if not isinstance(model, BaseChatModel):
        raise UsageError(
            f"{whose}: {model!r} is not a chat model; give a LangChain chat model object, or a text that names one, such as openai:gpt-5-mini"
        )
    return model


def _openai(spec: RoleModel, name: str, whose: str, environ: Mapping[str, str]) -> BaseChatModel:
    key = _key(spec, whose, environ) or environ.get("OPENAI_API_KEY")
    if not key:
        raise UsageError(
            f"{whose}: {spec.model!r} needs a key: set OPENAI_API_KEY. For another server that speaks OpenAI's protocol, set OPENAI_BASE_URL too; "
            "where it wants no key, any text will do"
        )
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    given = _given(spec) | {"model": name, "api_key": SecretStr(key), "stream_usage": True}
    given["base_url"] = spec.base_url or environ.get("OPENAI_BASE_URL") or None
    return ChatOpenAI(**given)


def _any(spec: RoleModel, whose: str, environ: Mapping[str, str]) -> BaseChatModel:
    """Of a provider that ``init_chat_model`` knows."""
    from langchain.chat_models import init_chat_model

    key = _key(spec, whose, environ)
    given = _given(spec) | ({"api_key": key} if key else {}) | ({"base_url": spec.base_url} if spec.base_url else {})
    try:
        # Which settings a class takes is known once it is loaded; what it does not know it would take in silence.
        taken = _taken(type(init_chat_model(spec.model, **{name: given[name] for name in ("api_key", "base_url") if name in given})))
        settings = {name: value for name, value in (given | {"stream_usage": True}).items() if name in taken}
        model: BaseChatModel = init_chat_model(spec.model, **settings)
    except Exception as error:  # a package or a key that is missing, a provider that is not known: LangChain says which
        raise UsageError(f"{whose}: {spec.model!r} cannot be made: {str(error).strip()[:500]}") from None
    ignored = sorted(_OURS.get(name, name) for name in given.keys() - taken if _OURS.get(name, name) in spec.model_fields_set)
    if ignored:
        raise UsageError(
            f"{whose}: LangChain's {type(model).__name__} takes no {', '.join(ignored)}; leave it out, or make the chat model object yourself"
        )
    return model


def _given(spec: RoleModel) -> dict[str, Any]:
    """What is set, by LangChain's names."""
    every = {
        "temperature": spec.temperature,
        "reasoning_effort": spec.reasoning_effort,
        "timeout": spec.timeout_s,
        "max_retries": spec.max_retries,
        "max_tokens": spec.max_reply_tokens,
    }
    return {name: value for name, value in every.items() if value is not None}


_OURS = {"timeout": "timeout_s", "max_tokens": "max_reply_tokens", "api_key": "key_from"}
"""Our names of settings that LangChain calls otherwise. What a provider's class has no place for is an error where it was asked for."""


def _taken(kind: type[BaseChatModel]) -> frozenset[str]:
    """Names of what a model of this class can be made with."""
    fields = kind.model_fields
    return frozenset(fields) | frozenset(field.alias for field in fields.values() if field.alias)


def _key(spec: RoleModel, whose: str, environ: Mapping[str, str]) -> str | None:
    if spec.key_from is None:
        return None
    if not environ.get(spec.key_from):
        raise UsageError(
            f"{whose}: its key_from names the environment variable {spec.key_from}, which is not set: set it, or leave key_from out"
        )
    return environ[spec.key_from]
