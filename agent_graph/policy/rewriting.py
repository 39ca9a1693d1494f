"""The same expression over other steps and values: for nested plans, and for a step that another one takes the place of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from agent_graph.plan import Reference, is_reference

Keys = tuple[str | int, ...]
Place = Callable[[str, Keys], tuple[str, int] | None]
"""From what an expression reads (``steps``, ``params``, ``goal`` or ``output``, and the keys below it) to the text that is to stand there, and
how many of the keys it replaces; None leaves it as it is. Raises CannotRewrite."""


class CannotRewrite(ValueError):
    """What an expression reads has no place in the other plan."""


# A text or a comment is passed over; its forms are those that the reader of expressions knows.
_TEXT = r"""
    (?<!\w)[bB]?[rR](?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\n\r]*"|'[^'\n\r]*')
    | \"{3}(?:[^\\]|\\[\s\S])*?\"{3} | '{3}(?:[^\\]|\\[\s\S])*?'{3} | "(?:[^"\\\n\r]|\\.)*" | '(?:[^'\\\n\r]|\\.)*'
    | //[^\n]*
"""
_KEY = r"""\s*\.\s*[A-Za-z_]\w*|\s*\[\s*(?:\d+|"[A-Za-z_]\w*"|'[A-Za-z_]\w*')\s*\]"""
_READS = re.compile(
    rf"""
      (?P<text>{_TEXT})
    | (?<![\w.])has\s*\(\s*params(?P<tested>{_KEY})\s*\)
    | (?<![\w.])(?P<root>steps|params|goal|output)\b(?P<keys>(?:{_KEY})*)(?P<called>\s*\()?
    """,
    re.VERBOSE,
)
_EACH_KEY = re.compile(_KEY)
_PLAIN = re.compile(r"@?(?:\.?[A-Za-z_]\w*|\[\d+\])(?:\.[A-Za-z_]\w*|\[\d+\])*")


def rewritten(expression: str, place: Place) -> str:
    """The expression with what it reads put in its new place. Raises CannotRewrite."""

    def put(found: re.Match[str]) -> str:
        if found["text"] is not None:
            return found[0]
        if found["tested"] is not None:  # a parameter is always there, if only as null
            put_there = place("params", (_key(found["tested"]),))
            return found[0] if put_there is None else "true"
        parts = _EACH_KEY.findall(found["keys"])
        called = found["called"] or ""
        keys = tuple(_key(part) for part in parts)
        there = place(found["root"], keys[:-1] if called and keys else keys)
        if there is None:
            return found[0]
        text, replaced = there
        return text + "".join(parts[replaced:]) + called

    return _READS.sub(put, expression)


def _key(part: str) -> str | int:
    bare = part.strip().strip(".[]").strip()
    return int(bare) if bare.isdigit() else bare.strip("'\"")


def as_expression(value: Any) -> str:
    """A JSON value, references in it included, as CEL. Raises CannotRewrite for one that CEL cannot say."""
    if is_reference(value):
        return _reference(Reference.parse(value["$ref"]))
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() if not -(2**63) <= value < 2**63:
            raise CannotRewrite(f"{value} is a larger number than an expression can hold")
        case int() | float():
            return f"({value!r})" if value < 0 else repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list() | tuple():
            return f"[{', '.join(as_expression(item) for item in value)}]"
        case _:
            return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {as_expression(item)}" for key, item in value.items()) + "}"


def _reference(reference: Reference) -> str:
    if reference.param is not None:
        return f"params.{reference.param}"
    path = reference.path
    if path is None or path == "@":
        return f"steps.{reference.step}.output"
    if not _PLAIN.fullmatch(path):
        raise CannotRewrite(f"{reference.text!r} is more than a path, which an expression cannot follow; have a step give the value")
    path = path.removeprefix("@")
    return f"steps.{reference.step}.output{path if path.startswith('[') else f'.{path}'}"
