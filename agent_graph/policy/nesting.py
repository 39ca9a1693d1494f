"""Nested plans: a step that names a blueprint becomes the blueprint's steps, written out in its place before anything is checked or run.

What is checked, approved, executed and shown is one flat plan: policy, provenance, budgets and recovery need to know nothing of nesting. The
step itself stays, after its parts: its output is the blueprint's answer, and others refer to it as to any step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent_graph.plan import Blueprint, Criterion, Goal, Judge, Param, Plan, Reference, Step, is_reference, references
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.params import filled
from agent_graph.policy.rewriting import CannotRewrite, Keys, as_expression, rewritten
from agent_graph.policy.schemas import mismatches

MAX_DEPTH = 5
"""Blueprints inside each other."""

MAX_STEPS = 2000
"""Steps of one nested plan, with all that is nested in it."""

MAX_ID = 64
"""Characters of a step's id."""


class CannotLayOut(ValueError):
    """The step's blueprint cannot be written out in its place."""


def lay_out(plan: Plan, blueprints: Mapping[str, Blueprint]) -> Plan:
    """The plan with the steps of each nested plan before the step that names it.

    One that is laid out already stays as it is. So does one that cannot be: the compiler says why (``invalid_blueprint``).
    """
    if all(step.blueprint is None for step in plan.steps):
        return plan
    steps: list[Step] = []
    assumptions = list(plan.assumptions)
    primaries = _primaries(plan.steps)
    whole = {step.part_of for step in plan.steps}
    for step in plan.steps:
        if step.blueprint is None or step.id in whole:
            steps.append(step)
            continue
        try:
            laid = _lay(step, blueprints, plan.goal, primaries.get(step.id), ())
        except CannotLayOut:
            steps.append(step)
            continue
        steps += laid.steps
        assumptions += [each for each in laid.assumptions if each not in assumptions]
    return plan.model_copy(update={"steps": tuple(steps), "assumptions": tuple(assumptions)})


def wrong_with(step: Step, plan: Plan, blueprints: Mapping[str, Blueprint]) -> str | None:
    """Why a ``blueprint`` step, or one that says that it is part of one, cannot run; None when it can."""
    if step.part_of is not None:
        around = plan.by_id.get(step.part_of)
        if around is None or around.blueprint is None:
            return f"it says that it is part of {step.part_of!r}, which is no step with a blueprint"
    if step.blueprint is None:
        return None
    parts = {each.id for each in plan.steps if each.part_of == step.id}
    if not parts:
        try:
            _lay(step, blueprints, plan.goal, _primaries(plan.steps).get(step.id), ())
        except CannotLayOut as error:
            return str(error)
        return "its nested plan was not laid out"
    if missing := parts - set(step.depends_on):
        return f"it does not wait for its parts {', '.join(sorted(missing))}"
    if not isinstance(step.args.get("params"), dict) or "answer" not in step.args:
        return "its nested plan is laid out, but its args are not {params, answer}"
    return None


def inputs_of(step: Step) -> frozenset[str]:
    """The steps that must have an output before the step can run: those that it refers to; of a nested plan, those that it was given."""
    return step.reads if step.blueprint is None else _reads(step.args.get("params"))


def parts_that_must_not_fail(step: Step) -> tuple[str, ...]:
    """Of a ``blueprint`` step that goes on by itself when its nested plan fails: the parts by whose failure it has failed."""
    return tuple(str(each) for each in named) if isinstance(named := step.args.get("must"), list) else ()


# ── one nested plan ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Laid:
    steps: list[Step] = field(default_factory=list)
    """The parts, and last the step itself."""
    assumptions: list[str] = field(default_factory=list)


def _lay(step: Step, blueprints: Mapping[str, Blueprint], goal: Goal, primary: str | None, inside: tuple[str, ...]) -> _Laid:
    assert step.blueprint is not None  # noqa: S101  # see the callers
    blueprint = blueprints.get(step.blueprint)
    if blueprint is None:
        there = ", ".join(blueprints) or "none; register it: AgentGraph(blueprints=[…]), or --blueprint FILE"
        raise CannotLayOut(f"there is no blueprint {step.blueprint!r}; there is: {there}")
    if blueprint.name in inside:
        raise CannotLayOut(f"the blueprint {blueprint.name!r} is inside of itself: {' → '.join([*inside, blueprint.name])}")
    if len(inside) >= MAX_DEPTH:
        raise CannotLayOut(f"blueprints are nested more than {MAX_DEPTH} deep: {' → '.join([*inside, blueprint.name])}")
    if blueprint.stop_when is not None:
        raise CannotLayOut(
            f"the blueprint {blueprint.name!r} has stop_when, which would end the whole run; write it as `when` of its steps"
        )
    if blueprint.template is not None and blueprint.answer is None:
        raise CannotLayOut(
            f"the blueprint {blueprint.name!r} has a template and no answer; give it an answer, which is what its step gives"
        )
    _check_step(step, primary)
    laying = _Laying(step, blueprint, _values(step, blueprint, goal), primary)
    laid = _Laid(assumptions=list(laying.assumptions()))
    primaries = _primaries(blueprint.steps)
    for part in blueprint.steps:
        made = laying.part(part)
        if made.blueprint is None:
            laid.steps.append(made)
        else:
            before = primaries.get(part.id)
            nested = _lay(made, blueprints, goal, laying.ids[before] if before is not None else None, (*inside, blueprint.name))
            laid.steps += nested.steps
            laid.assumptions += nested.assumptions
        if len(laid.steps) > MAX_STEPS:
            raise CannotLayOut(f"the blueprint {blueprint.name!r} comes to more than {MAX_STEPS} steps")
    laid.steps.append(laying.around(tuple(each.id for each in laid.steps)))
    return laid


def _check_step(step: Step, primary: str | None) -> None:
    for name, given, instead in (
        ("timeout_s", step.timeout_s is not None, "budget: {max_seconds: …}"),
        ("max_attempts", step.max_attempts != 1, "max_attempts in its blueprint's steps"),
        ("executor", step.executor is not None, "executor in its blueprint's steps"),
        ("use_model", step.use_model is not None, "use_model in its blueprint's steps"),
    ):
        if given:
            raise CannotLayOut(f"{name} has no meaning for a nested plan; give {instead}")
    if primary is not None and primary in step.needs:
        raise CannotLayOut(f"it uses the output of {primary!r}, the step that it stands in for")


def _values(step: Step, blueprint: Blueprint, goal: Goal) -> dict[str, Any]:
    """By parameter of the blueprint, its value or a reference to it. Raises CannotLayOut with everything that is wrong."""
    problems = [f"there is no parameter {name}" for name in step.args.keys() - blueprint.params.keys()]
    values: dict[str, Any] = {}
    for name, param in blueprint.params.items():
        if name in step.args:
            values[name] = step.args[name]
            problems += _wrong_value(name, param, step.args[name], goal)
        elif param.required:
            problems.append(f"{name} is missing")
        else:
            values[name] = param.default
    if problems:
        known = ", ".join(f"{name}{'' if param.required else '?'}" for name, param in blueprint.params.items()) or "none"
        raise CannotLayOut(f"blueprint {blueprint.name!r} cannot run with these args (it has: {known}): {'; '.join(sorted(problems))}")
    return values


def _wrong_value(name: str, param: Param, value: Any, goal: Goal) -> Iterator[str]:
    used = [Reference.parse(text) for _, text in references(value)]
    for label, declared, marked in (("untrusted", param.untrusted, goal.untrusted), ("sensitive", param.sensitive, goal.sensitive)):
        for reference in used:
            if declared and reference.param is not None and reference.param not in marked:
                yield f"{name} is {label}, and params.{reference.param}, which it is given, is not marked so in the goal"
    known = filled(value, goal.params)
    if not references(known):
        try:
            yield from mismatches(param.json_schema(), known, at=name, most=1)
        except ValueError as error:
            yield f"{name} is declared wrongly: {str(error).splitlines()[0]}"


class _Laying:
    """One blueprint in the place of one step."""

    def __init__(self, step: Step, blueprint: Blueprint, values: Mapping[str, Any], primary: str | None) -> None:
        self.step = step
        self.blueprint = blueprint
        self.values = values
        self.primary = primary
        self.ids = {part.id: f"{step.id}__{part.id}" for part in blueprint.steps}
        if long := [each for each in self.ids.values() if len(each) > MAX_ID]:
            raise CannotLayOut(f"{long[0]!r} is longer than {MAX_ID} characters; give the step, or the blueprint's, a shorter id")
        # When the step goes on by itself after a failure, its parts do not halt the run: the step finds their failure.
        self.goes_on = step.on_failure == "continue" or step.fallback is not None
        self._covered: dict[str, frozenset[str]] = {}

    def part(self, part: Step) -> Step:
        """The blueprint's step as a step of the plan."""
        step, where = self.step, f"step {part.id!r} of blueprint {self.blueprint.name!r}"
        args = self.value(part.args, where)
        inner = [self.id_of(need, where) for need in part.depends_on]
        read = (part.reads | expression_reads(part)) - {part.id}
        first = not (inner or read & self.ids.keys())
        made = part.model_copy(
            update={
                "id": self.ids[part.id],
                "args": args,
                "depends_on": (*inner, *step.depends_on) if first else tuple(inner),
                "success_criteria": tuple(self.criterion(each, where) for each in part.success_criteria),
                "on_failure": self.on_failure(part, where),
                "approval": "required" if step.approval == "required" and part.kind in ("tool", "agent", "blueprint") else part.approval,
                "allowed_tools": self.allowed_tools(part, where),
                "part_of": step.id,
            }
        )
        if step.max_age_s is not None and _reads(args) - set(self.ids.values()):
            made = made.model_copy(update={"max_age_s": min(step.max_age_s, part.max_age_s or step.max_age_s)})
        self._covered[made.id] = made.reads.union(*(self._covered.get(need, frozenset()) for need in made.reads))
        return made.model_copy(update={"when": self.when(part, made, where)})

    def around(self, parts: tuple[str, ...]) -> Step:
        """The step itself, which ends when its parts have."""
        step, where = self.step, f"blueprint {self.blueprint.name!r}"
        args: dict[str, Any] = {"params": step.args, "answer": self.answer(where)}
        if self.goes_on:
            args["must"] = [self.ids[part.id] for part in self.blueprint.steps if part.on_failure == "replan"]
        return step.model_copy(
            update={
                "args": args,
                "depends_on": (*step.depends_on, *(each for each in parts if each not in step.depends_on)),
                "success_criteria": (
                    *step.success_criteria,
                    *(self.criterion(each, where) for each in self.blueprint.success_criteria),
                ),
            }
        )

    def answer(self, where: str) -> Any:
        if self.blueprint.answer is not None:
            return self.value(self.blueprint.answer, f"the answer of {where}")
        stand_ins = {part.fallback for part in self.blueprint.steps}
        last = [part.id for part in self.blueprint.steps if part.id not in stand_ins][-1]
        return {"$ref": f"steps.{self.ids[last]}.output"}

    def assumptions(self) -> Iterator[str]:
        for text in self.blueprint.assumptions:
            said = self.expression(text, f"an assumption of blueprint {self.blueprint.name!r}")
            yield said if self.step.when is None else f"!({self.step.when}) || ({said})"

    # ── what stands in the blueprint, as it stands in the plan ────────────────────────────────────────────────────────

    def id_of(self, step_id: str, where: str) -> str:
        if step_id not in self.ids:
            raise CannotLayOut(f"{where} names step {step_id!r}, which the blueprint does not have")
        return self.ids[step_id]

    def value(self, value: Any, where: str) -> Any:
        """A JSON value with its references put right."""
        if is_reference(value):
            reference = Reference.parse(value["$ref"])
            if reference.param is not None:
                return self.param(reference.param, where)
            assert reference.step is not None  # noqa: S101  # a reference is one or the other
            rest = reference.text.removeprefix(f"steps.{reference.step}")
            return {"$ref": f"steps.{self.id_of(reference.step, where)}{rest}"}
        if isinstance(value, dict):
            return {key: self.value(item, where) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, where) for item in value]
        return value

    def param(self, name: str, where: str) -> Any:
        if name not in self.values:
            raise CannotLayOut(f"{where} refers to params.{name}, which the blueprint does not have")
        return self.values[name]

    def criterion(self, criterion: Criterion, where: str) -> Criterion:
        return criterion if isinstance(criterion, Judge) else self.expression(criterion, where)

    def expression(self, text: str, where: str) -> str:
        def place(root: str, keys: Keys) -> tuple[str, int] | None:
            match root:
                case "steps" if keys:
                    return f"steps.{self.id_of(str(keys[0]), where)}", 1
                case "params" if keys:
                    return as_expression(self.param(str(keys[0]), where)), 1
                case "goal":
                    return as_expression(self.blueprint.goal), 0
                case "output":
                    return None
                case _:
                    raise CannotRewrite(f"it reads {root!r} as a whole; name what it reads: {root}.<name>")

        try:
            return rewritten(text, place)
        except CannotRewrite as error:
            raise CannotLayOut(f"{where} ({text}): {error}") from None

    def when(self, part: Step, made: Step, where: str) -> str | None:
        """The step's own condition, and whatever decides whether the nested plan runs at all."""
        said = []
        if self.primary is not None:
            said.append(f'steps.{self.primary}.status in ["failed", "blocked"]')
        # A part that does not itself need what the nested plan was given does not run without it either.
        said += [f"has(steps.{need}.output)" for need in sorted(self.step.reads - self._covered[made.id])]
        said += [self.step.when] if self.step.when is not None else []
        said += [self.expression(part.when, where)] if part.when is not None else []
        return said[0] if len(said) == 1 else " && ".join(f"({each})" for each in said) or None

    def on_failure(self, part: Step, where: str) -> str:
        if part.fallback is not None:
            return f"step:{self.id_of(part.fallback, where)}"
        if part.on_failure != "replan":
            return part.on_failure
        return "continue" if self.goes_on else self.step.on_failure

    def allowed_tools(self, part: Step, where: str) -> tuple[str, ...]:
        most = self.step.allowed_tools
        if not most or part.kind not in ("tool", "agent", "blueprint"):
            return part.allowed_tools
        both = tuple(each for each in part.allowed_tools if each in most) if part.allowed_tools else most
        if not both or (part.tool is not None and part.tool not in both):
            raise CannotLayOut(
                f"{where} may use {part.tool or ', '.join(part.allowed_tools)}; its nested plan allows only {', '.join(most)}"
            )
        return both


def _primaries(steps: tuple[Step, ...]) -> dict[str, str]:
    """By fallback step, the step that it stands in for."""
    return {step.fallback: step.id for step in steps if step.fallback is not None}


def _reads(value: Any) -> frozenset[str]:
    return frozenset(step for _, text in references(value) if (step := Reference.parse(text).step) is not None)
