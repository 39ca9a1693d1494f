"""The wording of a prompt: one file per part and version in ``prompts/``, filled in."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from importlib import resources
from typing import Any

VERSION = "v2"
"""Of the files in ``prompts/``. A changed wording is a new version; the trace says which one a plan came from."""

_PLACE = re.compile(r"\{\{(\w+)\}\}")
_HEADING = re.compile(r"^(?=# )", re.MULTILINE)


def filled(part: str, **values: str) -> str:
    """The wording with its placeholders filled in at once: a value that looks like a placeholder stays what it is."""
    return _PLACE.sub(lambda found: values[found[1]], _wording(part))


def sections(part: str, **values: str) -> str:
    """As ``filled``, without the sections of which nothing is to be said."""
    said = []
    for section in _HEADING.split(_wording(part)):
        places = _PLACE.findall(section)
        if not places or any(values[place] for place in places):
            said.append(_PLACE.sub(lambda found: values[found[1]], section))
    return "".join(said)


@functools.cache
def _wording(part: str) -> str:
    return (resources.files("agent_graph.planners") / "prompts" / f"{part}.{VERSION}.md").read_text(encoding="utf-8")


def listed(lines: Iterable[str]) -> str:
    """Empty when there is none."""
    return "\n".join(f"- {line}" for line in lines)


def data(of: str, text: str) -> str:
    """Delimited. What is inside cannot close it: it holds no `<`."""
    inside = text.replace("<", "\\u003c")
    return f'<data of="{of}">{inside}</data>'


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
