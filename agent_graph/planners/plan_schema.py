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

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from agent_graph.documents import describe, describe_path
from agent_graph.models.replies import WrongReply, parse, short
from agent_graph.plan import Goal, Plan
from agent_graph.planners.arguments import arguments
from agent_graph.planners.reply import DEFS, TEXTS, Schema, check, closed_object, problems_of, read_references
from agent_graph.ports import Answer, GiveUp, Question, ToolSpec

Reply = Plan | Question | Answer | GiveUp

# https://developers.openai.com/api/docs/guides/structured-outputs, "Supported schemas", as of 2026-02. Beyond them the server refuses the
# request and names the way out: "use 'strict: false' to opt out of structured outputs". The reply is validated here in either case.
MAX_PROPERTIES = 5000
MAX_ENUM_VALUES = 1000
MAX_NAMES = 120_000
"""Characters in names of properties and definitions and in enum values, together."""


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
        return {**closed_object({"reply": {"anyOf": kinds}}), "$defs": DEFS}

    @cached_property
    def _plan(self) -> Schema:
        steps = [*(step.schema for step in self.steps.values()), _ASK]
        return closed_object(
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
    def _frame(self) -> Schema:
        """A plan without its steps: each step is held against the schema of its own tool, which can say what is wrong."""
        return {**self._plan, "properties": {**self._plan["properties"], "steps": {"type": "array"}}}

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
                check(_QUESTION, reply, "reply")
                return Question(reply["text"], tuple(reply["choices"]))
            case "answer":
                check(_ANSWER, reply, "reply")
                return Answer(reply["text"])
            case "give_up":
                check(_GIVE_UP, reply, "reply")
                return GiveUp(reply["reason"])
            case kind:
                raise WrongReply([f"reply.kind: {short(kind)} is none of plan, question, answer, give_up"])

    def _read_plan(self, reply: Mapping[str, Any], goal: Goal, before: Plan | None) -> Plan:
        said = {**_PLAN_LEFT_OUT, **reply}
        problems = list(problems_of(self._frame, said, "reply"))
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
            return [f"{at}: {short(step)} is not a step"], {}
        if "tool" not in step:
            said = {**_ASK_LEFT_OUT, **step}
            return list(problems_of(_ASK, said, at)), {**_common(said), "ask": said.get("ask")}
        known = self.steps.get(step["tool"]) if isinstance(step["tool"], str) else None
        if known is None:
            there = ", ".join(self.steps) or "(none)"
            return [f"[unknown_tool] {at} ({short(step.get('id'))}): there is no tool {short(step['tool'])}; use one of: {there}"], {}
        return known.read(step, at)


class _Step:
    """A step of one tool."""

    def __init__(self, spec: ToolSpec) -> None:
        self.name = spec.name
        self.args = arguments(spec.args_schema)
        self.schema = closed_object(
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
        problems = list(problems_of(self.schema, said, at))
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
    schema = parse(text, at)
    if not isinstance(schema, dict):
        raise WrongReply([f"{at}: the text is not a JSON Schema: it must be an object"])
    return schema


def _read_answer(answer: Any) -> Any:
    if isinstance(answer, list):
        return {part["name"]: read_references(part["value"]) for part in answer}
    return read_references(answer)


# ── what stays the same for all tools ─────────────────────────────────────────────────────────────────────────────────


_ASK = closed_object(
    {
        "id": {"$ref": "#/$defs/id"},
        "description": {"type": "string"},
        "ask": {"type": "string", "description": "A question to a person; the answer, a text, is the step's output."},
        "when": {"$ref": "#/$defs/when"},
        "depends_on": {"$ref": "#/$defs/depends_on"},
    }
)
_QUESTION = closed_object({"kind": {"type": "string", "enum": ["question"]}, "text": {"type": "string"}, "choices": TEXTS})
_ANSWER = closed_object({"kind": {"type": "string", "enum": ["answer"]}, "text": {"type": "string"}})
_GIVE_UP = closed_object({"kind": {"type": "string", "enum": ["give_up"]}, "reason": {"type": "string"}})


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
