"""What models cost, as their providers publish it: from the package genai-prices, which comes with the extra ``prices``.

It holds a table and asks no server. A model that it does not know has no price here; none is ever guessed.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec

from agent_graph.records import Usage

_PROVIDERS = {
    "openai": "openai",
    "azure_openai": "azure",
    "anthropic": "anthropic",
    "google_genai": "google",
    "google_vertexai": "google",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "mistralai": "mistral",
    "groq": "groq",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "together": "together",
    "perplexity": "perplexity",
    "openrouter": "openrouter",
    "xai": "x-ai",
}
"""By LangChain's name of a provider, the name that the table has."""

_OF_NAMES = (("openai", r"gpt-|o\d|chatgpt-"), ("anthropic", r"claude-"), ("google", r"gemini-"))
"""Whose model it is, by names that no other provider gives; a model that was handed in as an object is known by its name alone."""


def published(model: str, used: Usage) -> float | None:
    """US dollars for what was used of ``openai:gpt-5-mini`` or ``model:gpt-5-mini``; None where the price is not known, or the extra is not installed."""
    provider, _, name = model.partition(":")
    known = _PROVIDERS.get(provider) or (_whose(name) if provider == "model" else None)
    if known is None or not _installed():
        return None
    import genai_prices

    counts = {"input_tokens": used.input_tokens, "output_tokens": used.output_tokens, "cache_read_tokens": used.cached_tokens}
    try:
        found = genai_prices.calc_price(genai_prices.Usage(**counts), model_ref=name, provider_id=known)
    except (LookupError, ValueError):  # not in the table; or counts that cannot be, such as more from the cache than was read
        return None
    return float(found.total_price)


@cache
def _installed() -> bool:
    return find_spec("genai_prices") is not None


def _whose(name: str) -> str | None:
    return next((provider for provider, pattern in _OF_NAMES if re.match(pattern, name)), None)
