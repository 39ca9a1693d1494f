"""A run uses no more than it may: what does not fit is refused before it is begun, whoever works side by side and in whatever process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_graph import AgentGraph, Approve, InvalidPlan, Limits, NotDone, Plan, PlanningContext, Policy, Run, tool
from agent_graph.errors import BudgetExceeded
from agent_graph.policy.limits import Price, RoleLimits
from agent_graph.ports import SystemClock
from agent_graph.records import Usage
from agent_graph.testing import ScriptedPlanner

ALLOW = Policy.allow_all()
ROOT = Path(__file__).parents[2]


class World:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def call(self, name: str) -> str:
        with self._lock:
            self.calls.append(name)
        return name


@pytest.fixture
def world() -> World:
    return World()


def tools(world: World, **more: Any) -> list[Any]:
    @tool(risk="read_only")
    def amount(of: int = 7) -> int:
        """A number that is known when it has been read."""
        return of

    @tool(risk="read_only", timeout=5)
    def look(name: str = "") -> str:
        return world.call(f"look {name}")

    @tool(risk="read_only", timeout=5)
    def stumble(name: str = "") -> str:
        world.call("stumble")
        raise OSError("not now")

    @tool(risk="write", recovery="idempotent", parallel=True, timeout=5)
    def write(name: str = "") -> str:
        time.sleep(0.02)
        return world.call(f"write {name}")

    @tool(risk="write", recovery="idempotent", timeout=5, price=4)
    def rent(name: str = "") -> str:
        return world.call(f"rent {name}")

    @tool(risk="money", recovery="keyed", price="amount", timeout=5)
    def pay(amount: int, name: str = "") -> str:
        return world.call(f"pay {amount}")

    @tool(risk="money", recovery="keyed", timeout=5)
    def order(name: str = "") -> str:
        return world.call(f"order {name}")

    @tool(risk="money", recovery="keyed", price=6, timeout=5)
    def hesitate(name: str = "") -> str:
        world.call("hesitate")
        raise NotDone("not now")

    return [amount, look, stumble, write, rent, pay, order, hesitate]


def chain(*calls: tuple[str, dict[str, Any]], **more: Any) -> Plan:
    """One after the other. ``when`` keeps the compiler from counting them as certain, so that it is the call that is refused."""
    steps = [
        {"id": f"s{number}", "tool": name, "args": args, "depends_on": [f"s{number - 1}"] if number else [], "when": "true"}
        for number, (name, args) in enumerate(calls)
    ]
    return Plan.model_validate({"goal": "go", "steps": steps, **more})


def run(world: World, store_path: Path, made: Plan, limits: Limits, **more: Any) -> Run:
    with AgentGraph(tools(world), policy=more.pop("policy", ALLOW), limits=limits, store=store_path, **more) as agent:
        return agent.run(made)


def over(run: Run, *told: str) -> None:
    assert run.status == "failed"
    assert run.error is not None
    assert (run.error.code, run.error.cause) == ("budget_exceeded", "budget")
    for each in told:
        assert each in run.error.message


# ── before it runs ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(max_calls=2), "it needs at least 3 calls, and 2 of 2 calls are left"),
        (Limits(max_attempts=2), "it needs at least 3 attempts"),
        (Limits(max_money=11), "it needs at least 12 money, and 11 of 11 money are left"),
        (Limits(max_seconds=1), "no call of it fits into the 1 of 1 seconds"),
    ],
    ids=["calls", "attempts", "money", "seconds"],
)
def test_a_plan_that_cannot_fit_is_refused_before_any_of_it_runs(world: World, store_path: Path, limits: Limits, said: str) -> None:
    certain = Plan.model_validate({"goal": "go", "steps": [{"id": f"s{n}", "tool": "rent", "args": {"name": str(n)}} for n in range(3)]})
    with pytest.raises(InvalidPlan, match=said):
        run(world, store_path, certain, limits)
    assert world.calls == []


def test_a_plan_that_may_not_fit_runs_with_a_warning(world: World, store_path: Path) -> None:
    made = chain(("look", {}), ("look", {}), ("look", {}))
    with AgentGraph(tools(world), policy=ALLOW, limits=Limits(max_calls=2), store=store_path) as agent:
        ended = agent.run(made)
        issues = [event for event in agent.trace(ended.id) if getattr(event, "code", "") == "may_overrun"]
    assert len(issues) == 1


# ── at the call ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("limits", "calls", "made", "told"),
    [
        (
            Limits(max_calls=2),
            [("look", {"name": "a"}), ("write", {"name": "b"}), ("write", {"name": "c"})],
            2,
            ["1 calls", "look: 1 call in 1"],
        ),
        (Limits(max_attempts=1), [("look", {"name": "a"}), ("look", {"name": "b"})], 1, ["1 attempts"]),
        (Limits(max_money=9), [("rent", {"name": "a"}), ("rent", {"name": "b"}), ("rent", {"name": "c"})], 2, ["4 money", "money 8"]),
        (Limits(max_money=9), [("pay", {"amount": 5, "name": "a"}), ("pay", {"amount": 5, "name": "b"})], 1, ["5 money", "money 5"]),
        (Limits(max_money=0), [("look", {}), ("rent", {})], 1, ["4 money"]),
        (Limits(max_calls=0), [("look", {})], 0, ["1 calls"]),
    ],
    ids=["calls", "attempts", "money", "money by argument", "no money at all", "no calls at all"],
)
def test_what_does_not_fit_is_not_called(
    world: World, store_path: Path, limits: Limits, calls: list[Any], made: int, told: list[str]
) -> None:
    ended = run(world, store_path, chain(*calls), limits)
    over(ended, "Spent:", *told)
    assert len(world.calls) == made


def test_a_call_whose_time_limit_does_not_fit_into_what_is_left_is_not_made(world: World, store_path: Path) -> None:
    ended = run(world, store_path, chain(*([("write", {"name": str(n)}) for n in range(400)])), Limits(max_seconds=5.4))
    over(ended, "5 seconds", "of 5.4")
    assert len(world.calls) < 400


def test_a_price_that_is_known_only_at_the_call_is_held_against_the_budget_there(world: World, store_path: Path) -> None:
    made = Plan.model_validate(
        {
            "goal": "go",
            "steps": [
                {"id": "n", "tool": "amount", "args": {"of": 11}},
                {"id": "pay", "tool": "pay", "args": {"amount": {"$ref": "steps.n.output"}}},
            ],
        }
    )
    over(run(world, store_path, made, Limits(max_money=10)), "11 money")
    assert world.calls == []


@pytest.mark.parametrize(
    "call",
    [
        ("order", {}),
        ("pay", {"amount": -5}),
    ],
    ids=["no price", "a price below nothing"],
)
def test_what_has_no_price_asks_even_where_everything_is_allowed(world: World, store_path: Path, call: Any) -> None:
    asked = run(world, store_path, chain(call), Limits(max_money=100))
    assert asked.status == "paused"
    assert "costs is not known" in asked.requests[0].reason
    assert world.calls == []


def test_a_standing_grant_does_not_answer_for_an_unknown_price(world: World, store_path: Path) -> None:
    with AgentGraph(tools(world), policy=Policy.default(), limits=Limits(max_money=100), store=store_path) as agent:
        agent.grant("order", when="true", by="ann")
        assert agent.run(chain(("order", {}))).status == "paused"


def test_where_money_is_not_bounded_an_unknown_price_asks_nobody(world: World, store_path: Path) -> None:
    """The other side: it is the bound that makes it matter."""
    assert run(world, store_path, chain(("order", {})), Limits(max_calls=5)).status == "succeeded"


def test_attempts_count_and_a_call_is_not_tried_again_beyond_them(world: World, store_path: Path) -> None:
    made = Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": "stumble", "max_attempts": 5}]})
    over(run(world, store_path, made, Limits(max_attempts=2)), "1 attempts")
    assert len(world.calls) == 2


def test_a_call_that_certainly_did_nothing_costs_nothing(world: World, store_path: Path) -> None:
    """Each attempt of 6 fits into 10 since the one before was given back; two at once would not."""
    made = Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": "hesitate", "max_attempts": 3, "on_failure": "continue"}]})
    ended = run(world, store_path, made, Limits(max_money=10))
    assert len(world.calls) == 3
    assert ended.error is None or ended.error.code != "budget_exceeded"


class SlowClock(SystemClock):
    """Whoever looks at it lets others go first, so that two who count at once are found."""

    def monotonic(self) -> float:
        time.sleep(0.001)
        return super().monotonic()


@pytest.mark.parametrize("name", ["write", "look"])
def test_steps_side_by_side_never_use_more_together(world: World, store_path: Path, name: str) -> None:
    steps = [{"id": f"s{n}", "tool": name, "args": {"name": str(n)}, "when": "true"} for n in range(40)]
    made, limits = Plan.model_validate({"goal": "go", "steps": steps}), Limits(max_calls=5, max_parallel=8)
    over(run(world, store_path, made, limits, clock=SlowClock()), "1 calls")
    assert len(world.calls) == 5


def test_money_is_not_overdrawn_side_by_side(world: World, store_path: Path) -> None:
    @tool(risk="money", recovery="keyed", price=3, parallel=True)
    def fee(name: str) -> str:
        time.sleep(0.02)
        return world.call(name)

    steps = [{"id": f"s{n}", "tool": "fee", "args": {"name": str(n)}, "when": "true"} for n in range(16)]
    with AgentGraph([fee], policy=ALLOW, limits=Limits(max_money=10, max_parallel=8), store=store_path) as agent:
        over(agent.run(Plan.model_validate({"goal": "go", "steps": steps})), "money 9")
    assert len(world.calls) == 3


# ── over processes ────────────────────────────────────────────────────────────────────────────────────────────────────

KILLED = """
    import os, signal, sys
    from agent_graph import AgentGraph, tool
    from agent_graph.plan import Plan
    from agent_graph.policy.rules import Policy

    @tool(risk="write", recovery="idempotent", price=2)
    def rent(name: str) -> str:
        if name == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    agent = AgentGraph([rent], policy=Policy.allow_all(), store=sys.argv[1])
    agent.run(Plan.model_validate_json(sys.argv[2]), run_id="the-run")
"""


@pytest.mark.parametrize(
    ("limits", "calls"),
    [(Limits(max_calls=4), ["1", "2", "3"]), (Limits(max_attempts=5), ["1", "2", "3"]), (Limits(max_money=8), ["1", "2"])],
    ids=["calls", "attempts", "money"],
)
def test_after_a_kill_the_next_process_counts_on(world: World, killed_store: Path, limits: Limits, calls: list[str]) -> None:
    """Killed in the second call, which is made again: of four calls two are left then, of five attempts three. What it cost may be owed twice."""

    @tool(risk="write", recovery="idempotent", price=2)
    def rent(name: str) -> str:
        return world.call(name)

    with AgentGraph([rent], policy=ALLOW, limits=limits, store=killed_store) as agent:
        over(agent.resume("the-run"), f"rent: {len(calls) + 1} calls in {len(calls) + 2}")
    assert world.calls == calls


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run of six calls whose process was killed in the second."""
    store = tmp_path_factory.mktemp("killed") / "runs.db"
    made = chain(*(("rent", {"name": str(number)}) for number in range(6))).model_dump_json(exclude_defaults=True)
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(store), made], cwd=ROOT, check=False)
    assert ended.returncode == -9
    return store


@pytest.fixture
def killed_store(killed: Path, tmp_path: Path) -> Path:
    """A copy of it, with what had not been moved into it from its log."""
    for each in killed.parent.iterdir():
        shutil.copy(each, tmp_path)
    return tmp_path / killed.name


def test_what_a_run_waits_for_people_does_not_count(world: World, store_path: Path) -> None:
    made = Plan.model_validate({"goal": "go", "steps": [{"id": "w", "tool": "write", "approval": "required"}]})
    with AgentGraph(tools(world), policy=ALLOW, limits=Limits(max_seconds=6), store=store_path) as agent:
        asked = agent.run(made)
        time.sleep(1.3)
        assert agent.resume(asked, Approve()).status == "succeeded"


# ── planners and their models ─────────────────────────────────────────────────────────────────────────────────────────


def test_replans_are_counted_over_all_reasons(world: World, store_path: Path) -> None:
    failing = [Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": "stumble", "args": {"name": str(n)}}]}) for n in range(9)]
    with AgentGraph(tools(world), planner=ScriptedPlanner(*failing), policy=ALLOW, limits=Limits(max_replans=2), store=store_path) as agent:
        over(agent.run("go"), "2 replans")
    assert len(world.calls) == 3


class Metered(ScriptedPlanner):
    """Asks a model of so many tokens for each plan, as one that talks to a server does."""

    def __init__(self, *script: Any, tokens: int = 1000, asks: int = 1) -> None:
        super().__init__(*script, name="metered")
        self.tokens, self.asks = tokens, asks
        self.asked = 0
        """Requests that were made."""
        self.rooms: list[int | None] = []

    def plan(self, context: PlanningContext) -> Any:
        assert context.meter is not None
        for _ in range(self.asks):
            room = context.meter.ask("planner", "house:model", 100)
            self.rooms.append(room)
            self.asked += 1
            written = min(self.tokens - 100, self.tokens if room is None else room)
            context.meter.count("planner", "house:model", Usage(requests=1, input_tokens=100, output_tokens=written))
        return super().plan(context)


ONE = Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": "look"}]})
STUMBLES = Plan.model_validate({"goal": "go", "steps": [{"id": "a", "tool": "stumble"}]})
PRICED = {"house:*": Price(input=1.0, output=1000.0)}


def planned(world: World, store_path: Path, planner: Metered, limits: Limits) -> Run:
    with AgentGraph(tools(world), planner=planner, policy=ALLOW, limits=limits, store=store_path) as agent:
        return agent.run("go")


@pytest.mark.parametrize(
    ("limits", "asked", "told"),
    [
        (Limits(roles={"planner": RoleLimits(max_requests=2)}), 2, "has made 2 of 2 requests"),
        (Limits(max_tokens=2500), 3, "left of 2500"),
        (Limits(roles={"planner": RoleLimits(max_tokens=1200)}), 1, "left of 1200"),
        (Limits(max_money=2.0, prices=PRICED), 2, "left of"),
        (Limits(roles={"planner": RoleLimits(max_money=1.0)}, prices=PRICED), 1, "left of"),
        (Limits(max_money=2.0), 0, "the price of house:model is not known"),
        (Limits(max_tokens=300), 0, "left of 300"),
        (Limits(roles={"planner": RoleLimits(max_requests=0)}), 0, "has made 0 of 0 requests"),
    ],
    ids=["requests", "tokens", "tokens of the role", "money", "money of the role", "no price", "no room for a reply", "no requests at all"],
)
def test_a_model_is_not_asked_beyond_what_the_run_may_use(world: World, store_path: Path, limits: Limits, asked: int, told: str) -> None:
    planner = Metered(ONE, asks=5)
    ended = planned(world, store_path, planner, limits)
    over(ended, told, "Spent:")
    assert planner.asked == asked
    assert world.calls == []


def test_the_reply_of_a_model_is_bounded_by_what_is_left(world: World, store_path: Path) -> None:
    planner = Metered(ONE, asks=2)
    assert planned(world, store_path, planner, Limits(max_tokens=3000)).status == "succeeded"
    assert planner.rooms == [2900, 1900]


def test_what_models_were_asked_counts_on_over_replans_and_is_told_by_role(world: World, store_path: Path) -> None:
    planner = Metered(STUMBLES, ONE, ONE)
    ended = planned(world, store_path, planner, Limits(max_tokens=1300))
    over(ended, "planner: 1 request, 1000 tokens")
    assert planner.asked == 1


def test_what_models_were_asked_is_on_record_for_the_next_process(world: World, store_path: Path) -> None:
    question: Callable[[PlanningContext], Any] = _asks_first
    limits = Limits(roles={"planner": RoleLimits(max_requests=1)})
    with AgentGraph(tools(world), planner=Metered(question, ONE), policy=ALLOW, limits=limits, store=store_path) as agent:
        waiting = agent.run("go")
        assert waiting.status == "paused"
    from agent_graph import Respond

    again = Metered(ONE)
    with AgentGraph(tools(world), planner=again, policy=ALLOW, limits=limits, store=store_path) as agent:
        over(agent.resume(waiting.id, Respond(text="yes")), "has made 1 of 1 requests")
    assert again.asked == 0


def _asks_first(context: PlanningContext) -> Any:
    from agent_graph import Question

    return Question("Shall I?")


def test_a_planner_that_is_out_of_budget_is_not_taken_for_one_that_failed(world: World, store_path: Path) -> None:
    planner = ScriptedPlanner(BudgetExceeded("the model's own account is empty"))
    with AgentGraph(tools(world), planner=planner, policy=ALLOW, store=store_path) as agent:
        over(agent.run("go"), "the model's own account is empty")
