"""What a terminal would obey, and what an eye would not see, is written out; everything else stays as it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.visible import clipped, visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – «text» 日本語 é 👍", "plain – «text» 日本語 é 👍"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("exe.\u202egpj", "exe.\\u202egpj"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("filler\u3164", "filler\\u3164"),
        ("\x9b31m", "\\x9b31m"),
        ("line\u2028break", "line\\u2028break"),
        ("lone\ud800", "lone\\ud800"),
    ],
)
def test_what_is_hidden_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters()))
def test_no_control_or_format_character_gets_through(text: str) -> None:
    assert {unicodedata.category(each) for each in visible(text)} & {"Cc", "Cf", "Cs", "Zl", "Zp"} == set()


def test_lines_keep_their_breaks_and_nothing_else() -> None:
    assert visible_lines("a\r\n\tb\x07\nc") == ["a", "    b\\x07", "c"]


def test_what_was_cut_off_is_marked() -> None:
    assert (clipped("abcdef", 4), clipped("abc", 4)) == ("abc…", "abc")
