"""An answer that a summarizer wrote, as people read it: the words, and how many of their claims the run shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def for_people(answer: Any) -> Any:
    """The answer without the list of its claims, which is for programs; anything else as it is."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("report"), str) or not _are_claims(answer.get("claims")):
        return answer
    shown = sum(each["supported"] is True for each in answer["claims"])
    said = f"{shown} of {len(answer['claims'])} are shown by what the run found; what each rests on is in the answer as JSON"
    return {**answer, "claims": said}


def _are_claims(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, Mapping) and {"text", "refs", "supported"} <= each.keys() for each in value)
    )
