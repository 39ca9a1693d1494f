"""Letters by script, and what each passes for.

The letters that pass for ASCII are listed here rather than taken from a library: those that exist are either large and compiled, or no longer
kept. All else is Unicode's own data, as Python ships it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache

from agent_graph.visible import visible

_AS: Mapping[str, str] = {
    "a": "ɑαа⍺", "b": "ƄЬᏏ", "c": "ϲсᴄⲥ", "d": "ԁᏧ", "e": "еҽ℮", "f": "ẝք", "g": "ɡɢցԍ", "h": "һհᏂ", "i": "ıɩιіᎥ", "j": "јϳ", "k": "κкᴋ",
    "l": "ǀӀӏ", "m": "мᴍ", "n": "ոռ", "o": "οσоօᴏⲟଠ", "p": "ρрⲣ", "q": "ԛգզ", "r": "гᴦⲅ", "s": "ѕꜱ", "t": "тτᴛ", "u": "υսᴜʋ", "v": "νѵᴠ",
    "w": "ѡԝաᴡɯ", "x": "х᙮", "y": "уүγყʏ", "z": "ᴢ",
    "A": "ΑАᎪᗅꓮ", "B": "ΒВᏴꓐ", "C": "ϹСᏟⲤꓚ", "D": "Ꭰᗞꓓᗪ", "E": "ΕЕᎬꓰ", "F": "Ϝꓝᖴ", "G": "ԌᏀꓖ", "H": "ΗНᎻⲎꓧ", "I": "ΙІⲒꓲ", "J": "ЈᎫꓙͿ",
    "K": "ΚКᏦⲔꓗ", "L": "ᏞᒪꓡⳐ", "M": "ΜМᎷϺⲘꓟ", "N": "ΝⲚꓠ", "O": "ΟОՕⲞꓳ", "P": "ΡРᏢⲢꓑ", "Q": "ԚႭ", "R": "ᎡᏒᖇꓣ", "S": "ЅՏᏕꓢ",
    "T": "ΤТᎢⲦꓔ", "U": "ՍᑌꓴԱ", "V": "ѴᏙᐯꓦ", "W": "ԜᎳꓪ", "X": "ΧХⲬꓫ", "Y": "ΥУҮᎩⲨꓬ", "Z": "ΖᏃꓜ",
    "3": "ЗӠȜƷ", "6": "б", "8": "ȣȢ", "2": "Ƨ", "5": "Ƽ",
}  # fmt: skip
"""By ASCII character, what passes for it. Other forms of ASCII itself (``ｐ``, ``𝐩``, ``ⅼ``) are known by their NFKC."""

LETTERS: Mapping[str, str] = {each: ascii_ for ascii_, others in _AS.items() for each in others}

MARKS: Mapping[str, str] = {
    **dict.fromkeys("․。．｡ꓸ", "."), **dict.fromkeys("⁄∕⧸／╱ノ丿〳", "/"), **dict.fromkeys("：∶꞉ː։", ":"), **dict.fromkeys("＠", "@"),
    **dict.fromkeys("？ʔ", "?"), **dict.fromkeys("＃", "#"), **dict.fromkeys("＼∖⧵", "\\"), **dict.fromkeys("＆", "&"), **dict.fromkeys("＝", "="),
}  # fmt: skip
"""What passes for the marks that part an address."""

HYPHENS: Mapping[str, str] = dict.fromkeys("‐‑‒–−－⁃", "-")
"""Ordinary in file names and titles, never in a host."""

WRITTEN = frozenset({
    "ARABIC", "ARMENIAN", "BENGALI", "BOPOMOFO", "CJK", "CYRILLIC", "DEVANAGARI", "ETHIOPIC", "GEORGIAN", "GREEK", "GUJARATI",
    "GURMUKHI", "HANGUL", "HEBREW", "HIRAGANA", "KANNADA", "KATAKANA", "KHMER", "LAO", "LATIN", "MALAYALAM", "MONGOLIAN",
    "MYANMAR", "ORIYA", "SINHALA", "TAMIL", "TELUGU", "THAANA", "THAI", "TIBETAN",
})  # fmt: skip
"""Scripts in everyday use, by the first word of their letters' names (TR31, table 5)."""


@cache
def script_of(character: str) -> str | None:
    """``CYRILLIC``; None for what all scripts share, such as digits and signs."""
    if not character.isalpha():
        return None
    if character.isascii():
        return "LATIN"
    plain = unicodedata.normalize("NFKC", character)[:1] or character
    first = unicodedata.name(plain if plain.isalpha() else character, "").partition(" ")[0]
    return None if first in ("MODIFIER", "FEMININE", "MASCULINE", "MICRO", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "") else first


@cache
def passes_for(character: str) -> str:
    """What it passes for, where that is known; else itself."""
    known = LETTERS.get(character) or MARKS.get(character) or HYPHENS.get(character)
    if known is not None or character.isascii():
        return known or character
    plain = unicodedata.normalize("NFKC", character)
    if plain.isdecimal():
        return "".join(str(unicodedata.decimal(each)) for each in plain)
    return plain if plain.isascii() else LETTERS.get(plain, character)


@cache
def form_of_ascii(character: str) -> bool:
    """A letter or digit of ASCII in another dress: ``ｐ``, ``𝐩``, ``ⅼ``."""
    plain = unicodedata.normalize("NFKC", character)
    return (
        plain != character and plain.isascii() and plain.isalnum() and unicodedata.category(character)[0] in "LN" and character not in "ªº"
    )


def spell(character: str) -> str:
    """``‹а› is U+0430 CYRILLIC SMALL LETTER A``."""
    return f"‹{visible(character)}› is {code_point(character)}"


def code_point(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, '(without a name)')}"
