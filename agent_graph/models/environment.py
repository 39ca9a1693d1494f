"""Models from environment variables: ``AGENT_GRAPH_MODEL`` for whoever thinks and acts, ``AGENT_GRAPH_<ROLE>_<FIELD>`` for one role."""

from __future__ import annotations

import difflib
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


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Those that say which models there are. A key is never among them: they name the variable that holds it."""
    return {name: text for name, text in environ.items() if text.strip() and (name == FOR_ALL or name in _NAMED)}


def models_from(environ: Mapping[str, str], base: Models) -> Models:
    """What ``base`` says, with what the environment says over it. An empty variable is none. Raises UsageError."""
    said: dict[str, dict[str, Any]] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or not text.strip():
            continue
        if name in (FOR_ALL, JUDGE_PLANS):
            continue
        if name in _NAMED:
            its, field = _NAMED[name]
            said.setdefault(its, {})[field] = text.strip()
        elif name.endswith("_MODEL") or any(name.startswith(f"{PREFIX}{role.upper()}_") for role in ROLES):
            known = difflib.get_close_matches(name, [FOR_ALL, *_NAMED], n=3, cutoff=0.0)
            raise UsageError(f"the environment variable {name} is not known; did you mean {', '.join(known)}?")
    for role in OF_ALL if environ.get(FOR_ALL, "").strip() else ():
        if getattr(base, role) is None:
            said.setdefault(role, {}).setdefault("model", environ[FOR_ALL].strip())
    update: dict[str, Any] = {role: _role(role, fields, getattr(base, role)) for role, fields in said.items()}
    if text := environ.get(JUDGE_PLANS, "").strip().lower():
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
