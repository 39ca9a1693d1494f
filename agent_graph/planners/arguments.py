"""The arguments of a tool as a model is to write them, and the way back: values, references in their place, and JSON text for the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_graph.models.replies import closed_object, parse
from agent_graph.planners.reply import NULL, REFERENCE, Schema, read_references, validator

MAX_DEPTH = 9
"""Objects and lists inside each other, of ten that strict mode allows: the last is for a reference. What lies deeper travels as JSON text."""


@dataclass(frozen=True, slots=True)
class _Form:
    """One kind of value: how the model writes it, and how that is read."""

    schema: Schema
    properties: Mapping[str, _Place] = field(default_factory=dict)
    items: _Place | None = None
    as_text: bool = False
    """The value travels as JSON text."""
    one_of: tuple[_Form, ...] = ()

    def read(self, value: Any, at: str) -> Any:
        if self.as_text:
            return read_references(parse(value, at))
        for form in self.one_of:
            if validator(form.schema).is_valid(value):
                return form.read(value, at)
        if isinstance(value, dict):
            return {
                name: place.read(value[name], f"{at}.{name}") for name, place in self.properties.items() if not place.left_out(value[name])
            }
        if isinstance(value, list) and self.items is not None:
            return [self.items.read(item, f"{at}[{index}]") for index, item in enumerate(value)]
        return value

    def filled(self, value: Any) -> Any:
        """With null for what was left out and may be."""
        if isinstance(value, dict) and self.properties and value.keys() != {"ref"}:
            known = {name: place.form.filled(value.get(name)) for name, place in self.properties.items() if name in value or place.optional}
            return {**value, **known}
        if isinstance(value, list) and self.items is not None:
            return [self.items.form.filled(item) for item in value]
        return value


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands: a property, or an entry of a list. A reference may stand there instead."""

    form: _Form
    optional: bool = False
    nullable: bool = False
    description: str = ""

    @property
    def schema(self) -> Schema:
        values = self.form.schema["anyOf"] if self.form.one_of else [self.form.schema]
        described = {"description": self.description} if self.description else {}
        return {"anyOf": [*values, REFERENCE, *([NULL] if self.optional or self.nullable else [])], **described}

    def left_out(self, value: Any) -> bool:
        return value is None and self.optional

    def read(self, value: Any, at: str) -> Any:
        if value is None:
            return None
        if isinstance(value, dict) and value.keys() == {"ref"} and "ref" not in self.form.properties:
            return {"$ref": value["ref"]}
        return self.form.read(value, at)


_TEXT = _Form({"type": "string", "description": "JSON text of the value; a reference may stand anywhere in it."}, as_text=True)

_ARGS_DEPTH = 6
"""Root, reply, steps, step, do, args: each is one object or list inside the other."""


def arguments(schema: Mapping[str, Any]) -> _Form:
    """The arguments of a tool: an object, whatever else its schema may say."""
    build = _Build(schema)
    if schema.get("properties"):
        return build.closed(schema, _ARGS_DEPTH, ())
    if schema.get("additionalProperties") not in (None, False):
        return _TEXT
    return _Form(closed_object({}))


class _Build:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root

    def place(self, schema: Any, depth: int, seen: tuple[str, ...], *, optional: bool) -> _Place:
        form, nullable = self.form(schema, depth, seen)
        return _Place(form, optional, nullable, _described(schema))

    def closed(self, schema: Mapping[str, Any], depth: int, seen: tuple[str, ...]) -> _Form:
        required = set(schema.get("required", ()))
        places = {
            str(name): self.place(item, depth + 1, seen, optional=name not in required) for name, item in schema["properties"].items()
        }
        return _Form(closed_object({name: place.schema for name, place in places.items()}), properties=places)

    def form(self, schema: Any, depth: int, seen: tuple[str, ...]) -> tuple[_Form, bool]:
        """How a value of this schema is written, and whether it may be null. What strict mode cannot say travels as JSON text."""
        if not isinstance(schema, Mapping):
            return _TEXT, False
        target = schema.get("$ref")
        if target is not None:
            found = self._follow(target)
            if found is None or target in seen:
                return _TEXT, False
            return self.form(found, depth, (*seen, target))
        if len(schema.get("allOf", ())) == 1:
            rest = {key: item for key, item in schema.items() if key != "allOf"}
            return self.form({**schema["allOf"][0], **rest}, depth, seen)
        if any(key in schema for key in ("allOf", "not", "if", "dependentRequired", "dependentSchemas")):
            return _TEXT, False
        if "const" in schema:
            return _values([schema["const"]])
        if "enum" in schema:
            return _values(schema["enum"])
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return _union([self.form(part, depth, seen) for part in schema[key]])
        kind = schema.get("type")
        if isinstance(kind, list):
            return _union([self.form({**schema, "type": one}, depth, seen) for one in kind])
        return self._of_type(kind, schema, depth, seen)

    def _of_type(self, kind: Any, schema: Mapping[str, Any], depth: int, seen: tuple[str, ...]) -> tuple[_Form, bool]:
        match kind:
            case "null":
                return _Form(NULL), True
            case "string" | "integer" | "number" | "boolean":
                return _Form({"type": kind}), False
            case "object" if depth <= MAX_DEPTH:
                # A property called `ref` could not be told from a reference.
                closed = schema.get("properties") and "ref" not in schema["properties"] and not schema.get("additionalProperties")
                return (self.closed(schema, depth, seen) if closed else _TEXT), False
            case "array" if depth <= MAX_DEPTH and isinstance(schema.get("items"), Mapping) and "prefixItems" not in schema:
                items = self.place(schema["items"], depth + 1, seen, optional=False)
                return _Form({"type": "array", "items": items.schema}, items=items), False
            case _:
                return _TEXT, False

    def _follow(self, target: Any) -> Any:
        node: Any = self.root
        if not isinstance(target, str) or not target.startswith("#/"):
            return None
        for part in target[2:].split("/"):
            node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
        return node


def _union(parts: list[tuple[_Form, bool]]) -> tuple[_Form, bool]:
    nullable = any(null for _, null in parts)
    forms = [form for form, _ in parts if form.schema is not NULL]
    flat = [one for form in forms for one in (form.one_of or (form,))]
    if not flat or any(form.as_text for form in flat):
        return _TEXT, nullable  # a text that is JSON could not be told from one that is not
    if len(flat) == 1:
        return flat[0], nullable
    return _Form({"anyOf": [form.schema for form in flat]}, one_of=tuple(flat)), nullable


def _values(values: Sequence[Any]) -> tuple[_Form, bool]:
    by_type: dict[str, list[Any]] = {}
    for value in values:
        by_type.setdefault(_type_of(value), []).append(value)
    nullable = by_type.pop("null", None) is not None
    if not by_type.keys() <= {"string", "boolean", "integer", "number"}:
        return _TEXT, nullable
    return _union(
        [(_Form({"type": kind, "enum": some}), False) for kind, some in by_type.items()] + ([(_Form(NULL), True)] if nullable else [])
    )


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null", dict: "object"}
    return names.get(type(value), "array")


_SAID_IN_WORDS = (
    "default",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
)


def _described(schema: Any) -> str:
    """The description, with what strict mode has no place for."""
    if not isinstance(schema, Mapping):
        return ""
    bounds = [f"{key} {json.dumps(schema[key], ensure_ascii=False)}" for key in _SAID_IN_WORDS if schema.get(key) is not None]
    said = str(schema.get("description", ""))[:1000]
    return f"{said} ({', '.join(bounds)})".strip() if bounds else said
