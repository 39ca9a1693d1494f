"""What a tool returns, made plain JSON of bounded size: whatever it is, the outcome is never lost because of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sized
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

MAX_DEPTH = 64
BRIEF = 200
_SCALARS = (str, int, float, bool, type(None))


def normalise(value: Any, limit: int) -> tuple[Any, str | None]:
    """(plain JSON, what was wrong). A value that is too large becomes ``{truncated, bytes, sha256, head}``."""
    problem = None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
        plain = value if isinstance(value, _SCALARS) else json.loads(text)  # a tuple, or a number as key, would come back otherwise
    except (TypeError, ValueError, RecursionError):
        plain, problem = _plain(value, 0), "the output was not plain JSON; what JSON does not know became text or null"
        text = json.dumps(plain, ensure_ascii=False)
    size = len(text) if text.isascii() else len(text.encode())
    if size > limit:
        head = text[: max(0, min(1000, limit // 8))]
        plain = {"truncated": True, "bytes": size, "sha256": hashlib.sha256(text.encode()).hexdigest(), "head": head}
        problem = f"the output has {size:,} bytes; at most {limit:,} are kept"
    return plain, problem


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return "… (nested too deeply)"
    match value:
        case None | bool():
            return value
        case str():
            return value.encode("utf-8", "replace").decode()
        case Enum():
            return _plain(value.value, depth)
        case int():
            return int(value)
        case float():
            return value if math.isfinite(value) else None
        case Decimal() | UUID() | PurePath():
            return str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case bytes() | bytearray():
            return bytes(value).decode("utf-8", "replace")
        case Mapping():
            return {str(key).encode("utf-8", "replace").decode(): _plain(item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item, depth + 1) for item in value]
        case _:
            return _of_a_class(value, depth)


def _of_a_class(value: Any, depth: int) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name), depth + 1) for field in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return _plain(dump(), depth + 1)
    return _text_of(value)


def _text_of(value: Any) -> str:
    try:
        return str(value)[:10_000].encode("utf-8", "replace").decode()
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
