"""What a tool returns, made plain JSON of bounded size: whatever it is, the outcome is never lost because of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import numbers
import re
from collections.abc import Mapping, Sized
from datetime import date, datetime, time
from enum import Enum
from typing import Any

MAX_DEPTH = 100
"""Levels of nesting that are kept; pydantic and SQLite stop at a few hundred."""

BRIEF = 200
_SCALARS = (str, int, float, bool, type(None))
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def normalise(value: Any, limit: int) -> tuple[Any, str | None]:
    """(plain JSON, what was wrong). A value that is too large becomes ``{truncated, bytes, sha256, head}``. Raises nothing."""
    problem = None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
        plain = value if type(value) in _SCALARS else json.loads(text)  # a tuple, or a number as key, would come back otherwise
        fits = text.count("[") + text.count("{") <= MAX_DEPTH or _depth(plain) <= MAX_DEPTH
    except Exception:  # json calls the value's own methods, which may raise anything
        fits = False
    if not fits:
        plain = _plain(value, ())
        text = json.dumps(plain, ensure_ascii=False)
        problem = f"the output was not plain JSON, or nested deeper than {MAX_DEPTH}; what cannot be kept became text or null"
    size = len(text) if text.isascii() else len(text.encode())
    if size > limit:
        head = text[: max(0, min(1000, limit // 8))]
        plain = {"truncated": True, "bytes": size, "sha256": hashlib.sha256(text.encode()).hexdigest(), "head": head}
        problem = f"the output has {size:,} bytes; at most {limit:,} are kept"
    return plain, problem


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [
        item for each in level if isinstance(each, dict | list) for item in (each.values() if isinstance(each, dict) else each)
    ]:
        depth += 1
    return depth


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    """``above`` holds the ids of what the value stands in: one that contains itself has no end."""
    if id(value) in above:
        return "… (contains itself)"
    if len(above) > MAX_DEPTH:
        return "… (nested too deeply)"
    try:
        return _converted(value, (*above, id(value)))
    except Exception as error:
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _converted(value: Any, here: tuple[int, ...]) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return value.encode("utf-8", "replace").decode()
        case Enum():
            return _plain(value.value, here)
        case int() | numbers.Integral():
            return _whole(int(value))
        case float() | numbers.Real():
            return float(value) if math.isfinite(value) else None
        case datetime() | date() | time():
            return value.isoformat()
        case bytes() | bytearray():
            return bytes(value).decode("utf-8", "replace")
        case Mapping():
            return {_text_of(key): _plain(item, here) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, here) for item in value]
        case set() | frozenset():
            return sorted((_plain(item, here) for item in value), key=json.dumps)  # the same bytes each time
        case _:
            pass
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), here) for field in dataclasses.fields(value)}
    for name in ("model_dump", "tolist"):  # pydantic; numpy and pandas
        dump = None if isinstance(value, type) else getattr(value, name, None)
        if callable(dump):
            return _plain(dump(), here)
    return _text_of(value)


def _whole(value: int) -> int | str:
    try:
        str(value)
    except ValueError:  # Python refuses to write numbers of thousands of digits
        return hex(value)
    return value


def _text_of(value: Any) -> str:
    try:
        return _ADDRESS.sub("", str(value)[:10_000]).encode("utf-8", "replace").decode()
    except Exception as error:
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def brief(value: Any) -> Any:
    """A value as evidence: as it is when small, else its size and its beginning."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= BRIEF:
        return value
    count = f"{len(value)} items, " if isinstance(value, Sized) and not isinstance(value, str) else ""
    return f"{text[:BRIEF]}… ({count}{len(text)} characters)"
