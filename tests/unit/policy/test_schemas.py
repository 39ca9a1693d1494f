"""Values and arguments against JSON Schemas, through references where only the type is known."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent_graph.policy import schemas
from agent_graph.policy.schemas import argument_mismatches, below, check_path, check_schema, mismatches, types

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "home": {"$ref": "#/$defs/place"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {
        "place": {"type": "object", "properties": {"street": {"type": "string"}, "nr": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}}
    },
}


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_that_matches_has_no_mismatch() -> None:
    assert mismatches(PERSON, {"name": "ann", "age": 5, "home": {"street": "x", "nr": None}}) == []


def test_each_mismatch_names_its_place() -> None:
    found = mismatches(PERSON, {"age": "old", "home": {"nr": "x"}, "tags": ["a", 1]})
    assert sorted(each.partition(":")[0] for each in found) == ['"name" is a required property', "age", "home.nr", "tags[1]"]


def test_mismatches_are_capped() -> None:
    assert len(mismatches({"type": "array", "items": {"type": "string"}}, list(range(100)))) == 5


def test_a_schema_is_compiled_once() -> None:
    schema = {"type": "object", "title": "compiled once"}
    mismatches(schema, {})
    before = schemas.compilations
    for _ in range(10):
        mismatches(schema, {})
        mismatches(dict(schema), {})
    assert schemas.compilations == before


def test_numbers_beyond_64_bits_are_compared() -> None:
    assert mismatches({"type": "integer", "minimum": 2**80}, 2**81) == []
    assert mismatches({"type": "integer", "minimum": 2**80}, 2**79) != []


# ── schemas ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("schema", [{"type": "nothing"}, {"properties": 5}, {"$ref": "#/$defs/missing"}, {"pattern": "["}], ids=str)
def test_what_is_no_schema_is_said(schema: dict[str, Any]) -> None:
    assert check_schema(schema)


def test_a_schema_is_never_fetched_from_a_server() -> None:
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "string"}')

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        wrong = check_schema({"$ref": f"http://127.0.0.1:{server.server_port}/schema.json"})
        server.shutdown()
    assert asked == []
    assert wrong is not None
    assert "lies outside of the schema" in wrong


def test_a_schema_is_never_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"type": "string"}')
    assert check_schema({"$ref": (tmp_path / "secret.json").as_uri()}) is not None


@pytest.mark.parametrize(
    ("schema", "allowed"),
    [
        ({"type": "string"}, {"string"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/place"}]}, {"integer", "object"}),
        ({"anyOf": [{"type": "integer"}, {}]}, None),
        ({"$ref": "#/$defs/place"}, {"object"}),
        ({"$ref": "#/$defs/missing"}, None),
        ({"enum": ["a"]}, None),
        (True, None),
        ({}, None),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_the_types_that_a_schema_allows(schema: Any, allowed: set[str] | None) -> None:
    assert types(PERSON, schema) == allowed


@pytest.mark.parametrize(
    ("path", "type_"),
    [("name", "string"), ("home.street", "string"), ("tags[0]", "string"), ("tags[-1]", "string"), ("@", "object"), ("home", "object")],
)
def test_the_schema_below_a_path(path: str, type_: str) -> None:
    found = below(PERSON, path)
    assert isinstance(found, dict)
    assert found["type"] == type_


@pytest.mark.parametrize("path", ["tags[*]", "tags[?x]", "length(tags)", "name.first", "home | street", "'quoted'"])
def test_a_path_whose_type_is_not_followed_is_not_refused(path: str) -> None:
    assert below(PERSON, path) is None


def test_a_place_that_cannot_be_there_is_named_with_those_that_can() -> None:
    assert below(PERSON, "home.town") == "there is no 'town'; there is street, nr"
    assert below({"type": "object", "properties": {"a": {}}, "additionalProperties": True}, "b") is None


@pytest.mark.parametrize("path", ["a[[", "a.", "", "a b", "a]"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_path(path)


# ── arguments ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ref(text: str) -> dict[str, str]:
    return {"$ref": text}


STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
TYPES: dict[str, dict[str, Any]] = {
    "text": STRING,
    "whole": INTEGER,
    "number": NUMBER,
    "maybe": {"type": ["string", "null"]},
    "place": {"$ref": "#/$defs/p", "$defs": {"p": {"type": "object"}}},
    "any": {},
}


@pytest.mark.parametrize(
    "args",
    [
        {"name": ref("text")},
        {"name": ref("maybe"), "age": ref("number")},
        {"name": ref("unknown")},
        {"name": ref("any"), "home": ref("place")},
        {"name": "ann", "home": {"street": ref("text"), "nr": ref("whole")}},
        {"name": "ann", "tags": ["a", ref("text")]},
        {"name": "ann", "tags": ref("unknown")},
    ],
    ids=str,
)
def test_arguments_that_may_fit_are_not_refused(args: dict[str, Any]) -> None:
    assert list(argument_mismatches(PERSON, args, TYPES)) == []


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ({"name": ref("whole")}, ["name: whole gives integer, but string is wanted"]),
        ({"name": ref("place")}, ["name: place gives object, but string is wanted"]),
        ({"name": ref("text"), "home": {"street": ref("whole")}}, ["home.street: whole gives integer, but string is wanted"]),
        ({"name": ref("text"), "home": {"nr": ref("text")}}, ["home.nr: text gives string, but integer or null is wanted"]),
        ({"name": ref("text"), "tags": ["a", ref("whole")]}, ["tags[1]: whole gives integer, but string is wanted"]),
        ({"name": ref("text"), "tags": [5, ref("text")]}, ['tags[0]: 5 is not of type "string"']),
        ({"name": ref("text"), "home": {"nr": "x", "street": ref("text")}}, ["home.nr: "]),
        ({"age": ref("whole")}, ["args: 'name' is missing"]),
        ({"name": ref("text"), "nick": ref("text")}, ["nick: there is no such argument; there are name, age, home, tags"]),
        ({"name": ref("text"), "age": "old"}, ['age: "old" is not of type "integer"']),
    ],
    ids=str,
)
def test_arguments_that_cannot_fit_are_refused_at_their_place(args: dict[str, Any], found: list[str]) -> None:
    said = list(argument_mismatches(PERSON, args, TYPES))
    assert len(said) == len(found)
    assert all(each.startswith(wanted) for each, wanted in zip(said, found, strict=True)), said


def test_literals_beside_references_see_the_definitions_of_the_whole_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/n"}, "b": {}},
        "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/m"}}, "m": INTEGER},
    }
    assert list(argument_mismatches(schema, {"a": [1], "b": ref("text")}, TYPES)) == []
    assert len(list(argument_mismatches(schema, {"a": ["x"], "b": ref("text")}, TYPES))) == 1


def test_an_argument_that_a_pattern_allows_is_not_refused() -> None:
    schema = {"type": "object", "patternProperties": {"^x_": {}}, "additionalProperties": False}
    assert list(argument_mismatches(schema, {"x_a": ref("text")}, TYPES)) == []
