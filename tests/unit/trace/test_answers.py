"""What people read of an answer that a summarizer wrote."""

from __future__ import annotations

from typing import Any

import pytest

from agent_graph.nodes.messages import answer_text
from agent_graph.trace.answers import for_people

CLAIMS = [{"text": "a", "refs": ["steps.a.output"], "supported": True}, {"text": "b", "refs": [], "supported": False, "why": "no place"}]


def test_the_list_of_claims_becomes_how_many_of_them_are_shown() -> None:
    said = for_people({"report": "a\nb [unsupported]", "claims": CLAIMS, "data": 1})
    assert said["report"] == "a\nb [unsupported]"
    assert said["claims"].startswith("1 of 2 are shown")
    assert said["data"] == 1


@pytest.mark.parametrize("answer", ["a", None, 1, {"report": "a", "claims": ["mine"]}, {"report": "a", "claims": []}, {"claims": CLAIMS}])
def test_an_answer_of_another_kind_is_left_as_it_is(answer: Any) -> None:
    assert for_people(answer) is answer


def test_a_chat_is_told_the_words_first() -> None:
    text = answer_text({"report": "a\nb [unsupported]", "claims": CLAIMS})
    assert text.startswith("a\nb [unsupported]\n\n")
    assert 'supported":' not in text
