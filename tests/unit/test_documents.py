"""What people write: YAML and JSON with errors that name file, line, place and what is allowed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.documents import MAX_CHARACTERS, Document, read_document
from agent_graph.errors import InvalidDocument
from agent_graph.plan import Plan

PLAN = """\
goal: tell them
steps:
  - id: look
    tool: look
    args: {name: ann}
  - id: send
    tool: send
    max_attempts: 20
    approvals: required
mode: fast
"""


def wrong(text: str, name: str = "plan.yaml") -> str:
    with pytest.raises(InvalidDocument) as caught:
        Document(text, name).read(Plan)
    return str(caught.value)


def value(text: str, name: str = "x.yaml") -> Any:
    return Document(text, name).value


# ── errors ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_error_is_told_at_once_with_file_line_and_place() -> None:
    assert wrong(PLAN).splitlines() == [
        "plan.yaml, line 8: steps[1].max_attempts: Input should be less than or equal to 10 (found 20)",
        "plan.yaml, line 9: steps[1].approvals: this field is not known here; check its spelling and its place",
        "plan.yaml, line 10: mode: Input should be 'inline', 'single_shot', 'iterative' or 'auto' (found 'fast')",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: []\n", "plan.yaml, line 1: goal: this field is missing"),
        ("goal: x\nsteps:\n  - tool: t\n", "plan.yaml, line 3: steps[0].id: this field is missing"),
        (
            "goal: x\nsteps:\n  - id: a\n",
            "plan.yaml, line 3: steps[0]: step 'a' has none of them; give exactly one of tool, model, agent, ask, blueprint",
        ),
        (
            "goal: x\nsteps:\n- id: a\n  tool: t\n  args:\n    x: {$ref: nothing}\n",
            "plan.yaml, line 3: steps[0]: step 'a', args.x: 'nothing' is not a reference",
        ),
        ("goal: x\nsteps:\n  a: b\n", "plan.yaml, line 2: steps: Input should be a valid tuple"),
    ],
)
def test_an_error_names_file_line_and_place(text: str, said: str) -> None:
    assert wrong(text).startswith(said)


def test_an_error_in_json_names_file_and_place() -> None:
    assert wrong('{"goal": "x", "steps": [{"id": "a", "tool": "t", "max_attempts": 0}]}', "plan.json").startswith(
        "plan.json: steps[0].max_attempts: "
    )


def test_a_long_value_is_not_shown_whole() -> None:
    said = wrong(f"goal: x\nmode: {'fast' * 1000}\n")
    assert len(said) < 400


@pytest.mark.parametrize(
    ("text", "what"), [("", "nothing"), ("- a\n", "a list"), ("text\n", "a text"), ("true\n", "a boolean"), ("5\n", "a int")]
)
def test_a_document_that_is_no_mapping_is_told_what_it_is(text: str, what: str) -> None:
    assert wrong(text) == f"plan.yaml: expected a mapping with the fields of a Plan, found {what}"


# ── YAML ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml: line 3: the key 'a' stands here again (first on line 1)"),
        ("a:\n  b: 1\n  b: 2\n", "x.yaml: line 3: the key 'b' stands here again (first on line 2)"),
        ("a: &x [1]\nb: *x\n", "x.yaml: line 2: YAML aliases (*x) are not read"),
        ("1: a\n", "x.yaml: line 1: the key 1 is not a text; put it in quotes"),
        ("? [a]\n: b\n", "x.yaml: line 1: the key "),
        ("a: [1\n", "x.yaml, line 2: not YAML: "),
        ("a: 1\n\tb: 2\n", "x.yaml, line 2: not YAML: "),
        ("a: 1\n---\nb: 2\n", "x.yaml, line 2: not YAML: "),
        ("a: !!python/object/apply:os.system [ls]\n", "x.yaml, line 1: not YAML: could not determine a constructor"),
        ("a: !!timestamp 2020-01-01\n", "x.yaml, line 1: not YAML: could not determine a constructor"),
        ("a: !!int b\n", "x.yaml: invalid literal"),
        ("a: \x01\n", "x.yaml: not YAML: "),
        ("a: .nan\n", "x.yaml: line 1: .nan is not a number that JSON has"),
        ("a:\n- -.inf\n", "x.yaml: line 2: -.inf is not a number that JSON has"),
        ("a: 1e999\n", "x.yaml: line 1: 1e999 is not a number that JSON has"),
        (f"a: {'1' * 5000}\n", "x.yaml: Exceeds the limit"),
        ('a: "\\ud800"\n', "x.yaml: \\ud800 is half a character"),
        ("[" * 3000, "x.yaml: nested too deeply"),
    ],
)
def test_yaml_that_is_not_read_is_told_why(text: str, said: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        value(text)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-31",
        "2024-01-31T12:30:00Z",
        "12:30",
        "12:30:45",
        "1:30",
        "007",
        "0123",
        "no",
        "yes",
        "on",
        "off",
        "1_",
        "2024_01",
        "0x",
        "+",
        ".",
        "1.2.3",
        "=",
    ],
)
def test_what_json_has_no_value_for_stays_the_text_that_was_written(text: str) -> None:
    assert value(f"a: {text}\n") == {"a": text}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("-1.5e-3", -0.0015),
        ("1e5", 1e5),
        (".5", 0.5),
        ("5.", 5.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'5'", "5"),
    ],
)
def test_plain_values_are_jsons(text: str, read: Any) -> None:
    found = value(f"a: {text}\n")["a"]
    assert (found, type(found)) == (read, type(read))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.text(st.characters(codec="utf-8") | st.sampled_from(":-[]{}&*!|>'\"%@`#,?\n \\u"), max_size=30),
    st.sampled_from(["x.yaml", "x.json"]),
)
def test_any_text_is_read_or_refused_in_our_words(text: str, name: str) -> None:
    try:
        value(text, name)
    except InvalidDocument as error:
        assert str(error).startswith(name)  # noqa: PT017  # any other exception is the failure


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "x.json: the key 'a' stands twice in one object"),
        ('{"a": NaN}', "x.json: NaN is not a number that JSON has"),
        ('{"a": [-Infinity]}', "x.json: -Infinity is not a number that JSON has"),
        ('{"a": 1e999}', "x.json: 1e999 is not a number that JSON has"),
        ('{"a": "\\ud800"}', "x.json: \\ud800 is half a character"),
        ('{\n"a": 1,\n}', "x.json, line 3: not JSON: "),
        ("", "x.json, line 1: not JSON: "),
        (f'{{"a": {"1" * 5000}}}', "x.json: Exceeds the limit"),
        ("[" * 100_000, "x.json: nested too deeply"),
    ],
)
def test_json_that_is_not_read_is_told_why(text: str, said: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        value(text, "x.json")
    assert str(caught.value).startswith(said)


def test_both_halves_of_a_character_are_read() -> None:
    assert value('{"a": "\\ud83d\\ude00"}', "x.json") == {"a": "😀"}


# ── lines and files ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("goal",), 1),
        (("steps",), 2),
        (("steps", 0), 3),
        (("steps", 1, "max_attempts"), 8),
        (("steps", 1, "nowhere"), 6),
        (("steps", 9), 2),
    ],
)
def test_the_line_of_a_value_or_of_what_it_should_stand_in(path: tuple[int | str, ...], line: int) -> None:
    assert Document(PLAN, "plan.yaml").line(path) == line


def test_a_file_is_read_by_its_ending(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("goal: grüße\n", encoding="utf-8")
    (tmp_path / "p.json").write_text('{"goal": "grüße"}', encoding="utf-8")
    assert read_document(tmp_path / "p.yaml", Plan) == read_document(str(tmp_path / "p.json"), Plan)


def test_a_file_that_cannot_be_read_is_told_why(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("goal: grüße".encode("latin-1"))
    for name, said in [("nowhere.yaml", "no such file"), ("", "a folder"), ("latin.yaml", "not UTF-8")]:
        with pytest.raises(InvalidDocument, match=said):
            read_document(tmp_path / name, Plan)


def test_a_file_of_millions_of_characters_is_not_read() -> None:
    with pytest.raises(InvalidDocument, match="4,000,001 characters"):
        Document("#" * (MAX_CHARACTERS + 1), "x.yaml")
