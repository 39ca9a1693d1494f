"""What a server answered to a call: as plain JSON, or as the error that it is."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Any

from agent_graph.errors import NotDone

if TYPE_CHECKING:
    from mcp_types import CallToolResult, ErrorData, InputRequiredResult


class ToolFailed(Exception):
    """The server says that the call went wrong. Whether it changed something before is not known."""


class ConnectionLost(Exception):
    """The server ended, or its connection did, between the call and its answer. Whether it was carried out is not known."""


def output(result: CallToolResult | InputRequiredResult, name: str, *, structured: bool, definite_errors: bool) -> Any:
    """
    The output of a call. ``structured``: the tool has declared the schema of its output. What the server calls an error is raised:
    as ``NotDone`` when its operator says that errors mean that nothing happened, else as ``ToolFailed``.
    """
    from mcp_types import CallToolResult

    if not isinstance(result, CallToolResult):
        asked = ", ".join(sorted({each.method for each in (result.input_requests or {}).values()})) or "more input"
        raise ToolFailed(
            f"{name} asked for {asked} before it would go on, which is refused; no server may ask a model or a person through us"
        )
    if result.result_type != "complete":
        raise ToolFailed(f"{name} answered with a {result.result_type!r}, which is no result")
    if result.is_error:
        said = _text(result) or "(it does not say why)"
        raise (NotDone if definite_errors else ToolFailed)(f"{name} failed: {said}")
    parts = [_part(block) for block in result.content if block.type != "text"]
    if structured and (result.structured_content is not None or not result.content):
        return result.structured_content  # it has to fit its schema, so nothing can be added
    if not parts:
        return _text(result) if result.structured_content is None else result.structured_content
    told = {} if result.structured_content is None else {"structured": result.structured_content}
    return {**told, "text": _text(result), "parts": parts}


def _text(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


def _part(block: Any) -> dict[str, Any]:
    """What is not text is told by kind, size and hash: bytes in a ledger or a prompt serve nobody."""
    match block.type:
        case "image" | "audio":
            return {"type": block.type, "mime_type": block.mime_type, **_measured(block.data)}
        case "resource_link":
            return {"type": "resource_link", "uri": str(block.uri), "name": block.name, "mime_type": block.mime_type}
        case "resource":
            held = block.resource
            about = {"type": "resource", "uri": str(held.uri), "mime_type": held.mime_type}
            return {**about, "text": held.text} if hasattr(held, "text") else {**about, **_measured(held.blob)}
        case other:
            return {"type": str(other)}


def _measured(data: str) -> dict[str, Any]:
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raw = data.encode("utf-8", "replace")  # not what it claims to be; its hash is of the text
    return {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def definite(error: ErrorData, *, checks_output: bool) -> bool:
    """
    Whether a JSON-RPC error says that nothing was done: the tool is not there, or its arguments were refused. Where a tool declares its
    output, -32602 may also mean that the *output* was found wrong, after everything was done: some servers answer so. An HTTP status 404 is
    whoever's on the way; the SDK tells it as -32601 with a text of its own.
    """
    from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND

    if error.code == METHOD_NOT_FOUND:
        return error.message != "Not Found"
    return error.code == INVALID_PARAMS and not checks_output
