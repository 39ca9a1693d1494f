"""A person changes what a run is to do: what has landed stays, the rest is planned anew, and nothing of the old plan runs any more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Goal, Plan, Question, Reject, Resolve, Respond, Step, tool
from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import DecisionConflict, NothingPending, RunBusy, RunFinished, UsageError
from agent_graph.events import Replanned, Revised
from agent_graph.policy.limits import Limits
from agent_graph.ports import ReplanningContext
from agent_graph.state import Run
from agent_graph.testing import ScriptedPlanner


class World:
    """What the tools did, counted outside of our store."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.looked: list[str] = []
        self.lost = False

    def tools(self) -> list[Any]:
        world = self

        @tool(risk="read_only")
        def look(name: str) -> str:
            """Look something up."""
            world.looked.append(name)
            return f"{name}@example.org"

        @tool(risk="external_communication", recovery="blind")
        def send(to: str, text: str) -> str:
            """Send a message."""
            world.sent.append((to, text))
            if world.lost:
                raise ConnectionError("the reply was lost")
            return f"sent to {to}"

        return [look, send]


@pytest.fixture
def world() -> World:
    return World()


def agent(world: World, store: Path, planner: Any, **more: Any) -> AgentGraph:
    return AgentGraph(world.tools(), planner=planner, store=store / "runs.db", **more)


def look(step_id: str, name: str) -> Step:
    return Step(id=step_id, tool="look", args={"name": name})


def send(step_id: str, to: str, text: str = "hi", **more: Any) -> Step:
    return Step(id=step_id, tool="send", args={"to": to, "text": text}, **more)


def plan(*steps: Step) -> Plan:
    return Plan(goal="x", steps=steps)


# A message to ann waits for a yes, which its finished look came before.
FIRST = plan(look("find", "ann"), send("tell", "ann", depends_on=("find",)))


def test_a_paused_run_goes_on_with_the_new_goal(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell ann")
        run = graph.revise(run.id, goal="look up bob", by="olga")
        assert (run.status, run.goal.text, run.plan.goal.text) == ("succeeded", "look up bob", "look up bob")  # type: ignore[union-attr]
        assert (world.sent, world.looked) == ([], ["bob"])


def test_what_has_landed_stays_and_is_not_done_again(world: World, tmp_path: Path) -> None:
    third = plan(look("again", "carl"))
    planner = ScriptedPlanner(plan(send("one", "ann"), Step(id="which", ask="whom next?", depends_on=("one",))), third)
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell ann")
        run = graph.resume(run, Approve())
        assert (run.status, world.sent) == ("paused", [("ann", "hi")])
        run = graph.revise(run, goal="that is enough; look up carl")
        assert run.status == "succeeded"
        assert world.sent == [("ann", "hi")]
        assert [step.id for step in run.plan.steps] == ["one", "again"]  # type: ignore[union-attr]
        assert run.results["one"].plan_version == 1


def test_a_finished_step_that_is_left_out_stands_behind_the_one_that_it_needs(world: World, tmp_path: Path) -> None:
    after = Step(id="after", tool="look", args={"name": {"$ref": "steps.before.output"}})
    ask = Step(id="which", ask="whom next?", depends_on=("after",))
    planner = ScriptedPlanner(
        plan(look("first", "zoe"), look("before", "ann"), after, ask), plan(look("before", "ann"), look("other", "bob"))
    )
    with agent(world, tmp_path, planner) as graph:
        run = graph.revise(graph.run("look ann up"), goal="look bob up")
        assert run.status == "succeeded", run.error
        assert [step.id for step in run.plan.steps] == ["first", "before", "after", "other"]  # type: ignore[union-attr]
        assert sorted(world.looked) == ["ann", "ann@example.org", "bob", "zoe"]


def test_the_planner_is_told_the_new_goal_what_came_and_why(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run(Goal(text="tell ann", constraints=("be kind",)), params={"n": 1})
        graph.revise(run.id, constraints=["be kind", "not on a Sunday"], params={"who": "bob"})
        asked = planner.contexts[-1]
        assert isinstance(asked, ReplanningContext)
        assert asked.goal.constraints == ("be kind", "not on a Sunday")
        assert (asked.goal.text, asked.goal.params) == ("tell ann", {"n": 1, "who": "bob"})
        assert "revised the goal" in asked.reason


def test_the_trace_says_who_changed_what(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        paused = graph.run("tell ann")
        graph.revise(paused.id, goal="look up bob", by="olga")
        events = graph.trace(paused.id)
        (revised,) = [event for event in events if isinstance(event, Revised)]
        assert (revised.by, revised.before, revised.after) == ("olga", {"text": "tell ann"}, {"text": "look up bob"})
        assert revised.closed == [paused.requests[0].id]
        kinds = [type(event) for event in events]
        assert kinds.index(Revised) < kinds.index(Replanned)


def test_a_sensitive_parameter_is_not_written_into_the_trace(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        paused = graph.run(Goal(text="tell ann", params={"iban": "DE00", "n": 1, "m": 2}, sensitive=("iban",)))
        graph.revise(paused.id, params={"iban": "DE11", "n": 3})
        (revised,) = [event for event in graph.trace(paused.id) if isinstance(event, Revised)]
        hidden = "(not shown: the parameter is sensitive)"
        assert (revised.before, revised.after) == ({"params": {"iban": hidden, "n": 1}}, {"params": {"iban": hidden, "n": 3}})


def test_the_request_that_waited_is_withdrawn(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(Step(id="which", ask="whom?")))
    with agent(world, tmp_path, planner) as graph:
        before = graph.run("tell ann")
        run = graph.revise(before.id, goal="ask me whom")
        assert [request.question for request in run.requests] == ["whom?"]
        with pytest.raises(NothingPending, match="withdrawn"):
            graph.resume(run.id, {before.requests[0].id: Approve()})
        assert world.sent == []


def test_a_question_of_the_planner_is_dropped_and_it_plans_for_the_new_goal(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(Question("which ann?"), plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell ann")
        assert run.plan is None
        run = graph.revise(run.id, goal="look up bob")
        assert (run.status, world.looked, run.plan.version) == ("succeeded", ["bob"], 1)  # type: ignore[union-attr]


def test_what_was_answered_before_is_still_known(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(Question("which ann?"), Question("and when?"), plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell ann")
        run = graph.resume(run, Respond(text="the one in Ghent"))
        graph.revise(run.id, goal="look up bob")
        assert planner.contexts[-1].answers == {"which ann?": "the one in Ghent"}


def test_what_is_in_doubt_is_still_asked(world: World, tmp_path: Path) -> None:
    world.lost = True
    planner = ScriptedPlanner(plan(send("tell", "ann")), plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell ann")
        run = graph.resume(run, Approve())
        (before,) = run.requests
        assert before.kind == "in_doubt"
        run = graph.revise(run, goal="look up bob")
        assert [request.id for request in run.requests] == [before.id], "the very same, so that a late answer still finds it"
        run = graph.resume(run, Resolve(outcome="landed"))
        assert (run.status, world.sent, world.looked) == ("succeeded", [("ann", "hi")], ["bob"])
        assert run.results["tell"].status == "succeeded"


def test_a_yes_that_a_dead_process_had_recorded_does_not_run_the_old_plan(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell ann")
        graph.store.approvals.decide(graph.store.runs.find(run.id), {run.requests[0].id: Approve()})
        run = graph.revise(run.id, goal="look up bob")
        assert (run.status, world.sent, world.looked) == ("succeeded", [], ["bob"])


def test_what_somebody_has_said_of_an_effect_in_doubt_is_not_asked_again(world: World, tmp_path: Path) -> None:
    world.lost = True
    planner = ScriptedPlanner(plan(send("tell", "ann")), plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.resume(graph.run("tell ann"), Approve())
        graph.store.approvals.decide(graph.store.runs.find(run.id), {run.requests[0].id: Resolve(outcome="landed")})
        run = graph.revise(run.id, goal="look up bob")
        assert (run.status, world.sent, world.looked) == ("succeeded", [("ann", "hi")], ["bob"])


def test_a_word_to_stop_is_not_overruled(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell ann")
        graph.store.approvals.decide(graph.store.runs.find(run.id), {run.requests[0].id: Reject(reason="no", stop=True)})
        with pytest.raises(UsageError, match="is to end"):
            graph.revise(run.id, goal="look up bob")
        assert graph.resume(run.id).status == "failed"


def test_a_yes_to_the_very_same_call_counts_for_the_new_plan(world: World, tmp_path: Path) -> None:
    ask = Step(id="which", ask="whom next?")
    planner = ScriptedPlanner(
        plan(ask, send("tell", "ann", depends_on=("which",)), send("other", "bob", depends_on=("which",))),
        plan(send("tell", "ann"), send("other", "bob", text="another text")),
        name="scripted",
    )
    planner.reads_values = False  # type: ignore[attr-defined]  # else what it proposes after a read is another call
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell both")
        run = graph.resume(run, Approve())  # the plan, with both calls
        run = graph.revise(run.id, goal="tell both, differently")
        assert [call.step_id for request in run.requests for call in request.calls] == ["other"]
        assert graph.resume(run, Approve()).status == "succeeded"
        assert sorted(world.sent) == [("ann", "hi"), ("bob", "another text")]


def test_another_process_goes_on_after_a_crash_between_the_two(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path, ScriptedPlanner(FIRST)) as graph:
        run = graph.run("tell ann")
    from agent_graph.ports import SystemClock
    from agent_graph.revising import revise

    with SqliteStore(tmp_path / "runs.db") as store:
        revise(store, SystemClock(), ScriptedPlanner(), store.runs.get(run.id), "look up bob", None, None, "olga")
        assert store.runs.get(run.id).goal.text == "look up bob"
    with AgentGraph(world.tools(), store=tmp_path / "runs.db") as other, pytest.raises(UsageError, match="has the run's planner"):
        other.resume(run.id)
    with agent(world, tmp_path, ScriptedPlanner(plan(look("other", "bob")))) as graph:
        assert graph.get(run.id).status == "interrupted"
        run = graph.resume(run.id)
        assert (run.status, world.sent, world.looked) == ("succeeded", [], ["bob"])


@pytest.mark.parametrize(
    ("after", "into"), [("validate", "execute"), ("execute", "observe"), ("observe", "approve"), ("approve", "execute")]
)
def test_langgraph_itself_cannot_go_on_with_the_old_plan(world: World, tmp_path: Path, after: str, into: str) -> None:
    planner = ScriptedPlanner(FIRST, plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell ann")
        from agent_graph.revising import revise

        revise(graph.store, graph.clock, planner, graph.store.runs.get(run.id), "look up bob", None, None, None)
        config: Any = {"configurable": {"thread_id": run.thread_id}}
        graph.graph.update_state(config, {"next": into}, as_node=after)
        graph.graph.invoke(None, config)
        assert (graph.get(run.id).status, world.sent, world.looked) == ("succeeded", [], ["bob"])


def test_a_person_may_revise_when_no_replan_is_left(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(send("tell", "bob")), plan(look("other", "carl")))
    with agent(world, tmp_path, planner, limits=Limits(max_replans=0)) as graph:
        run = graph.run("tell ann")
        run = graph.revise(run.id, goal="tell bob")
        run = graph.revise(run.id, goal="look up carl")
        assert (run.status, world.sent, world.looked) == ("succeeded", [], ["carl"])


# ── what is refused, before anything is changed ───────────────────────────────────────────────────────────────────────


def test_a_planner_that_makes_no_second_plan_refuses(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path, None) as graph:
        run = graph.run(plan=FIRST)
        with pytest.raises(UsageError, match="cannot make another"):
            graph.revise(run.id, goal="another")
        assert graph.get(run.id) == run


def test_a_run_that_ended_is_not_revised(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path, ScriptedPlanner(plan(look("find", "ann")))) as graph:
        run = graph.run("look up ann")
        with pytest.raises(RunFinished):
            graph.revise(run.id, goal="another")


def test_a_run_that_somebody_drives_is_not_revised(world: World, tmp_path: Path) -> None:
    with agent(world, tmp_path, ScriptedPlanner(FIRST)) as graph:
        run = graph.run("tell ann")
        lease = graph.store.leases.acquire(graph.store.runs.find(run.id), new_owner())
        with pytest.raises(RunBusy):
            graph.revise(run.id, goal="another")
        graph.store.leases.release(lease)
        assert graph.get(run.id) == run
        assert not [event for event in graph.trace(run.id) if isinstance(event, Revised)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing of run"),
        ({"goal": "tell ann"}, "nothing of run"),
        ({"goal": ""}, "cannot be a goal"),
        ({"constraints": "be kind"}, "a list of texts"),
        ({"constraints": 5}, "a list of texts"),
        ({"params": [1]}, "names no parameters"),
        ({"goal": "   "}, "the goal says nothing"),
        ({"goal": Goal(text="x", principal="mallory")}, "acts for"),
        ({"params": {"x": object()}}, "cannot be a goal"),
    ],
)
def test_what_makes_no_sense_changes_nothing(world: World, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with agent(world, tmp_path, ScriptedPlanner(FIRST)) as graph:
        run = graph.run("tell ann")
        with pytest.raises(UsageError, match=said):
            graph.revise(run.id, **given)
        assert graph.get(run.id) == run


def test_what_came_from_outside_stays_so(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(look("other", "bob")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run(Goal(text="tell ann", params={"mail": "…"}, untrusted=("mail",), principal="olga"))
        run = graph.revise(run.id, goal=Goal(text="another", params={"mail": "new"}))
        assert (run.goal.untrusted, run.goal.principal, run.goal.params) == (("mail",), "olga", {"mail": "new"})


def test_it_works_in_an_event_loop_and_is_streamed(world: World, tmp_path: Path) -> None:
    asyncio.run(in_a_loop(world, tmp_path))


async def in_a_loop(world: World, tmp_path: Path) -> None:
    planner = ScriptedPlanner(FIRST, plan(look("a", "bob"), Step(id="which", ask="whom?")), plan(look("b", "carl")))
    with agent(world, tmp_path, planner) as graph:
        run = await graph.arun("tell ann")
        assert (await graph.arevise(run.id, goal="look up bob")).status == "paused"
        kinds = [event.kind async for event in graph.astream_revise(run.id, goal="look up carl")]
        assert kinds[-1] == "done"
        assert "replanned" in kinds


def test_two_who_revise_at_once_are_told_apart(world: World, tmp_path: Path) -> None:
    """The second finds the run as the first has left it."""
    planner = ScriptedPlanner(FIRST, plan(Step(id="which", ask="whom?")))
    with agent(world, tmp_path, planner) as graph:
        run = graph.run("tell ann")
        graph.revise(run.id, goal="ask me")
        with pytest.raises(UsageError, match="nothing of run"):
            graph.revise(run.id, goal="ask me")
        with pytest.raises((NothingPending, DecisionConflict)):
            graph.resume(run, Approve())


# ── parameters that are others now ────────────────────────────────────────────────────────────────────────────────────


def of_param(step_id: str, **more: Any) -> Step:
    return Step(id=step_id, tool="look", args={"name": {"$ref": "params.who"}}, **more)


WAITS = Step(id="which", ask="which one?")


def revised(world: World, tmp_path: Path, first: Plan, then: Plan, **goal: Any) -> tuple[Run, ReplanningContext]:
    """A run about ann, revised to be about bob while it waits."""
    planner = ScriptedPlanner(first, then)
    with agent(world, tmp_path, planner) as graph:
        run = graph.run(Goal(text="x", params={"who": "ann", "same": "zoe"}, **goal))
        run = graph.resume(run, {each.id: Approve() for each in run.requests if each.step_id != "which"}) if first.by_id.get("one") else run
        assert run.status == "paused"
        run = graph.revise(run, params={"who": "bob"})
    context = planner.contexts[-1]
    assert isinstance(context, ReplanningContext)
    return run, context


def test_what_was_read_for_another_parameter_is_read_again(world: World, tmp_path: Path) -> None:
    steps = (of_param("find"), Step(id="same", tool="look", args={"name": {"$ref": "params.same"}}))
    run, context = revised(world, tmp_path, plan(*steps, WAITS), plan(*steps))
    assert (run.status, sorted(world.looked)) == ("succeeded", ["ann", "bob", "zoe"])
    assert run.results["find"].output == "bob@example.org"
    assert context.results.keys() == {"same"}
    assert 'step find ran with who="ann": it has to be made again' in context.reason


def test_so_is_what_reads_that(world: World, tmp_path: Path) -> None:
    steps = (of_param("find"), Step(id="next", tool="look", args={"name": {"$ref": "steps.find.output"}}))
    run, _ = revised(world, tmp_path, plan(*steps, WAITS), plan(*steps))
    assert (run.status, run.results["next"].output) == ("succeeded", "bob@example.org@example.org")


@pytest.mark.parametrize("more", [{"when": "params.who == 'bob'"}, {"success_criteria": ("params.who != 'eve'",)}])
def test_so_is_what_a_condition_or_a_criterion_decided_by_another_parameter(world: World, tmp_path: Path, more: dict[str, Any]) -> None:
    step = look("find", "carl").model_copy(update=more)
    run, _ = revised(world, tmp_path, plan(step, WAITS), plan(step))
    assert (run.status, run.results["find"].status, run.results["find"].plan_version) == ("succeeded", "succeeded", 2)


def test_it_is_not_carried_over_where_the_planner_leaves_it_out(world: World, tmp_path: Path) -> None:
    run, _ = revised(world, tmp_path, plan(of_param("find"), WAITS), plan(look("other", "carl")))
    assert (run.status, [step.id for step in run.plan.steps]) == ("succeeded", ["other"])  # type: ignore[union-attr]
    assert world.looked == ["ann", "carl"]


def test_an_effect_that_has_landed_stays_and_the_planner_is_told_of_its_old_value(world: World, tmp_path: Path) -> None:
    one = Step(id="one", tool="send", args={"to": {"$ref": "steps.find.output"}, "text": {"$ref": "params.who"}})
    waits = WAITS.model_copy(update={"depends_on": ("one",)})
    run, context = revised(world, tmp_path, plan(of_param("find"), one, waits), plan(look("other", "carl")))
    assert (run.status, world.sent) == ("succeeded", [("ann@example.org", "ann")])
    assert 'step one ran with who="ann": it stays as it was done, with the old value' in context.reason
    assert run.results["one"].plan_version == 1


def test_the_value_of_a_sensitive_parameter_is_not_told(world: World, tmp_path: Path) -> None:
    _, context = revised(world, tmp_path, plan(of_param("find"), WAITS), plan(look("other", "carl")), sensitive=("who",))
    assert "step find ran with another who" in context.reason
    assert "ann" not in context.reason


def test_a_value_that_came_back_needs_no_other_reading_than_its_own(world: World, tmp_path: Path) -> None:
    one = plan(of_param("find"), WAITS)
    with agent(world, tmp_path, ScriptedPlanner(one, one, plan(of_param("find")))) as graph:
        run = graph.revise(graph.run(Goal(text="x", params={"who": "ann"})), params={"who": "bob"})
        run = graph.revise(run, params={"who": "ann"})
        assert (run.status, run.results["find"].output, world.looked) == ("succeeded", "ann@example.org", ["ann", "bob", "ann"])


def test_the_chain_planner_plans_for_the_other_value_and_not_from_what_was_done_with_the_first(tmp_path: Path) -> None:
    @tool(risk="read_only", gives=["samples"])
    def read_metric(metric: str) -> list[str]:
        """Values."""
        return [f"data of {metric}"]

    @tool(risk="write", recovery="idempotent", gives=["report"])
    def write_report(samples: list[str]) -> str:
        """Writes."""
        return f"report on {samples}"

    @tool(risk="write", recovery="idempotent", gives=["letter"])
    def write_letter(report: str) -> str:
        """Writes."""
        return f"letter with {report}"

    with AgentGraph([read_metric, write_report, write_letter], planner="chain", store=tmp_path / "runs.db") as graph:
        run = graph.resume(graph.run("letter", params={"metric": "cpu"}), Approve())
        assert [each.tool for each in run.requests] == ["write_letter"]
        run = graph.revise(run, params={"metric": "memory"})
        while run.requests:
            run = graph.resume(run, Approve())
        assert (run.status, run.answer) == ("succeeded", "letter with report on ['data of memory']")
