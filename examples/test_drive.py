"""What the examples share: with a key a real server is asked, a wrong word costs nothing, and a run belongs to its folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from incident.script import reply

from agent_graph.model_server import ModelServer


def test_with_a_key_the_server_of_the_environment_is_asked_for_the_model_that_is_named(
    example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ModelServer(reply) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "a-key-that-is-one")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("AGENT_GRAPH_MODEL", "openai:gpt-named")
        said = example("incident")(code=3)
    assert "scripted" not in said
    assert [each.body["model"] for each in server.asked] == ["gpt-named", "gpt-named"]


def test_an_unknown_run_is_an_error_in_words(example: Callable[[str], Any]) -> None:
    assert "error: " in example("incident")("3f2a", "--approve", code=2)


def test_a_decision_without_a_run_is_refused(example: Callable[[str], Any]) -> None:
    assert "say of which run" in example("incident")("--approve", code=2)


@pytest.mark.parametrize("page", sorted(Path(__file__).parent.rglob("README.md")), ids=lambda page: page.parent.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
