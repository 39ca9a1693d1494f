"""From Python: sync and async, streams, inside a running loop, several agents on one store, runs under the caller's own ids."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Plan, Policy, Rule, Step, UsageError, tool
from agent_graph.errors import InvalidDecision, NothingPending, RunBusy, RunFinished, StoreError, UnknownRun
from agent_graph.events import Done, IssueFound, PlanMade, RunStarted, StepFinished, StepStarted, Waiting
from agent_graph.testing import ScriptedPlanner

WHERE: dict[str, Any] = {}


@tool(risk="read_only")
def double(n: int) -> int:
    """Twice n."""
    return 2 * n


@tool(risk="read_only")
async def double_async(n: int) -> int:
    """Twice n, after a moment."""
    WHERE["loop"] = asyncio.get_running_loop()
    await asyncio.sleep(0.01)
    return 2 * n


@tool(risk="write", recovery="idempotent")
def note(n: int) -> str:
    """Write n down."""
    return f"noted {n}"


@tool(risk="read_only")
def slow(seconds: float) -> str:
    """Takes its time."""
    time.sleep(seconds)
    return "slept"


def chain(name: str = "double") -> Plan:
    return Plan(
        goal="four times",
        steps=(Step(id="a", tool=name, args={"n": {"$ref": "params.n"}}), Step(id="b", tool=name, args={"n": {"$ref": "steps.a.output"}})),
    )


def gated() -> Plan:
    return Plan(
        goal="note",
        steps=(Step(id="a", tool="double_async", args={"n": 1}), Step(id="b", tool="note", args={"n": {"$ref": "steps.a.output"}})),
    )


def agent(tmp_path: Path, **more: Any) -> AgentGraph:
    return AgentGraph([double, double_async, note, slow], store=tmp_path / "runs.db", **more)


def test_a_plain_script(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        assert graph.run(plan=chain(), params={"n": 3}).answer == 12


def test_async_tools_run_from_a_plain_script(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        assert graph.run(plan=chain("double_async"), params={"n": 3}).answer == 12


def test_run_inside_a_running_loop(tmp_path: Path) -> None:
    async def main() -> Any:
        return graph.run(plan=chain("double_async"), params={"n": 3})

    with agent(tmp_path) as graph:
        assert asyncio.run(main()).answer == 12


def test_arun_runs_async_tools_on_the_callers_loop(tmp_path: Path) -> None:
    async def main() -> Any:
        run = await graph.arun(plan=chain("double_async"), params={"n": 3})
        assert WHERE["loop"] is asyncio.get_running_loop()
        return run

    with agent(tmp_path) as graph:
        assert asyncio.run(main()).answer == 12


def test_sync_and_async_and_two_loops_share_a_store(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        run = asyncio.run(graph.arun(plan=gated()))
        assert run.status == "paused"
        assert graph.resume(run, Approve()).answer == "noted 2"
        run = graph.run(plan=gated())
        assert asyncio.run(graph.aresume(run, Approve())).answer == "noted 2"


def test_many_runs_side_by_side_in_one_loop(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        return await asyncio.gather(*[graph.arun(plan=chain(), params={"n": n}) for n in range(12)])

    with agent(tmp_path) as graph:
        assert [run.answer for run in asyncio.run(main())] == [4 * n for n in range(12)]


def test_the_loop_stays_free_while_a_sync_tool_works(tmp_path: Path) -> None:
    async def main() -> int:
        ticks = 0
        run = asyncio.ensure_future(graph.arun(plan=Plan(goal="wait", steps=(Step(id="a", tool="slow", args={"seconds": 0.4}),))))
        while not run.done():
            ticks += 1
            await asyncio.sleep(0.01)
        return ticks

    with agent(tmp_path) as graph:
        assert asyncio.run(main()) > 10


def test_stream_tells_what_happens_in_order(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        events = list(graph.stream(plan=gated()))
        assert [type(event) for event in events if not isinstance(event, StepStarted | IssueFound)][:4] == [
            RunStarted,
            PlanMade,
            StepFinished,
            Waiting,
        ]
        more = list(graph.stream_resume(events[0].run_id, Approve()))
        assert isinstance(more[-1], Done)
        assert (more[-1].status, more[-1].answer) == ("succeeded", "noted 2")


def test_astream_tells_the_same(tmp_path: Path) -> None:
    async def main() -> list[str]:
        return [event.kind async for event in graph.astream(plan=chain(), params={"n": 1})]

    with agent(tmp_path) as graph:
        expected = [event.kind for event in graph.stream(plan=chain(), params={"n": 1})]
        assert asyncio.run(main()) == expected
        assert expected == [
            "run_started",
            "plan_made",
            "step_started",
            "step_finished",
            "step_started",
            "step_finished",
            "observed",
            "done",
        ]


def test_events_come_while_the_run_goes_on(tmp_path: Path) -> None:
    plan = Plan(goal="wait", steps=(Step(id="a", tool="slow", args={"seconds": 0.5}),))
    with agent(tmp_path) as graph:
        events = graph.stream(plan=plan)
        for event in events:
            if isinstance(event, StepStarted):
                assert graph.get(event.run_id).status == "running"
                break
        else:
            pytest.fail("the step's start was not seen")
        events.close()  # type: ignore[attr-defined]


def test_leaving_a_stream_stops_the_run_and_resume_goes_on(tmp_path: Path) -> None:
    plan = Plan(
        goal="wait", steps=(Step(id="a", tool="slow", args={"seconds": 0.1}), Step(id="b", tool="double", args={"n": 2}, depends_on=("a",)))
    )
    with agent(tmp_path) as graph:
        events = graph.stream(plan=plan)
        run_id = next(event.run_id for event in events if isinstance(event, StepStarted))
        events.close()  # type: ignore[attr-defined]
        stopped = graph.get(run_id)
        assert (stopped.status, set(stopped.results)) == ("interrupted", {"a"})
        done = graph.resume(run_id)
        assert (done.status, done.answer, done.results["a"].attempts) == ("succeeded", 4, 1)


def test_a_cancelled_arun_records_the_call_in_flight(tmp_path: Path) -> None:
    plan = Plan(
        goal="wait", steps=(Step(id="a", tool="slow", args={"seconds": 0.4}), Step(id="b", tool="double", args={"n": 2}, depends_on=("a",)))
    )

    async def main() -> None:
        task = asyncio.create_task(graph.arun(plan=plan))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with agent(tmp_path) as graph:
        asyncio.run(main())
        (run,) = graph.runs(status="interrupted")
        assert {step: result.status for step, result in graph.get(run.id).results.items()} == {"a": "succeeded"}


def test_a_run_under_the_callers_own_id(tmp_path: Path) -> None:
    mine = str(uuid.uuid4())
    with agent(tmp_path) as graph:
        assert graph.run(plan=chain(), params={"n": 1}, run_id=mine).id == mine
        assert graph.get(mine[:8]).answer == 4


def test_a_second_drive_in_the_same_process_is_refused(tmp_path: Path) -> None:
    plan = Plan(goal="wait", steps=(Step(id="a", tool="slow", args={"seconds": 0.5}),))
    with agent(tmp_path) as graph:
        started = threading.Event()
        found: list[str] = []

        def drive() -> None:
            for event in graph.stream(plan=plan):
                if isinstance(event, StepStarted):
                    found.append(event.run_id)
                    started.set()

        thread = threading.Thread(target=drive)
        thread.start()
        started.wait(5)
        with pytest.raises(RunBusy, match="process"):
            graph.resume(found[0])
        thread.join()
        assert graph.get(found[0]).status == "succeeded"


def test_a_stop_does_not_wait_for_a_planner_that_thinks(tmp_path: Path) -> None:
    thinks = threading.Event()

    def think(_: Any) -> Plan:
        thinks.set()
        time.sleep(20)
        return gated()

    async def main() -> float:
        task = asyncio.create_task(graph.arun("note"))
        await asyncio.to_thread(thinks.wait)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - began

    with agent(tmp_path, planner=ScriptedPlanner(think)) as graph:
        assert asyncio.run(main()) < 5
        assert [run.status for run in graph.runs()] == ["interrupted"]


def test_cancel_ends_a_paused_run_for_good(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        run = graph.run(plan=gated())
        assert graph.cancel(run.id).status == "cancelled"
        with pytest.raises(RunFinished, match="cancelled"):
            graph.resume(run.id, Approve())
        with pytest.raises(RunFinished):
            graph.cancel(run.id)


def test_runs_lists_by_status(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        done, waiting = graph.run(plan=chain(), params={"n": 1}), graph.run(plan=gated())
        assert [run.id for run in graph.runs()] == [waiting.id, done.id]
        assert [run.id for run in graph.runs(status="paused")] == [waiting.id]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        with pytest.raises(UnknownRun, match="agent-graph runs"):
            graph.get("nope")
        with pytest.raises(UsageError, match="planner"):
            graph.run("do something")
    with agent(tmp_path, planner=_Nothing()) as graph, pytest.raises(UsageError, match="what is wanted"):
        graph.run()
    with agent(tmp_path, planner=_Nothing()) as graph, pytest.raises(UsageError, match="cannot be a goal"):
        graph.run("half \ud800 a character")


class _Nothing:
    name = "nothing"
    can_replan = False

    def complete(self, goal: Any) -> Any:
        return goal

    def plan(self, context: Any) -> Any:
        return "a plan"

    replan = plan


def test_a_planner_that_returns_something_else_fails_the_run(tmp_path: Path) -> None:
    with agent(tmp_path, planner=_Nothing()) as graph:
        run = graph.run("do something")
        assert run.error is not None
        assert (run.status, run.error.code) == ("failed", "planner_failed")


def test_allow_all_says_so_in_the_run(tmp_path: Path) -> None:
    with agent(tmp_path, policy=Policy.allow_all()) as graph:
        run = graph.run(plan=gated())
        assert run.status == "succeeded"
        assert "nobody is asked" in graph.store.runs.get(run.id).policy


def test_an_agent_that_lacks_a_tool_of_the_plan_changes_nothing(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        run = graph.run(plan=gated())
    with AgentGraph([double], store=tmp_path / "runs.db") as poorer:
        with pytest.raises(UsageError, match="note; nothing was changed"):
            poorer.resume(run, Approve())
        with pytest.raises(UsageError, match="note; nothing was changed"):
            poorer.graph.invoke(None, {"configurable": {"thread_id": run.thread_id}})
        assert poorer.get(run.id).requests == run.requests
    with agent(tmp_path) as graph:
        assert graph.resume(run, Approve()).answer == "noted 2"


@pytest.mark.parametrize("nonsense", [Approve, "approve", 7, {"type": "perhaps"}])
def test_what_is_not_a_decision_is_refused_with_what_is_one(tmp_path: Path, nonsense: Any) -> None:
    with agent(tmp_path) as graph:
        run = graph.run(plan=gated())
        with pytest.raises(InvalidDecision, match=r"Approve\(\)"):
            graph.resume(run, nonsense)
        assert graph.get(run.id).requests == run.requests


def test_a_request_is_named_by_the_beginning_of_its_id_or_by_its_step(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        for name in ("b", None):
            run = graph.run(gated())
            done = graph.resume(run.id, {name or run.requests[0].id[:8]: Approve()})
            assert done.answer == "noted 2"
        run = graph.run(gated())
        with pytest.raises(NothingPending, match=run.requests[0].id):
            graph.resume(run.id, {"zzz": Approve()})


def test_a_decision_may_be_plain_data(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        assert graph.resume(graph.run(gated()), {"type": "approve"}).answer == "noted 2"  # type: ignore[dict-item]


def test_a_closed_agent_says_so(tmp_path: Path) -> None:
    graph = agent(tmp_path)
    graph.close()
    with pytest.raises(StoreError, match="closed"):
        graph.runs()


def test_the_trace_is_read_through_the_agent(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        run = graph.run(plan=chain(), params={"n": 1})
        assert [event.kind for event in graph.trace(run.id[:8])] == [
            "plan_made",
            "run_started",
            "step_finished",
            "step_finished",
            "observed",
            "done",
        ]


def test_a_run_is_shown_in_one_line(tmp_path: Path) -> None:
    with agent(tmp_path) as graph:
        run = graph.run(gated())
        assert repr(run) == f"<run {run.id}: paused, 1 of 2 steps have a result, 1 waiting for a person>"


def test_a_plan_that_its_caller_changes_at_a_gate_runs_as_it_was_recorded(store_path: Path) -> None:
    paid: list[str] = []

    @tool(risk="write", recovery="keyed")
    def pay(who: str) -> None:
        paid.append(who)

    @tool(risk="money", recovery="keyed")
    def big(n: int) -> int:
        return n

    plan = Plan.model_validate(
        {
            "goal": "pay",
            "steps": [
                {"id": "a", "tool": "big", "args": {"n": 1}},
                {"id": "b", "tool": "pay", "args": {"who": "ann"}, "depends_on": ["a"]},
            ],
        }
    )
    with AgentGraph([pay, big], policy=Policy(rules=(Rule(verdict="allow", tools=("pay",)),)), store=store_path) as agent:
        paused = agent.run(plan)
        plan.steps[1].args["who"] = "bob"
        assert agent.resume(paused, Approve()).status == "succeeded"
    assert paid == ["ann"]


@pytest.mark.parametrize(
    ("given", "said"),
    [({"limits": {"max_steps": 3}}, "limits="), ({"blueprints": "plan.yaml"}, "blueprints="), ({"blueprints": 5}, "blueprints=")],
    ids=["limits as a mapping", "one path for blueprints", "a number"],
)
def test_parts_of_another_type_are_refused_at_once(store_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        AgentGraph(store=store_path, **given)


def test_a_goal_of_blanks_is_no_goal(store_path: Path) -> None:
    with AgentGraph(store=store_path) as agent, pytest.raises(UsageError, match="the goal says nothing"):
        agent.run("   ", plan=None)
