"""The answer while it is written: a summarizer replies with a document of claims, and people are told the words of them.

Only to be shown: which claims hold is found when the reply has come whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from agent_graph.events import Event, Token

Tell = Callable[[Event], None]

SPEAKS = "summarizer"
"""The role whose words are the answer."""

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def spoken(tell: Tell | None) -> Tell | None:
    """``tell`` for whoever asks for the answer: its words in place of their JSON. Whatever else is told goes on as it is; None stays None."""
    if tell is None:
        return None
    words = ClaimsInText()
    begins = False

    def told(event: Event) -> None:
        nonlocal begins
        if not isinstance(event, Token) or event.role != SPEAKS:
            tell(event)
            return
        if event.begins:
            words.begin()
            begins = True
        said = "".join(words.feed(event.text))
        if said:
            tell(replace(event, text=said, begins=begins))
            begins = False

    return told


class ClaimsInText:
    """Reads ``{"claims": [{"text": "…"}, …]}`` that comes in pieces and gives the characters of each ``text``, a line for each claim.

    What does not begin like a document is a text already, and given as it comes.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Another reply begins."""
        self._is_document: bool | None = None
        self._open: list[str] = []
        """Brackets that are open, and in the place of an object's the key whose value is being read."""
        self._wants_key = False
        self._in_text = False
        self._is_key = False
        self._said: list[str] = []
        """Of a key."""
        self._escape = ""
        self._half = ""
        """The first half of a character that is written as two escapes."""
        self._claims = 0

    def feed(self, text: str) -> Iterator[str]:
        for character in text:
            if self._is_document is None and not character.isspace():
                self._is_document = character in "{`"
            if not self._is_document:
                yield character
            elif self._in_text:
                yield from self._inside(character)
            else:
                yield from self._outside(character)

    def _outside(self, character: str) -> Iterator[str]:
        match character:
            case '"' if self._open:
                self._in_text, self._is_key, self._said = True, self._wants_key, []
                if not self._is_key and self._speaks():
                    self._claims += 1
                    if self._claims > 1:
                        yield "\n"
            case "{":
                self._open.append("")
                self._wants_key = True
            case "[" if self._open:
                self._open.append("[")
                self._wants_key = False
            case "}" | "]" if self._open:
                self._open.pop()
                self._wants_key = False
            case ",":
                self._wants_key = bool(self._open) and self._open[-1] != "["
            case ":":
                self._wants_key = False
            case _:
                pass

    def _inside(self, character: str) -> Iterator[str]:
        if self._escape:
            self._escape += character
            whole = self._escape[1] != "u" or len(self._escape) == len("\\u0000")
            if not whole:
                return
            escape, self._escape = self._escape, ""
            character = self._unescaped(escape)
        elif character == "\\":
            self._escape = character
            return
        elif character == '"':
            self._in_text = False
            if self._is_key:
                self._open[-1] = "".join(self._said)
            return
        if self._is_key:
            self._said.append(character)
        elif self._speaks():
            yield character

    def _unescaped(self, escape: str) -> str:
        if escape[1] != "u":
            return _ESCAPES.get(escape[1], escape[1])
        try:
            code = int.from_bytes(bytes.fromhex(escape[2:]), "big")
        except ValueError:
            return ""
        half, self._half = self._half, ""
        if 0xD800 <= code < 0xDC00:
            self._half = chr(code)
            return ""
        if 0xDC00 <= code < 0xE000:
            return (half + chr(code)).encode("utf-16", "surrogatepass").decode("utf-16") if half else ""
        return chr(code)

    def _speaks(self) -> bool:
        return self._open == ["claims", "[", "text"]
