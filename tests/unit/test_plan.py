"""The model of what is to be done: what is refused, and that what is written loads to the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent_graph.documents import Document, _Loader
from agent_graph.errors import UsageError
from agent_graph.identity import canonical, sha256
from agent_graph.plan import KINDS, RISKS, Blueprint, Goal, Param, Plan, Reference, Step, highest, is_reference, references


def step(**fields: Any) -> Step:
    return Step.model_validate({"id": "a", "tool": "look"} | fields)


def plan(**fields: Any) -> Plan:
    return Plan.model_validate({"goal": "tell them", "steps": [{"id": "a", "tool": "look"}]} | fields)


# ── references ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "step_id", "param", "path"),
    [
        ("steps.a.output", "a", None, None),
        ("steps.a.output.b.c", "a", None, "b.c"),
        ("steps.a.output[0].b", "a", None, "@[0].b"),
        ("steps.a.output[?x > `1`] | [0]", "a", None, "@[?x > `1`] | [0]"),
        ("steps.a_1.output.length(@)", "a_1", None, "length(@)"),
        ("params.who", None, "who", None),
    ],
)
def test_a_reference_names_a_step_and_a_path_or_a_parameter(text: str, step_id: str | None, param: str | None, path: str | None) -> None:
    assert Reference.parse(text) == Reference(text, step=step_id, param=param, path=path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "steps.a",
        "steps.a.status",
        "steps.a.outputs",
        "steps.a.output.",
        "params",
        "params.a.b",
        "params.a\n",
        "steps.1.output",
        "x.steps.a.output",
    ],
)
def test_what_is_no_reference_is_told_the_forms_there_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"steps\.<id>\.output\.<jmespath> or params\.<name>"):
        Reference.parse(text)


def test_references_are_found_with_their_places() -> None:
    value = {"x": {"$ref": "params.a"}, "y": [1, {"z": [{"$ref": "params.b"}]}], "w": "$ref"}
    assert list(references(value)) == [("x", "params.a"), ("y[1].z[0]", "params.b")]
    assert list(references({"$ref": "params.a"})) == [("", "params.a")]
    assert is_reference({"$ref": 1})
    assert not is_reference(["$ref"])


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"x": {"$ref": "steps.b"}}, "step 'a', args.x: 'steps.b' is not a reference"),
        ({"x": [{"y": {"$ref": "nothing"}}]}, "step 'a', args.x[0].y: 'nothing' is not a reference"),
        ({"x": {"$ref": 5}}, "args.x: '5' is not a reference"),
        ({"x": {"$ref": "params.a", "default": 1}}, "args.x: a reference stands alone; take out what is beside $ref: default"),
    ],
)
def test_a_reference_that_is_none_is_refused_at_its_place(args: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        step(args=args)
    assert words in str(caught.value)


def test_a_reference_in_the_answer_is_checked_too() -> None:
    with pytest.raises(ValidationError, match=r"answer\.x\[0\]: 'nothing' is not a reference"):
        plan(answer={"x": [{"$ref": "nothing"}]})


# ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_of_the_one_kind_that_it_gives(kind: str) -> None:
    assert Step.model_validate({"id": "a", kind: "x"}).kind == kind


@pytest.mark.parametrize(("fields", "said"), [({}, "has none of them"), ({"tool": "x", "ask": "y"}, "has tool and ask")])
def test_a_step_of_no_kind_or_of_two_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=f"step 'a' {said}; give exactly one of tool, model, agent, ask, blueprint"):
        Step.model_validate({"id": "a", **fields})


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "a.b", "é", "a\n", "a" * 65])
def test_an_id_that_would_read_otherwise_in_an_expression_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        step(id=name)


@pytest.mark.parametrize("value", ["retry", "step:", "step:a b", "STEP:a", "continue "])
def test_what_is_done_on_failure_is_from_a_closed_list(value: str) -> None:
    with pytest.raises(ValidationError):
        step(on_failure=value)


@pytest.mark.parametrize(
    "fields",
    [
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"max_attempts": 0},
        {"max_attempts": 11},
        {"max_age_s": 0},
        {"approval": "never"},
        {"retries": 3},
    ],
)
def test_a_field_out_of_bounds_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        step(**fields)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have_is_refused_wherever_it_stands(number: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        step(args={"x": [{"y": number}]})
    with pytest.raises(ValidationError, match="finite"):
        Goal(text="x", params={"n": number})


def test_a_step_needs_what_it_depends_on_and_what_it_refers_to() -> None:
    made = step(depends_on=["b"], args={"x": {"$ref": "steps.c.output"}, "y": {"$ref": "params.d"}}, when="steps.e.output == 1")
    assert made.needs == {"b", "c"}


def test_the_fallback_of_a_step_is_the_one_that_it_names() -> None:
    assert step(on_failure="step:b").fallback == "b"
    assert step().fallback is None


def test_the_gravest_risk_counts() -> None:
    assert highest(["write", "money", "read_only"]) == "money"
    assert highest(RISKS) == "compliance"
    assert highest([]) == "read_only"


# ── goals and plans ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_is_enough_of_a_goal() -> None:
    goal = Goal(text="tell them")
    assert Goal.of("tell them") == Goal.of(goal) == Goal.of({"text": "tell them"}) == goal
    assert plan().goal == goal


def test_a_goal_without_a_text_is_refused() -> None:
    with pytest.raises(ValidationError):
        Goal(text="")


def test_a_plan_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        plan().version = 2  # type: ignore[misc]  # the point


def test_an_unknown_field_is_refused_by_its_name() -> None:
    with pytest.raises(ValidationError, match=r"(?s)priority.*not permitted"):
        plan(priority=1)


def test_the_digest_is_of_everything_in_the_plan() -> None:
    assert plan().digest == plan().digest
    others = [
        plan(version=2),
        plan(reason="x"),
        plan(answer=1),
        plan(goal="other"),
        plan(steps=[{"id": "a", "tool": "look", "args": {"x": 1}}]),
    ]
    assert len({plan().digest, *(each.digest for each in others)}) == 6


def test_the_digest_does_not_change_with_what_is_left_at_its_default() -> None:
    spelled_out = {"mode": "single_shot", "version": 1, "success_criteria": [], "answer": None, "created_by": "user"}
    long = plan(
        steps=[{"id": "a", "tool": "look", "args": {}, "approval": "auto", "on_failure": "replan", "timeout_s": None}], **spelled_out
    )
    assert long.digest == plan().digest
    assert Plan.model_validate(long.model_dump()).digest == plan().digest


def test_the_digest_does_not_change_with_the_order_of_keys() -> None:
    assert step(args={"x": 1, "y": 2}) == step(args={"y": 2, "x": 1})
    first, second = (plan(steps=[{"id": "a", "tool": "look", "args": args}]) for args in ({"x": 1, "y": 2}, {"y": 2, "x": 1}))
    assert first.digest == second.digest


def test_a_changed_copy_has_a_digest_of_its_own() -> None:
    first = plan()
    assert first.digest
    assert first.by_id
    copy = first.model_copy(update={"version": 2, "steps": ()})
    assert copy.digest != first.digest
    assert copy.by_id == {}
    assert copy == Plan.model_validate(copy.document())


def test_the_digest_survives_yaml_and_json() -> None:
    made = plan(
        goal={
            "text": "grüße ☂",
            "params": {"when": "12:30", "day": "2024-01-31", "no": "no", "n": "007", "x": 1e300, "big": 2**70, "null": None},
        },
        steps=[{"id": "a", "tool": "look", "timeout_s": 5, "args": {"f": 1.0, "i": 1, "b": True, "s": "true", "deep": [[{"a": []}]]}}],
    )
    by_yaml = Document(yaml.safe_dump(made.document(), allow_unicode=True), "p.yaml").read(Plan)
    by_json = Document(json.dumps(by_yaml.document()), "p.json").read(Plan)
    again = Document(yaml.safe_dump(by_json.document()), "p.yaml").read(Plan)
    assert made.digest == by_yaml.digest == by_json.digest == again.digest


# ── what is written loads to the same ─────────────────────────────────────────────────────────────────────────────────

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
IDENTIFIER = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
REFERENCE = st.builds(lambda name: {"$ref": f"steps.{name}.output.x[0]"}, IDENTIFIER)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | REFERENCE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT.filter(lambda key: key != "$ref"), inner, max_size=3),
    max_leaves=8,
)
CRITERIA = st.lists(TEXT | st.builds(lambda text: {"judge": text}, TEXT), max_size=2)


@st.composite
def steps(draw: st.DrawFn) -> dict[str, Any]:
    optional = {
        "description": TEXT,
        "args": st.dictionaries(IDENTIFIER, JSON, max_size=2),
        "when": TEXT,
        "depends_on": st.lists(IDENTIFIER, max_size=2),
        "allowed_tools": st.lists(TEXT, max_size=2),
        "expected_output": st.dictionaries(TEXT, JSON, max_size=2),
        "success_criteria": CRITERIA,
        "approval": st.sampled_from(["auto", "required"]),
        "on_failure": st.sampled_from(["replan", "continue", "ask", "fail"]) | st.builds("step:{}".format, IDENTIFIER),
        "timeout_s": st.floats(0.01, 1e6),
        "max_attempts": st.integers(1, 10),
        "max_age_s": st.floats(0.01, 1e6),
    }
    return {"id": draw(IDENTIFIER), draw(st.sampled_from(KINDS)): draw(TEXT), **draw(st.fixed_dictionaries({}, optional=optional))}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    goal = {"text": draw(TEXT.filter(bool)), "params": draw(st.dictionaries(TEXT, JSON, max_size=2)), "success_criteria": draw(CRITERIA)}
    optional = {
        "success_criteria": CRITERIA,
        "stop_when": TEXT,
        "answer": JSON,
        "mode": st.sampled_from(["inline", "single_shot", "iterative", "auto"]),
        "risk_level": st.sampled_from(RISKS),
        "version": st.integers(1, 9),
        "parent": st.none() | st.integers(1, 9),
        "reason": TEXT,
    }
    return Plan.model_validate(
        {"goal": goal, "steps": draw(st.lists(steps(), max_size=3)), **draw(st.fixed_dictionaries({}, optional=optional))}
    )


@given(plans())
def test_what_is_written_as_json_loads_to_the_same(made: Plan) -> None:
    back = Document(json.dumps(made.document()), "p.json").read(Plan)
    assert (back, back.digest) == (made, made.digest)


@given(plans())
def test_what_is_written_as_yaml_loads_to_the_same(made: Plan) -> None:
    back = Document(yaml.dump(made.document(), Dumper=_Plain), "p.yaml").read(Plan)
    assert (back, back.digest) == (made, made.digest)


class _Plain(yaml.SafeDumper):
    """Values that stand twice are written twice: aliases are not read. A text that our reader would take for a number is put in quotes."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, _: Any) -> bool:
        return True


# ── blueprints ────────────────────────────────────────────────────────────────────────────────────────────────────────


def blueprint(**fields: Any) -> Blueprint:
    return Blueprint.model_validate({"name": "b", "goal": "g", "steps": [{"id": "a", "tool": "t"}]} | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "B"},
        {"name": "a_b"},
        {"name": ""},
        {"steps": []},
        {"goal": ""},
        {"params": {"a-b": {}}},
        {"params": {"a": {"type": "date"}}},
    ],
)
def test_a_blueprint_that_cannot_work_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        blueprint(**fields)


@pytest.mark.parametrize(
    ("param", "required"),
    [
        (Param(), True),
        (Param(default="x"), False),
        (Param(default=False, type="boolean"), False),
        (Param(default=0, type="number"), False),
        (Param(optional=True), False),
    ],
)
def test_a_parameter_is_required_unless_it_has_a_default_or_is_optional(param: Param, required: bool) -> None:
    assert param.required is required


def test_the_schema_of_the_parameters_says_all_that_is_declared() -> None:
    made = blueprint(
        params={
            "who": {"description": "whom"},
            "n": {"type": "integer", "default": 1, "minimum": 0, "maximum": 5},
            "kind": {"enum": ["a", "b"], "optional": True},
            "list": {"type": "array", "items": {"type": "number"}, "default": []},
        }
    )
    assert made.params_schema() == {
        "type": "object",
        "properties": {
            "who": {"type": "string", "description": "whom"},
            "n": {"type": "integer", "minimum": 0.0, "maximum": 5.0},
            "kind": {"type": ["string", "null"], "enum": ["a", "b", None]},
            "list": {"type": "array", "items": {"type": "number"}},
        },
        "required": ["who"],
        "additionalProperties": False,
    }


def test_a_goal_with_half_a_character_is_refused_with_words() -> None:
    for wrong in ({"text": "tell \ud800"}, {"text": "tell", "params": {"to": ["\udfff"]}}):
        with pytest.raises(ValidationError, match=r"half a character|unicode"):
            Goal.model_validate(wrong)


def test_a_plan_that_was_changed_inside_after_its_first_use_is_refused() -> None:
    made = Plan(goal="go", steps=(Step(id="a", tool="f", args={"n": 1}),))
    assert json.loads(made.written()) == made.document()
    assert made.digest == sha256(canonical(made.document()))
    made.steps[0].args["n"] = 2
    with pytest.raises(UsageError, match="a plan is a value"):
        made.written()


def test_a_plan_that_is_read_is_the_one_that_was_written() -> None:
    made = Plan.model_validate(
        {"goal": "go", "steps": [{"id": "a", "tool": "f", "args": {"to": {"$ref": "params.n"}, "as": 1}}], "answer": "é", "version": 2}
    )
    read = Plan.read(made.written(), made.digest)
    assert read is not None
    assert read == made
    assert read.model_fields_set == made.model_fields_set
    assert (read.digest, read.steps[0].references) == (made.digest, made.steps[0].references)
    assert list(read.steps[0].args) == ["to", "as"], "as its author wrote them, and a person is shown them"
    assert Plan.read(made.written().replace(":1}", ":2}"), made.digest) is None


def test_the_name_of_a_tool_has_one_spelling() -> None:
    step = Step(id="a", tool="cafe\u0301", allowed_tools=("cafe\u0301",))
    assert (step.tool, step.allowed_tools) == ("caf\u00e9", ("caf\u00e9",))
    assert Step(id="a", tool="pay\u200b").tool == "pay\u200b"  # another name, and not a tool's
