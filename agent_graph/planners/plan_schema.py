"""What a model may reply, as JSON Schema built from what a plan may be made of, and the way back from a reply to a ``Plan``.

The document keeps to the rules of OpenAI's strict mode: the root is an object and no union, every object is closed, every property is
required and ``null`` stands for "left out", and only ``type``, ``enum``, ``properties``, ``items``, ``anyOf``, ``$defs``, ``$ref`` and
``description`` are used. So a plan cannot name a tool that is not there, nor an argument that the tool does not have. What that costs,
and how it is turned back:

* what a step does stands under ``do``, so that what all steps have is written into the schema once, not once per tool;
* a reference is written ``{"ref": "steps.a.output.b"}``: a property called ``$ref`` is refused or misread by several servers and libraries;
* ``null`` for an argument that may be left out means that it is left out;
* a value without a closed schema (any object, any list, any value, a recursive or very deep type, ``expected_output``) travels as JSON text;
* an answer with parts, and the inputs of a model, are lists of names and values;
* bounds (``minimum``, ``pattern``, …) and defaults stand in the description; the plan compiler holds them against the value.

A model that is held to no schema may leave out what may be empty, and may write what a step does beside its id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from agent_graph.documents import describe, describe_path
from agent_graph.models.replies import WrongReply, closed_object, parse, short
from agent_graph.plan import KINDS, Goal, Interpretation, Plan, Step
from agent_graph.planners.offer import Offer, of_tools
from agent_graph.planners.reply import DEFS, TEXTS, Schema, check, nullable, problems_of, read_references, write_references
from agent_graph.planners.step_forms import Forms
from agent_graph.ports import Answer, GiveUp, Question, ToolSpec

Reply = Plan | Question | Answer | GiveUp

# https://developers.openai.com/api/docs/guides/structured-outputs, "Supported schemas", as of 2026-02. Beyond them the server refuses the
# request and names the way out: "use 'strict: false' to opt out of structured outputs". The reply is validated here in either case.
MAX_PROPERTIES = 5000
MAX_ENUM_VALUES = 1000
MAX_NAMES = 120_000
"""Characters in names of properties and definitions and in enum values, together."""


def plan_schema(of: Offer | Mapping[str, ToolSpec]) -> PlanSchema:
    """The schema for this offer, or for these tools in their order."""
    return PlanSchema(of if isinstance(of, Offer) else of_tools(of))


@dataclass(frozen=True)
class PlanSchema:
    offer: Offer

    @cached_property
    def forms(self) -> Forms:
        return Forms(self.offer)

    @cached_property
    def document(self) -> Schema:
        kinds = [self._plan, _QUESTION, _ANSWER, _GIVE_UP]
        return {**closed_object({"interpretation": _INTERPRETATION, "reply": {"anyOf": kinds}}), "$defs": DEFS}

    @cached_property
    def _plan(self) -> Schema:
        does = {"do": {"anyOf": [form.schema for form in self.forms.all]}}
        first = ("id", "description")
        common = _STEP["properties"]
        step = {**{name: common[name] for name in first}, **does, **{name: common[name] for name in common if name not in first}}
        return closed_object(
            {
                "kind": {"type": "string", "enum": ["plan"]},
                "reason": {"type": "string", "description": "Why this is the way, in a sentence or two."},
                "assumptions": {"$ref": "#/$defs/criteria"},
                "steps": {"type": "array", "items": closed_object(step)},
                **({"open": _OPEN} if self.offer.mode == "iterative" else {}),
                "success_criteria": {"$ref": "#/$defs/criteria"},
                "stop_when": {"$ref": "#/$defs/text"},
                "answer": {"$ref": "#/$defs/answer"},
            }
        )

    @cached_property
    def _frame(self) -> Schema:
        """A plan without its steps: each step is held against the schema of its own kind, which can say what is wrong."""
        return {**self._plan, "properties": {**self._plan["properties"], "steps": {"type": "array"}}}

    @cached_property
    def strict(self) -> bool:
        """Whether the document keeps within the documented limits of strict mode."""
        properties, values, names = _measure(self.document)
        return properties <= MAX_PROPERTIES and values <= MAX_ENUM_VALUES and names <= MAX_NAMES

    # ── the way back ──────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, value: Any, goal: Goal, before: Plan | None = None) -> Reply:
        """A reply as what it stands for. ``before`` is the plan that it revises. Raises WrongReply."""
        known = isinstance(value, dict) and "reply" in value and value.keys() <= {"interpretation", "reply"}
        reply = value["reply"] if known else None
        if not isinstance(reply, dict):
            raise WrongReply(['the document is not {"interpretation": {…}, "reply": {…}} with one object in each'])
        understood = _interpretation(value.get("interpretation"))
        match reply.get("kind"):
            case "plan":
                return self._read_plan(reply, goal, before, understood)
            case "question":
                said = {"choices": [], "proposed": None, **reply}
                check(_QUESTION, said, "reply")
                return Question(said["text"], tuple(said["choices"]), said["proposed"])
            case "answer":
                check(_ANSWER, reply, "reply")
                return Answer(reply["text"])
            case "give_up":
                check(_GIVE_UP, reply, "reply")
                return GiveUp(reply["reason"])
            case kind:
                raise WrongReply([f"reply.kind: {short(kind)} is none of plan, question, answer, give_up"])

    def _read_plan(self, reply: Mapping[str, Any], goal: Goal, before: Plan | None, understood: Interpretation | None) -> Plan:
        said = {**_PLAN_LEFT_OUT, **({"open": False} if self.offer.mode == "iterative" else {}), **reply}
        problems = list(problems_of(self._frame, said, "reply"))
        steps: list[dict[str, Any]] = []
        for index, step in enumerate(said["steps"] if isinstance(said.get("steps"), list) else ()):
            try:
                steps.append(self._read_step(step, f"steps[{index}]"))
            except WrongReply as error:
                problems += error.problems
        if problems:
            raise WrongReply(problems)
        document = {
            "goal": goal,
            "steps": steps,
            "success_criteria": said["success_criteria"],
            "stop_when": said["stop_when"] or None,
            "answer": _read_answer(said["answer"]),
            "reason": said["reason"],
            "assumptions": said["assumptions"],
            "interpretation": understood,
            "mode": self.offer.mode,
            "open": said.get("open", False),
            "granularity": "fine" if self.offer.fine else "coarse",
        }
        try:
            plan = Plan.model_validate(document)
        except ValidationError as error:
            raise WrongReply(
                [f"{describe_path(tuple(one['loc']))}: {describe(one)}".lstrip(": ") for one in error.errors(include_url=False)]
            ) from None
        if plan.open:
            _check_next(plan, before)
        if before is not None:
            _check_parts(plan, before)
        return plan if before is None else plan.model_copy(update={"steps": tuple(_as_before(step, before) for step in plan.steps)})

    def _read_step(self, step: Any, at: str) -> dict[str, Any]:
        """The step as ``Step`` reads it. Raises WrongReply with all that is wrong with it."""
        if not isinstance(step, dict):
            raise WrongReply([f"{at}: {short(step)} is not a step"])
        nested = isinstance(step.get("do"), dict)
        common = {**_LEFT_OUT, **{name: value for name, value in step.items() if name in _STEP["properties"]}}
        written = step["do"] if nested else {name: value for name, value in step.items() if name not in common}
        beside = {name: value for name, value in step.items() if nested and name != "do" and name not in common}
        do = {name: value for name, value in written.items() if name not in KINDS or value is not None}
        problems = list(problems_of(_STEP, {**common, **beside}, at))
        try:
            read = self.forms.of(do, step.get("id"), at).read(do, f"{at}.do" if nested else at)
        except WrongReply as error:
            raise WrongReply([*problems, *error.problems]) from None
        if problems:
            raise WrongReply(problems)
        return {
            **common,
            **read,
            "when": common["when"] or None,
            "expected_output": _read_schema(common["expected_output"], f"{at}.expected_output"),
        }


def _interpretation(said: Any) -> Interpretation | None:
    if said is None:
        return None
    said = {**_NOT_INTERPRETED, **said} if isinstance(said, dict) else said
    check(_INTERPRETATION, said, "interpretation")
    return Interpretation.model_validate(said)


def _check_next(plan: Plan, before: Plan | None) -> None:
    """Raises WrongReply when steps of an open plan could not start now."""
    known = {} if before is None else before.by_id
    new = {step.id for step in plan.steps if step.id not in known}
    if not new:
        raise WrongReply(["open is true, and there is no new step; write the next step, or set open to false"])
    waiting = [(step.id, need) for step in plan.steps for need in sorted(step.needs & new) if step.id in new]
    if waiting:
        raise WrongReply([f"step {one} needs {need}, which has not run yet; plan {one} once it has" for one, need in waiting])


def _check_parts(plan: Plan, before: Plan) -> None:
    """Raises WrongReply when a part of a nested plan is written as a step of its own."""
    was = {step.id: step.part_of for step in before.steps if step.part_of is not None}
    parts = [step.id for step in plan.steps if step.id in was]
    if parts:
        raise WrongReply([f"step {part} is part of {was[part]} and comes with it; leave it out" for part in parts])


# Models without strict mode leave out what may be empty.
_LEFT_OUT: dict[str, Any] = {
    "description": "",
    "when": None,
    "depends_on": [],
    "expected_output": None,
    "allow_empty": True,
    "success_criteria": [],
    "approval": "auto",
    "on_failure": "replan",
}
_PLAN_LEFT_OUT: dict[str, Any] = {"reason": "", "assumptions": [], "success_criteria": [], "stop_when": None, "answer": None}
_NOT_INTERPRETED: dict[str, Any] = {"intent": "", "constraints": [], "missing": []}

_NOT_SAID = ("inputs", "timeout_s", "max_attempts", "max_age_s", "use_model", "part_of")
"""Fields of a step that the schema leaves out: an author or an editor sets them."""


def _as_before(step: Step, before: Plan) -> Step:
    """A step that the model keeps also keeps what the model was not shown a place for."""
    was = before.by_id.get(step.id)
    if was is None or (was.kind, was.tool, was.blueprint) != (step.kind, step.tool, step.blueprint):
        return step
    kept = _NOT_SAID if step.kind == "agent" else (*_NOT_SAID, "allowed_tools", "budget")
    update = {name: getattr(was, name) for name in kept}
    if was.budget is not None and step.kind == "agent":
        update["budget"] = was.budget.model_copy(update={"max_turns": step.budget.max_turns if step.budget else None})
    return step.model_copy(update=update)


def write_steps(plan: Plan) -> list[dict[str, Any]]:
    """The steps as the model is to write them, without what is left at its default. Parts of a nested plan say so: they are not written."""
    parts = {step.id for step in plan.steps if step.part_of is not None}
    return [write_step(step, parts) for step in plan.steps]


def write_step(step: Step, parts: Collection[str] = ()) -> dict[str, Any]:
    """``parts``: steps that are parts of a nested plan, for which its step waits without saying so."""
    document = write_references(step.model_dump(mode="json", exclude_defaults=True))
    args = document.get("args", {})
    match step.kind:
        case "tool":
            do = {"tool": step.tool, "args": args}
        case "blueprint":
            do = {"blueprint": step.blueprint, "params": args["params"] if args.keys() >= {"params", "answer"} else args}
        case "ask":
            do = {"ask": step.ask, **args}
        case kind:
            inputs = [{"name": name, "value": value} for name, value in args.items()]
            do = {kind: document[kind], "inputs": inputs, **_given(document, ("allowed_tools", "executor"))}
            if kind == "agent" and step.budget is not None:
                do["max_turns"] = step.budget.max_turns
    written = {"id": step.id, "do": do, **_given(document, (*_LEFT_OUT, "part_of"))}
    if step.kind == "blueprint" and "depends_on" in written:
        written["depends_on"] = [need for need in step.depends_on if need not in parts]
    return written


def _given(document: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document}


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


# ── what stays the same for all offers ────────────────────────────────────────────────────────────────────────────────

_STEP = closed_object(
    {
        "id": {"type": "string", "description": "Letters, digits and underscores; unlike every other step's."},
        "description": {"type": "string"},
        "when": {"$ref": "#/$defs/text"},
        "depends_on": TEXTS,
        "expected_output": {"$ref": "#/$defs/text"},
        "allow_empty": {"type": "boolean"},
        "success_criteria": {"$ref": "#/$defs/criteria"},
        "approval": {"type": "string", "enum": ["auto", "required"]},
        "on_failure": {"type": "string"},
    }
)
_INTERPRETATION = closed_object({"intent": {"type": "string"}, "constraints": TEXTS, "missing": TEXTS})
_OPEN: Schema = {"type": "boolean", "description": "true: more is planned once these steps have ended. false: these are the last."}
_QUESTION = closed_object(
    {"kind": {"type": "string", "enum": ["question"]}, "text": {"type": "string"}, "choices": TEXTS, "proposed": nullable("string")}
)
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
