"""What is to be done: goal, plan, step, reference, criterion, blueprint.

These models cross a planner or a disk, so they are pydantic, frozen, and refuse fields they do not know.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import from_json, to_json

from agent_graph.display import plan_html
from agent_graph.errors import UsageError
from agent_graph.identity import Digest, canonical, check_writable, sha256

Risk = Literal["read_only", "write", "external_communication", "money", "permission_change", "deletion", "compliance"]
"""What a call can do to the world. Only ``read_only`` calls run without a person by default."""

RISKS: tuple[Risk, ...] = ("read_only", "write", "external_communication", "money", "permission_change", "deletion", "compliance")
"""From harmless to grave: the order in which the highest risk of a plan is found."""

Recovery = Literal["rerun", "idempotent", "keyed", "probeable", "blind"]
"""What may be done with a call whose outcome is not known (a crash, a timeout, a lost reply):

``rerun`` (reads) and ``idempotent``: call again; ``keyed``: call again with the same key, the receiver deduplicates;
``probeable``: ask the system whether it happened; ``blind``: only a person can say.
"""

Mode = Literal["inline", "single_shot", "iterative", "auto"]
"""How much is planned before anything runs, from nothing to all of it; docs/modes.md says what each costs in model calls."""

Granularity = Literal["auto", "coarse", "fine"]
"""``coarse``: a step may be an agent that finds its own way. ``fine``: what changes something is a step of its own. ``auto``: by the risk."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
"""Letters, digits and underscores, so that it reads the same in a reference, a criterion and a drawing."""

ToolName = Annotated[str, AfterValidator(lambda name: name if name.isascii() else unicodedata.normalize("NFC", name))]
"""Compared exactly, in the one spelling of what looks the same that Unicode calls NFC."""

OnFailure = Annotated[str, StringConstraints(pattern=r"^(replan|continue|ask|fail|step:[A-Za-z_][A-Za-z0-9_]{0,63})$")]


class Model(BaseModel):
    """Frozen, and closed: an unknown field is an error that names it."""

    # NaN and infinity are not JSON: a digest of them could not be made. What a process does not use is not built.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, but what was computed from the old fields (a digest) does not come along."""
        made = super().model_copy(update=update, deep=deep)
        for name in made.__dict__.keys() - type(made).model_fields.keys():
            del made.__dict__[name]
        return made

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for model in reversed(cls.__mro__):
            if issubclass(model, Model):
                for name, said in _documented(model).items():
                    if name in properties:
                        properties[name] = {"description": said, **properties[name]}
        return schema


CHECKED = object()
"""Validation context of a text that was written from a valid plan, as its digest shows."""


def _documented(model: type[BaseModel]) -> dict[str, str]:
    """By field, the text below it. Pydantic's ``use_attribute_docstrings`` would read it whenever the module is imported."""
    (written,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(written, ast.ClassDef)  # noqa: S101
    return {
        field.target.id: inspect.cleandoc(said.value.value)
        for field, said in itertools.pairwise(written.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
        and isinstance(said.value.value, str)
    }


def highest(risks: Iterable[Risk]) -> Risk:
    """The gravest of the risks; ``read_only`` when there is none."""
    return max(risks, key=RISKS.index, default="read_only")


class Judge(Model):
    """A criterion that code cannot check. It stays ``unverified`` until a judge or a person has said so."""

    judge: str


Criterion = str | Judge
"""A CEL expression over ``output``, ``steps``, ``params`` and ``goal`` that must be true, or a text for a judge."""


class Goal(Model):
    """What is wanted. A plain string is enough: ``Goal.of("…")``."""

    text: str = Field(min_length=1)
    params: dict[str, JsonValue] = {}
    constraints: tuple[str, ...] = ()
    success_criteria: tuple[Criterion, ...] = ()
    principal: str | None = None
    """For whom the run acts."""
    untrusted: tuple[str, ...] = ()
    """Parameters whose values came from outside, such as the text of a mail."""
    sensitive: tuple[str, ...] = ()
    """Parameters whose values are not for everybody."""

    @model_validator(mode="after")
    def _can_be_stored(self) -> Goal:
        if not self.text.strip():
            raise ValueError("the goal says nothing")
        check_writable([self.text, self.params, self.constraints, self.principal])
        return self

    @classmethod
    def of(cls, goal: str | Goal | Mapping[str, Any]) -> Goal:
        """Raises UsageError for what cannot be a goal."""
        if isinstance(goal, Goal):
            return goal
        try:
            return cls(text=goal) if isinstance(goal, str) else cls.model_validate(goal)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))
            raise UsageError(f"this cannot be a goal: {wrong}") from None


class Interpretation(Model):
    """How a planner has understood the goal, said before it planned."""

    intent: str = ""
    constraints: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """What it would have to know, and assumed or asked."""


class StepBudget(Model):
    """What one step may use at most, with everything inside of it: an agent's turns and calls, the steps of a nested plan."""

    max_calls: int | None = Field(default=None, ge=0)
    """Tool calls."""
    max_turns: int | None = Field(default=None, ge=1)
    """Of an agent: requests to its model."""
    max_seconds: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, ge=0)
    """Read and written by its models."""
    max_money: float | None = Field(default=None, ge=0)


_REFERENCE = re.compile(r"(?:steps\.(?P<step>[A-Za-z_]\w*)\.output(?P<rest>(?:\..+|\[.*)?)|params\.(?P<param>[A-Za-z_]\w*))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reference:
    """``{"$ref": "steps.<id>.output.<jmespath>"}`` or ``{"$ref": "params.<name>"}``: the only way data moves between steps."""

    text: str
    step: str | None = None
    param: str | None = None
    path: str | None = None
    """A JMESPath below the step's output; None for the whole output."""

    @staticmethod
    def parse(text: str) -> Reference:
        """Raises ValueError with the two allowed forms."""
        return _parsed(text)


@lru_cache(maxsize=16_384)  # each node of a drive looks at all of them
def _parsed(text: str) -> Reference:
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a reference; write steps.<id>.output, steps.<id>.output.<jmespath> or params.<name>")
    rest = found["rest"]
    path = None if not rest else rest[1:] if rest.startswith(".") else "@" + rest
    return Reference(text, step=found["step"], param=found["param"], path=path)


def is_reference(value: Any) -> bool:
    return isinstance(value, dict) and "$ref" in value


def references(value: Any) -> list[tuple[str, str]]:
    """Every reference inside a JSON value, as (path of the place, text of the reference), outermost first."""
    found: list[tuple[str, str]] = []
    _collect(value, "", found)
    return found


def _collect(value: Any, at: str, found: list[tuple[str, str]]) -> None:
    if isinstance(value, dict):
        if "$ref" in value:
            found.append((at, str(value["$ref"])))
            return
        for key, item in value.items():
            if isinstance(item, dict | list | tuple):
                _collect(item, f"{at}.{key}" if at else str(key), found)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if isinstance(item, dict | list | tuple):
                _collect(item, f"{at}[{index}]", found)


def check_references(value: Any, where: str) -> None:
    """Raises ValueError, naming the place, for the first thing with a ``$ref`` that is not a reference and nothing else."""
    if is_reference(value):
        beside = [str(key) for key in value if key != "$ref"]
        if beside:
            raise ValueError(f"{where}: a reference stands alone; take out what is beside $ref: {', '.join(beside)}")
        try:
            Reference.parse(str(value["$ref"]))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            check_references(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_references(item, f"{where}[{index}]")


@lru_cache(maxsize=256)
def _same_set(given: frozenset[str]) -> set[str]:
    return set(given)


class Step(Model):
    """One thing to do, of exactly one kind: ``tool``, ``model``, ``agent``, ``ask`` or ``blueprint``."""

    id: Identifier
    description: str = ""
    tool: ToolName | None = None
    """Name of a registered tool that is called with ``args``."""
    model: str | None = None
    """A prompt for one call of the executor's model."""
    agent: str | None = None
    """A task for a bounded agent loop over ``allowed_tools``."""
    ask: str | None = None
    """A question to a person; the answer is the step's output. ``args`` may hold ``choices``, or a ``value`` to confirm."""
    blueprint: str | None = None
    """Name of a blueprint that runs as a nested plan; ``args`` are its parameters."""
    args: dict[str, JsonValue] = {}
    """Arguments; any value in it may be a reference."""
    when: str | None = None
    """CEL; false means that the step is skipped."""
    depends_on: tuple[Identifier, ...] = ()
    """Steps that must have ended first; a reference adds its step by itself."""
    allowed_tools: tuple[ToolName, ...] = ()
    """When given, the step may call no other tool."""
    inputs: tuple[str, ...] = ()
    """What the step works on, named for people."""
    expected_output: dict[str, JsonValue] | None = None
    """JSON Schema that the output must match."""
    success_criteria: tuple[Criterion, ...] = ()
    approval: Literal["auto", "required"] = "auto"
    """``auto``: the policy decides. ``required``: a person is always asked."""
    on_failure: OnFailure = "replan"
    """``replan`` · ``continue`` (recorded; what refers to its output is skipped) · ``ask`` · ``fail`` · ``step:<id>`` (runs only then; its output stands in)."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Seconds for one call; None takes the tool's own limit."""
    max_attempts: int = Field(default=1, ge=1, le=10)
    """Calls in all, the first included. Only what is safe to repeat is repeated."""
    max_age_s: float | None = Field(default=None, gt=0)
    """How old the step's inputs may be when it starts, in seconds."""
    allow_empty: bool = True
    """False: an output that is null, or an empty text, list or object, fails the step with ``empty_result``."""
    executor: str | None = None
    """The specialist that carries out a ``model`` or ``agent`` step; None: the executor role."""
    use_model: str | None = None
    """The model of this ``model`` or ``agent`` step, such as ``openai:gpt-5-mini``; None: its role's."""
    budget: StepBudget | None = None
    """Of an ``agent`` or ``blueprint`` step, with everything inside of it."""
    part_of: Identifier | None = None
    """The ``blueprint`` step that this one came from; set when its nested plan is laid out."""

    @model_validator(mode="after")
    def _one_kind_and_good_references(self, info: ValidationInfo) -> Step:
        # Which fields were given is the same set for most steps of a plan; one of its own takes a third of a step's memory.
        object.__setattr__(self, "__pydantic_fields_set__", _same_set(frozenset(self.model_fields_set)))
        if info.context is CHECKED:
            return self
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            said = " and ".join(given) if given else "none of them"
            raise ValueError(f"step {self.id!r} has {said}; give exactly one of {', '.join(KINDS)}")
        check_references(self.args, f"step {self.id!r}, args")
        return self

    @property
    def kind(self) -> Kind:
        return "tool" if self.tool is not None else next(kind for kind in KINDS if getattr(self, kind) is not None)

    # Two are kept with the step: a third would double the size of its dict.

    @cached_property
    def references(self) -> tuple[tuple[str, Reference], ...]:
        """Every reference in the arguments, by the path of its place."""
        return tuple((at, Reference.parse(text)) for at, text in references(self.args))

    @cached_property
    def reads(self) -> frozenset[str]:
        """Ids of the steps that the arguments refer to."""
        return frozenset(reference.step for _, reference in self.references if reference.step is not None)

    @property
    def needs(self) -> frozenset[str]:
        """Ids of the steps that must have ended before this one can start, references included (criteria and ``when`` apart)."""
        return self.reads.union(self.depends_on) if self.depends_on else self.reads

    @property
    def fallback(self) -> str | None:
        """Id of the step that runs instead when this one fails."""
        return self.on_failure.removeprefix("step:") if self.on_failure.startswith("step:") else None


Kind = Literal["tool", "model", "agent", "ask", "blueprint"]
KINDS: tuple[Kind, ...] = ("tool", "model", "agent", "ask", "blueprint")

GoalField = Annotated[Goal, BeforeValidator(lambda value: {"text": value} if isinstance(value, str) else value)]


def _both(document: dict[str, Any]) -> tuple[str, str]:
    return to_json(document).decode(), canonical(document)


class Plan(Model):
    """A versioned intent. It is never edited in place, nor are the dicts in it: a replan or an edit makes version n + 1."""

    goal: GoalField
    steps: tuple[Step, ...] = ()
    success_criteria: tuple[Criterion, ...] = ()
    """Checked at the end, beside the goal's own."""
    stop_when: str | None = None
    """CEL over ``steps``, ``params`` and ``goal``; once true, the remaining steps are skipped."""
    answer: JsonValue = None
    """What the run answers: a text, a reference, or a structure with references in it."""
    mode: Mode = "single_shot"
    """``iterative`` comes back to be looked at after each step."""
    open: bool = False
    """True: these are the next steps, and more are planned once they have ended (mode ``iterative``)."""
    granularity: Granularity = "auto"
    interpretation: Interpretation | None = None
    """How the planner understood the goal."""
    assumptions: tuple[str, ...] = ()
    """CEL over ``steps``, ``params`` and ``goal``: what the plan rests on. One that turns out false asks for a new version."""
    template: str | None = None
    """Jinja2 text of the answer, over ``steps``, ``params``, ``goal`` and the resolved ``answer``."""
    prompt: str = ""
    """The version of the prompt that made it; empty where no model did."""
    risk_level: Risk | None = None
    """The planner's own claim. Never trusted: the risk is computed from the tools."""
    created_by: str = "user"
    version: int = Field(default=1, ge=1)
    parent: int | None = None
    """The version that this one revises."""
    reason: str = ""
    """Why this version was made."""

    @model_validator(mode="after")
    def _good_references(self) -> Plan:
        check_references(self.answer, "answer")
        return self

    @cached_property
    def digest(self) -> Digest:
        """Of everything in the plan, in whatever order its objects are: two plans with one digest are the same plan."""
        return sha256(self._texts()[1])

    def written(self) -> str:
        """``document()`` as one line, in which the plan is stored. Raises UsageError when the plan is not what its digest says."""
        text, canonical_text = self._texts()
        if self.__dict__.setdefault("digest", found := sha256(canonical_text)) != found:
            raise UsageError(
                "something inside of the plan was changed after it was first used; a plan is a value: make another with model_copy"
            )
        return text

    def _texts(self) -> tuple[str, str]:
        """The document as it is stored, and with sorted keys. Step by step, so that a large plan is not held a second time."""
        rest = self.model_dump(mode="json", exclude_defaults=True, exclude={"steps"})
        plain = {name: to_json(value).decode() for name, value in rest.items()}
        ordered = {name: canonical(value) for name, value in rest.items()}
        if self.steps:
            both = [_both(step.model_dump(mode="json", exclude_defaults=True)) for step in self.steps]
            plain["steps"] = f"[{','.join([text for text, _ in both])}]"
            ordered["steps"] = f"[{','.join([text for _, text in both])}]"
        stored = ",".join([f'"{name}":{plain[name]}' for name in type(self).model_fields if name in plain])
        return f"{{{stored}}}", f"{{{','.join([f'{canonical(name)}:{ordered[name]}' for name in sorted(ordered)])}}}"

    @classmethod
    def read(cls, text: str, digest: Digest) -> Plan | None:
        """From what ``written()`` gave. None when ``digest`` is not of it; what was checked when the plan was made is not checked again."""
        if sha256(canonical(from_json(text))) != digest:
            return None
        plan = cls.model_validate_json(text, context=CHECKED)
        plan.__dict__["digest"] = digest
        return plan

    @cached_property
    def by_id(self) -> dict[str, Step]:
        return {step.id: step for step in self.steps}

    def document(self) -> dict[str, Any]:
        """As plain JSON, without what is left at its default. ``Plan.model_validate`` reads it back."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def _repr_html_(self) -> str:
        """For notebooks."""
        return plan_html(self)


class Param(Model):
    """One typed parameter of a blueprint. Required unless it has a default."""

    type: Literal["string", "number", "integer", "boolean", "array", "object"] = "string"
    description: str = ""
    default: JsonValue = None
    optional: bool = False
    """True: may be left out although there is no default; it is null then."""
    enum: tuple[JsonValue, ...] | None = None
    items: dict[str, JsonValue] | None = None
    """JSON Schema of an array's items."""
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    untrusted: bool = False
    """True: the value comes from outside, such as the text of a mail; what it reaches is watched."""
    sensitive: bool = False
    """True: the value is not for everybody."""

    @property
    def required(self) -> bool:
        return self.default is None and not self.optional

    def json_schema(self) -> dict[str, Any]:
        schema: dict[str, Any] = self.model_dump(
            mode="json", exclude={"optional", "default", "untrusted", "sensitive"}, exclude_none=True, exclude_defaults=True
        )
        schema["type"] = [self.type, "null"] if self.optional else self.type
        if self.optional and self.enum is not None:
            schema["enum"] = [*schema["enum"], None]
        return schema


class Blueprint(Model):
    """A plan that was designed once, with typed parameters: reviewed and stored as a file, run many times."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    description: str = ""
    goal: str = Field(min_length=1)
    """The goal when the caller names none."""
    params: dict[Identifier, Param] = {}
    constraints: tuple[str, ...] = ()
    steps: tuple[Step, ...] = Field(min_length=1)
    success_criteria: tuple[Criterion, ...] = ()
    stop_when: str | None = None
    answer: JsonValue = None
    template: str | None = None
    """Jinja2 text of the answer, as in ``Plan``."""
    assumptions: tuple[str, ...] = ()
    """As in ``Plan``."""
    mode: Mode = "single_shot"

    def params_schema(self) -> dict[str, Any]:
        """JSON Schema of the parameters."""
        return {
            "type": "object",
            "properties": {name: param.json_schema() for name, param in self.params.items()},
            "required": [name for name, param in self.params.items() if param.required],
            "additionalProperties": False,
        }
