"""Data moves between steps by references only, and each value remembers where it came from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jmespath

from agent_graph.plan import Reference, is_reference


class ReferenceError_(ValueError):  # noqa: N801  # ReferenceError is a builtin with another meaning
    """A reference cannot be followed."""


class MissingOutput(ReferenceError_):
    """The step that is referred to has no output: it was skipped or failed."""


@functools.lru_cache(maxsize=4096)
def _path(path: str) -> Any:
    return jmespath.compile(path)


def follow(reference: Reference, output_of: Callable[[str], Any], params: Mapping[str, Any]) -> Any:
    """What the reference points to; null where the path finds nothing. Raises MissingOutput or ReferenceError_."""
    if reference.param is not None:
        if reference.param not in params:
            raise ReferenceError_(f"the goal has no parameter {reference.param!r}")
        return params[reference.param]
    assert reference.step is not None  # noqa: S101  # a reference is one or the other
    output = output_of(reference.step)
    if reference.path is None:
        return output
    if reference.path.isidentifier() and isinstance(output, dict):
        return output.get(reference.path)  # as JMESPath does, in a tenth of the time
    try:
        return _path(reference.path).search(output)
    except Exception as error:  # a filter that compares a text with a number raises TypeError, and so on
        raise ReferenceError_(f"{reference.text}: {error}") from None


def resolve_answer(value: Any, output_of: Callable[[str], Any], params: Mapping[str, Any]) -> Any:
    """As ``resolve``; what cannot be followed, as what a skipped step would have given, is null."""
    if is_reference(value):
        try:
            return follow(Reference.parse(value["$ref"]), output_of, params)
        except ReferenceError_:
            return None
    if isinstance(value, Mapping):
        return {key: resolve_answer(item, output_of, params) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve_answer(item, output_of, params) for item in value]
    return value


def resolve(value: Any, output_of: Callable[[str], Any], params: Mapping[str, Any]) -> Any:
    """The value with every reference in it replaced by what it points to."""
    if is_reference(value):
        return follow(Reference.parse(value["$ref"]), output_of, params)
    if isinstance(value, Mapping):
        return {key: resolve(item, output_of, params) if isinstance(item, dict | list) else item for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, output_of, params) if isinstance(item, dict | list) else item for item in value]
    return value
