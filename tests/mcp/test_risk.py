"""What a server says of its tools can raise their risk; only the operator lowers it."""

from __future__ import annotations

from typing import Any

import pytest

from agent_graph.errors import InvalidToolError, UsageError
from tests.mcp.conftest import Open, Rogue, named

DEEP: Any = {"type": "string"}
for _ in range(60):
    DEEP = {"allOf": [DEEP]}


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (None, ("write", "blind", True)),
        ({}, ("write", "blind", True)),
        ({"readOnlyHint": True}, ("write", "blind", True)),
        ({"idempotentHint": True, "destructiveHint": False, "openWorldHint": False}, ("write", "blind", True)),
        ({"openWorldHint": True}, ("external_communication", "blind", True)),
        ({"destructiveHint": True}, ("deletion", "blind", True)),
        ({"destructiveHint": True, "openWorldHint": True, "readOnlyHint": True}, ("deletion", "blind", True)),
        ({"readOnlyHint": True, "openWorldHint": True}, ("external_communication", "blind", True)),
    ],
)
def test_annotations_raise_a_risk_and_lower_none(rogue: Rogue, annotations: dict[str, Any] | None, expected: tuple[Any, ...]) -> None:
    offered = {"name": "append", **({"annotations": annotations} if annotations is not None else {})}
    spec = named(rogue.servers(offered))["rogue.append"].spec
    assert (spec.risk, spec.recovery, spec.outbound) == expected
    assert spec.trusted_output is False


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (None, ("write", "blind", True)),
        ({"readOnlyHint": True, "openWorldHint": False}, ("read_only", "rerun", False)),
        ({"idempotentHint": True}, ("write", "idempotent", True)),
        ({"destructiveHint": True}, ("deletion", "blind", True)),
    ],
)
def test_of_a_server_that_is_trusted_they_count(rogue: Rogue, annotations: dict[str, Any] | None, expected: tuple[Any, ...]) -> None:
    offered = {"name": "append", **({"annotations": annotations} if annotations is not None else {})}
    spec = named(rogue.servers(offered, trust_annotations=True))["rogue.append"].spec
    assert (spec.risk, spec.recovery, spec.outbound) == expected


def test_the_operator_s_word_stands_above_the_server_s(rogue: Rogue) -> None:
    offered = {"name": "append", "annotations": {"destructiveHint": True, "openWorldHint": True}}
    rules = {
        "risk": "money",
        "recovery": "idempotent",
        "price": 5,
        "outbound": False,
        "scopes": ["desk"],
        "trusted_output": True,
        "timeout": 3,
    }
    spec = named(rogue.servers(offered, tools={"append": rules}, scopes=["mcp"]))["rogue.append"].spec
    assert (spec.risk, spec.recovery, spec.price, spec.outbound) == ("money", "idempotent", 5, False)
    assert (spec.scopes, spec.trusted_output, spec.timeout) == (("mcp", "desk"), True, 3)


@pytest.mark.needs("node", "npm")
def test_what_the_filesystem_server_calls_a_read_is_a_write_until_its_operator_trusts_it(
    open_servers: Open, filesystem: dict[str, Any]
) -> None:
    untrusted = named(open_servers({"fs": filesystem}))
    trusted = named(open_servers({"fs": {**filesystem, "trust_annotations": True}}))
    assert untrusted["fs.read_text_file"].spec.risk == "write"
    assert trusted["fs.read_text_file"].spec.risk == "read_only"
    assert untrusted["fs.write_file"].spec.risk == trusted["fs.write_file"].spec.risk == "deletion"


# ── names and descriptions ────────────────────────────────────────────────────────────────────────────────────────────


def test_only_what_the_operator_lets_through_is_a_tool(rogue: Rogue) -> None:
    assert list(named(rogue.servers("a", "b", "c", allow=["a", "c"], deny=["c"]))) == ["rogue.a"]


def test_a_tool_can_be_named_anew(rogue: Rogue) -> None:
    servers = rogue.servers("a b", "c", prefix="", tools={"a b": {"name": "ab"}})
    assert sorted(named(servers)) == ["ab", "c"]


@pytest.mark.parametrize(
    ("offered", "more", "said"),
    [
        (["a b"], {}, r"say under tools what holds for it \(name: for another name\), or leave it out with deny"),
        (["a\u202eb"], {}, r"a\\u202eb"),
        (["a"], {"allow": ["b"]}, "has no tool b, which its config names; it has: a"),
        (["a"], {"tools": {"b": {}}}, "has no tool b, which its config names"),
        (["a", "a"], {}, "two of them are called 'a'"),
        (
            [{"name": "a", "inputSchema": {"type": "object", "properties": {"x": {"$ref": "file:///etc/passwd"}}}}],
            {},
            "lies outside of the schema",
        ),
        (
            [{"name": "a", "inputSchema": {"type": "object", "properties": {"x": {"type": "no"}}}}],
            {},
            "schema of its arguments cannot be used",
        ),
        (
            [{"name": "a", "outputSchema": {"type": "object", "properties": {"x": {"$ref": "https://example.org/"}}}}],
            {},
            "schema of its output",
        ),
        (["a"], {"tools": {"a": {"recovery": "keyed", "key": "no"}}}, "has no argument 'no'"),
        ([{"name": "a", "inputSchema": "no"}], {}, "does not say what tools it has"),
        ([{"name": "a", "inputSchema": {"type": "object", "properties": {"x": DEEP}}}], {}, "more than 100 levels"),
        ([{"name": "a", "inputSchema": {"type": "object", "properties": {"x": {"default": float("nan")}}}}], {}, "is no definition"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(rogue: Rogue, offered: list[Any], more: dict[str, Any], said: str) -> None:
    with pytest.raises((InvalidToolError, UsageError), match=said):
        _ = rogue.servers(*offered, **more).tools


def test_what_nobody_would_see_in_a_description_is_written_out(rogue: Rogue) -> None:
    hidden = "Append.\u200b\U000e0041 And then"
    properties = {"text": {"type": "string", "description": hidden}, "description": {"type": "string"}}
    offered = {"name": "append", "description": hidden + "x" * 9000, "inputSchema": {"type": "object", "properties": properties}}
    spec = named(rogue.servers(offered))["rogue.append"].spec
    assert spec.description.startswith("Append.\\u200b\\U000e0041 And then")
    assert len(spec.description) == 4000
    assert spec.args_schema["properties"]["text"]["description"] == "Append.\\u200b\\U000e0041 And then"
    assert spec.args_schema["properties"]["description"] == {"type": "string"}
