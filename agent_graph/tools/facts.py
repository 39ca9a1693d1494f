"""What a tool says that it needs and gives, in kinds of fact: ``metric``, ``customer``, ``invoice.id``. Checked where the tool is declared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agent_graph.errors import InvalidToolError

_KIND = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def needed(tool: str, said: Mapping[str, str], arguments: Mapping[str, Any]) -> dict[str, str]:
    """By argument, the kind of fact that it takes. Raises InvalidToolError."""
    for argument, kind in said.items():
        if argument not in arguments:
            there = ", ".join(arguments) or "there is none"
            raise InvalidToolError(f"tool {tool}: needs names {argument!r}, which is no argument; name one ({there})")
        _check(tool, "needs", kind)
    return dict(said)


def given(tool: str, said: str | Sequence[str] | Mapping[str, str], output: Mapping[str, Any] | None) -> dict[str, str]:
    """By kind of fact, where in the output it is. Raises InvalidToolError.

    A kind alone stands for the property of that name where the output has one, or may have one beside others; else for the whole output.
    """
    if isinstance(said, str):
        raise InvalidToolError(f"tool {tool}: gives is a list of kinds of fact, as in gives=[{said!r}]")
    if isinstance(said, Mapping):
        for kind, path in said.items():
            _check(tool, "gives", kind)
            _check_path(tool, kind, path)
        return dict(said)
    for kind in said:
        _check(tool, "gives", kind)
    if repeated := sorted({kind for kind in said if said.count(kind) > 1}):
        raise InvalidToolError(f"tool {tool}: gives names {', '.join(repeated)} twice")
    properties = (output or {}).get("properties")
    if isinstance(properties, Mapping):
        whole = [kind for kind in said if kind not in properties]
        if len(whole) > 1:
            there = ", ".join(properties)
            raise InvalidToolError(
                f"tool {tool}: gives names {', '.join(whole)}, and its output has {there}; say where each is: gives={{{whole[0]!r}: 'path'}}"
            )
        return {kind: kind if kind in properties else "" for kind in said}
    return {kind: kind for kind in said} if len(said) > 1 else dict.fromkeys(said, "")


def _check(tool: str, where: str, kind: object) -> None:
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise InvalidToolError(
            f"tool {tool}: {where} has {kind!r}, which is no kind of fact: letters, digits and _ . -, starting with a letter"
        )


def _check_path(tool: str, kind: str, path: object) -> None:
    wrong = "it is not a text" if not isinstance(path, str) else None
    if isinstance(path, str) and path:
        import jmespath

        try:
            jmespath.compile(path)
        except ValueError as error:
            wrong = str(error).splitlines()[0]
    if wrong:
        raise InvalidToolError(f"tool {tool}: gives says {path!r} of {kind}, which is no JMESPath below the output: {wrong}")
