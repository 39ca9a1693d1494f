"""What tools need and give, in kinds of fact, and where a fact that is at hand lies.

A tool that says nothing of it needs facts called like its required arguments. If it only reads, it gives facts called like the properties of
its output, and its output as a whole: by the title of its schema, else by the tool's own name. What changes something must say what it gives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent_graph.plan import Plan
from agent_graph.policy.schemas import below, overlap, resolve, types
from agent_graph.ports import ToolSpec

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Need(NamedTuple):
    """A fact of a kind, and of JSON types where they are known: two things of one name that cannot be each other are no one fact."""

    kind: str
    types: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """A tool, as something that makes facts out of facts."""

    spec: ToolSpec
    needs: Mapping[str, Need]
    """By argument that must be given."""
    may_take: Mapping[str, Need]
    """By argument that may be left out."""
    gives: Mapping[str, str]
    """By kind of fact, its path in the output; empty for the whole."""

    def has(self, need: Need) -> bool:
        """Whether it gives such a fact."""
        return need.kind in self.gives and overlap(need.types, self.types_of(need.kind))

    def types_of(self, kind: str) -> frozenset[str] | None:
        schema = self.spec.output_schema
        if schema is None:
            return None
        path = self.gives[kind]
        found = below(schema, path) if path else schema
        return types(found, found) if isinstance(found, Mapping) else None


def maker_of(spec: ToolSpec) -> Maker:
    schema = spec.args_schema
    properties = schema.get("properties", {})
    required = set(schema.get("required", ()))
    taken = {name: Need(spec.needs.get(name, name), types(schema, properties[name])) for name in properties}
    must = {name for name in properties if name in required or name in spec.needs}
    return Maker(
        spec=spec,
        needs={name: need for name, need in taken.items() if name in must},
        may_take={name: need for name, need in taken.items() if name not in must},
        gives=dict(spec.gives) or ({} if spec.changes else _given_by(spec)),
    )


def _given_by(spec: ToolSpec) -> dict[str, str]:
    schema = resolve(spec.output_schema, spec.output_schema) if spec.output_schema is not None else {}
    title = schema.get("title") if isinstance(schema, Mapping) else None
    gives = {_snake(title) if isinstance(title, str) and title else spec.name: ""}
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    for name in properties if isinstance(properties, Mapping) else ():
        gives.setdefault(name, name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False))
    return gives


def _snake(title: str) -> str:
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", title.strip())).lower()


def reference(step_id: str, path: str) -> dict[str, Any]:
    """To a place in a step's output."""
    return {"$ref": f"steps.{step_id}.output{path if path.startswith('[') or not path else f'.{path}'}"}


@dataclass(frozen=True, slots=True)
class AtHand:
    """A fact that need not be made."""

    reference: Any
    """To where it lies, or the value itself."""
    maker: Maker | None
    """What gave it; None: it was given with the goal, or is an argument of a step."""
    kind: str

    def is_a(self, need: Need) -> bool:
        return need.kind == self.kind and (self.maker is None or self.maker.has(need))


def at_hand(plan: Plan, done: Mapping[str, Maker]) -> list[AtHand]:
    """The goal's parameters first, then what the steps that have succeeded gave, the newest first. ``done``: their tools, by step."""
    found = [AtHand({"$ref": f"params.{name}"}, None, name) for name in plan.goal.params if _PLAIN.fullmatch(name)]
    for step in reversed(plan.steps):
        maker = done.get(step.id)
        if maker is not None:
            found += [AtHand(reference(step.id, path), maker, kind) for kind, path in maker.gives.items()]
    return found
