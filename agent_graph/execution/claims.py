"""What an agent claims in its result, and which of its calls show it. A claim without such a call is marked, never dropped."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agent_graph.models.replies import closed_object
from agent_graph.verdicts import Evidence

UNSUPPORTED = "[unsupported]"
"""Stands after a claim that nothing shows."""

CLAIMS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "description": "What the result claims, claim by claim.",
    "items": closed_object(
        {
            "text": {"type": "string", "description": "the claim, in the words of the result"},
            "refs": {"type": "array", "items": {"type": "string"}, "description": "ids of the calls whose answers show it"},
        }
    ),
}

NO_CLAIMS = "the agent did not say what of its result is shown by which call"
NO_CALLS = f"{UNSUPPORTED} the agent made no call, so that nothing on record shows its result"


def evidence(claims: Sequence[Mapping[str, Any]], succeeded: Collection[str], by: str, *, any_call: bool = True) -> tuple[Evidence, ...]:
    """Each claim, and the calls that show it. ``succeeded``: ids of the calls that gave something; ``any_call``: whether one was made at all."""
    if not claims and not any_call:
        return (Evidence(criterion="claims", holds=None, why=NO_CALLS, by=by),)
    if not claims:
        return (Evidence(criterion="claims", holds=None, why=NO_CLAIMS, by=by),)
    return tuple(_claim(str(each["text"]), [str(ref) for ref in each["refs"]], succeeded, by) for each in claims)


def _claim(text: str, refs: list[str], succeeded: Collection[str], by: str) -> Evidence:
    shown = [ref for ref in refs if ref in succeeded]
    missing = [ref for ref in refs if ref not in succeeded]
    why = "" if shown else f"{UNSUPPORTED} " + (f"{', '.join(missing)} gave nothing" if missing else "no call is named that shows it")
    return Evidence.model_validate(
        {"criterion": f"claim: {text}", "holds": True if shown else None, "values": {"refs": [*shown]}, "why": why, "by": by}
    )


def marked(answer: Any, claims: Sequence[Mapping[str, Any]], succeeded: Collection[str]) -> Any:
    """A text with a mark after each claim that nothing shows. What is no text stays as it is; its evidence says so."""
    if not isinstance(answer, str):
        return answer
    for each in claims:
        text = str(each["text"]).strip()
        if not text or any(str(ref) in succeeded for ref in each["refs"]):
            continue
        if text in answer:
            answer = answer.replace(text, f"{text} {UNSUPPORTED}", 1)
        else:
            answer += f"\n{UNSUPPORTED} {text}"
    return answer
