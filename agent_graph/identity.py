"""Ids and digests: the one spelling of "the same thing" that ledger, approvals and plans share."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any, NewType

RunId = NewType("RunId", str)
StepId = NewType("StepId", str)
RequestId = NewType("RequestId", str)
EffectKey = NewType("EffectKey", str)
Digest = NewType("Digest", str)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces. Raises ValueError on NaN and TypeError on what JSON does not know."""
    return _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def check_writable(value: Any) -> None:
    """Raises ValueError for text that no file can hold: half a character, as it comes from a cut or wrongly decoded text."""
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"it holds half a character ({error.object[error.start]!r}), which cannot be stored; take it out") from None


def digest(value: Any) -> Digest:
    """SHA-256 of the canonical JSON, 64 hex digits."""
    return sha256(canonical(value))


def sha256(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


def effect_key(run_id: RunId, step_id: StepId, tool: str, args: dict[str, Any]) -> EffectKey:
    """The key of one effect: run, step, tool and arguments; not the attempt, not the clock, not the plan version.

    It is stable over a replan that leaves the step as it was, and is the idempotency key that keyed and probeable tools are given.
    """
    return EffectKey(digest([run_id, step_id, tool, args])[:32])


def call_digest(run_id: RunId, step_id: StepId, tool: str, schema_digest: str, args: dict[str, Any], mark: str = "") -> Digest:
    """What an approval of one call is bound to: exactly what the person was shown.

    ``mark``: of a step that was proposed by a planner that had read text from outside; no yes that was given before it covers it.
    """
    return digest(["call", run_id, step_id, tool, schema_digest, args, *([mark] if mark else [])])


def call_key(tool: str, args: dict[str, Any]) -> str:
    """Equal for equal calls, whichever step makes them."""
    return digest([tool, args])[:32]


def new_id() -> str:
    """A random UUID (LangGraph's server accepts only UUIDs as thread ids)."""
    return str(uuid.uuid4())
