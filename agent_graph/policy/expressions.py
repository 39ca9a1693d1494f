"""CEL expressions: criteria, conditions and policy rules. The library is loaded at first use, since it takes a while.

An expression reads ``output`` (of its own step), ``steps.<id>.output``, ``steps.<id>.status``, ``params`` and ``goal``. Steps are named one
by one, so that what an expression needs is known before anything runs, and evaluating it costs the same after ten steps and ten thousand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

MAX_LENGTH = 2000
MAX_NESTING = 32


class ExpressionError(ValueError):
    """The expression cannot be read, or evaluating it failed."""


_INDEXED = re.compile(r"""\bsteps\s*\[\s*(['"])([A-Za-z_]\w*)\1\s*\]""")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_STEP = re.compile(r"(?<![\w.])steps\b(?:\s*\.\s*([A-Za-z_]\w*))?")
_PATH = re.compile(r"(?<![\w.])(?:output|params|goal|steps\.\w+)(?:\.[A-Za-z_]\w*|\[\d+\])*(\()?")
_PART = re.compile(r"[A-Za-z_]\w*|\[\d+\]")


def _bare(text: str) -> str:
    """The expression with its strings emptied and ``steps["id"]`` written ``steps.id``."""
    return _STRING.sub('""', _INDEXED.sub(r"steps.\2", text))


@functools.lru_cache(maxsize=4096)
def steps_read(text: str) -> frozenset[str]:
    """Ids of the steps that the expression reads. Raises ExpressionError when it reads ``steps`` as a whole."""
    found = _STEP.findall(_bare(text))
    if "" in found:
        raise ExpressionError("it reads 'steps' as a whole; name each step: steps.<id>.output")
    return frozenset(found)


def values_read(text: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """The values that the expression reads, by path: the evidence beside its verdict."""
    found: dict[str, Any] = {}
    for match in _PATH.finditer(_bare(text)):
        path = match.group().removesuffix("(")
        if match.group(1):  # the last part is a method
            path = path.rpartition(".")[0]
        value: Any = context
        for part in _PART.findall(path):
            try:
                value = value[int(part[1:-1])] if part.startswith("[") else value[part]
            except (KeyError, IndexError, TypeError):
                value = None
                break
        if path:
            found[path] = value
    return found


@functools.lru_cache(maxsize=4096)
def _program(text: str) -> Any:
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"it is {len(text)} characters long; at most {MAX_LENGTH} are read")
    if _nesting(text) > MAX_NESTING:
        raise ExpressionError(f"it is nested more than {MAX_NESTING} deep")
    import cel

    try:
        return cel.compile(text)
    except ValueError as error:
        first = str(error).partition("ERROR:")[2].strip().splitlines() or str(error).splitlines()
        raise ExpressionError(f"it is not CEL: {first[0][:200]}") from None


def check_expression(text: str) -> None:
    """Raises ExpressionError when the text is not a CEL expression of ours."""
    steps_read(text)
    _program(text)


def evaluate(text: str, context: Mapping[str, Any]) -> Any:
    """The expression's value. Raises ExpressionError, also when something that it reads is not there."""
    program = _program(text)
    try:
        return program.execute(dict(context))
    except KeyError as error:
        raise ExpressionError(f"there is no {error} in what it reads") from None
    except Exception as error:
        raise ExpressionError(f"{type(error).__name__}: {error}") from None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in _bare(text):
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    return deepest
