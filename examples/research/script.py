"""What stands in for the models of four roles. The reader quotes from what it has read; the others speak of what the request shows them."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from agent_graph.model_server import Asked, Said, calls, data

WORD = "worker"
SECTIONS = {"Context": "Why", "Decision": "What was decided", "Given up": "What was given up"}


def reply(asked: Asked) -> Said:
    form = asked.form.get("properties", {})
    if asked.tools:
        return _read(asked)
    if "holds" in form:
        return _judge(asked)
    if "claims" in form:
        return _summarize(asked)
    if '"id":"save"' in asked.last:  # the plan so far is in the request: it was refused, or something failed
        return {"reply": {"kind": "give_up", "reason": "the notes were not wanted"}}
    return _plan()


# ── planner ───────────────────────────────────────────────────────────────────────────────────────────────────────────

FACTS = {
    "type": "object",
    "properties": {
        "facts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("statement", "quote", "document")},
                "required": ["statement", "quote", "document"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["facts"],
    "additionalProperties": False,
}
NOTES = """\
# Calls in worker processes
{% for fact in facts %}

{{ fact.statement }} ({{ fact.document }}):

{{ fact.quote|quoted }}
{% endfor %}"""


def _plan() -> Said:
    facts = {"ref": "steps.read.output.facts"}
    steps = [
        _step("found", {"tool": "search_files", "args": {"text": WORD, "pattern": "*.md"}}, "size(output.matches) > 0"),
        _step(
            "read",
            {
                "agent": "Say why calls are made in worker processes, what was decided, and what was given up for it.",
                "inputs": [{"name": "found", "value": {"ref": "steps.found.output"}}],
                "allowed_tools": ["search_files", "read_file"],
                "executor": "reader",
            },
            "size(output.facts) > 0",
            expected_output=json.dumps(FACTS),
        ),
        _step("quotes", {"tool": "check_quotes", "args": {"facts": facts}}, "output.all(q, q.found)"),
        _step("notes", {"tool": "render_report", "args": {"text": NOTES, "values": json.dumps({"facts": facts})}}, depends_on=["quotes"]),
        _step(
            "save",
            {
                "tool": "notes_write_file",
                "args": {"path": "workers.md", "content": {"ref": "steps.notes.output.markdown"}, "mode": "create"},
            },
        ),
    ]
    reason = "Search, let the reader quote, look its quotes up, and keep them."
    return {"reply": {"kind": "plan", "reason": reason, "steps": steps, "answer": {"ref": "steps.save.output.path"}}}


def _step(name: str, do: dict[str, Any], *criteria: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "do": do, "success_criteria": list(criteria), **more}


# ── reader ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(asked: Asked) -> Said:
    """The document that has the word most often, then the first sentence of its sections."""
    seen = [(of, json.loads(text)) for result in asked.results for of, text in data(result)]
    if not seen:
        found = json.loads(dict(data(asked.text))["found"])
        ((document, _),) = Counter(match["path"] for match in found["matches"]).most_common(1)
        return calls(("read_file", {"path": document}))
    call, page = seen[-1]
    sections = re.findall(r"\*\*([A-Z][a-z ]+)\.\*\* ([^.]+\.)", page["content"])
    facts = [{"statement": SECTIONS[name], "quote": text, "document": page["path"]} for name, text in sections if name in SECTIONS]
    claims = [{"text": fact["quote"], "refs": [call]} for fact in facts]
    return calls(("finish", {"answer": {"facts": facts}, "claims": claims}))


# ── judge and summarizer ──────────────────────────────────────────────────────────────────────────────────────────────


def _quotes(asked: Asked) -> list[str]:
    return re.findall(r"steps\.read\.output\.facts\[\d+\]\.quote = (.+?)(?=\n\S|\Z)", asked.text, re.DOTALL)


def _judge(asked: Asked) -> Said:
    quotes = _quotes(asked)
    holds = len(quotes) == len(SECTIONS)
    return {
        "why": f"{len(quotes)} of {len(SECTIONS)} parts of the question have a quote.",
        "quotes": quotes if holds else [],
        "holds": holds,
    }


def _summarize(asked: Asked) -> Said:
    """A claim for each quote; and one that nothing shows, as models make them: see what becomes of it."""
    claims = [
        {"text": f"{statement}: {quote}", "refs": [f"steps.read.output.facts[{index}].quote"], "quote": quote}
        for index, (statement, quote) in enumerate(zip(SECTIONS.values(), _quotes(asked), strict=False))
    ]
    return {"claims": [*claims, {"text": "Most projects do it this way.", "refs": [], "quote": None}]}
