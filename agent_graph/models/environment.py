"""Models from environment variables: ``AGENT_GRAPH_MODEL`` for whoever thinks and acts, ``AGENT_GRAPH_<ROLE>_<FIELD>`` for one role."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from agent_graph.documents import describe
from agent_graph.errors import UsageError
from agent_graph.models.roles import ROLES, Models, RoleModel

PREFIX = "AGENT_GRAPH_"
FOR_ALL = f"{PREFIX}MODEL"
JUDGE_PLANS = f"{PREFIX}JUDGE_PLANS"
OF_ALL = ("planner", "executor", "judge")
"""Roles that ``AGENT_GRAPH_MODEL`` gives a model. A summarizer writes each answer anew, so that one is asked for by its own name."""
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_NAMED = {f"{PREFIX}{role}_{field}".upper(): (role, field) for role in ROLES for field in RoleModel.model_fields}
_KNOWN = frozenset({FOR_ALL, JUDGE_PLANS, *_NAMED})
_OF_MODELS = re.compile(rf"{PREFIX}(?:.*_MODEL$|(?:{'|'.join(ROLES)})_)", re.IGNORECASE)


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Those that speak of models, also where they are misspelt. A key is never among them: they name the variable that holds it."""
    return {name: text.strip() for name, text in environ.items() if text.strip() and (name in _KNOWN or _OF_MODELS.match(name))}


def models_from(environ: Mapping[str, str], base: Models) -> Models:
    """What ``base`` says, with what the environment says over it. An empty variable is none. Raises UsageError."""
    given = variables(environ)
    for name in given.keys() - _KNOWN:
        near = difflib.get_close_matches(name, sorted(_KNOWN), n=3, cutoff=0.0)
        raise UsageError(f"the environment variable {name} is not known; did you mean {', '.join(near)}?")
    said: dict[str, dict[str, Any]] = {}
    for name in given.keys() & _NAMED.keys():
        its, field = _NAMED[name]
        said.setdefault(its, {})[field] = given[name]
    for role in OF_ALL if FOR_ALL in given else ():
        if getattr(base, role) is None:
            said.setdefault(role, {}).setdefault("model", given[FOR_ALL])
    update: dict[str, Any] = {role: _role(role, fields, getattr(base, role)) for role, fields in said.items()}
    if text := given.get(JUDGE_PLANS, "").lower():
        if text not in _TRUE | _FALSE:
            raise UsageError(f"{JUDGE_PLANS} is {text!r}; it is one of true and false")
        update["judge_plans"] = text in _TRUE
    return base.model_copy(update=update)


def _role(role: str, fields: dict[str, Any], before: RoleModel | None) -> RoleModel:
    if "model" not in fields and before is None:
        first = f"{PREFIX}{role}_{next(iter(fields))}".upper()
        raise UsageError(f"{first} is set, and role {role} has no model: set {PREFIX}{role.upper()}_MODEL too")
    # What a file says of an object or of another model's fields is checked anew with the whole.
    kept = {} if before is None else {name: getattr(before, name) for name in before.model_fields_set}
    try:
        return RoleModel.model_validate(kept | fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{PREFIX}{role.upper()}_{str((each['loc'] or ('MODEL',))[0]).upper()}: {describe(each)}" for each in error.errors()
        )
        raise UsageError(f"the environment does not say how role {role} is to be asked: {problems}") from None
