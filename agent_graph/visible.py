"""Text from outside, made safe to print: what a terminal would obey, and what an eye would not see, is written out.

An approval is only worth something if the person saw what will be sent. An escape sequence could repaint the card, and a bidi control
could show ``gpj.exe`` as ``exe.jpg``.
"""

from __future__ import annotations

import unicodedata

_UNSEEN = frozenset([0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xE0100, 0xE01F0)])
"""Letters and marks that are drawn as nothing. Unicode files them under letters, so that ``isprintable`` says yes."""


def visible(text: object, *, keep: str = "") -> str:
    r"""One line of text: controls, escapes, bidi and zero-width characters as ``\x1b`` or ``\u202e``. ``keep`` lists controls that stay."""
    said = str(text)
    if said.isascii() and said.isprintable():
        return said
    return "".join(each if each in keep or _is_seen(each) else _escaped(each) for each in said)


def visible_lines(text: object) -> list[str]:
    """Text of several lines: its line breaks count, everything else as in ``visible``; tabs become spaces."""
    return [visible(line.expandtabs(4)) for line in str(text).replace("\r\n", "\n").split("\n")]


def clipped(text: object, width: int) -> str:
    """At most ``width`` characters of one visible line; what was cut off is marked."""
    said = visible(text)
    return said if len(said) <= width else said[: max(0, width - 1)] + "…"


def _is_seen(character: str) -> bool:
    if ord(character) in _UNSEEN:
        return False
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
