"""The answer from a template: what it may read, and that nothing that is wrong with it costs the run more than its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Goal, InvalidPlan, Plan, Policy, Step, tool
from agent_graph.events import Note
from agent_graph.policy.limits import Limits
from agent_graph.state import Run


@tool(risk="read_only")
def look(host: str) -> dict[str, Any]:
    """Looks at a host."""
    if host == "lost":
        raise OSError("no route")
    return {"host": host, "cpu": 12.71, "items": ["a", "b"]}


STEPS = (
    Step(id="look", tool="look", args={"host": {"$ref": "params.host"}}),
    Step(id="other", tool="look", args={"host": "lost"}, on_failure="continue"),
)


def run(store: Path, template: str, **more: Any) -> tuple[Run, list[str]]:
    plan = Plan(
        goal=Goal(text="how is it?", params={"host": "web-1", **more.pop("params", {})}), steps=STEPS, template=template, answer={"n": 1}
    )
    with AgentGraph([look], policy=Policy.allow_all(), store=store, **more) as agent:
        done = agent.run(plan=plan)
        return done, [event.message for event in agent.trace(done.id) if isinstance(event, Note)]


def test_a_template_reads_steps_parameters_goal_and_the_plan_s_answer(store_path: Path) -> None:
    template = "{{ goal }} {{ params.host }}: {{ steps.look.output.cpu }} %{% for item in steps['look'].output['items'] %} {{ item }}{% endfor %} ({{ answer.n }})\n"
    done, _ = run(store_path, template)
    assert (done.status, done.answer) == ("succeeded", "how is it? web-1: 12.71 % a b (1)\n")


def test_a_template_can_say_what_is_not_there(store_path: Path) -> None:
    done, _ = run(store_path, "{{ steps.other.status }}{% if steps.other.output is not defined %}: nothing{% endif %}")
    assert done.answer == "failed: nothing"


def test_a_template_can_go_through_all_steps(store_path: Path) -> None:
    done, _ = run(store_path, "{% for id, step in steps.items() | sort %}{{ id }} {{ step.status }}; {% endfor %}")
    assert done.answer == "look succeeded; other failed; "


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ steps.other.output.cpu }}", "has no attribute 'output'"),
        ("{{ steps.look.output.colour }}", "has no attribute 'colour'"),
        ("{{ params.nothing }}", "has no attribute 'nothing'"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "it was not done within"),
        ("{{ 'a' * 10 ** 11 }}", "memory"),
        ("{{ 'a' * 300000 }}", "it writes more than 200000 bytes"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_what_goes_wrong_leaves_the_plan_s_own_answer_and_is_said(store_path: Path, template: str, why: str) -> None:
    done, notes = run(store_path, template, limits=Limits(max_output_bytes=200_000))
    assert (done.status, done.answer) == ("succeeded", {"n": 1})
    (note,) = [note for note in notes if "the template of the answer could not be filled in" in note]
    assert why in note


def test_a_template_that_is_none_keeps_the_plan_from_running(store_path: Path) -> None:
    with pytest.raises(InvalidPlan, match="invalid_template"):
        run(store_path, "{{ steps.look.output")


def test_a_secret_parameter_is_not_written_down(store_path: Path) -> None:
    done, _ = run(store_path, "the key: {{ params.key }}", params={"key": "hunter2-hunter2"}, secrets=["hunter2-hunter2"])
    assert "hunter2" not in str(done.answer)


def test_a_failed_run_answers_as_its_plan_says(store_path: Path) -> None:
    goal = Goal(text="how?", params={"host": "web-1"}, success_criteria=("steps.look.output.cpu > 99.0",))
    with AgentGraph([look], policy=Policy.allow_all(), store=store_path) as agent:
        done = agent.run(plan=Plan(goal=goal, steps=STEPS, template="all is well", answer={"n": 1}))
    assert (done.status, done.answer) == ("failed", {"n": 1})


def test_a_template_goes_before_a_summarizer(store_path: Path) -> None:
    done, _ = run(store_path, "from the template", models={"summarizer": {"model": "openai:never-asked"}})
    assert done.answer == "from the template"
