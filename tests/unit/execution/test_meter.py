"""Whatever is asked side by side, and however much of it is used: no bound is overrun, nobody waits for ever, and the account adds up."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import BudgetExceeded
from agent_graph.execution.budget import Budget
from agent_graph.execution.meter import Meter
from agent_graph.identity import RunId, new_id
from agent_graph.plan import Goal, StepBudget
from agent_graph.policy.limits import Limits, Price, RoleLimits
from agent_graph.policy.spending import Spent
from agent_graph.ports import Bounds, SystemClock
from agent_graph.records import Usage

ROLES = ("planner", "executor", "judge")

requests = st.lists(
    st.tuples(
        st.sampled_from(ROLES),
        st.integers(1, 1_500),  # bytes that are sent
        st.none() | st.integers(256, 2_000),  # the longest reply
        st.floats(0, 1),  # the part of what it may use that it uses
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=30)
@given(asked=requests, tokens=st.integers(300, 8_000), money=st.none() | st.floats(0.01, 0.5), most_requests=st.none() | st.integers(0, 6))
def test_no_bound_is_overrun_by_requests_side_by_side(
    tmp_path_factory: Any, asked: list[Any], tokens: int, money: float | None, most_requests: int | None
) -> None:
    limits = Limits(
        max_tokens=tokens,
        max_money=money,
        prices={"m": Price(input=10, output=100)},
        roles={"executor": RoleLimits(max_requests=most_requests, max_tokens=tokens // 2)},
    )
    step = StepBudget(max_tokens=tokens // 3)
    path: Path = tmp_path_factory.mktemp("meter") / "runs.db"
    store, clock, run_id = SqliteStore(path), SystemClock(), RunId(new_id())
    store.runs.create(run_id, Goal(text="go"), thread_id=run_id, planner="test", policy="test")
    meter = Meter(store, store.leases.acquire(run_id, new_owner()), limits, 1, budget=Budget(limits, Spent(), clock), clock=clock)
    told: list[Usage] = []
    telling = threading.Lock()

    def ask(one: Any) -> None:
        role, sent, longest, part = one
        step_id = "draft" if role == "judge" else None
        try:
            most = meter.ask(role, "m", sent, step_id, own=Bounds(max_reply_tokens=longest), step=step if step_id is not None else None)
        except BudgetExceeded:
            return
        assert most is not None
        assert 256 <= most <= (longest or tokens)
        time.sleep(0.004)  # the others ask meanwhile
        used = Usage(requests=1, input_tokens=int(sent * part), output_tokens=int(most * part))
        meter.count(role, "m", used, step_id)
        with telling:
            told.append(used)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ask, one) for one in asked]:
            done.result(30)
    by_role = store.usage.of(run_id)
    entries = store.usage.entries(run_id)
    store.close()

    def spent(used: Usage) -> int:
        return used.input_tokens + used.output_tokens

    every = sum((entry.used for entry in entries), Usage())
    assert every == sum(by_role.values(), Usage()) or abs(every.money - sum(used.money for used in by_role.values())) < 1e-9
    assert (every.requests, spent(every)) == (len(told), sum(map(spent, told)))
    assert spent(every) <= tokens
    assert money is None or every.money <= money + 1e-9
    assert spent(by_role.get("executor", Usage())) <= tokens // 2
    assert most_requests is None or by_role.get("executor", Usage()).requests <= most_requests
    assert sum(spent(entry.used) for entry in entries if entry.step_id == "draft") <= tokens // 3
    assert meter._under_way == []
