"""JSON Schema, compiled once per distinct schema, and compared by type where a value is not known yet."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jmespath
import jsonschema_rs

from agent_graph.identity import canonical
from agent_graph.plan import is_reference

compilations = 0
"""How many schemas were compiled in this process; a guard against compiling in a loop."""

_BY_IDENTITY: dict[int, tuple[Mapping[str, Any], jsonschema_rs.Validator]] = {}


def _validator(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    # The schema of a tool or step is one object for the life of its run: its identity saves the canonical text on the hot path.
    known = _BY_IDENTITY.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    compiled = _compile(canonical(schema))
    if len(_BY_IDENTITY) > 4096:
        _BY_IDENTITY.clear()
    _BY_IDENTITY[id(schema)] = (schema, compiled)
    return compiled


@functools.lru_cache(maxsize=1024)
def _compile(text: str) -> jsonschema_rs.Validator:
    global compilations  # noqa: PLW0603  # a counter that a test reads
    compilations += 1
    return jsonschema_rs.validator_for(json.loads(text), validate_formats=False, retriever=_refuse)


def _refuse(uri: str) -> Any:
    """A schema comes from a planner: what it refers to is never fetched, neither from a server nor from a file."""
    raise ValueError(f"{uri} lies outside of the schema; write it into $defs")


def check_schema(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with the schema itself; None when it is one."""
    try:
        _validator(schema)
    except (ValueError, TypeError) as error:
        return str(error).splitlines()[0]
    return None


def mismatches(schema: Mapping[str, Any], value: Any, *, at: str = "", most: int = 5) -> list[str]:
    """In how far the value does not match, as ``path: message``; empty when it does."""
    validator = _validator(schema)
    if validator.is_valid(value):
        return []
    found = []
    for error in validator.iter_errors(value):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        place = (at + path).lstrip(".")
        found.append(f"{place}: {error.message[:300]}" if place else error.message[:300])
        if len(found) == most:
            break
    return found


# ── arguments that hold references ────────────────────────────────────────────────────────────────────────────────────


def argument_mismatches(schema: Mapping[str, Any], args: Mapping[str, Any], type_of: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Check arguments of which some are references. ``type_of`` gives, by reference text, the schema of what it will hold, where known."""
    if not _holds_reference(args):
        yield from mismatches(schema, dict(args))
        return
    yield from _walk(schema, schema, args, "", type_of)


def _holds_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return "$ref" in value or any(_holds_reference(item) for item in value.values() if isinstance(item, dict | list))
    return isinstance(value, list) and any(_holds_reference(item) for item in value if isinstance(item, dict | list))


def _walk(root: Mapping[str, Any], schema: Any, value: Any, at: str, type_of: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    schema = resolve(root, schema)
    if not isinstance(schema, Mapping):
        return
    if is_reference(value):
        known = type_of.get(value["$ref"])
        if known is not None and not overlap(types(root, schema), types(known, known)):
            given, wanted = sorted(types(known, known) or ()), sorted(types(root, schema) or ())
            yield f"{at or 'args'}: {value['$ref']} gives {' or '.join(given)}, but {' or '.join(wanted)} is wanted"
        return
    if not _holds_reference(value):
        defined = {key: root[key] for key in ("$defs", "definitions") if key in root and schema is not root}
        yield from mismatches({**schema, **defined} if defined else schema, value, at=at)
        return
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{at or 'args'}: {name!r} is missing"
        for name, item in value.items():
            place = f"{at}.{name}" if at else name
            if name in properties:
                yield from _walk(root, properties[name], item, place, type_of)
            elif schema.get("additionalProperties", True) is False and "patternProperties" not in schema:
                yield f"{place}: there is no such argument; there are {', '.join(properties) or 'none'}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(root, schema.get("items", {}), item, f"{at}[{index}]", type_of)


def resolve(root: Mapping[str, Any], schema: Any) -> Any:
    """Follow a local ``$ref`` (``#/$defs/…``)."""
    for _ in range(16):
        if not (isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str) and schema["$ref"].startswith("#/")):
            return schema
        node: Any = root
        for part in schema["$ref"][2:].split("/"):
            node = node.get(part) if isinstance(node, Mapping) else None
        schema = node
    return schema


def types(root: Mapping[str, Any], schema: Any) -> frozenset[str] | None:
    """The JSON types that the schema allows; None when it does not say."""
    schema = resolve(root, schema)
    if not isinstance(schema, Mapping):
        return None
    said = schema.get("type")
    if said is not None:
        return frozenset([said] if isinstance(said, str) else said)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            parts = [types(root, part) for part in schema[key]]
            return None if any(part is None for part in parts) else frozenset(one for part in parts if part for one in part)
    return None


def overlap(wanted: frozenset[str] | None, given: frozenset[str] | None) -> bool:
    """Whether a value of the one may be a value of the other, by their JSON types."""
    if wanted is None or given is None or wanted & given:
        return True
    numbers = {"number", "integer"}
    return bool(wanted & numbers and given & numbers)


def check_path(path: str | None) -> None:
    """Raises ValueError when the path below an output is not JMESPath."""
    if path is not None:
        jmespath.compile(path)


def below(schema: Mapping[str, Any], path: str) -> Mapping[str, Any] | str | None:
    """The schema of ``a.b[0].c`` inside a schema; None where it is not known; a text when there can be no such value."""
    node: Any = schema
    for part in path.replace("[", ".[").strip(".").split("."):
        node = resolve(schema, node)
        if not isinstance(node, Mapping):
            return None
        if part == "@":
            continue
        if part.startswith("["):
            if not part[1:-1].lstrip("-").isdigit():
                return None  # a projection or filter: the type is not followed
            node = node.get("items")
        elif not part.isidentifier():
            return None  # a function or pipe
        else:
            properties = node.get("properties")
            if not isinstance(properties, Mapping):
                return None
            if part not in properties:
                return f"there is no {part!r}; there is {', '.join(properties)}" if node.get("additionalProperties") is not True else None
            node = properties[part]
        if node is None:
            return None
    node = resolve(schema, node)
    if not isinstance(node, Mapping):
        return None
    return {**node, **{key: schema[key] for key in ("$defs", "definitions") if key in schema}}
