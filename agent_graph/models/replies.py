"""What a model replies, read: JSON out of a text, and what is said of a reply that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

MAX_PROBLEMS = 12
"""Of one reply that are told to the model."""


class WrongReply(ValueError):
    """The reply is not what was asked for; says what is wrong with it, for the model to read."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = len(problems) - MAX_PROBLEMS
        super().__init__("\n".join(problems[:MAX_PROBLEMS]) + (f"\n… and {more} more" if more > 0 else ""))


def closed_object(properties: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of an object with exactly these properties, all of them required: what strict modes want."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def parse(text: str, at: str) -> Any:
    try:
        value, end = parse_first(text.strip())
    except ValueError as error:
        raise WrongReply([f"{at}: the text is not JSON ({error}): {short(text)}"]) from None
    if end < len(text.strip()):
        raise WrongReply([f"{at}: there is more after the JSON: {short(text.strip()[end:])}"])
    return value


def parse_first(text: str) -> tuple[Any, int]:
    """The JSON value that the text begins with, and where it ends. Raises ValueError, also for what cannot be stored."""
    try:
        value, end = _DECODER.raw_decode(text)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("half a character, written as an escape") from None
    return value, end


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number that JSON has")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:120]}…"
