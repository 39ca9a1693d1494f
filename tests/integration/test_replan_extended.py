"""Mode ``iterative``: a plan that is open is planned on when its steps have ended well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent_graph import AgentGraph, Answer, Approve, GiveUp, Limits, Plan, Policy, Question, Reject, Respond, Step, tool
from agent_graph.events import Replanned
from agent_graph.ports import ReplanningContext
from agent_graph.state import Run
from agent_graph.testing import ScriptedPlanner


def look(name: str, **more: Any) -> Step:
    return Step(id=name, tool="look_up", args={"name": name}, **more)


def steps(*of: Step, open: bool = True, **more: Any) -> Plan:  # noqa: A002
    return Plan(goal="try", steps=of, open=open, mode="iterative", **more)


class Setting:
    def __init__(self, store_path: Path, *script: Any, limits: Limits | None = None, policy: Policy | None = None) -> None:
        self.calls: list[str] = []

        @tool(risk="read_only")
        def look_up(name: str) -> dict[str, str]:
            self.calls.append(name)
            if name == "bad":
                raise ValueError("out of order")
            return {"name": name}

        @tool(risk="write", recovery="idempotent")
        def write(name: str) -> str:
            self.calls.append(f"write {name}")
            return name

        self.planner = ScriptedPlanner(*script)
        self.agent = AgentGraph([look_up, write], planner=self.planner, policy=policy, limits=limits, store=store_path)

    def run(self) -> Run:
        return self.agent.run("try")

    def replans(self, run: Run) -> list[Replanned]:
        return [event for event in self.agent.trace(run.id) if isinstance(event, Replanned)]


def test_an_open_plan_is_planned_on_until_it_is_closed(store_path: Path) -> None:
    it = Setting(store_path, steps(look("a")), steps(look("b")), Plan(goal="try", answer="seen", mode="iterative"))
    done = it.run()
    assert (done.status, done.answer, it.calls) == ("succeeded", "seen", ["a", "b"])
    assert done.plan is not None
    assert ([step.id for step in done.plan.steps], done.plan.version, done.plan.open) == (["a", "b"], 3, False)
    contexts = it.planner.contexts[1:]
    assert all(isinstance(context, ReplanningContext) and context.extending for context in contexts)
    assert [sorted(context.results) for context in contexts if isinstance(context, ReplanningContext)] == [["a"], ["a", "b"]]


def test_an_answer_closes_the_plan(store_path: Path) -> None:
    it = Setting(store_path, steps(look("a")), Answer("that is all"))
    done = it.run()
    assert (done.status, done.answer, it.calls) == ("succeeded", "that is all", ["a"])


def test_planning_on_takes_no_replans(store_path: Path) -> None:
    script = [steps(look(f"s{n}")) for n in range(8)]
    it = Setting(store_path, *script, steps(look("last"), open=False), limits=Limits(max_replans=0))
    done = it.run()
    assert (done.status, len(it.calls)) == ("succeeded", 9)


def test_a_failure_in_an_open_plan_takes_a_replan(store_path: Path) -> None:
    script = [steps(look("a")), steps(look("bad")), steps(look("b")), steps(look("bad2", when=None)), steps(open=False, answer="x")]
    it = Setting(store_path, *script, limits=Limits(max_replans=1))
    done = it.run()
    assert done.status == "succeeded"
    assert [event.created_by for event in it.replans(done)] == [
        "scripted (next step)",
        "scripted",
        "scripted (next step)",
        "scripted (next step)",
    ]
    context = it.planner.contexts[2]
    assert isinstance(context, ReplanningContext)
    assert (context.extending, context.replans_left) == (False, 1)


def test_the_steps_that_a_plan_may_have_bound_it(store_path: Path) -> None:
    it = Setting(store_path, *[steps(look(f"s{n}")) for n in range(20)], limits=Limits(max_steps=4))
    done = it.run()
    assert (done.status, done.error and done.error.code, len(it.calls)) == ("failed", "budget_exceeded", 4)
    last = it.planner.contexts[-1]
    assert isinstance(last, ReplanningContext)
    assert "no further step is allowed" in last.reason


def test_an_open_plan_ends_long_before_the_steps_of_any_plan(store_path: Path) -> None:
    it = Setting(store_path, steps(*[look(f"s{n}") for n in range(100)]), steps(look("more")))
    done = it.run()
    assert (done.status, done.error and done.error.code, len(it.calls)) == ("failed", "budget_exceeded", 100)


def test_a_full_plan_may_still_be_closed_with_an_answer(store_path: Path) -> None:
    it = Setting(store_path, steps(look("a")), Plan(goal="try", answer="done"), limits=Limits(max_steps=1))
    assert it.run().answer == "done"


def test_a_planner_that_twice_has_nothing_new_is_stuck(store_path: Path) -> None:
    it = Setting(store_path, steps(look("a")), steps(look("a")), steps(look("a")))
    done = it.run()
    assert (done.status, done.error and done.error.code, it.calls) == ("failed", "stuck", ["a"])


def test_the_step_that_has_just_been_done_is_nothing_new_under_another_name(store_path: Path) -> None:
    again = Step(id="once_more", tool="look_up", args={"name": "a"})
    it = Setting(store_path, steps(look("a")), steps(again), steps(look("b")), steps(open=False, answer="x"))
    done = it.run()
    assert (done.status, it.calls) == ("succeeded", ["a", "b"])
    told = it.planner.contexts[2]
    assert isinstance(told, ReplanningContext)
    assert "once_more" in told.reason


def test_only_the_new_step_is_put_before_a_person(store_path: Path) -> None:
    def write(name: str) -> Step:
        return Step(id=f"w_{name}", tool="write", args={"name": name})

    it = Setting(store_path, steps(write("one")), steps(write("two")), steps(open=False, answer="x"))
    paused = it.run()
    assert [call.step_id for call in paused.requests[0].calls] == ["w_one"]
    paused = it.agent.resume(paused, Approve())
    assert [call.step_id for call in paused.requests[0].calls] == ["w_two"]
    done = it.agent.resume(paused, Approve())
    assert (done.status, it.calls) == ("succeeded", ["write one", "write two"])


def test_a_no_to_the_next_step_is_a_replan_and_what_has_landed_stays(store_path: Path) -> None:
    other = Step(id="other", tool="look_up", args={"name": "other"})
    it = Setting(store_path, steps(look("a")), steps(Step(id="w", tool="write", args={"name": "x"})), steps(other, open=False))
    done = it.agent.resume(it.run(), Reject(reason="not now"))
    assert (done.status, it.calls) == ("succeeded", ["a", "other"])
    context = it.planner.contexts[2]
    assert isinstance(context, ReplanningContext)
    assert (context.extending, "not now" in context.reason) == (False, True)


def test_a_planner_may_ask_before_it_plans_on(store_path: Path) -> None:
    it = Setting(store_path, steps(look("a")), Question("which?"), steps(look("b"), open=False))
    paused = it.run()
    assert paused.requests[0].question == "which?"
    done = it.agent.resume(paused, Respond(text="b"))
    assert (done.status, it.calls) == ("succeeded", ["a", "b"])
    assert it.planner.contexts[2].answers == {"which?": "b"}


def test_a_planner_that_sees_no_next_step_ends_the_run(store_path: Path) -> None:
    it = Setting(store_path, steps(look("a")), GiveUp("no idea"))
    done = it.run()
    assert (done.status, done.error and done.error.code) == ("failed", "gave_up")


def test_an_invalid_next_step_goes_back_with_its_issues(store_path: Path) -> None:
    it = Setting(store_path, steps(look("a")), steps(Step(id="b", tool="nonsense")), steps(look("c")), steps(open=False, answer="x"))
    done = it.run()
    assert (done.status, it.calls) == ("succeeded", ["a", "c"])
    context = it.planner.contexts[2]
    assert isinstance(context, ReplanningContext)
    assert [issue.code for issue in context.issues] == ["unknown_tool"]


def test_a_goal_that_is_met_is_not_planned_on(store_path: Path) -> None:
    it = Setting(store_path, steps(look("a"), stop_when="steps.a.output.name == 'a'"), steps(look("b")))
    done = it.run()
    assert (done.status, it.calls, len(it.planner.contexts)) == ("succeeded", ["a"], 1)


def test_what_is_not_said_anew_stays(store_path: Path) -> None:
    first = steps(look("a"), success_criteria=("steps.a.output.name == 'zzz'",), answer={"$ref": "steps.a.output.name"})
    it = Setting(store_path, first, steps(look("b"), open=False))
    done = it.run()
    assert (done.status, done.error and done.error.code, done.answer) == ("failed", "goal_not_met", "a")


def test_an_open_plan_whose_planner_plans_no_further_ends_with_its_steps(store_path: Path) -> None:
    it = Setting(store_path)
    assert it.agent.run(plan=steps(look("a"))).status == "succeeded"
