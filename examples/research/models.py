"""Who does what: one model for each role. A small model reads; it may search and read, and nothing else, whatever its step would allow."""

from __future__ import annotations

from agent_graph.models.roles import Models

READER = """\
You read documents for somebody who will rely on what you say. Give facts, each with the words of the document that show it, copied character
for character, and the document's path. What the documents do not say, you do not know."""


def models(spec: str) -> Models:
    reader = {
        "model": spec,
        "description": "reads documents and gives facts with quotes",
        "prompt": READER,
        "tools": ["search_files", "read_file", "list_files"],
        "max_requests": 30,
    }
    return Models.of(
        {
            "planner": {"model": spec, "max_requests": 10},
            "judge": spec,
            "summarizer": {"model": spec, "max_reply_tokens": 4000},
            "specialists": {"reader": reader},
        }
    )
