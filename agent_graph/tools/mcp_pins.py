"""Pins: what a server said of its tools when somebody looked at it. What has changed since is not called.

A server, or whoever took it over, can rewrite a description after it was approved, so that planners are told something else, or turn an
argument into another. So each tool's definition is held against what was seen first in this process, and, with a lock file, against what
the operator has committed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_graph.documents import read_document
from agent_graph.errors import UsageError
from agent_graph.identity import Digest, digest
from agent_graph.plan import Model

if TYPE_CHECKING:
    from mcp_types import Tool as ListedTool


MOST_LEVELS = 100
"""Of nesting in a schema."""


class Definition(Model):
    """All that a server says of a tool that somebody acts on: planners, checks and people."""

    name: str
    description: str | None = None
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None = None
    annotations: dict[str, Any] | None = None

    @classmethod
    def of(cls, tool: ListedTool) -> Definition:
        """Raises ValueError for what cannot be compared: schemas nested without measure, numbers that JSON does not have."""
        for schema in (tool.input_schema, tool.output_schema):
            if not _is_flat_enough(schema):
                raise ValueError(f"a schema of more than {MOST_LEVELS} levels")
        notes = tool.annotations.model_dump(mode="json", by_alias=True, exclude_none=True) if tool.annotations else None
        made = cls(
            name=tool.name,
            description=tool.description,
            input_schema=tool.input_schema,
            output_schema=tool.output_schema,
            annotations=notes,
        )
        _ = made.digest
        return made

    @cached_property
    def digest(self) -> Digest:
        return digest(self.model_dump())

    def changes(self, now: Definition | None) -> str:
        """What is not as it was, in words; empty when all is."""
        if now is None:
            return "it is gone"
        names = {
            "description": "its description",
            "input_schema": "its arguments",
            "output_schema": "its output",
            "annotations": "its annotations",
        }
        changed = [said for field, said in names.items() if getattr(self, field) != getattr(now, field)]
        return f"{' and '.join(changed)} changed" if changed else ""


class Pins(Model):
    """The lock file: the definitions themselves, so that a change of them can be read in a diff."""

    version: int = 1
    servers: dict[str, dict[str, Definition]] = {}


def check_pins(path: Path, server: str, used: Mapping[str, Definition]) -> None:
    """Raises UsageError unless the lock file holds exactly the tools of the server that are used, as they are."""
    if not path.exists():
        raise UsageError(f"{path} does not exist, which is to hold the tools of all servers as they were looked at; {_again(path)}")
    known = read_document(path, Pins).servers.get(server)
    if known is None:
        raise UsageError(f"{path} knows no server {server!r}; {_again(path)}")
    wrong = [f"{name}: {said}" for name, pin in sorted(known.items()) if (said := pin.changes(used.get(name)))]
    wrong += [f"{name}: it is new" for name in sorted(used.keys() - known.keys())]
    if wrong:
        raise UsageError(f"MCP server {server!r} is not as it was when {path} was written ({'; '.join(wrong)}). {_again(path)}")


def write_pins(path: Path, servers: Mapping[str, Mapping[str, Definition]]) -> None:
    """All at once or not at all."""
    pins = Pins(servers={name: dict(sorted(tools.items())) for name, tools in sorted(servers.items())})
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(pins.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    beside.replace(path)


def _is_flat_enough(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [item for each in level if isinstance(each, dict | list) for item in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return True
    return False


def _again(path: Path) -> str:
    return f"Look at what the server offers now, and write {path.name} with MCPServers.load(…).write_pins()"
