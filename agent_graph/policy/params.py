"""Arguments with their references to parameters filled in: a parameter is known from the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_graph.plan import Reference, Step, is_reference


def with_params(step: Step, params: Mapping[str, Any]) -> dict[str, Any]:
    """The step's arguments. A reference to a parameter that is not there stays."""
    if all(reference.param is None for _, reference in step.references):
        return step.args
    return {name: filled(value, params) for name, value in step.args.items()}


def filled(value: Any, params: Mapping[str, Any]) -> Any:
    """Any JSON value, as ``with_params``."""
    if is_reference(value):
        param = Reference.parse(value["$ref"]).param
        return params.get(param, value) if param is not None else value
    if isinstance(value, dict):
        return {key: filled(item, params) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, params) for item in value]
    return value
