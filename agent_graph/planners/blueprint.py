"""Plans that were designed once and stored as YAML, with typed parameters. No model is asked; the reasoning is in the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_graph.documents import read_document
from agent_graph.errors import UsageError
from agent_graph.plan import Blueprint, Goal, Param, Plan
from agent_graph.ports import Answer, GiveUp, PlanningContext, Question, ReplanningContext


class BlueprintPlanner:
    """Fills the blueprint's parameters from the goal's. It cannot replan: its plan is the file."""

    can_replan = False
    reads_values = False

    def __init__(self, blueprint: Blueprint | str | Path) -> None:
        self.blueprint = blueprint if isinstance(blueprint, Blueprint) else read_document(blueprint, Blueprint)
        self.name = f"blueprint:{self.blueprint.name}"

    def complete(self, goal: Goal) -> Goal:
        """The goal with the blueprint's defaults filled in. Raises UsageError when a parameter is missing, unknown or of the wrong type."""
        params = check_params(self.blueprint, goal.params)
        declared = self.blueprint.params
        return goal.model_copy(
            update={
                "params": params,
                "constraints": (*goal.constraints, *self.blueprint.constraints),
                "untrusted": _marked(goal.untrusted, [name for name, param in declared.items() if param.untrusted]),
                "sensitive": _marked(goal.sensitive, [name for name, param in declared.items() if param.sensitive]),
            }
        )

    def plan(self, context: PlanningContext) -> Plan | Question | Answer:
        blueprint = self.blueprint
        return Plan(
            goal=context.goal,
            steps=blueprint.steps,
            success_criteria=blueprint.success_criteria,
            stop_when=blueprint.stop_when,
            answer=blueprint.answer,
            template=blueprint.template,
            assumptions=blueprint.assumptions,
            mode=blueprint.mode,
        )

    def replan(self, context: ReplanningContext) -> Plan | Question | GiveUp:
        return GiveUp(f"blueprint {self.blueprint.name!r} is a fixed plan")


class StaticPlanner:
    """A plan made in code. It cannot replan."""

    can_replan = False
    reads_values = False

    def __init__(self, plan: Plan, name: str = "plan") -> None:
        self._plan = plan
        self.name = name

    def complete(self, goal: Goal) -> Goal:
        return goal

    def plan(self, context: PlanningContext) -> Plan | Question | Answer:
        return self._plan

    def replan(self, context: ReplanningContext) -> Plan | Question | GiveUp:
        return GiveUp("the plan was made in code and is fixed")


def _marked(already: tuple[str, ...], declared: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*already, *declared)))


def check_params(blueprint: Blueprint, given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters with their defaults. Raises UsageError with every problem at once."""
    validators = {name: _validator(blueprint, name) for name in blueprint.params}
    params = {name: param.default for name, param in blueprint.params.items() if not param.required}
    params.update(given)
    problems = [f"{name} is missing: {_describe(blueprint.params[name])}" for name in blueprint.params.keys() - params.keys()]
    problems += [f"there is no parameter {name}" for name in params.keys() - blueprint.params.keys()]
    for name in blueprint.params.keys() & params.keys():
        param = blueprint.params[name]
        wrong = validators[name].iter_errors(params[name])
        problems += [f"{name}: {error.message}; it is {_describe(param)}" for error in wrong]
    if problems:
        listed = "\n".join(f"  {problem}" for problem in sorted(problems))
        known = ", ".join(f"{name}{'' if param.required else '?'}" for name, param in blueprint.params.items()) or "none"
        raise UsageError(f"blueprint {blueprint.name!r} cannot run with these parameters (it has: {known}):\n{listed}")
    return params


def _validator(blueprint: Blueprint, name: str) -> Any:
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(blueprint.params[name].json_schema(), retriever=_refuse)
    except ValueError as error:
        raise UsageError(
            f"blueprint {blueprint.name!r} declares parameter {name} wrongly: {str(error).splitlines()[0]}; put its file right"
        ) from None


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} lies outside of the blueprint")


def parse_param(blueprint: Blueprint, name: str, text: str) -> Any:
    """A parameter given as text, on a command line. A list may be written ``a,b,c``. Raises UsageError."""
    param = blueprint.params.get(name)
    if param is None:
        known = ", ".join(blueprint.params) or "none"
        raise UsageError(f"blueprint {blueprint.name!r} has no parameter {name!r}; it has: {known}")
    if param.type == "string":
        return text
    if param.type == "array" and not text.lstrip().startswith("["):
        parts = [part.strip() for part in text.split(",") if part.strip()]
        texts = param.items is None or param.items.get("type") in (None, "string")
        return parts if texts else [_json(part, name, param) for part in parts]
    return _json(text, name, param)


def _json(text: str, name: str, param: Param) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except ValueError:
        raise UsageError(f"parameter {name}: {text[:100]!r} is not {_describe(param)}") from None


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _describe(param: Param) -> str:
    kind = {"array": "a list (a,b,c)", "object": "a JSON object", "boolean": "true or false", "integer": "a whole number"}.get(
        param.type, f"a {param.type}"
    )
    choice = f", one of {', '.join(map(str, param.enum))}" if param.enum else ""
    return f"{kind}{choice}{' — ' + param.description if param.description else ''}"
