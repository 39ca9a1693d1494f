"""What a person names on the command line: a blueprint, a plan, a goal, parameters, a file with a decision in it."""

from __future__ import annotations

import difflib
import re
import uuid
from pathlib import Path
from typing import Any

from agent_graph import examples
from agent_graph.documents import Document, read_text
from agent_graph.errors import InvalidDocument, UsageError
from agent_graph.plan import Blueprint, Goal, Plan
from agent_graph.planners.blueprint import BlueprintPlanner, check_params, parse_param
from agent_graph.ports import PlanningContext

_NAME = re.compile(r"[a-z0-9-]+")
_DOCUMENT = re.compile(r"\S+\.(ya?ml|json)", re.IGNORECASE)


def looks_like_file(text: str) -> bool:
    return _DOCUMENT.fullmatch(text) is not None or (text.lower().endswith((".yaml", ".yml", ".json")) and Path(text).is_file())


def looks_like_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def read_plan_or_blueprint(named: str) -> Plan | Blueprint:
    """A file, or the name of a bundled blueprint. A blueprint has a name, a plan has none."""
    if not looks_like_file(named) and not Path(named).is_file():
        return read_document_of(str(bundled(named)))
    return read_document_of(named)


def read_document_of(path: str) -> Plan | Blueprint:
    document = Document(read_text(path), path)
    is_blueprint = isinstance(document.value, dict) and ("name" in document.value or "params" in document.value)
    return document.read(Blueprint) if is_blueprint else document.read(Plan)


def read_blueprint(named: str) -> Blueprint:
    found = read_plan_or_blueprint(named)
    if isinstance(found, Plan):
        raise UsageError(f"{named} is a plan, not a blueprint: run it with --plan {named}")
    return found


def read_plan(path: str) -> Plan:
    found = read_document_of(path)
    if isinstance(found, Blueprint):
        raise UsageError(f"{path} is a blueprint, not a plan: run it with: agent-graph run {path}")
    return found


def bundled(name: str) -> Path:
    """The file of a bundled blueprint. Raises UsageError with what there is, and what may have been meant."""
    known = examples.blueprints()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    meant = f" — did you mean {near[0]}?" if near else ""
    listed = "\n".join(f"  {each}" for each in known)
    raise UsageError(
        f"there is no blueprint {name!r}{meant}\nbundled are:\n{listed}\nfor one of your own, give the path of its YAML file; a goal in words needs --planner or --plan"
    )


def split_params(given: list[str]) -> dict[str, str]:
    """``name=value`` as written. Raises UsageError with every one that is not."""
    problems, found = [], {}
    for one in given:
        name, equals, text = one.partition("=")
        name = name.strip()
        if not equals or not name:
            problems.append(f"-p {one}: write -p name=value")
        elif name in found:
            problems.append(f"-p {name} is given twice; give it once (a list is written {name}=a,b,c)")
        else:
            found[name] = text
    if problems:
        raise UsageError("\n".join(problems))
    return found


def blueprint_params(blueprint: Blueprint, given: list[str], *, partly: bool = False) -> dict[str, Any]:
    """Values for a blueprint's parameters, defaults included. Raises UsageError with every problem at once.

    ``partly``: required ones may be missing, for a look at the blueprint without running it.
    """
    texts = split_params(given)
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, text in texts.items():
        try:
            values[name] = parse_param(blueprint, name, text)
        except UsageError as error:
            wrong[name] = str(error)
    left_out = set(wrong) | (missing_params(blueprint, values) if partly else set())
    checked = blueprint.model_copy(update={"params": {name: one for name, one in blueprint.params.items() if name not in left_out}})
    try:
        complete = check_params(checked, values)
    except UsageError as error:
        if not wrong:
            raise
        wrong[""] = "\n".join(line.strip() for line in str(error).splitlines()[1:])
    if wrong:
        raise UsageError("\n".join(wrong.values()))
    return complete


def missing_params(blueprint: Blueprint, values: dict[str, Any]) -> set[str]:
    return {name for name, one in blueprint.params.items() if one.required and name not in values}


def plan_params(given: list[str]) -> dict[str, Any]:
    """Values for a plan: each is read as a YAML scalar or as JSON, so that ``3`` is a number and ``[a, b]`` a list."""
    values: dict[str, Any] = {}
    for name, text in split_params(given).items():
        try:
            value = Document(text, f"-p {name}").value
        except InvalidDocument:
            value = text
        # `a: b` and `- a` are YAML, too; on a command line they are meant as text.
        is_text = value is None or (isinstance(value, dict | list) and not text.lstrip().startswith(("[", "{")))
        values[name] = text if is_text and text != "null" else value
    return values


def read_value(path: str) -> Any:
    """Any JSON value from a YAML or JSON file."""
    return Document(read_text(path), path).value


def read_args(path: str) -> dict[str, Any]:
    """Arguments from a file. Raises InvalidDocument."""
    value = read_value(path)
    if not isinstance(value, dict):
        raise InvalidDocument(f"{path}: expected the arguments as a mapping, name: value")
    return value


def check_run_id(text: str) -> str:
    """Raises UsageError unless it is a UUID, which LangGraph's server wants of a thread."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise UsageError(f"--id {text!r} is not a UUID; leave --id out to have one made") from None


def acting_for(plan: Plan, principal: str | None) -> Plan:
    """The plan for whom ``--principal`` names, else for whom it says itself."""
    return plan if principal is None else plan.model_copy(update={"goal": plan.goal.model_copy(update={"principal": principal})})


def plan_of(source: Plan | Blueprint, params: dict[str, Any] | None = None) -> Plan:
    """The plan as it would run with these parameters."""
    if isinstance(source, Plan):
        return source.model_copy(update={"goal": source.goal.model_copy(update={"params": {**source.goal.params, **(params or {})}})})
    planner = BlueprintPlanner(source)
    goal = Goal(text=source.goal, params=params or {}, constraints=source.constraints)
    made = planner.plan(PlanningContext(goal=goal, tools={}))
    assert isinstance(made, Plan)  # noqa: S101  # a blueprint makes nothing else
    return made
