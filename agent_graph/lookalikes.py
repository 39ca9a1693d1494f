"""Letters that pass for others: ``pаypal.com`` with a Cyrillic а is another host, and no eye sees it.

The rule follows Unicode's TR39. A *word* is a run of letters and digits. An *address* is what leads somewhere: a URL, an e-mail address, a
host, a path, a file name, and each name (of a tool, an argument, a key). Told are

* in an address: a word that mixes scripts and holds a letter that passes for one of ASCII; a word of foreign letters that all pass for ASCII,
  where the rest of the address is ASCII; letters of scripts that nobody writes in today; other forms of ASCII letters (``ｐａｙ``), and
  dots, slashes and the like between ASCII letters that only look so;
* anywhere: a word that mixes Latin with another script and is meant to be read as one of both, and a number of two kinds of digits.

Words of one script are not told, whatever the script: prose in Russian, Greek or Japanese is as good as in English. Latin beside Chinese,
Japanese and Korean is how those are written. What looks alike inside of ASCII (``paypa1``, ``rn`` for ``m``) is told of tool names
only: two of one agent may not be so alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from agent_graph.letters import HYPHENS, LETTERS, MARKS, WRITTEN, code_point, form_of_ascii, passes_for, script_of, spell
from agent_graph.visible import clipped, is_seen, unseen, visible

MOST_TOLD = 3
"""Characters of one word, and words of one text, that are spelled out; of more, the number is said."""

MOST_WORD = 80
"""Columns of a word that is told."""

_WORD = re.compile(r"[^\W_]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://")
_DOTTED = re.compile(r"(?<=[^\s/@])[.․。．｡][A-Za-z][A-Za-z0-9-]{1,23}(?=$|[/:?#&=])")
_PATH = re.compile(r"^(?:/|~/|\.{1,2}/|[A-Za-z]:\\|\\\\)")
_AROUND = "«»„“”‚‘’\"'()[]{}<>,;!?…。、，！？：；.:*`|"


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A word that a person may read as another one."""

    word: str
    """As it stands there."""
    reads: str
    """As it may be read; the same where no letter is known that it passes for."""
    characters: tuple[str, ...]
    """What is not what it seems."""
    host: str = ""
    """Of a host: the name that is really asked for."""

    def __str__(self) -> str:
        word, reads = clipped(self.word, MOST_WORD), clipped(self.reads, MOST_WORD)
        read = f"“{word}” is not “{reads}”" if self.reads != self.word else f"“{word}” mixes scripts"
        more = len(self.characters) - MOST_TOLD
        spelled = ", ".join(map(spell, self.characters[:MOST_TOLD])) + (f" and {more} more" if more > 0 else "")
        return f"{read}: {spelled}" + (f"; the host is {self.host}" if self.host else "")


def lookalikes(text: str, *, name: bool = False) -> list[Lookalike]:
    """The words of a text that may be read as others. ``name``: the text is one name, and is judged as an address is."""
    if text.isascii():
        return []
    found: dict[str, Lookalike] = {}
    for chunk in text.split():
        if not chunk.isascii():
            for one in _of_address(chunk.strip(_AROUND), name=name) if name or _is_address(chunk.strip(_AROUND)) else _of_prose(chunk):
                found.setdefault(one.word, one)
    return list(found.values())


def remarks(text: str, *, name: bool = False) -> list[str]:
    """What a person should know about a text that is not seen by looking at it: look-alikes, and characters that are drawn as nothing."""
    if text.isascii() and text.isprintable():
        return []
    found = lookalikes(text, name=name)
    said = [str(one) for one in found[:MOST_TOLD]]
    if len(found) > MOST_TOLD:
        said.append(f"{len(found) - MOST_TOLD} more words of it may be read as others")
    hidden = not_seen(text)
    return [*said, hidden] if hidden else said


def not_seen(text: str) -> str:
    """Which characters of the text no eye would see, or a terminal would obey; empty when there are none."""
    found = unseen(text)
    more = f" and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
    return f"it holds what is not seen or would be obeyed: {', '.join(map(_unseen_name, found[:MOST_TOLD]))}{more}" if found else ""


def told(text: object, *, name: bool = False, width: int | None = None) -> str:
    """One visible line, with what is to be known of its look-alikes behind it, in brackets. ``width``: columns of the text itself."""
    said = str(text)
    found = lookalikes(said, name=name)
    more = f"; and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
    shown = visible(said) if width is None else clipped(said, width)
    return f"{shown} [{'; '.join(map(str, found[:MOST_TOLD]))}{more}]" if found else shown


def readings(name: str) -> frozenset[str]:
    """How an eye may take a name, whatever its form, case, invisible characters, and letters that look alike. Two names that share a reading
    may be taken for one another."""
    plain = unicodedata.normalize(
        "NFKC", "".join(passes_for(each) for each in unicodedata.normalize("NFKC", name) if is_seen(each))
    ).strip()
    return frozenset(_folded(each) for each in (plain, plain.replace("I", "l")))


def _folded(name: str) -> str:
    folded = "".join(passes_for(each) for each in name.casefold())
    for seen, read in (("rn", "m"), ("vv", "w"), ("1", "l"), ("|", "l"), ("0", "o")):
        folded = folded.replace(seen, read)
    return folded


def resembles(name: str, known: Iterable[str]) -> str | None:
    """Says which of the known names an unknown one may be taken for, and by which characters; None when there is none."""
    wanted = readings(name)
    alike = next((each for each in known if each != name and wanted & readings(each)), None)
    if alike is None:
        return None
    foreign = [each for each in dict.fromkeys(name) if each not in alike and not each.isascii()]
    if foreign:
        more = f" and {len(foreign) - MOST_TOLD} more" if len(foreign) > MOST_TOLD else ""
        return f"it looks like {visible(alike)!r}, but {', '.join(map(spell, foreign[:MOST_TOLD]))}{more}"
    if name.casefold() == alike.casefold():
        return f"there is {visible(alike)!r}; upper and lower case count"
    return f"it looks like {visible(alike)!r}, and is not that"


def texts(value: Any) -> Iterator[str]:
    """All texts of a JSON value, the names of its entries among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for each in chain.from_iterable(value.items()) if isinstance(value, Mapping) else value:
            yield from texts(each)


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def addresses(text: str) -> list[str]:
    """What of a text leads somewhere: hosts of URLs and e-mail addresses, each once, as they stand there."""
    found = (host or mail for host, mail in _LEADS.findall(text))
    return list(dict.fromkeys(each.rstrip(".") for each in found))


_LEADS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://([^\s/?#\"'<>\\]{1,255})|([^\s@<>\"'(),;:]{1,64}@[^\s@<>\"'(),;:/]{1,255})")


def _is_address(chunk: str) -> bool:
    return bool("@" in chunk or "＠" in chunk or _PATH.match(chunk) or _SCHEME.search(chunk) or _DOTTED.search(chunk))


def _of_address(chunk: str, *, name: bool) -> Iterator[Lookalike]:
    scheme = _SCHEME.search(chunk)
    rest = chunk[scheme.end() :] if scheme else chunk
    leads = bool(scheme) or "@" in rest or "＠" in rest
    host = re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")[2] if leads else ""
    whole = name or any(each.isascii() and each.isalpha() for each in host or rest)
    start = rest.find(host)
    odd = {word.start() + place for word in _WORD.finditer(rest) for place in _odd_letters(word.group(), strict=name or leads, whole=whole)}
    odd.update(_odd_marks(rest, range(len(rest)) if name else range(start, start + len(host))))
    if not odd:
        return
    reads = "".join(passes_for(each) if place in odd else each for place, each in enumerate(rest))
    characters = tuple(dict.fromkeys(rest[place] for place in sorted(odd)))
    asked = _punycode(host) if any(start <= place < start + len(host) for place in odd) else ""
    if asked:
        yield Lookalike(word=host, reads=reads[start : start + len(host)], characters=characters, host=asked)
    else:
        yield Lookalike(word=rest, reads=reads, characters=characters)


def _odd_marks(text: str, host: range) -> Iterator[int]:
    """Where a sign passes for one that parts an address, or for a letter: between ASCII letters it is meant to."""
    for place, each in enumerate(text):
        if each.isascii() or (each in LETTERS and each.isalnum()):
            continue
        beside = [_plain(text[near]) for near in (place - 1, place + 1) if 0 <= near < len(text)]
        parts = each in MARKS or (each in HYPHENS and place in host)
        if (parts and len(beside) == 2 and all(beside)) or (each in LETTERS and any(beside)):
            yield place


def _odd_letters(word: str, *, strict: bool, whole: bool) -> list[int]:
    """The places in a word of an address where a letter is not what it seems. ``whole``: a word may not pass for ASCII as a whole."""
    if word.isascii():
        return []
    scripts = {script for each in word if (script := script_of(each))}
    alike = [place for place, each in enumerate(word) if each in LETTERS and (script_of(each) != "LATIN" or (strict or each != "ı"))]
    other_forms = [place for place, each in enumerate(word) if not each.isascii() and each not in LETTERS and form_of_ascii(each)]
    unwritten = [place for place, each in enumerate(word) if (script := script_of(each)) and script not in WRITTEN]
    mixed = len(scripts) > 1
    passes = whole and "LATIN" not in scripts and all(passes_for(each).isascii() for each in word)
    latin = [place for place in alike if script_of(word[place]) == "LATIN"]
    return sorted({*(alike if mixed or passes else latin), *other_forms, *unwritten, *_other_digits(word)})


# ── prose ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_prose(chunk: str) -> Iterator[Lookalike]:
    for match in _WORD.finditer(chunk):
        word = match.group()
        places = [] if word.isascii() else _mixed_up(word) or _other_digits(word)
        if places:
            reads = "".join(passes_for(each) if place in places else each for place, each in enumerate(word))
            yield Lookalike(word=word, reads=reads, characters=tuple(dict.fromkeys(word[place] for place in places)))


def _mixed_up(word: str) -> list[int]:
    """A word of two scripts that is meant to be read as one: every letter of the one passes for one of the other."""
    scripts = {script for each in word if (script := script_of(each))}
    if "LATIN" not in scripts or len(scripts) < 2 or len(word) < 4:
        return []  # short ones are formulas and units
    foreign = [place for place, each in enumerate(word) if script_of(each) not in (None, "LATIN")]
    latin = [place for place, each in enumerate(word) if script_of(each) == "LATIN"]
    if all(script_of(word[place]) not in WRITTEN for place in foreign):
        return foreign
    if _ending(word, latin, foreign):
        return []
    if all(word[place] in LETTERS for place in foreign):
        return foreign
    passing = {LETTERS[each] for each in LETTERS if script_of(each) == script_of(word[foreign[0]])}
    return latin if all(word[place] in passing for place in latin) else []


def _ending(word: str, latin: list[int], foreign: list[int]) -> bool:
    """``SMSки``: an abbreviation with an ending of the language around it."""
    return max(latin) < min(foreign) and word[: min(foreign)].isupper() and word[min(foreign) :].islower()


def _other_digits(word: str) -> list[int]:
    """Where a number goes on in digits of another script: ``1٠0``."""
    zeros = {ord(each) - int(unicodedata.decimal(each)) for each in word if each.isdecimal()}
    return [place for place, each in enumerate(word) if each.isdecimal() and not each.isascii()] if len(zeros) > 1 else []


def _plain(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _punycode(host: str) -> str:
    """The name that a resolver is asked for; empty when it cannot be one."""
    try:
        asked = host.partition(":")[0].encode("idna").decode()
    except UnicodeError:
        return ""
    return "" if "@" in asked else asked


def _unseen_name(character: str) -> str:
    return code_point(character) if unicodedata.name(character, "") else f"U+{ord(character):04X}"
