"""A verdict for each criterion, with the values that it read."""

from __future__ import annotations

from typing import Any

from agent_graph.execution.criteria import check, unmet
from agent_graph.plan import Judge
from agent_graph.verdicts import Evidence

CONTEXT: dict[str, Any] = {
    "output": {"n": 5, "long": list(range(1000))},
    "steps": {"a": {"status": "succeeded", "output": 2}},
    "params": {"limit": 3},
    "goal": "g",
}


def one(criterion: Any) -> Evidence:
    (evidence,) = check([criterion], CONTEXT)
    return evidence


def test_a_criterion_that_holds_is_recorded_with_what_it_saw() -> None:
    assert one("output.n > params.limit && steps.a.output == 2") == Evidence(
        criterion="output.n > params.limit && steps.a.output == 2",
        holds=True,
        values={"output.n": 5, "params.limit": 3, "steps.a.output": 2},
    )


def test_a_criterion_that_does_not_hold_is_recorded_with_what_it_saw() -> None:
    assert one("output.n > 9") == Evidence(criterion="output.n > 9", holds=False, values={"output.n": 5})


def test_what_is_not_true_or_false_does_not_hold() -> None:
    evidence = one("output.n")
    assert (evidence.holds, evidence.why) == (None, "it gives int, not true or false")


def test_what_reads_something_that_is_not_there_could_not_be_evaluated() -> None:
    evidence = one("output.missing > 1")
    assert (evidence.holds, evidence.values) == (None, {"output.missing": None})
    assert "missing" in evidence.why


def test_what_is_no_expression_could_not_be_evaluated() -> None:
    assert one("1 +").holds is None


def test_a_judges_criterion_stays_open() -> None:
    assert one(Judge(judge="is it kind?")) == Evidence(criterion="is it kind?", holds=None, why="no judge has said so")


def test_a_large_value_is_recorded_by_its_size_and_beginning() -> None:
    (shown,) = one("size(output.long) == 1000").values.values()
    assert isinstance(shown, str)
    assert shown.startswith("[0, 1, 2, 3")
    assert "1000 items" in shown
    assert len(shown) < 300


def test_every_criterion_is_evaluated_also_after_one_that_does_not_hold() -> None:
    assert [each.holds for each in check(["false", "1 / 0 == 1", "true"], CONTEXT)] == [False, None, True]


def test_whatever_is_not_known_to_hold_is_unmet() -> None:
    evidence = check(["true", "output.n > 9", "output.n", Judge(judge="kind?")], CONTEXT)
    assert unmet(evidence) == [
        "output.n > 9 (saw {'output.n': 5})",
        "output.n: it gives int, not true or false",
        "kind?: no judge has said so",
    ]
    assert unmet(check(["true"], CONTEXT)) == []
