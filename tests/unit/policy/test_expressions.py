"""CEL expressions: what they read is known before they run, and evaluating one fails in one way only."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.policy.expressions import MAX_LENGTH, MAX_NESTING, ExpressionError, check_expression, evaluate, steps_read, values_read

CONTEXT: dict[str, Any] = {
    "output": {"n": 5, "items": [{"x": 1}, {"x": 2}], "text": "steps.secret"},
    "steps": {"a": {"status": "succeeded", "output": {"n": 2}}, "b": {"status": "skipped"}},
    "params": {"limit": 3},
    "goal": "tell them",
}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("output.n > 3", set()),
        ("steps.a.output.n > steps.b_2.output", {"a", "b_2"}),
        ("steps['a'].output == 1 && steps[\"b\"].status == 'x'", {"a", "b"}),
        ("steps . a . output == 1", {"a"}),
        ("steps\n.a\n.output == 1", {"a"}),
        ("output == 'steps.a.output'", set()),
        ('output == "all steps" && steps.a.output', {"a"}),
        (r"output == 'it\'s steps' && true", set()),
        ("output == \"a 'steps.a' b\"", set()),
        ("output.steps.a == 1", set()),
        ("mysteps.a == 1 && params.steps_done", set()),
        ("has(steps.a.output) && [steps.b.output].all(x, x > 1)", {"a", "b"}),
    ],
)
def test_the_steps_that_an_expression_reads(text: str, read: set[str]) -> None:
    assert steps_read(text) == read


@pytest.mark.parametrize("text", ["size(steps) > 1", "steps[params.which].output", "steps == {}"])
def test_reading_steps_as_a_whole_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="name each step"):
        steps_read(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("output.n > params.limit", {"output.n": 5, "params.limit": 3}),
        ("output.items[1].x == steps.a.output.n", {"output.items[1].x": 2, "steps.a.output.n": 2}),
        ("steps['a'].output.n == 2", {"steps.a.output.n": 2}),
        ("output.text.startsWith('params.limit')", {"output.text": "steps.secret"}),
        ("size(output.items) == 2 && goal != ''", {"output.items": [{"x": 1}, {"x": 2}], "goal": "tell them"}),
        ("output.missing.deeper == 1 || output.items[9].x == 1", {"output.missing.deeper": None, "output.items[9].x": None}),
        ("true", {}),
    ],
)
def test_the_values_that_an_expression_reads(text: str, values: dict[str, Any]) -> None:
    assert values_read(text, CONTEXT) == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("output.n > params.limit", True),
        ("steps.a.output.n * 2 == 4 && steps.b.status == 'skipped'", True),
        ("output.items.all(i, i.x > 1)", False),
        ("goal + '!'", "tell them!"),
        ("output.n", 5),
    ],
)
def test_an_expression_has_a_value(text: str, value: Any) -> None:
    assert evaluate(text, CONTEXT) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("output.missing > 1", "missing"),
        ("steps.b.output == 1", "output"),
        ("nothing.at.all", "nothing"),
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "overflow"),
        ("'a' > 1", "[Oo]verload"),
        ("output.text.matches('[')", "regex"),
        ("1 +", "it is not CEL"),
        ("'open", "it is not CEL"),
        ("", "it is not CEL"),
    ],
)
def test_an_expression_that_cannot_be_evaluated_says_why(text: str, why: str) -> None:
    with pytest.raises(ExpressionError, match=why):
        evaluate(text, CONTEXT)


def test_length_is_capped() -> None:
    check_expression("1" + " " * (MAX_LENGTH - 1))
    with pytest.raises(ExpressionError, match=f"at most {MAX_LENGTH}"):
        check_expression("1" + " " * MAX_LENGTH)


def test_nesting_is_capped_and_brackets_in_strings_do_not_count() -> None:
    check_expression("(" * MAX_NESTING + "1" + ")" * MAX_NESTING)
    check_expression("'" + "(" * 100 + "' == ''")
    with pytest.raises(ExpressionError, match=f"more than {MAX_NESTING} deep"):
        check_expression("(" * (MAX_NESTING + 1) + "1" + ")" * (MAX_NESTING + 1))


@pytest.mark.parametrize(
    "text", ["!" * 1990 + "true", "-" * 1990 + "1", "1" + "+1" * 990, "true" + "&&true" * 320, "output" + ".a" * 900, "true?1:" * 280 + "1"]
)
def test_an_expression_of_full_length_breaks_no_thread(text: str) -> None:
    # In a process and a thread of its own: an overflow of the stack is not an exception.
    code = """
import sys, threading
from agent_graph.policy.expressions import ExpressionError, evaluate
def run():
    try:
        evaluate(sys.argv[1], {"output": {}, "steps": {}, "params": {}, "goal": ""})
    except ExpressionError:
        pass
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    assert subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=False).returncode == 0


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("()[]{}.'\"\\+-*/%&|!?:<>=, steps output params"), max_size=40))
def test_any_text_is_an_expression_or_says_that_it_is_none(text: str) -> None:
    try:
        evaluate(text, CONTEXT)
    except ExpressionError as error:
        assert str(error)  # noqa: PT017  # any other exception is the failure


@pytest.mark.parametrize("text", ["(" * 5000 + "1" + ")" * 5000, "[" * 1500, "a." * 3000 + "b", "!" * 10_000 + "true"])
def test_what_is_nested_or_long_beyond_reason_is_an_error_and_no_more(text: str) -> None:
    assert steps_read(text) == frozenset()
    with pytest.raises(ExpressionError, match=r"at most|more than"):
        check_expression(text)
