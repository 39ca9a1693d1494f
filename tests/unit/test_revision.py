"""A replan as a diff: what had ended, what stays, goes, is changed and is new."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent_graph.plan import Plan, Step
from agent_graph.revision import compare
from agent_graph.trace.revised import revision_lines


def step(name: str, **more: Any) -> Step:
    return Step(id=name, tool="look_up", **{"args": {"name": name}, **more})


BEFORE = Plan(goal="try", steps=(step("a"), step("b"), step("c"), step("d")), answer="seen")
AFTER = Plan(
    goal="try",
    steps=(step("a"), step("c", args={"name": "other"}, timeout_s=3), step("d"), Step(id="e", ask="sure?", depends_on=("d",))),
    answer={"$ref": "steps.c.output"},
    version=2,
    parent=1,
    created_by="somebody",
    reason="b failed",
)


def test_each_step_is_named_with_what_became_of_it() -> None:
    found = compare(BEFORE, AFTER, {"a", "b"})
    assert (found.finished, found.kept, found.dropped, found.added) == (("a",), ("d",), ("b",), ("e",))
    assert (found.changed, found.plan) == ({"c": ("args", "timeout_s")}, ("answer",))
    assert (found.version, found.before, found.created_by, found.why) == (2, 1, "somebody", "b failed")


def test_on_one_line() -> None:
    said = "1 finished; 1 kept; dropped b; changed c (args, timeout_s); added e; of the plan: answer"
    assert str(compare(BEFORE, AFTER, {"a"})) == said


def test_of_many_steps_the_first_are_named_and_the_others_counted() -> None:
    many = Plan(goal="try", steps=tuple(step(f"s{number}") for number in range(300)))
    said = str(compare(Plan(goal="try"), many))
    assert (said.endswith("s19 and 280 more"), len(said) < 200) == (True, True)


def test_line_by_line_with_what_was_and_what_is() -> None:
    assert list(revision_lines(compare(BEFORE, AFTER, {"a"}), BEFORE, AFTER)) == [
        "= a (had ended)",
        "= d (as it was)",
        '- b  look_up(name: "b")',
        '~ c  args: {"name": "c"} → {"name": "other"}',
        "~ c  timeout_s: null → 3.0",
        '+ e  ask "sure?"  after d',
        '~ the plan  answer: "seen" → {"$ref": "steps.c.output"}',
    ]


def test_a_value_passes_for_no_line_of_ours_and_a_long_one_is_cut() -> None:
    after = BEFORE.model_copy(update={"steps": (step("a", args={"name": "x\n+ z  pay()\x1b[2J" + "y" * 1000}), *BEFORE.steps[1:])})
    (line,) = [line for line in revision_lines(compare(BEFORE, after), BEFORE, after) if line.startswith("~")]
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 300


def test_a_version_that_changes_nothing_says_so() -> None:
    nothing = Plan(goal="try", answer="seen")
    assert str(compare(nothing, nothing)) == "nothing is changed"


STEPS = st.lists(
    st.builds(lambda name, value: Step(id=name, tool="t", args={"v": value}), st.sampled_from("abcdefg"), st.integers(0, 2)),
    unique_by=lambda one: one.id,
    max_size=7,
).map(tuple)


@given(STEPS, STEPS, st.sets(st.sampled_from("abcdefg")))
def test_each_step_of_either_version_is_in_exactly_one_place(before: tuple[Step, ...], after: tuple[Step, ...], ended: set[str]) -> None:
    one, other = Plan(goal="g", steps=before), Plan(goal="g", steps=after)
    found = compare(one, other, ended)
    stays = [*found.finished, *found.kept]
    assert sorted([*stays, *found.dropped, *found.changed]) == sorted(one.by_id)
    assert sorted([*stays, *found.added, *found.changed]) == sorted(other.by_id)
    assert all(one.by_id[step_id] == other.by_id[step_id] for step_id in stays)
    assert set(found.finished) <= ended
