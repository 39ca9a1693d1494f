"""The schema that a model is held to, and the way back from what it writes to a plan."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.models.replies import WrongReply
from agent_graph.plan import Goal, Interpretation, Plan, Step
from agent_graph.planners.plan_schema import PlanSchema, plan_schema
from agent_graph.ports import Answer, GiveUp, Question, ToolSpec

GOAL = Goal(text="try")


def spec(name: str, properties: dict[str, Any], *required: str, **more: Any) -> ToolSpec:
    schema = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False, **more}
    return ToolSpec(name=name, description="", args_schema=schema, output_schema=None, risk="read_only", recovery="rerun")


def schema_of(*specs: ToolSpec) -> PlanSchema:
    return plan_schema({each.name: each for each in specs})


def args_schema(tool: ToolSpec) -> dict[str, Any]:
    found: dict[str, Any] = schema_of(tool).forms.tools[tool.name].schema["properties"]["args"]
    return found


def read_args(tool: ToolSpec, args: Any) -> dict[str, Any]:
    reply = {"reply": {"kind": "plan", "steps": [{"id": "a", "tool": tool.name, "args": args}]}}
    plan = schema_of(tool).read(reply, GOAL)
    assert isinstance(plan, Plan)
    return plan.steps[0].args


def problems(tool: ToolSpec, args: Any) -> str:
    with pytest.raises(WrongReply) as caught:
        read_args(tool, args)
    return str(caught.value)


# ── the rules of strict mode ──────────────────────────────────────────────────────────────────────────────────────────

STRICT_WORDS = {"type", "enum", "properties", "required", "additionalProperties", "items", "anyOf", "$defs", "$ref", "description"}


def broken_rules(node: Any, at: str = "") -> Iterator[str]:
    unknown = node.keys() - STRICT_WORDS
    if unknown:
        yield f"{at}: {unknown}"
    if "$ref" in node and node.keys() != {"$ref"}:
        yield f"{at}: something beside $ref"
    if node.get("type") == "object" or "properties" in node:
        if node.get("additionalProperties") is not False:
            yield f"{at}: an open object"
        if node.get("required") != list(node.get("properties", {})):
            yield f"{at}: not every property is required"
    if node.get("type") == "array" and "items" not in node:
        yield f"{at}: a list of anything"
    if not {"type", "anyOf", "$ref"} & node.keys():
        yield f"{at}: a value of any type"
    for name, below in {**node.get("properties", {}), **node.get("$defs", {})}.items():
        yield from broken_rules(below, f"{at}.{name}")
    for index, below in enumerate(node.get("anyOf", ())):
        yield from broken_rules(below, f"{at}|{index}")
    if "items" in node:
        yield from broken_rules(node["items"], f"{at}[]")


def depth(node: Any, root: Any) -> int:
    if "$ref" in node:
        return depth(root["$defs"][node["$ref"].rpartition("/")[2]], root)
    below = [*node.get("properties", {}).values(), *node.get("anyOf", ()), *([node["items"]] if "items" in node else [])]
    return (node.get("type") in ("object", "array")) + max((depth(each, root) for each in below), default=0)


SCALARS = st.sampled_from(
    [
        {"type": "string"},
        {"type": "integer", "minimum": 1, "default": 3},
        {"type": ["number", "null"]},
        {"type": "string", "pattern": "^a", "format": "email", "minLength": 2},
        {"enum": ["a", "b", 1, None]},
        {"const": "x"},
        {},
        True,
        {"type": "object"},
        {"type": "array"},
        {"$ref": "#/$defs/Node"},
        {"oneOf": [{"type": "string"}, {"type": "object"}]},
        {"allOf": [{"type": "integer"}], "description": "one"},
        {"allOf": [{"type": "integer"}, {"minimum": 1}]},
        {"type": "array", "prefixItems": [{"type": "string"}]},
        {"enum": [[1], {"a": 1}]},
    ]
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(lambda item: {"type": "array", "items": item, "maxItems": 4}, inner)
        | st.builds(
            lambda properties, required: {"type": "object", "properties": properties, "required": list(properties)[:required]},
            st.dictionaries(st.sampled_from(["a", "b", "ref", "kind"]), inner, min_size=1),
            st.integers(0, 3),
        )
        | st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=12,
)
NODE = {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "value": {"type": "integer"}}}}


@given(st.dictionaries(st.sampled_from(["x", "y", "ref", "z"]), SCHEMAS, max_size=4))
def test_whatever_the_tools_take_the_document_keeps_the_rules_of_strict_mode(properties: dict[str, Any]) -> None:
    document = schema_of(spec("t", properties, *list(properties)[:1], **{"$defs": NODE}), spec("empty", {})).document
    assert list(broken_rules(document)) == []
    assert document["type"] == "object"
    assert "anyOf" not in document
    assert depth(document, document) <= 10
    jsonschema_rs.validator_for(document)


@pytest.mark.parametrize("levels", range(1, 8))
def test_however_deep_a_value_is_a_reference_in_it_still_fits(levels: int) -> None:
    value: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        value = {"type": "array", "items": {"type": "object", "properties": {"a": value}, "required": ["a"]}}
    document = schema_of(spec("t", {"x": value}, "x")).document
    assert depth(document, document) <= 10


def test_a_schema_beyond_the_documented_limits_is_sent_without_strict() -> None:
    few, many = (schema_of(*[spec(f"t{n}", {"a": {"type": "string"}}) for n in range(count)]) for count in (600, 1200))
    assert few.strict
    assert not many.strict


def test_without_tools_a_plan_can_only_ask() -> None:
    plan = schema_of().read({"reply": {"kind": "plan", "steps": [{"id": "a", "ask": "why?"}]}}, GOAL)
    assert isinstance(plan, Plan)
    assert plan.steps == (Step(id="a", ask="why?"),)


# ── arguments and back ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_argument_is_a_value_of_its_type_or_a_reference() -> None:
    tool = spec("t", {"n": {"type": "integer", "minimum": 1, "description": "How many."}}, "n")
    assert args_schema(tool)["properties"]["n"] == {
        "anyOf": [{"type": "integer"}, {"$ref": "#/$defs/reference"}],
        "description": "How many. (minimum 1)",
    }
    assert read_args(tool, {"n": 3}) == {"n": 3}
    assert read_args(tool, {"n": {"ref": "steps.b.output.n"}}) == {"n": {"$ref": "steps.b.output.n"}}
    assert problems(tool, {"n": None}) == 'steps[0].args.n: null is not an integer or {"ref": "…"}'
    assert problems(tool, {"n": {"$ref": "params.n"}}).startswith('steps[0].args.n: {"$ref": "params.n"} is not')


def test_null_leaves_an_optional_argument_out_and_is_kept_where_null_is_a_value() -> None:
    tool = spec(
        "t",
        {"a": {"type": "string"}, "b": {"type": ["string", "null"]}, "c": {"type": "array", "items": {"type": ["integer", "null"]}}},
        "b",
    )
    assert read_args(tool, {"a": None, "b": None, "c": [1, None]}) == {"b": None, "c": [1, None]}


def test_references_may_stand_inside_lists_and_objects() -> None:
    inner = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["name"],
    }
    tool = spec("t", {"o": inner}, "o")
    wrote = {"o": {"name": {"ref": "params.n"}, "tags": ["a", {"ref": "steps.b.output[0]"}]}}
    assert read_args(tool, wrote) == {"o": {"name": {"$ref": "params.n"}, "tags": ["a", {"$ref": "steps.b.output[0]"}]}}
    assert read_args(tool, {"o": {"name": "x", "tags": None}}) == {"o": {"name": "x"}}


FREE = {
    "any object": {"type": "object"},
    "an object with open properties": {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
    "a mapping": {"type": "object", "additionalProperties": {"type": "integer"}},
    "any list": {"type": "array"},
    "any value": {},
    "a recursive type": {"$ref": "#/$defs/Node"},
    "an object with a property called ref": {"type": "object", "properties": {"ref": {"type": "string"}}, "additionalProperties": False},
}


@pytest.mark.parametrize("name", FREE)
def test_what_strict_mode_cannot_say_travels_as_json_text(name: str) -> None:
    tool = spec("t", {"v": FREE[name]}, "v", **{"$defs": NODE if name != "a recursive type" else {"Node": {"$ref": "#/$defs/Node"}}})
    assert args_schema(tool)["properties"]["v"]["anyOf"][0]["type"] == "string"
    assert read_args(tool, {"v": '{"a": [1, {"ref": "params.x"}]}'}) == {"v": {"a": [1, {"$ref": "params.x"}]}}
    assert read_args(tool, {"v": {"ref": "params.x"}}) == {"v": {"$ref": "params.x"}}
    for bad in ("{a: 1}", "NaN", '"\\ud800"', "[" * 100_000):
        assert "the text is not JSON" in problems(tool, {"v": bad})
    assert "there is more after the JSON" in problems(tool, {"v": "1 2"})


def test_one_of_several_types_is_read_as_the_one_that_fits() -> None:
    point = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}, "required": ["x"]}
    tool = spec("t", {"v": {"anyOf": [{"type": "integer"}, point, {"type": "array", "items": point}]}}, "v")
    assert read_args(tool, {"v": 3}) == {"v": 3}
    assert read_args(tool, {"v": {"x": 1, "y": None}}) == {"v": {"x": 1}}
    assert read_args(tool, {"v": [{"x": 1, "y": 2}]}) == {"v": [{"x": 1, "y": 2}]}
    assert "a integer" not in problems(tool, {"v": "text"})


def test_arguments_of_a_tool_with_an_open_schema_travel_as_json_text() -> None:
    tool = ToolSpec(
        name="t",
        description="",
        args_schema={"type": "object", "additionalProperties": True},
        output_schema=None,
        risk="read_only",
        recovery="rerun",
    )
    assert read_args(tool, '{"any": 1}') == {"any": 1}


# ── the rest of a plan ────────────────────────────────────────────────────────────────────────────────────────────────

LOOK = spec("look", {"at": {"type": "string"}}, "at")


def test_a_whole_plan_is_read_back() -> None:
    step = {
        "id": "a",
        "description": "Looks.",
        "do": {"tool": "look", "args": {"at": "x"}},
        "when": "params.x > 1",
        "depends_on": ["b"],
        "expected_output": '{"type": "object"}',
        "allow_empty": False,
        "success_criteria": ["output.n > 0"],
        "approval": "required",
        "on_failure": "step:c",
    }
    reply = {
        "kind": "plan",
        "reason": "because",
        "assumptions": ["steps.a.output.fresh"],
        "steps": [step],
        "success_criteria": ["steps.a.status == 'succeeded'"],
        "stop_when": "steps.a.output.done",
        "answer": [{"name": "found", "value": {"ref": "steps.a.output"}}, {"name": "note", "value": "text"}],
    }
    interpretation = {"intent": "to see", "constraints": ["touch nothing"], "missing": []}
    plan = schema_of(LOOK).read({"interpretation": interpretation, "reply": reply}, GOAL)
    assert plan == Plan(
        goal=GOAL,
        reason="because",
        steps=(
            Step(
                id="a",
                description="Looks.",
                tool="look",
                args={"at": "x"},
                when="params.x > 1",
                depends_on=("b",),
                expected_output={"type": "object"},
                allow_empty=False,
                success_criteria=("output.n > 0",),
                approval="required",
                on_failure="step:c",
            ),
        ),
        success_criteria=("steps.a.status == 'succeeded'",),
        stop_when="steps.a.output.done",
        answer={"found": {"$ref": "steps.a.output"}, "note": "text"},
        assumptions=("steps.a.output.fresh",),
        interpretation=Interpretation(intent="to see", constraints=("touch nothing",)),
        granularity="coarse",
    )


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ({"kind": "question", "text": "which?", "choices": ["a"]}, Question("which?", ("a",))),
        ({"kind": "answer", "text": "42"}, Answer("42")),
        ({"kind": "give_up", "reason": "no way"}, GiveUp("no way")),
    ],
)
def test_the_other_replies(reply: dict[str, Any], read: Any) -> None:
    assert schema_of(LOOK).read({"reply": reply}, GOAL) == read
    with pytest.raises(WrongReply, match="extra"):
        schema_of(LOOK).read({"reply": {**reply, "extra": 1}}, GOAL)


def test_every_problem_is_told_at_once_and_the_list_is_bounded() -> None:
    steps = [{"id": f"s{number}", "tool": "none", "args": {}} for number in range(40)]
    with pytest.raises(WrongReply) as caught:
        schema_of(LOOK).read({"reply": {"kind": "plan", "steps": [{"id": "1 a", "tool": "look", "args": {}}, *steps]}}, GOAL)
    assert len(caught.value.problems) == 41
    assert str(caught.value).endswith("… and 29 more")


def test_a_step_that_is_kept_keeps_what_the_schema_has_no_place_for() -> None:
    before = Plan(goal=GOAL, steps=(Step(id="a", tool="look", args={"at": "x"}, max_attempts=3, timeout_s=5),))
    reply = {"kind": "plan", "steps": [{"id": "a", "tool": "look", "args": {"at": "x"}}, {"id": "b", "tool": "look", "args": {"at": "y"}}]}
    plan = schema_of(LOOK).read({"reply": reply}, GOAL, before)
    assert isinstance(plan, Plan)
    assert plan.steps[0] == before.steps[0]
    assert plan.steps[1].max_attempts == 1


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["plan", "look", "a", "{"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["reply", "kind", "steps", "id", "tool", "args", "at", "ref", "ask", "answer", "when", "success_criteria"]),
            inner,
        )
    ),
    max_leaves=15,
)


@given(JUNK, JUNK)
def test_junk_is_refused_and_never_half_read(junk: Any, step: Any) -> None:
    for value in (junk, {"reply": junk}, {"reply": {"kind": "plan", "steps": [step]}}, {"reply": {"kind": "plan", "steps": junk}}):
        try:
            read = schema_of(LOOK).read(value, GOAL)
        except WrongReply:
            continue
        else:
            assert isinstance(read, Plan | Question | Answer | GiveUp)


def test_choosing_a_planner_imports_no_model_library() -> None:
    script = (
        "import sys, agent_graph.planners.choose; print(sorted(name for name in sys.modules if name.startswith(('langchain', 'openai'))))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
