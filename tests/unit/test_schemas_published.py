"""The JSON Schemas that others build on: a change is made on purpose, with ``UPDATE_SNAPSHOTS=1``, and read by a person."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent_graph.documents import Document
from agent_graph.examples import blueprints
from agent_graph.plan import Blueprint, Model, Plan
from agent_graph.policy.schemas import check_schema, mismatches

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
PUBLISHED: dict[str, type[Model]] = {"plan.schema.json": Plan, "blueprint.schema.json": Blueprint}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_schema_is_that_of_the_model(name: str) -> None:
    text = json.dumps(PUBLISHED[name].model_json_schema(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        (SCHEMAS / name).write_text(text, encoding="utf-8")
    assert (SCHEMAS / name).read_text(encoding="utf-8") == text, "run the tests with UPDATE_SNAPSHOTS=1 and read the difference"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_schema_is_a_schema_and_refuses_unknown_fields(name: str) -> None:
    schema = json.loads((SCHEMAS / name).read_text(encoding="utf-8"))
    assert check_schema(schema) is None
    assert schema["additionalProperties"] is False
    assert any("unknown" in each for each in mismatches(schema, {"unknown": 1}))


@pytest.mark.parametrize("path", blueprints().values(), ids=lambda path: path.stem)
def test_a_bundled_blueprint_matches_the_published_schema(path: Path) -> None:
    schema = json.loads((SCHEMAS / "blueprint.schema.json").read_text(encoding="utf-8"))
    assert mismatches(schema, Document(path.read_text(encoding="utf-8"), path.name).value) == []


def test_each_field_says_what_it_is_for_where_its_name_does_not() -> None:
    step = Plan.model_json_schema()["$defs"]["Step"]["properties"]
    assert {name for name, field in step.items() if "description" not in field} <= {"id", "description", "success_criteria"}
