"""A server's tool as one of ours: its name, its risk by whom it is said, and the pin to which approvals are bound."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import jsonschema_rs

from agent_graph.errors import InvalidToolError
from agent_graph.identity import digest
from agent_graph.plan import Recovery, Risk, highest
from agent_graph.tools.mcp_config import McpServer, ToolRules
from agent_graph.tools.mcp_pins import Definition
from agent_graph.tools.tool import Tool, ToolContext, tool
from agent_graph.visible import visible

MOST_WORDS = 4_000
"""Characters of a description that planners are given."""

Call = Callable[[ToolContext, dict[str, Any]], Awaitable[Any]]

_NOTHING_SAID = ToolRules()


def used_tools(name: str, server: McpServer, offered: Mapping[str, Definition]) -> dict[str, Definition]:
    """Of what the server offers, what its operator lets through. Raises InvalidToolError for a tool that is named but not there."""
    named = {*(server.allow or ()), *server.tools}
    unknown = sorted(named - offered.keys())
    if unknown:
        there = ", ".join(visible(each) for each in sorted(offered)) or "none"
        raise InvalidToolError(f"MCP server {name!r} has no tool {', '.join(unknown)}, which its config names; it has: {there}")
    wanted = offered.keys() if server.allow is None else set(server.allow)
    return {each: offered[each] for each in offered if each in wanted and each not in server.deny}


def as_tool(server_name: str, server: McpServer, definition: Definition, call: Call) -> Tool:
    """Raises InvalidToolError when the server describes it in a way that cannot be used."""
    rules = server.tools.get(definition.name, _NOTHING_SAID)
    where = f"tool {visible(definition.name)!r} of MCP server {server_name!r}"
    schema = _arguments(where, definition, rules)
    _check(where, "output", definition.output_schema)
    prefix = server_name if server.prefix is None else server.prefix
    risk = _risk(server, definition, rules)

    async def called(context: ToolContext, /, **args: Any) -> Any:
        return await call(context, {**args, rules.key: context.idempotency_key} if rules.key else args)

    try:
        made = tool(
            called,
            name=rules.name or (f"{prefix}.{definition.name}" if prefix else definition.name),
            description=rules.description or _told(definition.description or ""),
            args_schema=schema,
            risk=risk,
            recovery=_recovery(server, definition, rules, risk),
            scopes=(*server.scopes, *rules.scopes),
            trusted_output=server.trusted_output if rules.trusted_output is None else rules.trusted_output,
            sensitive=rules.sensitive,
            outbound=_outbound(server, definition, rules),
            price=rules.price,
            timeout=rules.timeout or server.timeout,
            parallel=rules.parallel,
            rate=rules.rate,
            ttl=rules.ttl,
            needs=rules.needs,
            gives=rules.gives,
            cost=rules.cost,
        )
    except InvalidToolError as error:
        raise InvalidToolError(
            f"{where}: {error}; say under tools what holds for it (name: for another name), or leave it out with deny"
        ) from None
    # The pin goes into the digest that approvals are bound to, so that a yes covers the definition that was seen and no other.
    spec = replace(made.spec, output_schema=definition.output_schema, digest=digest([made.spec.digest, definition.digest]))
    return replace(made, spec=spec)


def _hint(definition: Definition, name: str) -> bool | None:
    said = (definition.annotations or {}).get(name)
    return said if isinstance(said, bool) else None


def _risk(server: McpServer, definition: Definition, rules: ToolRules) -> Risk:
    """What the operator says; else what the server says where it is trusted; else at least a write."""
    if rules.risk is not None:
        return rules.risk
    if server.trust_annotations and _hint(definition, "readOnlyHint"):
        return "read_only"
    raising: dict[str, Risk] = {"openWorldHint": "external_communication", "destructiveHint": "deletion"}
    return highest(["write", *(risk for hint, risk in raising.items() if _hint(definition, hint))])


def _recovery(server: McpServer, definition: Definition, rules: ToolRules, risk: Risk) -> Recovery | None:
    if rules.recovery is not None:
        return rules.recovery
    if risk != "read_only" and server.trust_annotations and _hint(definition, "idempotentHint"):
        return "idempotent"
    return None  # rerun for a read, else blind


def _outbound(server: McpServer, definition: Definition, rules: ToolRules) -> bool:
    """Arguments leave the house unless somebody who is trusted says that they do not."""
    for said in (rules.outbound, server.outbound):
        if said is not None:
            return said
    return not (server.trust_annotations and _hint(definition, "openWorldHint") is False)


def _arguments(where: str, definition: Definition, rules: ToolRules) -> dict[str, Any]:
    schema = {"properties": {}, **definition.input_schema, "type": "object"}
    if rules.key is not None:
        properties = dict(schema["properties"])
        if properties.pop(rules.key, None) is None:
            raise InvalidToolError(
                f"{where} has no argument {rules.key!r} that could take the idempotency key; it has: {', '.join(properties)}"
            )
        required = [each for each in schema.get("required", []) if each != rules.key]
        schema = {**schema, "properties": properties, "required": required}
    _check(where, "arguments", schema)
    told = _without_hidden(schema)
    assert isinstance(told, dict)  # noqa: S101
    return told


def _check(where: str, what: str, schema: dict[str, Any] | None) -> None:
    if schema is None:
        return
    try:
        jsonschema_rs.validator_for(schema, validate_formats=False, retriever=_refuse)
    except (ValueError, TypeError) as error:
        first = visible(str(error).splitlines()[0])
        raise InvalidToolError(f"{where}: the schema of its {what} cannot be used: {first}; leave the tool out with deny") from None


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} lies outside of the schema, and is not fetched")


def _told(text: str) -> str:
    """A server's text as a planner may read it: what no person would see in it is written out, and it has an end."""
    shown = visible(text.expandtabs(4), keep="\n")
    return shown if len(shown) <= MOST_WORDS else shown[: MOST_WORDS - 1] + "…"


def _without_hidden(node: Any, *, names: bool = False) -> Any:
    """The schema with its texts as ``_told``; names and values that count stay as they are."""
    if isinstance(node, list):
        return [_without_hidden(each) for each in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _without_hidden(each) for key, each in node.items()}
    changed: dict[str, Any] = {}
    for key, each in node.items():
        if key in ("description", "title", "$comment") and isinstance(each, str):
            changed[key] = _told(each)
        elif key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
            changed[key] = _without_hidden(each, names=True)
        elif key in ("default", "const", "enum", "examples"):
            changed[key] = each
        else:
            changed[key] = _without_hidden(each)
    return changed
