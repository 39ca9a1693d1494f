"""Whatever a planner proposes, one version after another: the run ends, what has ended stays, and no effect happens twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_graph import AgentGraph, Answer, GiveUp, Limits, Plan, Policy, Step, tool
from agent_graph.events import StepFinished
from agent_graph.testing import MemoryStore, ScriptedPlanner

IDS = "abcde"
BOOLS: Any = st.booleans()


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps: list[Step] = []
    for name in draw(st.lists(st.sampled_from(IDS), unique=True, max_size=4)):
        earlier: list[str] = [step.id for step in steps]
        what = draw(st.sampled_from(["look", "look", "write"]))
        value = draw(st.sampled_from(["ok", "ok", "bad", ""]))
        steps.append(
            Step(
                id=name,
                tool=what,
                args={"value": value},
                depends_on=tuple(draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2))) if earlier else (),
                on_failure=draw(st.sampled_from(["replan", "replan", "continue", "fail"])),
                allow_empty=draw(BOOLS),
                success_criteria=draw(st.sampled_from([(), (), ("output != 'ok'",)])),
            )
        )
    assumptions = (f"steps.{steps[0].id}.output == 'ok'",) if steps and draw(BOOLS) else ()
    return Plan(
        goal="try",
        steps=tuple(steps),
        open=draw(BOOLS),
        mode=draw(st.sampled_from(["single_shot", "iterative"])),
        answer=draw(st.sampled_from([None, "x"])),
        assumptions=assumptions,
        stop_when=draw(st.sampled_from([None, None, f"steps.{steps[0].id}.output == 'ok'" if steps else None])),
    )


SCRIPTS = st.lists(st.one_of(plans(), plans(), plans(), st.just(GiveUp("no way")), st.just(Answer("enough"))), min_size=1, max_size=8)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(SCRIPTS)
def test_a_run_ends_within_its_bounds_and_does_nothing_twice(script: list[Any]) -> None:
    written: Counter[str] = Counter()

    @tool(risk="read_only")
    def look(value: str) -> str:
        if value == "bad":
            raise ValueError("out of order")
        return value

    @tool(risk="write", recovery="blind", definite=[ValueError])
    def write(value: str) -> str:
        if value == "bad":
            raise ValueError("refused")
        written[value] += 1
        return value

    planner = ScriptedPlanner(*script)
    limits = Limits(max_replans=2, max_steps=6)
    with AgentGraph([look, write], planner=planner, policy=Policy.allow_all(), limits=limits, store=MemoryStore()) as agent:
        run = agent.run("try")
        records = agent.store.runs.plans(run.id)  # type: ignore[arg-type]
        ended = [event for event in agent.trace(run.id) if isinstance(event, StepFinished) and event.status == "succeeded"]
        landed = agent.store.ledger.landed(run.id)  # type: ignore[arg-type]
    # A write that another step has done is put before a person.
    assert run.status in ("succeeded", "failed") or any(request.tool == "write" or request.kind == "plan" for request in run.requests)
    assert run.status != "failed" or run.error is not None
    revised = [record for record in records[1:] if record.plan.created_by == "scripted"]
    assert len(revised) <= limits.max_replans
    assert all(len(record.plan.steps) <= limits.max_steps for record in records if record.verdict == "valid")
    for event in ended:
        was = next(record.plan for record in records if record.plan.version == event.plan_version).by_id[event.step_id]
        assert all(
            record.plan.by_id.get(event.step_id) == was
            for record in records
            if record.plan.version > event.plan_version
            if record.verdict == "valid"
        )
    assert sum(written.values()) == len({effect.step_id for effect in landed})
