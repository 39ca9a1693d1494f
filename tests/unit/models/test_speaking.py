"""The answer while it is written: the words of its claims, however the reply is cut, and nothing of the JSON around them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.events import Event, Note, Token
from agent_graph.models.speaking import ClaimsInText, spoken


def written(*texts: str, **more: object) -> str:
    return json.dumps({"claims": [{"refs": ["steps.a.output"], "text": text, "quote": 'a "quote"'} for text in texts], **more})


def said(text: str) -> str:
    return "".join(ClaimsInText().feed(text))


def test_the_words_of_each_claim_are_told_on_a_line_of_its_own() -> None:
    assert said(written("It was the disk.", 'It said "full".\nTwice.', text="not a claim")) == 'It was the disk.\nIt said "full".\nTwice.'


@given(st.lists(st.text(), min_size=1, max_size=4), st.lists(st.integers(min_value=0, max_value=2000)), st.booleans())
def test_however_the_reply_is_cut_and_escaped_the_words_are_the_same(texts: list[str], cuts: list[int], plain: bool) -> None:
    document = json.dumps({"x": {"claims": [{"text": "no"}]}, "claims": [{"text": text} for text in texts]}, ensure_ascii=not plain)
    reader, last = ClaimsInText(), 0
    came: list[str] = []
    for cut in [*sorted(cuts), len(document)]:
        came += reader.feed(document[last:cut])
        last = max(last, cut)
    assert "".join(came) == "\n".join(texts)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It was the disk, {really}.", "It was the disk, {really}."),
        ('```json\n{"claims": [{"text": "a"}]}\n```', "a"),
        ('{"claims": [{"text": "cut of', "cut of"),
        ('{"claims": [{"text": "\\uZZZZ\\ud83d!"}]}', "!"),
        ('{"claims": [["text", "a"], "text", {"text": ["b"], "other": "c"}]}', ""),
        ('{]}]]]:,,"', ""),
    ],
)
def test_what_is_no_such_document_does_no_harm(text: str, words: str) -> None:
    assert said(text) == words


def test_only_the_words_of_the_answer_are_changed() -> None:
    seen: list[Event] = []
    tell = spoken(seen.append)
    assert tell is not None
    others = [Note(run_id="r", at=1.0, message="m"), Token(run_id="r", at=1.0, role="planner", text='{"claims": [{"text": "x"}]}')]
    for event in others:
        tell(event)
    assert seen == others


def test_a_second_reply_begins_anew_and_says_so_with_its_first_words() -> None:
    seen: list[Event] = []
    tell = spoken(seen.append)
    assert tell is not None
    for part, begins in (('{"claims": [{"te', True), ('xt": "wro', False), ('{"claims": ', True), ('[{"text": "right"}]}', False)):
        tell(Token(run_id="r", at=1.0, role="summarizer", text=part, begins=begins))
    assert [(event.text, event.begins) for event in seen if isinstance(event, Token)] == [("wro", True), ("right", True)]


def test_where_nobody_watches_nothing_is_read() -> None:
    assert spoken(None) is None
