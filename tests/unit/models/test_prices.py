"""Prices that providers publish: by the model's name, and none where it is not sure whose model it is."""

from __future__ import annotations

import pytest

from agent_graph.models.prices import published
from agent_graph.records import Usage

USED = Usage(requests=1, input_tokens=1_000_000, cached_tokens=400_000, output_tokens=1_000_000)


def test_a_known_model_has_the_price_that_its_provider_gives_with_what_was_cached_for_less() -> None:
    found = published("openai:gpt-4o", USED)
    assert found == pytest.approx(0.6 * 2.5 + 0.4 * 1.25 + 10)


def test_an_object_is_known_by_a_name_that_only_one_provider_gives() -> None:
    assert published("model:gpt-4o", USED) == published("openai:gpt-4o", USED)


@pytest.mark.parametrize("model", ["openai:never-heard-of", "model:llama3", "model:GenericFakeChatModel", "ollama:gpt-4o", "gpt-4o", ""])
def test_what_is_not_known_has_no_price(model: str) -> None:
    assert published(model, USED) is None


def test_counts_that_cannot_be_have_no_price() -> None:
    assert published("openai:gpt-4o", Usage(input_tokens=1, cached_tokens=10)) is None
