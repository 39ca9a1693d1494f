"""The wording of what a planner is told."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from agent_graph.models.wording import Wording

VERSION = "v2"
"""Of the files in ``prompts/``. A changed wording is a new version; the trace says which one a plan came from."""

_WORDING = Wording("agent_graph.planners", VERSION)
filled, sections = _WORDING.filled, _WORDING.sections


def listed(lines: Iterable[str]) -> str:
    """Empty when there is none."""
    return "\n".join(f"- {line}" for line in lines)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
