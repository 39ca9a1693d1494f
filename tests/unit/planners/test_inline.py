"""The plan that code writes for ``inline``, and what of an open plan holds when it goes on."""

from __future__ import annotations

from agent_graph.plan import Goal, Plan, Risk, Step
from agent_graph.planners.extending import extended
from agent_graph.planners.inline import InlinePlanner, inline_plan
from agent_graph.ports import GiveUp, PlanningContext, ReplanningContext, ToolSpec

GOAL = Goal(text="What is known?", success_criteria=("size(steps.answer.output) > 0", {"judge": "it is polite"}))


def spec(name: str, risk: Risk) -> ToolSpec:
    return ToolSpec(name=name, description="", args_schema={"type": "object"}, output_schema=None, risk=risk, recovery="blind")


def context(*specs: ToolSpec) -> PlanningContext:
    return PlanningContext(goal=GOAL, tools={each.name: each for each in specs})


def test_only_tools_that_read_are_within_its_reach() -> None:
    (step,) = inline_plan(context(spec("look", "read_only"), spec("save", "write"), spec("pay", "money"))).steps
    assert (step.kind, step.allowed_tools) == ("agent", ("look",))


def test_without_a_tool_that_reads_it_is_one_reply_of_a_model() -> None:
    (step,) = inline_plan(context(spec("save", "write"))).steps
    assert (step.kind, step.allowed_tools) == ("model", ())


def test_it_is_told_what_must_hold() -> None:
    (step,) = inline_plan(context()).steps
    assert step.model == "What is known?\n\n# Done when\n\n- size(steps.answer.output) > 0\n- it is polite"


def test_without_a_planner_there_is_no_second_plan() -> None:
    planner = InlinePlanner()
    plan = planner.plan(context())
    assert isinstance(planner.replan(ReplanningContext(goal=GOAL, tools={}, plan=plan)), GiveUp)
    assert not planner.can_replan


def test_what_was_said_of_an_open_plan_holds_when_it_goes_on() -> None:
    before = Plan(
        goal=GOAL,
        steps=(Step(id="a", ask="?"),),
        mode="iterative",
        open=True,
        granularity="fine",
        success_criteria=("steps.a.output == 'x'",),
        assumptions=("params.a",),
        stop_when="steps.a.output == 'stop'",
        answer="so far",
    )
    came = Plan(goal=GOAL, steps=(Step(id="b", ask="?"),), success_criteria=("steps.b.output == 'y'", "steps.a.output == 'x'"))
    now = extended(came, before)
    assert now.success_criteria == ("steps.a.output == 'x'", "steps.b.output == 'y'")
    assert (now.assumptions, now.stop_when, now.answer) == (("params.a",), "steps.a.output == 'stop'", "so far")
    assert (now.mode, now.granularity, now.open) == ("iterative", "fine", False)
    assert extended(now, before) == now, "twice is once"
    assert extended(came.model_copy(update={"answer": "done"}), before).answer == "done"
