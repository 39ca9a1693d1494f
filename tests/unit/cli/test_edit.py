"""What is edited comes back as the same value, and what was changed is shown."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.cli.edit import as_document, as_plan, difference, in_editor, read_edited
from agent_graph.errors import InvalidDocument

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(min_size=1), JSON, max_size=4))
def test_what_is_not_edited_comes_back_as_it_was(value: dict[str, Any]) -> None:
    text, ending = as_document(value)
    assert read_edited(text, ending) == value


def test_a_text_of_several_lines_is_edited_as_one() -> None:
    assert as_document({"body": "one\ntwo\n"}) == ("body: |\n  one\n  two\n", ".yaml")


def test_a_date_or_a_yes_stays_a_text() -> None:
    value = {"day": "2024-01-01", "answer": "yes", "number": "007"}
    text, ending = as_document(value)
    assert read_edited(text, ending) == value


def test_the_editor_changes_the_text_and_not_the_remark() -> None:
    change = (
        "import sys, pathlib; p = pathlib.Path(sys.argv[1]); t = p.read_text(); assert t[0] == '#'; p.write_text(t.replace('ann', 'bo'))"
    )
    assert in_editor([sys.executable, "-c", change], "to: ann\n", ".yaml", "ann may be changed") == "# bo may be changed\nto: bo\n"
    assert in_editor([sys.executable, "-c", change], "to: ann\n", ".yaml", "change it") == "to: bo\n"


@pytest.mark.parametrize("command", [["no-such-editor-anywhere"], [sys.executable, "-c", "raise SystemExit(1)"]])
def test_an_editor_that_fails_gives_nothing(command: list[str]) -> None:
    assert in_editor(command, "a: 1\n", ".yaml", "") is None


def test_a_difference_is_empty_when_nothing_was_changed() -> None:
    assert difference({"a": 1}, {"a": 1}) == []
    assert [line for line, _ in difference({"a": 1, "b": 2}, {"a": 1, "b": 3})][-2:] == ["-b: 2", "+b: 3"]


HIDDEN = "gpj\u202eexe \u200b\x9b31m\x1b[2J\U000e0041"


def test_what_an_editor_would_not_show_is_an_escape_in_it_and_comes_back_as_it_was() -> None:
    value = {"text": HIDDEN, "plain": "Привет"}
    text, ending = as_document(value)
    assert all(each.isprintable() or each == "\n" for each in text)
    assert "\\u202e" in text
    assert "Привет" in text
    assert read_edited(text, ending) == value


def test_a_difference_shows_what_an_edit_hides_and_which_letters_are_not_what_they_seem() -> None:
    lines = [line for line, _ in difference({"to": "a@paypal.com"}, {"to": "a@p\u0430ypal.com\u200b"})]
    assert '+  "to": "a@p\u0430ypal.com\\u200b"' in lines
    assert "‹а› is U+0430 CYRILLIC SMALL LETTER A" in lines[-1]
    assert [line for line in lines if "\u200b" in line] == []


@pytest.mark.parametrize("text", ["- a\n", "just words\n", "a: [\n", ""])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(InvalidDocument):
        read_edited(text, ".yaml")


def test_a_plan_that_is_none_is_refused_with_every_problem() -> None:
    with pytest.raises(InvalidDocument) as refused:
        as_plan({"goal": "g", "steps": [{"id": "a"}, {"id": "9", "tool": "x"}]})
    assert str(refused.value).count("steps[") == 2
