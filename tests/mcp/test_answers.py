"""What a server answers, as the output or the error that it is."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from agent_graph.errors import NotDone
from agent_graph.tools.mcp_results import ToolFailed
from agent_graph.tools.tool import Tool, ToolContext
from tests.mcp.conftest import Open, Rogue, named


def call(tool: Tool, **args: Any) -> Any:
    return asyncio.run(tool.call(ToolContext(), args))


@pytest.mark.needs("node", "npm")
def test_each_kind_of_content_is_told(open_servers: Open, everything: dict[str, Any]) -> None:
    tools = named(open_servers({"all": everything}))
    assert call(tools["all.echo"], message="x") == "Echo: x"
    assert call(tools["all.get-structured-content"], location="Chicago")["conditions"]
    (image,) = call(tools["all.get-tiny-image"])["parts"]
    assert (image["type"], image["mime_type"], image["bytes"] > 1000, len(image["sha256"])) == ("image", "image/png", True, 64)
    links = call(tools["all.get-resource-links"], count=2)["parts"]
    assert [each["type"] for each in links] == ["resource_link", "resource_link"]
    text = call(tools["all.get-resource-reference"], resourceType="Text", resourceId=1)["parts"][0]
    assert "Resource 1" in text["text"]
    blob = call(tools["all.get-resource-reference"], resourceType="Blob", resourceId=1)["parts"][0]
    assert (blob["type"], "bytes" in blob, "blob" in blob) == ("resource", True, False)


@pytest.mark.needs("node", "npm")
def test_a_path_outside_of_the_folder_is_an_error_and_not_a_text(open_servers: Open, filesystem: dict[str, Any]) -> None:
    tools = named(open_servers({"fs": filesystem}))
    with pytest.raises(ToolFailed, match="outside allowed directories"):
        call(tools["fs.read_text_file"], path="/etc/passwd")


@pytest.mark.parametrize("name", ["refuse", "forget"])
def test_that_a_tool_is_not_there_or_its_arguments_are_wrong_is_definite(rogue: Rogue, name: str) -> None:
    with pytest.raises(NotDone, match="no such"):
        call(rogue.tool(name))


def test_that_arguments_are_wrong_is_not_definite_where_it_may_be_said_of_the_output(rogue: Rogue) -> None:
    offered = {"name": "append_and_find_the_output_wrong", "outputSchema": {"type": "object"}}
    tool = named(rogue.servers(offered))["rogue.append_and_find_the_output_wrong"]
    with pytest.raises(ToolFailed, match="-32602"):
        call(tool, text="x")
    assert rogue.effects() == [{"text": "x"}]


def test_any_other_error_of_the_protocol_is_not_definite(rogue: Rogue) -> None:
    with pytest.raises(ToolFailed, match="something went wrong"):
        call(rogue.tool("stumble"))


def test_a_server_that_asks_for_a_model_a_person_or_folders_is_refused(rogue: Rogue) -> None:
    said = call(rogue.tool("ask"))
    assert said == {"sampling/createMessage": "refused", "elicitation/create": "refused", "roots/list": "refused"}


def test_no_ability_to_ask_us_is_offered(rogue: Rogue) -> None:
    rogue.tool("ask")
    (hello,) = rogue.received("initialize")
    assert not hello["params"]["capabilities"].keys() & {"sampling", "elicitation", "roots"}


def test_an_image_beside_a_structured_value_is_told_too() -> None:
    from mcp_types import CallToolResult, ImageContent

    from agent_graph.tools.mcp_results import output

    result = CallToolResult(content=[ImageContent(data="aGk=", mime_type="image/png")], structured_content={"a": 1})
    told = output(result, "t", structured=False, definite_errors=False)
    assert (told["structured"], told["parts"][0]["bytes"]) == ({"a": 1}, 2)
    assert output(result, "t", structured=True, definite_errors=False) == {"a": 1}


def test_what_is_not_what_it_claims_to_be_is_measured_as_it_is() -> None:
    from mcp_types import CallToolResult, ImageContent

    from agent_graph.tools.mcp_results import output

    result = CallToolResult(content=[ImageContent(data="not base64!", mime_type="image/png")])
    told = output(result, "t", structured=False, definite_errors=False)["parts"][0]
    assert told["sha256"] == hashlib.sha256(b"not base64!").hexdigest()
