"""The same expression over other steps and values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.policy.expressions import evaluate
from agent_graph.policy.rewriting import CannotRewrite, Keys, as_expression, rewritten

VALUES: dict[str, Any] = {"x": 'say "hi"\n\\', "n": -3, "of": {"a": [1, 2.5, None]}, "out": {"$ref": "steps.q.output.a[0].b"}}


def place(root: str, keys: Keys) -> tuple[str, int] | None:
    if root == "steps":
        return f"steps.o__{keys[0]}", 1
    if root == "params":
        return as_expression(VALUES[str(keys[0])]), 1
    return ('"the goal"', 0) if root == "goal" else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps.a.output.x == 1", "steps.o__a.output.x == 1"),
        ('steps["a"].output == 1', "steps.o__a.output == 1"),
        ("steps . a . output == 1", "steps.o__a . output == 1"),
        ("steps.a.output.items.exists(i, i > params.n)", "steps.o__a.output.items.exists(i, i > (-3))"),
        ("params.out > 3 && params['n'] < 0", "steps.q.output.a[0].b > 3 && (-3) < 0"),
        ("params.x.startsWith('say')", '"say \\"hi\\"\\n\\\\".startsWith(\'say\')'),
        ("params.of.a[1] > 2.0", '{"a": [1, 2.5, null]}.a[1] > 2.0'),
        ("has(params.n) && has(steps.a.output)", "true && has(steps.o__a.output)"),
        ("goal == 'x'", "\"the goal\" == 'x'"),
        ("'steps.a' != \"params.n\" // goal", "'steps.a' != \"params.n\" // goal"),
        ("r'\\steps.a' == '''params.n'''", "r'\\steps.a' == '''params.n'''"),
        ("output.steps.a == 1 && output.goal == 2", "output.steps.a == 1 && output.goal == 2"),
        ("my_steps.a == 1", "my_steps.a == 1"),
    ],
)
def test_what_is_read_is_put_in_its_new_place_and_nothing_else(text: str, expected: str) -> None:
    assert rewritten(text, place) == expected


@pytest.mark.parametrize("value", [{"$ref": "steps.a.output.items[?x]"}, {"$ref": "steps.a.output.b | [0]"}, 2**63])
def test_what_an_expression_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(CannotRewrite):
        as_expression(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8).filter(lambda key: key != "$ref"), inner, max_size=3),
    max_leaves=6,
)


@given(JSON)
def test_a_value_written_as_an_expression_is_that_value(value: Any) -> None:
    assert evaluate(as_expression(value), {}) == value
