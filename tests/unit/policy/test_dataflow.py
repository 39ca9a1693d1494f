"""What waits for what. Any plan that validates has an order in which it can run, stand-ins included."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

from hypothesis import assume, event, given
from hypothesis import strategies as st

from agent_graph.identity import RunId
from agent_graph.plan import Plan
from agent_graph.policy.compiler import Rules, compile_plan
from agent_graph.policy.dataflow import Dataflow, expression_reads, find_cycle
from agent_graph.policy.limits import Limits
from agent_graph.policy.rules import Policy
from agent_graph.ports import ToolSpec

ANY = ToolSpec(name="any", description="", args_schema={"type": "object"}, output_schema=None, risk="read_only", recovery="rerun")
RULES = Rules(tools={"any": ANY}, policy=Policy.allow_all(), limits=Limits())


def made(*steps: dict[str, Any]) -> Plan:
    return Plan.model_validate({"goal": "x", "steps": [{"tool": "any", **step} for step in steps]})


def ref(step: str) -> dict[str, Any]:
    return {"$ref": f"steps.{step}.output"}


def test_needs_come_from_dependencies_references_conditions_and_criteria() -> None:
    flow = Dataflow.of(
        made(
            {"id": "a"},
            {"id": "b"},
            {"id": "c"},
            {"id": "d"},
            {
                "id": "e",
                "args": {"x": [{"y": ref("a")}]},
                "depends_on": ["b"],
                "when": "steps.c.output > 1",
                "success_criteria": ["output > steps.d.output"],
            },
        )
    )
    assert flow.needs["e"] == {"a", "b", "c", "d"}
    assert flow.followers["a"] == ("e",)


def test_the_longest_chain_has_the_highest_rank() -> None:
    flow = Dataflow.of(made({"id": "short"}, {"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b"]}))
    assert flow.rank == {"short": 1, "a": 3, "b": 2, "c": 1}
    assert flow.order == {"short": 0, "a": 1, "b": 2, "c": 3}


def test_a_fallback_waits_for_what_it_stands_in_for_and_whoever_uses_that_waits_for_both() -> None:
    flow = Dataflow.of(made({"id": "a", "on_failure": "step:b"}, {"id": "b"}, {"id": "c", "args": {"x": ref("a")}}))
    assert flow.fallback_of == {"b": "a"}
    assert flow.needs == {"a": frozenset(), "b": {"a"}, "c": {"a", "b"}}


def test_a_fallback_of_a_fallback_is_waited_for_too() -> None:
    flow = Dataflow.of(
        made({"id": "a", "on_failure": "step:b"}, {"id": "b", "on_failure": "step:c"}, {"id": "c"}, {"id": "d", "args": {"x": ref("a")}})
    )
    assert flow.needs["d"] == {"a", "b", "c"}
    assert flow.needs["c"] == {"b"}


def test_a_fallback_waits_for_the_stand_ins_of_its_own_inputs() -> None:
    flow = Dataflow.of(
        made({"id": "x", "on_failure": "step:y"}, {"id": "y"}, {"id": "a", "on_failure": "step:b"}, {"id": "b", "args": {"x": ref("x")}})
    )
    assert flow.needs["b"] == {"a", "x", "y"}


def test_steps_that_are_not_there_are_left_out() -> None:
    flow = Dataflow.of(made({"id": "a", "depends_on": ["nowhere"], "on_failure": "step:nowhere", "args": {"x": ref("nowhere")}}))
    assert (flow.needs, flow.fallback_of) == ({"a": frozenset()}, {})


def test_an_expression_that_cannot_be_read_needs_nothing() -> None:
    step = made({"id": "a", "when": "size(steps) > 1", "success_criteria": ["steps.b.output"]}).steps[0]
    assert expression_reads(step) == {"b"}
    assert step.reads == set()


def test_a_cycle_is_named_from_its_start_to_its_start() -> None:
    cycle = find_cycle({"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a"}), "d": frozenset()})
    assert cycle is not None
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"a", "b", "c"}
    assert find_cycle({"a": frozenset(), "b": frozenset({"a"})}) is None


# ── any plan ──────────────────────────────────────────────────────────────────────────────────────────────────────────

IDS = ["a", "b", "c", "d", "e", "f"]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Small plans over few ids, so that their steps meet: by dependency, reference, condition, criterion and fallback.

    Steps use what stands before them, and fallbacks stand behind, so that most of them validate.
    """
    names = draw(st.permutations(IDS))[: draw(st.integers(1, len(IDS)))]
    free = list(names)
    steps = []
    for position, name in enumerate(names):
        step: dict[str, Any] = {"id": name}
        if position:
            earlier = st.sampled_from(names[:position])
            step["depends_on"] = draw(st.lists(earlier, max_size=2))
            if draw(st.booleans()):
                step["args"] = {"x": ref(draw(earlier))}
            if not draw(st.integers(0, 3)):
                step["when"] = f"steps.{draw(earlier)}.status == 'succeeded'"
            if not draw(st.integers(0, 3)):
                step["success_criteria"] = [f"output != steps.{draw(earlier)}.output"]
        later = [each for each in names[position + 1 :] if each in free]
        wanted = draw(st.booleans())
        if later and wanted:
            free.remove(fallback := draw(st.sampled_from(later)))
            step["on_failure"] = f"step:{fallback}"
        steps.append(step)
    return made(*steps)


@given(plans())
def test_any_plan_that_validates_has_a_topological_order(plan: Plan) -> None:
    assume(compile_plan(plan, RULES, RunId("r")).valid)
    flow = Dataflow.of(plan)
    event(f"{len(plan.steps)} steps, {len(flow.fallback_of)} fallbacks")
    order = list(TopologicalSorter(flow.needs).static_order())
    assert set(order) == plan.by_id.keys()


@given(plans())
def test_no_step_is_ranked_below_one_that_waits_for_it(plan: Plan) -> None:
    assume(compile_plan(plan, RULES, RunId("r")).valid)
    flow = Dataflow.of(plan)
    assert all(flow.rank[need] > flow.rank[step] for step, needs in flow.needs.items() for need in needs)


@given(plans())
def test_followers_are_needs_read_backwards(plan: Plan) -> None:
    flow = Dataflow.of(plan)
    forwards = {(step, need) for step, needs in flow.needs.items() for need in needs}
    assert {(step, need) for need, steps in flow.followers.items() for step in steps} == forwards


@given(plans())
def test_whoever_needs_a_step_also_waits_for_whatever_may_stand_in_for_it(plan: Plan) -> None:
    assume(compile_plan(plan, RULES, RunId("r")).valid)
    flow = Dataflow.of(plan)
    for step, needs in flow.needs.items():
        for need in needs:
            stand_in = plan.by_id[need].fallback
            assert stand_in is None or stand_in == step or stand_in in needs


def test_of_what_has_ended_only_its_name_is_left() -> None:
    plan = made({"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["b"]}, {"id": "d", "depends_on": ["c"]})
    flow = Dataflow.of(plan, ended={"a", "b"})
    assert flow.needs == {"c": {"b"}, "d": {"c"}}
    assert (flow.rank, flow.followers["c"]) == ({"c": 2, "d": 1}, ("d",))
