"""Text from outside, made safe to print: what a terminal would obey, and what an eye would not see, is written out.

An approval is only worth something if the person saw what will be sent. An escape sequence could repaint the card, and a bidi control
could show ``gpj.exe`` as ``exe.jpg``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache

_UNSEEN = frozenset(
    [
        0x034F,
        0x115F,
        0x1160,
        0x17B4,
        0x17B5,
        0x2800,
        0x3164,
        0xFFA0,
        *range(0x180B, 0x1810),
        *range(0xFE00, 0xFE10),
        *range(0xE0100, 0xE01F0),
    ]
)
"""Letters and marks that are drawn as nothing. Unicode files them under letters, so that ``isprintable`` says yes."""

_SPACES = frozenset(" \u00a0\u2009\u202f\u3000")
"""Spaces of ordinary writing. All others are written out: some are a hair wide, and one is drawn as a stroke."""

MOST_MARKS = 4
"""Accents and the like on one letter. No language stacks more; a flood of them covers the lines above and below."""

_EMOJI = "\ufe0f"
"""Asks for the coloured form of the symbol before it. It says nothing anywhere else."""


def visible(text: object, *, keep: str = "", escape: Callable[[str], str] | None = None) -> str:
    r"""One line of text: controls, escapes, bidi and zero-width characters as ``\x1b`` or ``\u202e``. ``keep`` lists controls that stay;
    ``escape`` says how else a character is written out."""
    said = str(text)
    if said.isascii() and said.isprintable():
        return said
    written = escape or escaped
    used = set(said)
    if any(_is_mark(each) for each in used):
        said = "".join(_placed(said, written))
    return said.translate({ord(each): written(each) for each in used if not (each in keep or each == _EMOJI or is_seen(each))})


def visible_lines(text: object) -> list[str]:
    """Text of several lines: its line breaks count, everything else as in ``visible``; tabs become spaces."""
    return [visible(line.expandtabs(4)) for line in str(text).replace("\r\n", "\n").split("\n")]


def unseen(text: str) -> list[str]:
    """The characters of the text that ``visible`` writes out wherever they stand, each once; line breaks and tabs are not among them."""
    return (
        []
        if text.isascii() and text.isprintable()
        else [each for each in dict.fromkeys(text) if each not in _EMOJI + "\n\t" and not is_seen(each)]
    )


def clipped(text: object, width: int) -> str:
    """At most ``width`` columns of one visible line. What was cut off is counted: ``the begin…+12``."""
    said = visible(text)
    if columns(said) <= width:
        return said
    room = 0
    for room in range(min(len(said), width), -1, -1):  # the first that fits
        shown = f"{said[:room]}…+{len(said) - room}"
        if columns(shown) <= width:
            return shown
    return "…"[:width]


def in_markdown(text: object) -> str:
    """Text from outside as Markdown that reads as the text itself: no heading, no link, no picture that a chat would load, no markup."""
    lines = []
    for line in visible_lines(text):
        plain = _MARKUP.sub(r"\\\g<0>", line.lstrip())
        lines.append(_AT_BEGINNING.sub(lambda found: f"{found[1]}\\{found[2]}", plain))
    return "\\\n".join(lines)  # each break is one, also where Markdown would fill up the line


def in_code(text: object) -> str:
    """A value as a code span that nothing in it can end."""
    said = visible(text)
    fence = "`" * (1 + max((len(run) for run in _TICKS.findall(said)), default=0))
    space = " " if said.startswith("`") or said.endswith("`") or said.strip() == "" else ""
    return f"{fence}{space}{said}{space}{fence}"


def in_fence(lines: Iterable[str]) -> str:
    """Lines as a code block that none of them can end. They are visible already."""
    said = list(lines)
    fence = "`" * max(3, 1 + max((len(run) for line in said for run in _TICKS.findall(line)), default=0))
    return "\n".join([f"{fence}text", *said, fence])


_TICKS = re.compile("`+")
_MARKUP = re.compile(r"[\\`*\[\]<>&$~|]|(?<![^\W_])_|_(?![^\W_])")
_AT_BEGINNING = re.compile(r"^(\d{0,9})([#+\-=.)])")


def abridged(text: str, most: int) -> str:
    """A text as it is; of one of more than ``most`` characters the beginning and the end, and how many are between them."""
    if len(text) <= most:
        return text
    begin, end = most * 2 // 3, most // 3
    return f"{text[:begin]} … ({len(text) - begin - end:,} characters) … {text[len(text) - end :]}"


def columns(text: str) -> int:
    """Of a terminal, that a visible text takes."""
    return len(text) if text.isascii() else sum(_columns(each) for each in text)


def is_seen(character: str) -> bool:
    """Whether it is drawn as itself: neither obeyed by a terminal, nor drawn as nothing."""
    if ord(character) in _UNSEEN:
        return False
    return character in _SPACES or character.isprintable()


def escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _placed(text: str, escape: Callable[[str], str]) -> list[str]:
    """Its characters, with each mark written out that has no letter to stand on, or too many beside it.

    A mark at the beginning would be drawn onto what stands before the text, which is ours.
    """
    placed: list[str] = []
    base, marks = "", 0
    for each in text:
        if not _is_mark(each):
            base, marks = each, 0
            placed.append(each)
            continue
        marks += 1
        fits = unicodedata.category(base)[0] in "LNM" if base else False
        if each == _EMOJI:
            fits = base != "" and unicodedata.category(base)[0] == "S" and marks == 1
        placed.append(each if fits and marks <= MOST_MARKS else escape(each))
    return placed


@cache
def _is_mark(character: str) -> bool:
    return not character.isascii() and unicodedata.category(character) in ("Mn", "Me")


@cache
def _columns(character: str) -> int:
    return 0 if _is_mark(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
