"""What a tool takes from the environment by name: read at each call, told to the one who is meant, and never in a plan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from agent_graph.errors import InvalidToolError, NotDone, UsageError
from agent_graph.redaction import Redaction

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def checked_names(tool: str, names: Sequence[str]) -> tuple[str, ...]:
    """Raises InvalidToolError for what is no name of a variable; a value that stands there by mistake is not repeated."""
    if isinstance(names, str) or not all(_NAME.fullmatch(each) for each in names):
        raise InvalidToolError(f"tool {tool}: name environment variables, as in ('API_TOKEN',); their values are read at each call")
    return tuple(names)


def values_of(tool: str, names: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Raises NotDone naming those that are not set."""
    absent = [name for name in names if not environment.get(name)]
    if absent:
        raise NotDone(f"{tool} was not called: the environment variable {', '.join(absent)} is not set; set it where the agent runs")
    return {name: environment[name] for name in names}


def redaction_of(tool: str, values: Mapping[str, str], environment: Mapping[str, str]) -> Redaction:
    """Finds these values, and what else of the environment is a secret. Raises NotDone for one that is too short to be found."""
    try:
        return Redaction.of(environment, values)
    except UsageError as error:
        raise NotDone(f"{tool} was not called: {error}") from None
