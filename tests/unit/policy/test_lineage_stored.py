"""What is stored of a plan's lineage: the same when it is read, what was read only once, and no lineage where there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent_graph.policy.lineage import Origin, read_lineage, write_lineage
from agent_graph.verdicts import Source

READ = tuple(
    Source(label="untrusted", what=f"steps.s{n}.output", path=f"mail → steps.s{n}.output → the plan", into="the plan", excerpt="x" * 160)
    for n in range(12)
)


def test_it_is_read_as_it_was_written() -> None:
    made = {"a": Origin(since=2, read=READ), "b": Origin(since=1, around=READ[:3], renewed=3), "c": Origin(since=4)}
    again = read_lineage(json.loads(json.dumps(write_lineage(made))))
    assert again == made
    assert {step: origin.mark for step, origin in again.items()} == {step: origin.mark for step, origin in made.items()}


def test_what_was_read_is_stored_once_however_many_steps_came_after_it() -> None:
    few, many = (len(json.dumps(write_lineage({f"s{n}": Origin(since=2, read=READ) for n in range(count)}))) for count in (1, 501))
    assert (many - few) / 500 < 40  # bytes per step


def test_a_plan_without_one_has_none() -> None:
    assert read_lineage({}) == {}


@pytest.mark.parametrize(
    "damaged",
    [{"read": []}, {"read": [[]], "steps": {"a": [1, 0, 5, 0]}}, {"read": [[{"x": 1}]], "steps": {}}, {"read": [[]], "steps": {"a": 7}}],
)
def test_what_nobody_wrote_is_refused(damaged: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"lineage|validation error"):
        read_lineage(damaged)
