"""How much is planned before anything runs: how often each mode asks a model, with what, and what it says of its choice."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, Goal, Plan, Policy, Respond, UsageError, tool
from agent_graph.events import Note, PlanMade
from agent_graph.planners.chat_model import ChatModelPlanner
from agent_graph.policy.rules import Rule
from agent_graph.trace.render import details

from .conftest import ModelServer, chat_openai, completion, plan_reply, tool_step

CALLS: list[tuple[str, Any]] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


@tool(risk="read_only")
def find(text: str) -> dict[str, Any]:
    """Finds notes that hold the text."""
    CALLS.append(("find", text))
    if text == "broken":
        raise ValueError("the index is down")
    return {"notes": [f"{text} is high"], "count": 1}


@tool(risk="write", recovery="idempotent")
def save(title: str) -> dict[str, Any]:
    """Saves a note."""
    CALLS.append(("save", title))
    return {"id": f"n-{title}"}


@tool(risk="money")
def pay(amount: int) -> str:
    """Pays an invoice."""
    CALLS.append(("pay", amount))
    return "paid"


@pytest.fixture
def models(server: ModelServer) -> dict[str, Any]:
    return {"planner": {"model": chat_openai(server)}, "executor": {"model": chat_openai(server, model="gpt-small")}}


def calls_tool(name: str, args: dict[str, Any], number: int = 1) -> Any:
    call = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
    return lambda: completion(None, finish_reason="tool_calls", tool_calls=[call])


def asked_models(server: ModelServer) -> list[str]:
    return [body["model"] for body in server.bodies]


def notes(agent: AgentGraph, run_id: str) -> list[str]:
    return [event.message for event in agent.trace(run_id) if isinstance(event, Note)]


# ── single shot ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_single_shot_asks_once_for_a_plan_of_three_steps(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    server.says(plan_reply(*[tool_step(f"s{number}", "find", {"text": f"{number}"}) for number in range(3)]))
    with AgentGraph([find], models=models, mode="single_shot", store=store_path) as agent:
        run = agent.run("look at three things")
    assert (run.status, len(server.bodies), len(CALLS)) == ("succeeded", 1, 3)
    assert run.plan is not None
    assert (run.plan.mode, run.plan.open, run.plan.prompt) == ("single_shot", False, "v2")


def test_the_trace_says_which_version_of_the_prompt_made_the_plan(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    server.says(plan_reply(tool_step("a", "find", {"text": "broken"})), plan_reply(tool_step("b", "find", {"text": "cpu"})))
    with AgentGraph([find], models=models, store=store_path) as agent:
        run = agent.run("look")
        made = [event for event in agent.trace(run.id) if isinstance(event, PlanMade)]
    assert [event.prompt for event in made] == ["v2", "v2"]
    assert details(made[0]).startswith("version 1 by model:gpt-test (prompt v2), 1 step")


# ── iterative ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def iterative(models: dict[str, Any], store_path: Path) -> Iterator[AgentGraph]:
    with AgentGraph([find, save], models=models, mode="iterative", store=store_path) as agent:
        yield agent


def next_step(*steps: dict[str, Any], last: bool = False, **more: Any) -> dict[str, Any]:
    return plan_reply(*steps, open=not last, **more)


LOOK = tool_step("look", "find", {"text": "cpu"})
KEEP = tool_step("keep", "save", {"title": {"ref": "steps.look.output.notes[0]"}})


def test_iterative_asks_for_each_step_and_once_more_for_the_end(server: ModelServer, iterative: AgentGraph) -> None:
    again = tool_step("again", "find", {"text": {"ref": "steps.look.output.notes[0]"}})
    done = next_step(last=True, answer=[{"name": "found", "value": {"ref": "steps.again.output.notes[0]"}}])
    server.says(next_step(LOOK, success_criteria=["steps.look.output.count == 1"]), next_step(again), done)
    run = iterative.run("find out what is high, and look at that")
    assert run.plan is not None
    assert (run.status, run.answer) == ("succeeded", {"found": "cpu is high is high"})
    assert (len(server.bodies), CALLS) == (3, [("find", "cpu"), ("find", "cpu is high")])
    assert ([step.id for step in run.plan.steps], run.plan.open) == (["look", "again"], False)
    assert run.plan.success_criteria == ("steps.look.output.count == 1",), "what was to hold of the whole plan still is"


def test_a_last_step_that_says_so_costs_no_further_request(server: ModelServer, iterative: AgentGraph) -> None:
    server.says(next_step(LOOK, last=True))
    run = iterative.run("find cpu")
    assert (run.status, len(server.bodies)) == ("succeeded", 1)


def test_each_request_shows_what_came_and_begins_with_the_same_bytes(server: ModelServer, iterative: AgentGraph) -> None:
    server.says(next_step(LOOK), next_step(last=True))
    iterative.run("find cpu")
    first, second = server.messages(0), server.messages(1)
    assert first[0] == second[0]
    assert server.schema(0) == server.schema(1)
    assert "Plan only what comes next" in first[0][1]
    assert '<data of="output of look">{"notes":["cpu is high"],"count":1}</data>' in second[1][1]
    assert "Nothing went wrong: the 1 steps of version 1 have ended" in second[1][1]
    assert "Why a new version" not in second[1][1]


def test_each_request_only_adds_to_the_one_before(server: ModelServer, iterative: AgentGraph) -> None:
    server.says(*[next_step(tool_step(f"s{number}", "find", {"text": f"{number}"})) for number in range(4)], next_step(last=True))
    iterative.run("look at four things")
    told = [server.messages(index)[1][1].partition("\n\n# What is wanted now")[0] for index in range(1, 5)]
    assert [later.startswith(earlier) for earlier, later in itertools.pairwise(told)] == [True, True, True]


def test_only_the_new_step_is_gated(server: ModelServer, iterative: AgentGraph) -> None:
    other = tool_step("more", "save", {"title": "second"})
    server.says(next_step(LOOK), next_step(KEEP), next_step(other), next_step(last=True))
    run = iterative.run("find and save")
    assert [request.step_id for request in run.requests] == ["keep"]
    run = iterative.resume(run, Approve())
    assert [[call.step_id for call in request.calls] for request in run.requests] == [["more"]]
    run = iterative.resume(run, Approve())
    assert (run.status, [name for name, _ in CALLS]) == ("succeeded", ["find", "save", "save"])


def test_going_on_does_not_count_as_replanning(server: ModelServer, iterative: AgentGraph) -> None:
    server.says(*[next_step(tool_step(f"s{number}", "find", {"text": f"{number}"})) for number in range(6)], next_step(last=True))
    run = iterative.run("look at six things")
    assert (run.status, len(CALLS), len(server.bodies)) == ("succeeded", 6, 7)


def test_after_a_failure_it_is_planned_on_step_by_step(server: ModelServer, iterative: AgentGraph) -> None:
    fails, other = tool_step("more", "find", {"text": "broken"}), tool_step("other", "find", {"text": "disk"})
    server.says(next_step(LOOK), next_step(fails), next_step(other), next_step(KEEP), next_step(last=True))
    run = iterative.run("find and save")
    assert "# Why a new version is needed" in server.messages(2)[1][1]
    assert "Nothing went wrong" in server.messages(3)[1][1]
    run = iterative.resume(run.id, Approve())
    assert (run.status, len(server.bodies)) == ("succeeded", 5)
    assert run.plan is not None
    assert [step.id for step in run.plan.steps] == ["look", "other", "keep"]


def test_a_question_on_the_way_is_asked_and_its_answer_told(server: ModelServer, iterative: AgentGraph) -> None:
    asks = {"reply": {"kind": "question", "text": "Which disk?", "choices": ["a", "b"], "proposed": None}}
    server.says(next_step(LOOK), asks, next_step(tool_step("disk", "find", {"text": "b"}), last=True))
    run = iterative.run("find cpu and the disk")
    assert (run.status, [request.question for request in run.requests]) == ("paused", ["Which disk?"])
    run = iterative.resume(run.id, Respond(text="b"))
    assert (run.status, CALLS) == ("succeeded", [("find", "cpu"), ("find", "b")])
    assert "Which disk? — b" in server.messages(2)[1][1]


def test_another_process_goes_on_with_the_next_step(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    server.says(next_step(LOOK), next_step(KEEP), next_step(last=True))
    with AgentGraph([find, save], models=models, mode="iterative", store=store_path) as agent:
        paused = agent.run("find and save")
    with AgentGraph([find, save], models=models, store=store_path) as other:  # one that was not told the mode
        run = other.resume(paused.id, Approve())
    assert (run.status, [name for name, _ in CALLS]) == ("succeeded", ["find", "save"])
    assert server.messages(0)[0] == server.messages(2)[0]


def test_a_step_that_needs_another_of_the_same_reply_is_sent_back(server: ModelServer, iterative: AgentGraph) -> None:
    server.says(next_step(LOOK, KEEP), next_step(LOOK, last=True))
    assert iterative.run("find cpu").status == "succeeded"
    assert "step keep needs look, which has not run yet" in server.messages(1)[3][1]


def test_an_open_plan_without_a_step_is_sent_back(server: ModelServer, iterative: AgentGraph) -> None:
    server.says(next_step(), next_step(LOOK, last=True))
    assert iterative.run("find cpu").status == "succeeded"
    assert "open is true, and there is no new step" in server.messages(1)[3][1]


# ── inline ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_inline_asks_no_planner_and_answers_from_what_it_reads(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    server.says(calls_tool("find", {"text": "cpu"}), "cpu is high")
    with AgentGraph([find, save], models=models, mode="inline", store=store_path) as agent:
        run = agent.run("what is known about cpu?", params={"host": "a1"})
    assert run.plan is not None
    assert (run.status, run.answer, CALLS) == ("succeeded", "cpu is high", [("find", "cpu")])
    assert asked_models(server) == ["gpt-small", "gpt-small"], "one turn more than calls, and no planner"
    assert (run.plan.mode, run.plan.created_by, run.plan.prompt) == ("inline", "inline", "")
    assert run.plan.steps[0].allowed_tools == ("find",), "what changes something is not within its reach"


def test_inline_needs_no_planner_at_all(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    server.says("42")
    with AgentGraph(models={"executor": models["executor"]}, mode="inline", store=store_path) as agent:
        run = agent.run("six times seven")
    assert (run.status, run.answer, len(server.bodies)) == ("succeeded", "42", 1)


def test_what_fails_inline_is_planned(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    models["executor"]["max_asks"] = 1
    server.says(completion("", finish_reason="content_filter"), plan_reply(LOOK))
    with AgentGraph([find, save], models=models, mode="inline", store=store_path) as agent:
        run = agent.run("what is known about cpu?")
    assert (run.status, CALLS) == ("succeeded", [("find", "cpu")])
    assert asked_models(server) == ["gpt-small", "gpt-test"]
    assert "## save" in server.messages(1)[0][1], "a planner sees all tools"
    assert run.plan is not None
    assert (run.plan.mode, run.plan.version) == ("single_shot", 2)


def test_inline_without_an_executor_is_refused_at_once(server: ModelServer, store_path: Path) -> None:
    with pytest.raises(UsageError, match="executor"):
        AgentGraph([find], planner=chat_openai(server), mode="inline", store=store_path)


def test_inline_reaches_nothing_that_the_policy_or_a_scope_rules_out(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    @tool(risk="read_only", scopes=["hr:read"])
    def salaries() -> list[int]:
        """Salaries."""
        return [1]

    @tool(risk="read_only")
    def diary() -> str:
        """A diary."""
        return "secret"

    server.says("nothing")
    policy = Policy(rules=(Rule(verdict="allow", tools=("*",)), Rule(verdict="deny", tools=("diary",))))
    with AgentGraph([find, salaries, diary], models=models, policy=policy, mode="inline", store=store_path) as agent:
        run = agent.run("salaries and diary, please")
    assert run.plan is not None
    assert (run.status, run.plan.steps[0].allowed_tools) == ("succeeded", ("find",))


def test_an_inline_plan_refers_to_the_parameters_and_is_kept_to_what_was_said(
    server: ModelServer, models: dict[str, Any], store_path: Path
) -> None:
    server.says("a1 is fine")
    goal = Goal(text="How is the host?", params={"host": "a1"}, constraints=("one sentence",))
    with AgentGraph([find], models=models, mode="inline", store=store_path) as agent:
        run = agent.run(goal)
    assert run.plan is not None
    (step,) = run.plan.steps
    assert step.args == {"host": {"$ref": "params.host"}}
    assert step.agent == "How is the host?\n\n# To be kept to\n\n- one sentence"


@pytest.mark.parametrize(("dial", "value"), [("mode", "fast"), ("granularity", "medium")])
def test_a_dial_that_is_not_known_is_refused_with_what_there_is(dial: str, value: str, store_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{dial} is '{value}'; it is one of"):
        AgentGraph([find], store=store_path, **{dial: value})  # type: ignore[arg-type]


# ── auto ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_auto_answers_a_short_question_inline_and_says_why(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    server.says("high")
    with AgentGraph([find, save], models=models, mode="auto", store=store_path) as agent:
        run = agent.run("Which notes did we find about cpu?")
        assert notes(agent, run.id) == ["mode inline, chosen by auto: it only reads, and is short: 7 words"]
    assert (run.status, asked_models(server)) == ("succeeded", ["gpt-small"])


def test_auto_plans_what_may_change_something_and_says_what(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    server.says(plan_reply(LOOK))
    with AgentGraph([find, save], models=models, mode="auto", store=store_path) as agent:
        run = agent.run("Save what is known about cpu")
        assert notes(agent, run.id) == ["mode single_shot, chosen by auto: it may need save (write)"]
    assert (run.status, asked_models(server)) == ("succeeded", ["gpt-test"])


def test_auto_plans_step_by_step_what_is_grave_and_hangs_on_what_is_found(
    server: ModelServer, models: dict[str, Any], store_path: Path
) -> None:
    server.says(next_step(LOOK, last=True))
    with AgentGraph([find, save, pay], models=models, mode="auto", store=store_path) as agent:
        run = agent.run("Find out whether the invoice is ours, and pay it if it is")
        assert "mode iterative" in notes(agent, run.id)[0]
        assert "pay (money)" in notes(agent, run.id)[0]
    assert run.plan is not None
    assert run.plan.mode == "iterative"


def test_auto_without_an_executor_plans(server: ModelServer, store_path: Path) -> None:
    server.says(plan_reply(LOOK))
    with AgentGraph([find], planner=ChatModelPlanner(chat_openai(server)), mode="auto", store=store_path) as agent:
        run = agent.run("Which notes are about cpu?")
        assert "there is no executor model" in notes(agent, run.id)[0]


def test_a_plan_that_was_handed_in_keeps_its_own_mode(models: dict[str, Any], store_path: Path) -> None:
    plan = Plan(goal=Goal(text="look"), steps=({"id": "look", "tool": "find", "args": {"text": "cpu"}},))
    with AgentGraph([find], models=models, mode="iterative", store=store_path) as agent:
        run = agent.run(plan)
        assert run.plan is not None
        assert (run.status, run.plan.mode, notes(agent, run.id)) == ("succeeded", "single_shot", [])


# ── granularity ───────────────────────────────────────────────────────────────────────────────────────────────────────


def agent_step(tools: list[str]) -> dict[str, Any]:
    do = {"agent": "sort it out", "inputs": [], "allowed_tools": tools, "max_turns": None}
    return {**tool_step("sort", "find", {}), "do": do}


def test_risky_work_is_planned_fine(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    server.says(plan_reply(agent_step(["find", "save"])), plan_reply(LOOK))
    with AgentGraph([find, save, pay], models=models, store=store_path) as agent:
        run = agent.run("look")
    assert run.plan is not None
    assert (run.status, run.plan.granularity) == ("succeeded", "fine")
    assert "Each call that changes something is a step of its own" in server.messages(0)[0][1]
    assert "allowed_tools[1]" in server.messages(1)[3][1]


def test_work_that_only_writes_may_be_left_to_an_agent(server: ModelServer, models: dict[str, Any], store_path: Path) -> None:
    server.says(plan_reply(agent_step(["find", "save"])), calls_tool("save", {"title": "t"}), "saved")
    with AgentGraph([find, save], models=models, policy=Policy.allow_all(), store=store_path) as agent:
        run = agent.run("look")
    assert run.plan is not None
    assert (run.status, run.plan.granularity, CALLS) == ("succeeded", "coarse", [("save", "t")])
