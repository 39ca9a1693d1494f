"""What a model is told, in two messages: first what never changes between calls, then the goal and what has come so far.

Servers cache the beginning of a prompt, so the first message hangs on nothing but what a plan may be made of. What tools have returned is
delimited, capped, and said to be data.
"""

from __future__ import annotations

from typing import Any

from agent_graph.plan import Blueprint
from agent_graph.planners.measure import BYTES
from agent_graph.planners.offer import Offer
from agent_graph.planners.wording import VERSION, as_json, filled
from agent_graph.ports import ToolSpec

__all__ = ["VERSION", "again", "instructions"]

MAX_SCHEMA_BYTES = 2_000
"""Of one tool's output schema."""


def instructions(offer: Offer, schema: dict[str, Any] | None = None) -> str:
    """The first message: the same bytes for the same offer. ``schema`` is written into it for models that take it no other way."""
    kinds = [*(["run a blueprint"] if offer.blueprints else []), *(["ask a model or an agent"] if offer.reasons else [])]
    text = filled(
        "plan",
        kinds="".join(f", {kind}" for kind in kinds),
        more=_more(offer),
        tools="\n\n".join(map(_tool, offer.tools)) or "There are none.",
    )
    if offer.blueprints:
        text += filled("blueprints", blueprints="\n".join(map(_blueprint, offer.blueprints)))
    if offer.mode == "iterative":
        text += filled("next")
    return text if schema is None else text + filled("schema", schema=as_json(schema))


def again(problem: str) -> str:
    """What is said after a reply that could not be used."""
    return filled("again", problem=problem)


def _more(offer: Offer) -> str:
    """Rules for what is not always there."""
    said = filled("executor") if offer.reasons else ""
    if offer.specialists:
        said += filled("specialists", specialists="; ".join(f"{name} ({description})" for name, description in offer.specialists))
    if offer.fine:
        said += filled("fine", agents=" An agent step may only read." if offer.reasons else "")
    return said


def _tool(spec: ToolSpec) -> str:
    output = "not known" if spec.output_schema is None else BYTES.cut(as_json(spec.output_schema), MAX_SCHEMA_BYTES)
    return f"## {spec.name}\n{spec.description.strip()}\nRisk: {spec.risk}. Output: {output}"


def _blueprint(blueprint: Blueprint) -> str:
    return f"- {blueprint.name}: {' '.join((blueprint.description or blueprint.goal).split())}"
