"""What a model that judges, or writes the answer, is shown of a run: each value on a line of its own, after the reference that leads to it.

So it can quote a value as it stands, and say where it has it from; and code can look both up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from agent_graph.execution.results import Results
from agent_graph.models import wording
from agent_graph.plan import Plan

VERSION = "v1"
"""Of the files in ``prompts/`` that a judge and a summarizer are told. A changed wording is a new version."""

MAX_BYTES = 40_000
"""Of what a model is shown of one run."""
MAX_STEP_BYTES = 12_000
"""Of that, what one of several steps gave."""

filled = wording.Wording("agent_graph.execution", VERSION).filled

INDENT = "\n    "

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def lines(value: Any, at: str) -> Iterator[str]:
    """``steps.look.output.items[0].title = Third floor``. A text stands as it is; its further lines are indented, so that none can pass for
    another value."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            key = str(name)
            yield from lines(item, f"{at}.{key if _PLAIN.fullmatch(key) else json.dumps(key, ensure_ascii=False)}")
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from lines(item, f"{at}[{index}]")
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"{at} = {INDENT.join(text.splitlines())}"


def shown(value: Any, at: str, most: int = MAX_BYTES) -> str:
    """The value's lines, cut where they are too much, which is said."""
    return cut("\n".join(lines(value, at)), most)


def cut(text: str, most: int) -> str:
    raw = text.encode()
    return text if len(raw) <= most else f"{raw[: max(0, most)].decode(errors='ignore')}\n… (cut here; {len(raw)} bytes in all)"


def ends(text: str, most: int) -> str:
    """The beginning and the end of what is too much, and how much is between them."""
    raw = text.encode()
    if len(raw) <= most:
        return text
    head, tail = raw[: most * 3 // 4].decode(errors="ignore"), raw[-(most // 4) :].decode(errors="ignore")
    return f"{head}\n… ({len(raw) - most:,} of {len(raw):,} bytes are left out here) …\n{tail}"


def delimited(of: str, text: str) -> str:
    """As data, on lines of its own."""
    return wording.delimited(of, f"\n{text}\n")


def is_in(quote: str, text: str) -> bool:
    """Whether these very words stand in the text, none of them cut. How they are broken into lines does not matter."""
    words = " ".join(quote.replace("\\u003c", "<").split())
    if not words:
        return False
    before, after = (r"(?<!\w)" if words[0].isalnum() else ""), (r"(?!\w)" if words[-1].isalnum() else "")
    return re.search(before + re.escape(words) + after, " ".join(text.split())) is not None


def of_run(plan: Plan, results: Results, answer: Any = None) -> str:
    """What the steps of the plan have given, the newest first in line for what may be shown, in the order of the plan."""
    parts, left = [], MAX_BYTES
    if answer is not None:
        parts.append(shown(answer, "answer", MAX_STEP_BYTES))
        left -= len(parts[0].encode())
    for step in reversed(plan.steps):
        at = f"steps.{step.id}.output"
        if results.way(step.id) != "good":
            part = f"steps.{step.id}.status = {results.status(step.id) or 'not carried out'}"
        elif left <= 0:
            part = f"{at} … (left out, since there is too much)"
        else:
            part = shown(results.output(step.id), at, min(left, MAX_STEP_BYTES))
        left -= len(part.encode())
        parts.append(part)
    return "\n".join(reversed(parts)) or "(no step has given anything)"
