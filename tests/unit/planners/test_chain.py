"""The chain planner: from what is wanted back over what tools need and give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from agent_graph import AgentGraph, Limits, Policy, Reject, UsageError, tool
from agent_graph.identity import RunId
from agent_graph.plan import Goal, Plan
from agent_graph.planners.chain import ChainPlanner, wanted_by
from agent_graph.planners.facts import maker_of
from agent_graph.policy.compiler import Rules, compile_plan
from agent_graph.policy.matching import Rule
from agent_graph.ports import PlanningContext
from agent_graph.tools.mcp_config import McpServer
from agent_graph.tools.mcp_pins import Definition
from agent_graph.tools.mcp_tools import as_tool
from agent_graph.tools.registry import ToolRegistry
from agent_graph.tools.tool import Tool

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


@tool(risk="read_only", gives=["samples"])
def read_metric(metric: str) -> list[float]:
    """Reads a metric."""
    CALLS.append("read_metric")
    return [1.0, 9.0]


@tool(risk="read_only", needs={"values": "samples"}, gives=["anomalies"])
def find(values: list[float], threshold: float = 3.0) -> list[float]:
    """Finds what is odd."""
    CALLS.append("find")
    return [value for value in values if value > threshold]


@tool(risk="write", recovery="idempotent", gives=["report"])
def write_report(anomalies: list[float], samples: list[float]) -> str:
    """Writes a report."""
    CALLS.append("write_report")
    return f"{len(anomalies)} of {len(samples)}"


TOOLS = [write_report, find, read_metric]


def planned(goal: str | Goal, tools: list[Any], **params: Any) -> Plan:
    registry = ToolRegistry(tools)
    goal = goal if isinstance(goal, Goal) else Goal(text=goal, params=params)
    made = ChainPlanner().plan(PlanningContext(goal=goal, tools=registry.specs))
    assert isinstance(made, Plan)
    return made


def tools_of(plan: Plan) -> list[str | None]:
    return [step.tool for step in plan.steps]


def agent(tmp_path: Path, *tools: Any, **more: Any) -> AgentGraph:
    policy = more.pop("policy", Policy.allow_all())
    return AgentGraph(tools, planner="chain", policy=policy, store=tmp_path / "runs.db", limits=Limits(max_parallel=1), **more)


# ── a plan ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_wanted_is_made_from_the_goals_parameters(tmp_path: Path) -> None:
    with agent(tmp_path, *TOOLS) as here:
        run = here.run("report", params={"metric": "cpu"})
        assert (run.status, run.answer) == ("succeeded", "1 of 2")
        assert CALLS == ["read_metric", "find", "write_report"]


def test_the_plan_says_what_it_costs_and_why() -> None:
    plan = planned("report", TOOLS, metric="cpu")
    assert plan.reason == "least cost 3: read_metric → find → write_report"
    assert plan.by_id["find"].args == {"values": {"$ref": "steps.read_metric.output"}}


def test_an_argument_that_may_be_left_out_is_given_where_the_goal_has_it() -> None:
    plan = planned("anomalies", TOOLS, metric="cpu", threshold=5.0)
    assert plan.by_id["find"].args["threshold"] == {"$ref": "params.threshold"}


def test_several_things_that_are_wanted_come_as_one_answer(tmp_path: Path) -> None:
    with agent(tmp_path, *TOOLS) as here:
        run = here.run("samples and anomalies", params={"metric": "cpu"})
        assert run.answer == {"samples": [1.0, 9.0], "anomalies": [9.0]}


def test_what_is_at_hand_already_is_not_made() -> None:
    assert tools_of(planned("anomalies", TOOLS, samples=[1.0])) == ["find"]


def test_the_cheaper_way_is_taken() -> None:
    dear = tool(
        lambda ctx, **_: [], name="dear", args_schema={"type": "object", "properties": {}}, risk="read_only", gives=["samples"], cost=3
    )
    assert tools_of(planned("anomalies", [*TOOLS, dear], metric="cpu")) == ["read_metric", "find"]
    assert tools_of(planned("anomalies", [*TOOLS, dear])) == ["dear", "find"]  # without a metric there is only the dear way


@pytest.mark.parametrize(
    ("text", "params", "kinds"),
    [
        ("report", {}, ("report",)),
        ("gives: report", {}, ("report",)),
        ("report, chart and table", {}, ("report", "chart", "table")),
        ("Tell me why", {"want": "report"}, ("report",)),
        ("Tell me why", {"want": ["report", "chart"]}, ("report", "chart")),
    ],
)
def test_how_a_goal_names_what_it_wants(text: str, params: dict[str, Any], kinds: tuple[str, ...]) -> None:
    assert wanted_by(Goal(text=text, params=params)) == kinds


def test_a_sentence_names_nothing() -> None:
    with pytest.raises(UsageError, match="reads no sentences"):
        wanted_by(Goal(text="Please look at the CPU"))


def test_an_untrusted_value_does_not_say_what_is_planned() -> None:
    with pytest.raises(UsageError, match="marked untrusted"):
        wanted_by(Goal(text="from a mail", params={"want": "payment"}, untrusted=("want",)))


# ── what tools say, and what they do not ──────────────────────────────────────────────────────────────────────────────


@tool(risk="read_only")
def get_user(user_id: str) -> dict[str, Any]:
    """Says nothing of what it needs and gives, and has no output schema with properties."""
    return {}


def test_a_read_that_says_nothing_needs_its_required_arguments_and_gives_its_output_under_its_name() -> None:
    maker = maker_of(get_user.spec)
    assert (list(maker.needs), dict(maker.gives)) == (["user_id"], {"get_user": ""})


class User(BaseModel):
    email: str
    age: int


def load(user_id: str) -> User:
    """Loads."""
    return User(email="", age=1)


def test_a_read_with_an_output_schema_gives_its_properties() -> None:
    maker = maker_of(tool(load, risk="read_only").spec)
    assert dict(maker.gives) == {"load": "", "email": "email", "age": "age"}


def test_a_langchain_tool_needs_and_gives_by_default(tmp_path: Path) -> None:
    from langchain_core.tools import tool as langchain_tool

    @langchain_tool
    def population(city: str) -> int:
        """People in a city."""
        return 134_794

    with agent(tmp_path, tool(population, risk="read_only")) as here:
        assert here.run("population", params={"city": "Bern"}).answer == 134_794


def test_an_mcp_tool_gives_what_its_output_schema_has_and_what_its_operator_says() -> None:
    output = {"type": "object", "title": "OrderState", "properties": {"state": {"type": "string"}, "due-on": {"type": "string"}}}
    definition = Definition(name="order", description="", input_schema={"properties": {"id": {}}, "required": ["id"]}, output_schema=output)

    def made(**rules: Any) -> Any:
        server = McpServer.model_validate({"command": "x", "tools": {"order": {"risk": "read_only", **rules}}})
        return maker_of(as_tool("shop", server, definition, None).spec)  # type: ignore[arg-type]

    assert dict(made().gives) == {"order_state": "", "state": "state", "due-on": '"due-on"'}
    said = made(needs={"id": "order_id"}, gives={"order": "state"}, cost=4, ttl=9)
    assert (said.needs["id"].kind, dict(said.gives), said.spec.cost, said.spec.ttl) == ("order_id", {"order": "state"}, 4, 9)


def test_a_tool_that_changes_something_is_only_used_for_what_it_says_that_it_gives() -> None:
    @tool(risk="write", recovery="idempotent")
    def create(name: str) -> dict[str, str]:
        """Creates."""
        return {"ticket": name}

    with pytest.raises(UsageError, match="no chain of tools leads to create"):
        planned("create", [create], name="x")


def test_two_facts_of_one_name_and_another_type_are_no_one_fact() -> None:
    @tool(risk="read_only", gives=["size"])
    def size_in_words(name: str) -> str:
        """Not a number."""
        return "large"

    @tool(risk="read_only", gives=["price"])
    def price(size: int) -> float:
        """Needs a number."""
        return 1.0

    with pytest.raises(UsageError, match="size_in_words gives one of another type than integer"):
        planned("price", [size_in_words, price], name="x")


# ── what is missing ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_missing_is_named_with_who_needs_it_and_no_run_begins(tmp_path: Path) -> None:
    with agent(tmp_path, *TOOLS) as here:
        with pytest.raises(UsageError, match=r"missing is metric: nothing gives it, and read_metric would need it; give it with params"):
            here.run("report")
        assert here.runs() == []


def test_a_slip_of_the_pen_is_pointed_at() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'report'\?"):
        planned("raport", TOOLS, metric="cpu")


def test_tools_that_wait_for_each_other_are_told() -> None:
    @tool(risk="read_only", gives=["b"])
    def one(a: str) -> str:
        """Needs a, gives b."""
        return a

    @tool(risk="read_only", gives=["a"])
    def two(b: str) -> str:
        """Needs b, gives a."""
        return b

    with pytest.raises(UsageError, match="wait for each other"):
        planned("a", [one, two])


# ── replanning ────────────────────────────────────────────────────────────────────────────────────────────────────────


@tool(risk="read_only", gives=["samples"])
def broken_metric(metric: str) -> list[float]:
    """Cheaper by name order, and broken."""
    CALLS.append("broken_metric")
    raise ValueError("out of order")


def test_a_tool_that_failed_is_left_out_and_what_is_done_stays(tmp_path: Path) -> None:
    with agent(tmp_path, broken_metric, *TOOLS) as here:
        run = here.run("report", params={"metric": "cpu"})
        assert (run.status, run.answer) == ("succeeded", "1 of 2")
        assert CALLS == ["broken_metric", "read_metric", "find", "write_report"]


def test_where_nothing_else_leads_there_the_run_ends_with_the_reason(tmp_path: Path) -> None:
    with agent(tmp_path, broken_metric, find) as here:
        run = here.run("anomalies", params={"metric": "cpu"})
        assert run.error is not None
        assert (run.status, run.error.code) == ("failed", "gave_up")
        assert "out of order" in run.error.message
        assert CALLS == ["broken_metric"]


def test_a_tool_whose_call_was_rejected_is_left_out(tmp_path: Path) -> None:
    @tool(risk="write", recovery="idempotent", gives=["report"], cost=5)
    def print_report(samples: list[float]) -> str:
        """Another way."""
        CALLS.append("print_report")
        return "printed"

    with agent(tmp_path, *TOOLS, print_report, policy=Policy.default()) as here:
        waits = here.run("report", params={"metric": "cpu"})
        assert [request.tool for request in waits.requests] == ["write_report"]
        again = here.resume(waits, Reject(reason="not that one"))
        assert [request.tool for request in again.requests] == ["print_report"]


def test_a_tool_that_the_policy_denies_is_left_out(tmp_path: Path) -> None:
    deny = Rule(verdict="deny", tools=("broken_metric",), reason="not here")
    policy = Policy(rules=(Rule(verdict="allow"), deny))
    with agent(tmp_path, broken_metric, read_metric, policy=policy) as here:
        run = here.run("samples", params={"metric": "cpu"})
        assert (run.status, CALLS) == ("succeeded", ["read_metric"])


# ── properties ────────────────────────────────────────────────────────────────────────────────────────────────────────

KINDS = st.sampled_from("abcdefg")


def made_tool(number: int, needs: frozenset[str], gives: frozenset[str], cost: float) -> Tool:
    schema = {"type": "object", "properties": {need: {"type": "string"} for need in sorted(needs)}, "required": sorted(needs)}
    return tool(
        lambda ctx, **args: {}, name=f"t{number}", args_schema=schema, risk="read_only", gives={kind: kind for kind in gives}, cost=cost
    )


@given(
    ways=st.lists(st.tuples(st.frozensets(KINDS, max_size=3), st.frozensets(KINDS, min_size=1, max_size=2)), max_size=8),
    given_=st.frozensets(KINDS, max_size=2),
    wanted=st.lists(KINDS, min_size=1, max_size=3, unique=True),
)
@settings(max_examples=150, deadline=None)
def test_a_plan_that_is_found_validates(
    ways: list[tuple[frozenset[str], frozenset[str]]], given_: frozenset[str], wanted: list[str]
) -> None:
    registry = ToolRegistry([made_tool(number, needs, gives, 1.0) for number, (needs, gives) in enumerate(ways)])
    goal = Goal(text=", ".join(wanted), params=dict.fromkeys(sorted(given_), "x"))
    try:
        plan = ChainPlanner().plan(PlanningContext(goal=goal, tools=registry.specs))
    except UsageError:
        return
    assert isinstance(plan, Plan)
    report = compile_plan(plan, Rules(tools=registry.specs, policy=Policy.allow_all(), limits=Limits()), RunId("x"))
    assert report.issues == ()
