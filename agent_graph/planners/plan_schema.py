"""What a model may reply, as JSON Schema built from the registered tools, and the way back from a reply to a ``Plan``.

The document keeps to the rules of OpenAI's strict mode: the root is an object and no union, every object is closed, every property is
required and ``null`` stands for "left out", and only ``type``, ``enum``, ``properties``, ``items``, ``anyOf``, ``$defs``, ``$ref`` and
``description`` are used. So a plan cannot name a tool that is not there, nor an argument that the tool does not have. What that costs,
and how it is turned back:

* a reference is written ``{"ref": "steps.a.output.b"}``: a property called ``$ref`` is refused or misread by several servers and libraries;
* ``null`` for an argument that may be left out means that it is left out;
* a value without a closed schema (any object, any list, any value, a recursive or very deep type, ``expected_output``) travels as JSON text;
* an answer with parts is a list of names and values;
* bounds (``minimum``, ``pattern``, …) and defaults stand in the description; the plan compiler holds them against the value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jsonschema_rs
from pydantic import ValidationError

from agent_graph.documents import describe, describe_path
from agent_graph.plan import Goal, Plan, is_reference
from agent_graph.ports import Answer, GiveUp, Question, ToolSpec

Reply = Plan | Question | Answer | GiveUp
Schema = dict[str, Any]

# https://developers.openai.com/api/docs/guides/structured-outputs, "Supported schemas", as of 2026-02. Beyond them the server refuses the
# request and names the way out: "use 'strict: false' to opt out of structured outputs". The reply is validated here in either case.
MAX_PROPERTIES = 5000
MAX_ENUM_VALUES = 1000
MAX_NAMES = 120_000
"""Characters in names of properties and definitions and in enum values, together."""
MAX_DEPTH = 10
"""Objects and lists inside each other; what lies deeper travels as JSON text."""

MAX_PROBLEMS = 12
"""Of one reply that are told to the model."""


class WrongReply(ValueError):
    """The reply is not what was asked for; says what is wrong with it, for the model to read."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = len(problems) - MAX_PROBLEMS
        super().__init__("\n".join(problems[:MAX_PROBLEMS]) + (f"\n… and {more} more" if more > 0 else ""))


def plan_schema(tools: Mapping[str, ToolSpec]) -> PlanSchema:
    """The schema for these tools, in their order."""
    return PlanSchema(tuple(tools.values()))


@dataclass(frozen=True)
class PlanSchema:
    tools: tuple[ToolSpec, ...]

    @cached_property
    def steps(self) -> dict[str, _Step]:
        return {spec.name: _Step(spec) for spec in self.tools}

    @cached_property
    def document(self) -> Schema:
        kinds = [self._plan, _QUESTION, _ANSWER, _GIVE_UP]
        return {**_object({"reply": {"anyOf": kinds}}), "$defs": _DEFS}

    @cached_property
    def _plan(self) -> Schema:
        steps = [*(step.schema for step in self.steps.values()), _ASK]
        return _object(
            {
                "kind": {"type": "string", "enum": ["plan"]},
                "reason": {"type": "string", "description": "Why this is the way, in a sentence or two."},
                "steps": {"type": "array", "items": {"anyOf": steps}},
                "success_criteria": {"$ref": "#/$defs/criteria"},
                "stop_when": {"$ref": "#/$defs/stop_when"},
                "answer": {"$ref": "#/$defs/answer"},
            }
        )

    @cached_property
    def strict(self) -> bool:
        """Whether the document keeps within the documented limits of strict mode."""
        properties, values, names = _measure(self.document)
        return properties <= MAX_PROPERTIES and values <= MAX_ENUM_VALUES and names <= MAX_NAMES

    # ── the way back ──────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, value: Any, goal: Goal, before: Plan | None = None) -> Reply:
        """A reply as what it stands for. ``before`` is the plan that it revises. Raises WrongReply."""
        reply = value.get("reply") if isinstance(value, dict) and value.keys() == {"reply"} else None
        if not isinstance(reply, dict):
            raise WrongReply(['the document is not {"reply": {…}} with one object in it'])
        match reply.get("kind"):
            case "plan":
                return self._read_plan(reply, goal, before)
            case "question":
                _check(_QUESTION, reply, "reply")
                return Question(reply["text"], tuple(reply["choices"]))
            case "answer":
                _check(_ANSWER, reply, "reply")
                return Answer(reply["text"])
            case "give_up":
                _check(_GIVE_UP, reply, "reply")
                return GiveUp(reply["reason"])
            case kind:
                raise WrongReply([f"reply.kind: {_short(kind)} is none of plan, question, answer, give_up"])

    def _read_plan(self, reply: Mapping[str, Any], goal: Goal, before: Plan | None) -> Plan:
        said = {**_PLAN_LEFT_OUT, **reply}
        shape = {**self._plan, "properties": {**self._plan["properties"], "steps": {"type": "array"}}}
        problems = list(_problems(shape, said, "reply"))
        steps: list[Any] = []
        for index, step in enumerate(said["steps"] if isinstance(said.get("steps"), list) else ()):
            found, read = self._read_step(step, f"steps[{index}]")
            problems += found
            steps.append(read)
        if problems:
            raise WrongReply(problems)
        document = {
            "goal": goal,
            "steps": steps,
            "success_criteria": said["success_criteria"],
            "stop_when": said["stop_when"] or None,
            "answer": _read_answer(said["answer"]),
            "reason": said["reason"],
        }
        try:
            plan = Plan.model_validate(document)
        except ValidationError as error:
            raise WrongReply(
                [f"{describe_path(tuple(one['loc']))}: {describe(one)}".lstrip(": ") for one in error.errors(include_url=False)]
            ) from None
        return plan if before is None else plan.model_copy(update={"steps": tuple(_as_before(step, before) for step in plan.steps)})

    def _read_step(self, step: Any, at: str) -> tuple[list[str], dict[str, Any]]:
        """What is wrong with the step, or the step as ``Step`` reads it."""
        if not isinstance(step, dict):
            return [f"{at}: {_short(step)} is not a step"], {}
        if "tool" not in step:
            said = {**_ASK_LEFT_OUT, **step}
            return list(_problems(_ASK, said, at)), {**_common(said), "ask": said.get("ask")}
        known = self.steps.get(step["tool"]) if isinstance(step["tool"], str) else None
        if known is None:
            there = ", ".join(self.steps) or "(none)"
            return [f"[unknown_tool] {at} ({_short(step.get('id'))}): there is no tool {_short(step['tool'])}; use one of: {there}"], {}
        return known.read(step, at)


class _Step:
    """A step of one tool."""

    def __init__(self, spec: ToolSpec) -> None:
        self.name = spec.name
        self.args = _arguments(spec.args_schema)
        self.schema = _object(
            {
                "id": {"$ref": "#/$defs/id"},
                "description": {"type": "string"},
                "tool": {"type": "string", "enum": [spec.name]},
                "args": self.args.schema,
                "when": {"$ref": "#/$defs/when"},
                "depends_on": {"$ref": "#/$defs/depends_on"},
                "expected_output": {"$ref": "#/$defs/expected_output"},
                "success_criteria": {"$ref": "#/$defs/criteria"},
                "approval": {"$ref": "#/$defs/approval"},
                "on_failure": {"$ref": "#/$defs/on_failure"},
            }
        )

    def read(self, step: dict[str, Any], at: str) -> tuple[list[str], dict[str, Any]]:
        said = {**_LEFT_OUT, **step, "args": self.args.filled(step.get("args", {}))}
        problems = list(_problems(self.schema, said, at))
        if problems:
            return problems, {}
        try:
            read = {
                **_common(said),
                "tool": self.name,
                "args": self.args.read(said["args"], f"{at}.args"),
                "expected_output": _read_schema(said["expected_output"], f"{at}.expected_output"),
                "success_criteria": said["success_criteria"],
                "approval": said["approval"],
                "on_failure": said["on_failure"],
            }
        except WrongReply as error:
            return list(error.problems), {}
        return [], read


def _common(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": said.get("id"),
        "description": said["description"],
        "when": said["when"] or None,
        "depends_on": said["depends_on"],
    }


# Models without strict mode leave out what may be null.
_ASK_LEFT_OUT: dict[str, Any] = {"description": "", "when": None, "depends_on": []}
_LEFT_OUT: dict[str, Any] = {**_ASK_LEFT_OUT, "expected_output": None, "success_criteria": [], "approval": "auto", "on_failure": "replan"}
_PLAN_LEFT_OUT: dict[str, Any] = {"reason": "", "success_criteria": [], "stop_when": None, "answer": None}

_NOT_SAID = ("allowed_tools", "inputs", "timeout_s", "max_attempts", "max_age_s")
"""Fields of a step that the schema leaves out: an author or an editor sets them."""


def _as_before(step: Any, before: Plan) -> Any:
    """A step that the model keeps also keeps what the model was not shown a place for."""
    was = before.by_id.get(step.id)
    if was is None or was.tool != step.tool:
        return step
    return step.model_copy(update={name: getattr(was, name) for name in _NOT_SAID})


def _read_schema(text: str | None, at: str) -> Any:
    if not text:
        return None
    schema = _parse(text, at)
    if not isinstance(schema, dict):
        raise WrongReply([f"{at}: the text is not a JSON Schema: it must be an object"])
    return schema


def _read_answer(answer: Any) -> Any:
    if isinstance(answer, list):
        return {part["name"]: _read_references(part["value"]) for part in answer}
    return _read_references(answer)


def _read_references(value: Any) -> Any:
    """``{"ref": …}`` as ``{"$ref": …}``, at any depth."""
    if isinstance(value, dict):
        if value.keys() == {"ref"} and isinstance(value["ref"], str):
            return {"$ref": value["ref"]}
        return {key: _read_references(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read_references(item) for item in value]
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


def _parse(text: str, at: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise WrongReply([f"{at}: the text is not JSON ({error}): {_short(text)}"]) from None


# ── what stays the same for all tools ─────────────────────────────────────────────────────────────────────────────────


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_REFERENCE: Schema = {"$ref": "#/$defs/reference"}
_NULL: Schema = {"type": "null"}
_TEXTS: Schema = {"type": "array", "items": {"type": "string"}}

_DEFS: Schema = {
    "reference": {
        **_object({"ref": {"type": "string"}}),
        "description": "The value at steps.<id>.output, steps.<id>.output.<JMESPath> or params.<name>, filled in when the step runs.",
    },
    "id": {"type": "string", "description": "Letters, digits and underscores; unlike every other step's."},
    "when": {"anyOf": [{"type": "string"}, _NULL], "description": "CEL; when it is false the step is skipped. null: it always runs."},
    "depends_on": {**_TEXTS, "description": "Ids of steps that must have ended first. A reference needs no entry here."},
    "expected_output": {
        "anyOf": [{"type": "string"}, _NULL],
        "description": "JSON text: a JSON Schema that the output must match. null: the tool's own is enough.",
    },
    "criteria": {**_TEXTS, "description": "CEL expressions that must all be true at the end."},
    "approval": {"type": "string", "enum": ["auto", "required"], "description": "required: a person must agree to the step."},
    "on_failure": {"type": "string", "description": "replan, continue, ask, fail, or step:<id> for a later step that stands in."},
    "stop_when": {"anyOf": [{"type": "string"}, _NULL], "description": "CEL; once true, the remaining steps are skipped."},
    "answer": {
        "anyOf": [
            {"type": "string"},
            _REFERENCE,
            {
                "type": "array",
                "items": _object({"name": {"type": "string"}, "value": {"anyOf": [{"type": "string"}, _REFERENCE]}}),
            },
            _NULL,
        ],
        "description": "What the run answers: references to outputs, by name where there are several. null: the last step's output.",
    },
}

_ASK = _object(
    {
        "id": {"$ref": "#/$defs/id"},
        "description": {"type": "string"},
        "ask": {"type": "string", "description": "A question to a person; the answer, a text, is the step's output."},
        "when": {"$ref": "#/$defs/when"},
        "depends_on": {"$ref": "#/$defs/depends_on"},
    }
)
_QUESTION = _object({"kind": {"type": "string", "enum": ["question"]}, "text": {"type": "string"}, "choices": _TEXTS})
_ANSWER = _object({"kind": {"type": "string", "enum": ["answer"]}, "text": {"type": "string"}})
_GIVE_UP = _object({"kind": {"type": "string", "enum": ["give_up"]}, "reason": {"type": "string"}})


# ── arguments ─────────────────────────────────────────────────────────────────────────────────────────────────────────


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
            return _read_references(_parse(value, at))
        for form in self.one_of:
            if _validator(form.schema).is_valid(value):
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
        return {"anyOf": [*values, _REFERENCE, *([_NULL] if self.optional or self.nullable else [])], **described}

    def left_out(self, value: Any) -> bool:
        return value is None and self.optional

    def read(self, value: Any, at: str) -> Any:
        if value is None:
            return None
        if isinstance(value, dict) and value.keys() == {"ref"} and "ref" not in self.form.properties:
            return {"$ref": value["ref"]}
        return self.form.read(value, at)


_TEXT = _Form({"type": "string", "description": "JSON text of the value; a reference may stand anywhere in it."}, as_text=True)

_ARGS_DEPTH = 5
"""Root, reply, steps, step, args: each is one object or list inside the other."""


def _arguments(schema: Mapping[str, Any]) -> _Form:
    """The arguments of a tool: an object, whatever else its schema may say."""
    build = _Build(schema)
    if schema.get("properties"):
        return build.closed(schema, _ARGS_DEPTH, ())
    if schema.get("additionalProperties") not in (None, False):
        return _TEXT
    return _Form(_object({}))


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
        return _Form(_object({name: place.schema for name, place in places.items()}), properties=places)

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
                return _Form(_NULL), True
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
    forms = [form for form, _ in parts if form.schema is not _NULL]
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
        [(_Form({"type": kind, "enum": some}), False) for kind, some in by_type.items()] + ([(_Form(_NULL), True)] if nullable else [])
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


# ── holding a reply against the schema ────────────────────────────────────────────────────────────────────────────────

_VALIDATORS: dict[int, tuple[Schema, jsonschema_rs.Validator]] = {}


def _validator(schema: Schema) -> jsonschema_rs.Validator:
    known = _VALIDATORS.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    if len(_VALIDATORS) > 2048:
        _VALIDATORS.clear()
    made = jsonschema_rs.validator_for({**schema, "$defs": _DEFS})
    _VALIDATORS[id(schema)] = (schema, made)
    return made


def _check(schema: Schema, value: Any, at: str) -> None:
    problems = list(_problems(schema, value, at))
    if problems:
        raise WrongReply(problems)


def _problems(schema: Schema, value: Any, at: str) -> Iterator[str]:
    for error in _validator(schema).iter_errors(value):
        place = at + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
        wanted = _wanted(schema, error.schema_path)
        yield f"{place}: {_short(error.instance)} is not {wanted}" if wanted else f"{place}: {error.message[:300]}"


def _wanted(schema: Schema, path: Sequence[Any]) -> str:
    """What a union asks for, in words; empty when the error is about something else."""
    if not path or path[-1] != "anyOf":
        return ""
    node: Any = {**schema, "$defs": _DEFS}
    for part in path:
        if isinstance(node, dict) and "$ref" in node and part not in node:
            node = _DEFS[node["$ref"].rpartition("/")[2]]
        if part == "$ref":
            continue
        node = node.get(part) if isinstance(node, dict) else node[part] if isinstance(node, list) and isinstance(part, int) else None
    return " or ".join(_named(each) for each in node) if isinstance(node, list) else ""


def _named(schema: Schema) -> str:
    if schema is _REFERENCE or "$ref" in schema:
        return '{"ref": "…"}'
    if "enum" in schema:
        return f"one of {', '.join(json.dumps(each, ensure_ascii=False) for each in schema['enum'])}"
    return f"{'an' if schema['type'][0] in 'aeiou' else 'a'} {schema['type']}" if schema["type"] != "null" else "null"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:120]}…"


def _measure(node: Any) -> tuple[int, int, int]:
    """Properties, enum values, and characters in names: what the limits of strict mode count."""
    properties = values = names = 0
    left = [node]
    while left:
        here = left.pop()
        if isinstance(here, list):
            left += here
        elif isinstance(here, dict):
            for key in ("properties", "$defs"):
                for name, below in here.get(key, {}).items() if isinstance(here.get(key), dict) else ():
                    properties += key == "properties"
                    names += len(name)
                    left.append(below)
            for value in here.get("enum", ()):
                values += 1
                names += len(str(value))
            left += [here[key] for key in ("items", "anyOf") if key in here]
    return properties, values, names
