"""The parts of a plan's schema that everything else is made of: references, and holding a value against a schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema_rs

from agent_graph.models.replies import WrongReply, closed_object, short
from agent_graph.plan import is_reference

Schema = dict[str, Any]


REFERENCE: Schema = {"$ref": "#/$defs/reference"}
NULL: Schema = {"type": "null"}
TEXTS: Schema = {"type": "array", "items": {"type": "string"}}


def nullable(kind: str) -> Schema:
    return {"anyOf": [{"type": kind}, NULL]}


DEFS: Schema = {
    "reference": {
        **closed_object({"ref": {"type": "string"}}),
        "description": "The value at steps.<id>.output, steps.<id>.output.<JMESPath> or params.<name>.",
    },
    "text": {"anyOf": [{"type": "string"}, NULL]},
    "criteria": {**TEXTS, "description": "CEL expressions that must all be true."},
    "answer": {
        "anyOf": [
            {"type": "string"},
            REFERENCE,
            {
                "type": "array",
                "items": closed_object({"name": {"type": "string"}, "value": {"anyOf": [{"type": "string"}, REFERENCE]}}),
            },
            NULL,
        ],
        "description": "What the run answers: references to outputs, by name where there are several. null: the last step's output.",
    },
}


def read_references(value: Any) -> Any:
    """``{"ref": …}`` as ``{"$ref": …}``, at any depth."""
    if isinstance(value, dict):
        if value.keys() == {"ref"} and isinstance(value["ref"], str):
            return {"$ref": value["ref"]}
        return {key: read_references(item) for key, item in value.items()}
    if isinstance(value, list):
        return [read_references(item) for item in value]
    return value


def write_references(value: Any) -> Any:
    """A part of a plan as the model is to write it."""
    if is_reference(value):
        return {"ref": value["$ref"]}
    if isinstance(value, dict):
        return {key: write_references(item) for key, item in value.items()}
    if isinstance(value, list):
        return [write_references(item) for item in value]
    return value


_VALIDATORS: dict[int, tuple[Schema, jsonschema_rs.Validator]] = {}


def validator(schema: Schema) -> jsonschema_rs.Validator:
    known = _VALIDATORS.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    if len(_VALIDATORS) > 2048:
        _VALIDATORS.clear()
    made = jsonschema_rs.validator_for({**schema, "$defs": DEFS})
    _VALIDATORS[id(schema)] = (schema, made)
    return made


def check(schema: Schema, value: Any, at: str) -> None:
    problems = list(problems_of(schema, value, at))
    if problems:
        raise WrongReply(problems)


def problems_of(schema: Schema, value: Any, at: str) -> Iterator[str]:
    for error in validator(schema).iter_errors(value):
        place = at + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        wanted = _wanted(schema, error.schema_path)
        yield f"{place}: {short(error.instance)} is not {wanted}" if wanted else f"{place}: {error.message[:300]}"


def _wanted(schema: Schema, path: Sequence[Any]) -> str:
    """What a union asks for, in words; empty when the error is about something else."""
    if not path or path[-1] != "anyOf":
        return ""
    node: Any = {**schema, "$defs": DEFS}
    for part in path:
        if isinstance(node, dict) and "$ref" in node and part not in node:
            node = DEFS[node["$ref"].rpartition("/")[2]]
        if part == "$ref":
            continue
        node = node.get(part) if isinstance(node, dict) else node[part] if isinstance(node, list) and isinstance(part, int) else None
    return " or ".join(_named(each) for each in node) if isinstance(node, list) else ""


def _named(schema: Schema) -> str:
    if schema is REFERENCE or "$ref" in schema:
        return '{"ref": "…"}'
    if "enum" in schema:
        return f"one of {', '.join(json.dumps(each, ensure_ascii=False) for each in schema['enum'])}"
    return f"{'an' if schema['type'][0] in 'aeiou' else 'a'} {schema['type']}" if schema["type"] != "null" else "null"
