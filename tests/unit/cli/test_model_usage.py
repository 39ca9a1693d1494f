"""What the models of a run were asked, as ``show`` prints it."""

from __future__ import annotations

from typing import Any

from agent_graph.cli.model_usage import usage_lines
from agent_graph.plan import Goal
from agent_graph.state import Run


def entry(role: str, model: str = "openai:m", **used: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("requests", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "unpriced"), 0)
    return {"role": role, "model": model, "step_id": "", "plan_version": 1, **counts, "seconds": 0.0, "money": 0.0, **used}


def lines(*entries: dict[str, Any]) -> list[str]:
    run = Run(id="r", thread_id="r", status="succeeded", goal=Goal(text="g"), created=0.0, updated=0.0, usage_entries=entries)
    return list(usage_lines(run))


def test_a_run_that_asked_no_model_has_no_table() -> None:
    assert lines() == []


def test_steps_and_versions_of_one_model_in_one_role_are_one_line() -> None:
    head, only = lines(
        entry("executor", requests=2, input_tokens=1200, output_tokens=30, seconds=1.5, money=0.25),
        entry("executor", step_id="b", plan_version=2, requests=1, input_tokens=300, cached_tokens=100, seconds=0.5, money=0.05),
    )
    assert head.split() == ["role", "model", "requests", "read", "cached", "written", "reasoning", "time", "money"]
    assert only.split() == ["executor", "openai:m", "3", "1,500", "100", "30", "0", "2.0", "s", "0.3000"]


def test_several_add_up_and_what_is_not_priced_is_said_so() -> None:
    *_, total, said = lines(entry("planner", requests=1, money=0.5), entry("executor", "local", requests=4, unpriced=4, reasoning_tokens=9))
    assert total.split() == ["all", "5", "0", "0", "0", "9", "0.00", "s", "0.5000+"]
    assert "not known" in said


def test_nothing_known_of_the_price_is_no_zero() -> None:
    assert lines(entry("planner", requests=1, unpriced=1))[1].split()[-1] == "?"


def test_the_columns_stand_below_each_other_and_a_name_from_outside_is_only_shown() -> None:
    table = lines(entry("planner", "x" * 90 + "\x1b[31m", requests=1), entry("executor", requests=12_345))
    assert len({len(line) for line in table}) == 1
    assert not any("\x1b" in line for line in table)
