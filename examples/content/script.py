"""What stands in for a model without a key: a plan, an outline and a text. Outline and text are put together from the sources in the request."""

from __future__ import annotations

import json
import re
from typing import Any

from agent_graph.model_server import Asked, Said, data

PROPOSED = "How we cut build times from 41 to 17 minutes; for engineers who maintain a build"
SOURCES = ("sources/build-times.md", "sources/interview-rollout.md")
TEXT = {"type": "string"}


def reply(asked: Asked) -> Said:
    inputs, form = dict(data(asked.last)), asked.form.get("properties", {})
    if "points" in form:
        return _outline(inputs)
    if "slug" in form:
        return _payload(inputs)
    if '"id":"save"' in asked.last:  # the plan so far is in the request: it was refused, or something failed
        return {"reply": {"kind": "give_up", "reason": "what was proposed was not taken; say what it should be, in a new run"}}
    return _plan()


def _plan() -> Said:
    chosen = {"name": "chosen", "value": {"ref": "steps.confirm.output"}}
    steps = [
        _step("confirm", {"ask": "Topic, and who reads it?", "value": PROPOSED}),
        _step("guidance", {"tool": "read_file", "args": {"path": "guidance/style.md"}}),
        _step("listed", {"tool": "list_files", "args": {"folder": "sources", "pattern": "*.md"}}, allow_empty=False),
        *(_step(f"source_{n}", {"tool": "read_file", "args": {"path": path}}) for n, path in enumerate(SOURCES, 1)),
        _step(
            "outline",
            {
                "model": "The points of a post on the chosen topic for the chosen readers, each from one source. Leave out what is off the topic.",
                "inputs": [
                    chosen,
                    _content("guidance"),
                    _content("listed"),
                    *(_content(f"source_{n}") for n in range(1, len(SOURCES) + 1)),
                ],
            },
            "size(output.points) > 0",
            expected_output=_schema(title=TEXT, points=_list(_schema(point=TEXT, source=TEXT))),
        ),
        _step(
            "payload",
            {
                "model": "The post as the CMS takes it: by the guidance, along the outline, nothing that the outline does not have.",
                "inputs": [chosen, _content("guidance"), {"name": "outline", "value": {"ref": "steps.outline.output"}}],
            },
            "output.sources.all(s, steps.outline.output.points.exists(p, p.source == s))",
            expected_output=_schema(title=TEXT, slug=TEXT, audience=TEXT, body=TEXT, sources=_list(TEXT)),
        ),
        _step(
            "save",
            {"tool": "save_draft", "args": {name: {"ref": f"steps.payload.output.{name}"} for name in FIELDS}},
        ),
        _step(
            "check",
            {"tool": "read_draft", "args": {"draft_id": {"ref": "steps.save.output.id"}}},
            "output.id == steps.save.output.id && output.status == 'draft'",
            "output.title == steps.payload.output.title && output.body == steps.payload.output.body",
        ),
    ]
    answer = [{"name": name, "value": {"ref": f"steps.check.output.{name}"}} for name in ("id", "status", "title")]
    reason = "Confirm before anything is written, read before it is written, and read back what the CMS has."
    return {"reply": {"kind": "plan", "reason": reason, "steps": steps, "answer": answer}}


FIELDS = ("title", "slug", "audience", "body", "sources")


def _step(name: str, do: dict[str, Any], *criteria: str, expected_output: Any = None, **more: Any) -> dict[str, Any]:
    wanted = None if expected_output is None else json.dumps(expected_output)
    return {"id": name, "do": do, "success_criteria": list(criteria), "expected_output": wanted, **more}


def _content(step: str) -> dict[str, Any]:
    return {"name": step, "value": {"ref": f"steps.{step}.output"}}


def _schema(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _list(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


# ── the executor's replies, from what it is given ─────────────────────────────────────────────────────────────────────


def _outline(inputs: dict[str, str]) -> Said:
    """The first two sentences of each source."""
    points = []
    for name in sorted(each for each in inputs if each.startswith("source_")):
        page = json.loads(inputs[name])
        text = page["content"].split("\n\n", 1)[1].strip()
        points += [{"point": sentence, "source": page["path"]} for sentence in re.split(r"(?<=\.) ", text)[:2]]
    return {"title": _topic(inputs)[0], "points": points}


def _payload(inputs: dict[str, str]) -> Said:
    outline = json.loads(inputs["outline"])
    _, audience = _topic(inputs)
    sources = list(dict.fromkeys(each["source"] for each in outline["points"]))
    sections = [f"{each['point']} [{each['source']}]" for each in outline["points"]]
    slug = re.sub("[^a-z0-9]+", "-", outline["title"].lower()).strip("-")
    body = "\n\n".join([f"This is for {audience}.", *sections])
    return {"title": outline["title"], "slug": slug, "audience": audience, "body": body, "sources": sources}


def _topic(inputs: dict[str, str]) -> tuple[str, str]:
    """Title and readers, as they were confirmed: ``topic; for readers``."""
    topic, _, readers = inputs["chosen"].partition("; for ")
    return topic.strip(), readers.strip() or "everybody here"
