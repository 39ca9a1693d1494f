"""What a terminal would obey, and what an eye would not see, is written out; everything else stays as it is."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from agent_graph.visible import abridged, clipped, in_code, in_fence, in_markdown, unseen, visible, visible_lines


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


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdefghij", 6, "abc…+7"),
        ("abc", 4, "abc"),
        ("abcdef", 4, "a…+5"),
        ("abcdef", 2, "…"),
        ("日本語日本語日本語", 8, "日本…+7"),
        ("a\x1b[31m", 6, "a\\x…+6"),
    ],
)
def test_what_was_cut_off_is_counted(text: str, width: int, shown: str) -> None:
    assert clipped(text, width) == shown


@given(st.text(), st.integers(0, 40))
def test_what_is_clipped_fits_its_columns(text: str, width: int) -> None:
    assert cell_len(clipped(text, width)) <= width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Z" + "\u0301" * 6, "Z" + "\u0301" * 4 + "\\u0301" * 2),
        ("\u0338all", "\\u0338all"),
        ('"\u0338', '"\\u0338'),
        ("a \u20dd", "a \\u20dd"),
        ("x\ufe0f\ufe01", "x\\ufe0f\\ufe01"),
        ("❤\ufe0f\ufe0f", "❤\ufe0f\\ufe0f"),
    ],
)
def test_a_mark_is_shown_on_a_letter_only_and_a_flood_of_them_nowhere(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("space", ["\u1680", "\u2003", "\u200a", "\u205f"])
def test_a_space_of_no_ordinary_width_is_written_out(space: str) -> None:
    assert visible(f"a{space}b") == f"a\\u{ord(space):04x}b"


@pytest.mark.parametrize(
    "text",
    ["नमस्ते दुनिया", "สวัสดีครับ", "שָׁלוֹם", "བཀྲ་ཤིས་བདེ་ལེགས", "Tiếng Việt", "é", "⚠️ ok", "12\u202f000\u00a0€", "日本　語"],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_of_a_long_text_begin_and_end_stay_and_what_is_between_is_counted() -> None:
    assert abridged("a" * 10 + "b" * 10 + "c" * 5, 15) == "a" * 10 + " … (10 characters) … " + "c" * 5
    assert abridged("abc", 3) == "abc"


@pytest.mark.parametrize("text", ["a`b", "``", "`", " a ", "", "a\u202e", "\n# x", "```x```"])
def test_a_code_span_holds_the_value_and_nothing_ends_it(text: str) -> None:
    (paragraph,) = (token for token in MarkdownIt("commonmark").parse(f"x {in_code(text)} x") if token.type == "inline")
    kinds = [child.type for child in paragraph.children or ()]
    assert kinds == ["text", "code_inline", "text"]
    assert (paragraph.children or [])[1].content.strip() == visible(text).strip()


@given(st.lists(st.text(st.sampled_from("`~#- a"), max_size=12), max_size=5))
def test_a_fence_holds_its_lines_and_none_ends_it(lines: list[str]) -> None:
    tokens = MarkdownIt("commonmark").parse(in_fence(lines))
    assert [token.type for token in tokens] == ["fence"]
    assert tokens[0].content == "".join(f"{line}\n" for line in lines)


@given(st.text(st.sampled_from("#*_[]()!<>&`~\\-+=.1|$ ab:/\n"), max_size=40))
def test_text_in_markdown_is_text(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(in_markdown(text))
    kinds = {inner.type for token in tokens for inner in (token, *(token.children or ()))}
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "hardbreak", "softbreak"}


def test_what_is_not_seen_is_named_once() -> None:
    assert unseen("a\u200bb\u200b\x1bc\nd⚠️") == ["\u200b", "\x1b"]


def test_a_long_text_is_made_visible_in_no_time() -> None:
    began = time.monotonic()
    visible("привет e\u0301 " * 100_000)
    assert time.monotonic() - began < 5
