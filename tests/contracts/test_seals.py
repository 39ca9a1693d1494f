"""Whoever can write the file of a store cannot change what a run does: each edit is made with plain SQLite, and the run is resumed after it.

With a key every edit is found. Without one those are found that leave a row at odds with itself; ``without_key`` says which, and so does
docs/store.md.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_graph import AgentGraph, Approve, Plan, Reject, Step, tool
from agent_graph.checkpoints.keys import read_keys
from agent_graph.checkpoints.leases import new_owner
from agent_graph.checkpoints.owners import started
from agent_graph.checkpoints.seal_store import seal_store
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.errors import LeaseLost, RunBusy, StoreError, StoreUnreadable, UsageError
from agent_graph.identity import Digest, RunId, StepId, effect_key, new_id
from agent_graph.plan import Goal
from agent_graph.records import Intent, Usage
from agent_graph.verdicts import Grant

RUN = RunId("11111111-1111-4111-8111-111111111111")
OTHER = RunId("22222222-2222-4222-8222-222222222222")
KEY = "a-key-for-these-tests-and-for-nothing-else"
PAID: list[str] = []

Sqlite = sqlite3.Connection


@tool(risk="read_only", trusted_output=True)
def look(name: str) -> str:
    """Look up."""
    return name


@tool(risk="write", recovery="keyed")
def pay(name: str) -> str:
    """Pay. Sent again, it pays again here, so that a test sees it."""
    PAID.append(name)
    if name == "crash":
        raise SystemError("the process would die here")
    return name


STEPS = (
    Step(id="who", tool="look", args={"name": "ann"}),
    Step(id="first", tool="pay", args={"name": {"$ref": "steps.who.output"}}),
    Step(id="then", tool="look", args={"name": "bob"}, depends_on=("first",)),
    Step(id="second", tool="pay", args={"name": {"$ref": "steps.then.output"}}),
)


@pytest.fixture(autouse=True)
def _nothing_paid() -> Iterator[None]:
    PAID.clear()
    yield
    PAID.clear()


def key_of(sealed: bool) -> Any:
    return KEY if sealed else ()


def agent_on(path: Path, *, sealed: bool) -> AgentGraph:
    return AgentGraph([look, pay], store=SqliteStore(path, key=key_of(sealed)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Path]:
    """A run that has paid once and waits for a yes to the second payment, and another one; sealed or not."""

    def make(sealed: bool) -> Path:
        path = tmp_path_factory.mktemp("whole") / "runs.db"
        with agent_on(path, sealed=sealed) as agent:
            for run_id in (OTHER, RUN):
                run = agent.run(plan=Plan(goal="pay", steps=STEPS), run_id=run_id)
                run = agent.resume(run, Approve())
                assert run.status == "paused"
        return path

    made: dict[bool, Path] = {}
    return lambda sealed: made[sealed] if sealed in made else made.setdefault(sealed, make(sealed))


@pytest.fixture
def copy(whole: Callable[[bool], Path], tmp_path: Path) -> Callable[[bool], Path]:
    def fresh(sealed: bool) -> Path:
        path = whole(sealed)
        PAID.clear()
        return Path(shutil.copy(path, tmp_path / "runs.db"))

    return fresh


def edit(path: Path, change: Callable[[Sqlite], Any]) -> None:
    """As somebody does who can write the file, and knows how it is built."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        assert change(connection) is not None


def sql(*statements: str) -> Callable[[Sqlite], Any]:
    def change(connection: Sqlite) -> int:
        changed = [connection.execute(statement, {"run": RUN, "other": OTHER}).rowcount for statement in statements]
        assert all(changed), changed
        return len(changed)

    return change


# ── what somebody may try ─────────────────────────────────────────────────────────────────────────────────────────────


def plan_with_its_digest(connection: Sqlite) -> int:
    row = connection.execute("SELECT plan FROM plans WHERE run_id = ?", (RUN,)).fetchone()
    changed = Plan.model_validate_json(row["plan"].replace("bob", "eve"))
    return connection.execute("UPDATE plans SET plan = ?, digest = ? WHERE run_id = ?", (changed.written(), changed.digest, RUN)).rowcount


def request_with_other_arguments(connection: Sqlite) -> int:
    """What is shown is harmless; the digest stays that of the payment."""
    row = connection.execute("SELECT id, request FROM approvals WHERE run_id = ? AND decided IS NULL", (RUN,)).fetchone()
    request = json.loads(row["request"])
    request["args"] = {"name": "nobody"}
    request["idempotency_key"] = effect_key(RUN, StepId("second"), "pay", request["args"])
    return connection.execute("UPDATE approvals SET request = ? WHERE id = ?", (json.dumps(request), row["id"])).rowcount


def grant_put_in(connection: Sqlite) -> int:
    """A yes to the second payment, as ours are written, made of the first one."""
    yes = dict(connection.execute("SELECT * FROM approvals WHERE run_id = ? AND decided IS NOT NULL", (RUN,)).fetchone())
    waits = connection.execute("SELECT * FROM approvals WHERE run_id = ? AND decided IS NULL", (RUN,)).fetchone()
    request = json.loads(waits["request"]) | {"id": "put-in"}
    yes |= {"id": "put-in", "digest": waits["digest"], "step_id": "second", "request": json.dumps(request), "asked": waits["asked"]}
    yes |= {"expires": waits["expires"], "consumed_by": None}
    connection.execute("UPDATE approvals SET closed = 1 WHERE id = ?", (waits["id"],))
    return connection.execute(
        f"INSERT INTO approvals ({', '.join(yes)}) VALUES ({', '.join('?' * len(yes))})", tuple(yes.values())
    ).rowcount


def expiry_in_both_places(connection: Sqlite) -> int:
    return connection.execute(
        "UPDATE approvals SET expires = 9e9, request = json_set(request, '$.expires', 9e9) WHERE run_id = ? AND decided IS NULL", (RUN,)
    ).rowcount


@dataclass(frozen=True)
class Try:
    change: Callable[[Sqlite], Any]
    named: str
    """The row as the message names it."""
    without_key: bool = False
    """Whether it is found without a key."""


TRIES = {
    "the plan and its digest": Try(plan_with_its_digest, "plans"),
    "the plan alone": Try(sql("UPDATE plans SET plan = replace(plan, 'bob', 'eve') WHERE run_id = :run"), "plan", without_key=True),
    "the goal": Try(sql("UPDATE runs SET goal = replace(goal, 'pay', 'steal') WHERE id = :run"), f"the row {RUN} of runs"),
    "an output that the next payment takes": Try(
        sql("UPDATE effects SET output = '\"eve\"' WHERE run_id = :run AND step_id = 'then'"), "of effects"
    ),
    "an effect that landed, made undone": Try(
        sql("UPDATE effects SET state = 'failed', status = NULL WHERE run_id = :run AND step_id = 'first'"), "of effects"
    ),
    "an effect that landed, removed": Try(sql("DELETE FROM effects WHERE run_id = :run AND step_id = 'first'"), "rows of run"),
    "every effect removed": Try(sql("DELETE FROM effects WHERE run_id = :run"), "rows of run"),
    "what is shown of a call": Try(request_with_other_arguments, "of approvals", without_key=True),
    "the request's digest": Try(
        sql("UPDATE approvals SET digest = 'd' WHERE run_id = :run AND decided IS NULL"), "of approvals", without_key=True
    ),
    "the request's step": Try(
        sql("UPDATE approvals SET step_id = 'first' WHERE run_id = :run AND decided IS NULL"), "of approvals", without_key=True
    ),
    "a yes put in": Try(grant_put_in, "of approvals"),
    "an expiry": Try(sql("UPDATE approvals SET expires = 9e9 WHERE run_id = :run AND decided IS NULL"), "of approvals", without_key=True),
    "an expiry, in both places": Try(expiry_in_both_places, "of approvals"),
    "who decided": Try(sql("UPDATE approvals SET by = 'the boss' WHERE run_id = :run AND decided IS NOT NULL"), "of approvals"),
    "a used yes, made unused": Try(
        sql("UPDATE approvals SET consumed_by = NULL WHERE run_id = :run AND decided IS NOT NULL"), "of approvals"
    ),
    "a row of another run": Try(
        sql(
            "DELETE FROM effects WHERE run_id = :run AND step_id = 'then'",
            "UPDATE effects SET run_id = :run WHERE run_id = :other AND step_id = 'then'",
        ),
        "of effects",
    ),
    "the fence": Try(sql("UPDATE leases SET fence = 1 WHERE run_id = :run"), "of leases"),
    "the sum": Try(sql("UPDATE seals SET mac = replace(mac, '.1', '.2') WHERE id = :run"), "of seals"),
    "the sum removed": Try(sql("DELETE FROM seals WHERE id = :run"), "of seals"),
    "a seal removed": Try(sql("UPDATE runs SET mac = NULL WHERE id = :run"), "of runs"),
    "nothing that is now an empty text": Try(sql("UPDATE runs SET cancel_by = '' WHERE id = :run"), "of runs"),
    "a text that is now bytes": Try(sql("UPDATE runs SET planner = CAST(planner AS BLOB) WHERE id = :run"), "of runs"),
}
OF_SEALS = {"the sum", "the sum removed", "a seal removed"}


def resumed(path: Path, *, sealed: bool) -> str:
    with agent_on(path, sealed=sealed) as agent:
        waits = agent.get(RUN).requests
        return agent.resume(RUN, Approve() if waits else None).status


@pytest.mark.parametrize("what", TRIES)
def test_with_a_key_every_edit_stops_the_run_and_names_the_row(copy: Callable[[bool], Path], what: str) -> None:
    path = copy(True)
    edit(path, TRIES[what].change)
    with pytest.raises(StoreUnreadable, match=TRIES[what].named) as told:
        resumed(path, sealed=True)
    assert PAID == []
    assert RUN in str(told.value)


@pytest.mark.parametrize("what", [what for what in TRIES if what not in OF_SEALS])
def test_without_a_key_what_is_at_odds_with_itself_stops_the_run(copy: Callable[[bool], Path], what: str) -> None:
    path = copy(False)
    edit(path, TRIES[what].change)
    if TRIES[what].without_key:
        with pytest.raises(StoreUnreadable, match=TRIES[what].named):
            resumed(path, sealed=False)
        assert PAID == []
    elif what == "the goal":
        with pytest.raises(UsageError, match="was revised after its plan was made"):
            resumed(path, sealed=False)  # with a planner, it would be planned for: and that is why there are keys
        assert PAID == []
    else:
        resumed(path, sealed=False)  # and that is why there are keys


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
def test_a_run_that_nobody_edited_goes_on(copy: Callable[[bool], Path], sealed: bool) -> None:
    assert resumed(copy(sealed), sealed=sealed) == "succeeded"
    assert PAID == ["bob"]


@pytest.mark.parametrize("what", ["the goal", "an effect that landed, removed", "the sum removed"])
def test_an_edit_of_one_run_does_not_stop_another(copy: Callable[[bool], Path], what: str) -> None:
    path = copy(True)
    edit(path, TRIES[what].change)
    with agent_on(path, sealed=True) as agent:
        assert {run.id for run in agent.store.runs.recent()} == {RUN, OTHER}
        assert agent.resume(OTHER, Approve()).status == "succeeded"


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
@pytest.mark.parametrize("whole_of_it", [True, False], ids=["verdict and decision", "verdict"])
def test_a_no_that_was_made_a_yes(copy: Callable[[bool], Path], sealed: bool, whole_of_it: bool) -> None:
    path = copy(sealed)
    with SqliteStore(path, key=key_of(sealed)) as store:
        request = store.approvals.open(RUN)[0]
        store.approvals.decide(RUN, {request.id: Reject(stop=True)})
    decision = ', decision = \'{"type": "approve"}\'' if whole_of_it else ""
    edit(path, sql(f"UPDATE approvals SET verdict = 'approve'{decision} WHERE run_id = :run AND verdict = 'reject'"))
    if sealed or not whole_of_it:
        with (
            pytest.raises(StoreUnreadable, match=f"the row {request.id} of approvals of run {RUN}"),
            agent_on(path, sealed=sealed) as agent,
        ):
            agent.resume(RUN)
        assert PAID == []
    else:
        with agent_on(path, sealed=False) as agent:
            agent.resume(RUN)
        assert PAID == ["bob"]  # and that is why there are keys


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
def test_edited_arguments_of_an_effect_that_was_cut_off_are_not_sent_again(tmp_path: Path, sealed: bool) -> None:
    """After a crash, a keyed call is sent again with what is on record."""
    path = tmp_path / "cut.db"
    plan = Plan(goal="pay", steps=(Step(id="first", tool="pay", args={"name": "ann"}),))
    with SqliteStore(path, key=key_of(sealed)) as store:
        with AgentGraph([look, pay], store=store) as agent:
            run = agent.run(plan=plan, run_id=RUN)
            agent.resume(run, Approve())
    PAID.clear()
    edit(path, sql("UPDATE effects SET state = 'intent', status = NULL, args = '{\"name\":\"eve\"}', output = NULL WHERE run_id = :run"))
    edit(path, sql("UPDATE runs SET status = 'running' WHERE id = :run"))
    with pytest.raises(StoreUnreadable), agent_on(path, sealed=sealed) as agent:
        agent.resume(RUN)
    assert PAID == []


# ── in the middle of a drive ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def driven(copy: Callable[[bool], Path]) -> Iterator[tuple[SqliteStore, Any, Path]]:
    path = copy(True)
    with SqliteStore(path, key=KEY) as store:
        yield store, store.leases.acquire(RUN, new_owner()), path


READS: dict[str, tuple[str, Callable[[SqliteStore], Any]]] = {
    "run": ("UPDATE runs SET cancel_asked = 1 WHERE id = :run", lambda store: store.runs.get(RUN)),
    "thread's run": ("UPDATE runs SET status = 'failed' WHERE id = :run", lambda store: store.runs.current(RUN)),
    "plan": ("UPDATE plans SET verdict = NULL WHERE run_id = :run", lambda store: store.runs.plan(RUN)),
    "standings": ("UPDATE effects SET state = 'failed' WHERE run_id = :run", lambda store: store.ledger.standings(RUN)),
    "results": ("UPDATE effects SET output = '1' WHERE run_id = :run", lambda store: store.ledger.results(RUN)),
    "landed": ("UPDATE effects SET undo = '{}' WHERE run_id = :run", lambda store: store.ledger.landed(RUN)),
    "requests": ("UPDATE approvals SET kind = 'plan' WHERE run_id = :run", lambda store: store.approvals.open(RUN)),
    "rejections": ("UPDATE approvals SET verdict = 'reject' WHERE run_id = :run", lambda store: store.approvals.rejections(RUN, 1)),
}


@pytest.mark.parametrize("what", READS)
def test_each_read_that_permits_something_finds_an_edit_during_the_drive(driven: Any, what: str) -> None:
    store, _, path = driven
    change, read = READS[what]
    edit(path, sql(change))
    with pytest.raises(StoreUnreadable, match="does not match its seal"):
        read(store)


def test_a_write_does_not_make_good_what_was_edited(driven: Any) -> None:
    store, lease, path = driven
    edit(path, sql("UPDATE runs SET goal = replace(goal, 'pay', 'steal') WHERE id = :run"))
    with pytest.raises(StoreUnreadable, match=f"the row {RUN} of runs"):
        store.runs.set_status(lease, "running")


def test_a_row_that_was_edited_takes_no_other_write_of_the_same_commit_with_it(driven: Any) -> None:
    store, lease, path = driven
    edit(path, sql("UPDATE runs SET goal = replace(goal, 'pay', 'steal') WHERE id = :run"))
    other = store.leases.acquire(OTHER, new_owner())
    store.database.defer(lambda connection: connection.execute("UPDATE runs SET planner = 'x' WHERE id = ?", (OTHER,)))
    with pytest.raises(StoreUnreadable):
        store.runs.set_status(lease, "running")
    assert store.runs.get(OTHER).planner == "x"
    store.leases.release(other)


def test_a_whole_row_that_was_set_back_is_found_at_once_and_by_the_next_drive(driven: Any) -> None:
    """The old row is authentic in every column; only its number tells."""
    store, lease, path = driven
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        before = dict(connection.execute("SELECT * FROM runs WHERE id = ?", (RUN,)).fetchone())
    store.runs.set_status(lease, "running")
    columns = ", ".join(f"{column} = :{column}" for column in before)
    edit(path, lambda connection: connection.execute(f"UPDATE runs SET {columns} WHERE id = :id", before))
    with pytest.raises(StoreUnreadable, match="set back to what it had been before"):
        store.runs.get(RUN)
    store.leases.release(lease)
    with SqliteStore(path, key=KEY) as elsewhere, pytest.raises(StoreUnreadable, match=f"rows of run {RUN} were removed .* or set back"):
        elsewhere.leases.acquire(RUN, new_owner())


def test_an_effect_that_was_removed_during_the_drive_is_not_made_again(driven: Any) -> None:
    store, lease, path = driven
    key = next(standing.key for standing in store.ledger.standings(RUN).values() if standing.step_id == "first")
    edit(path, sql("DELETE FROM effects WHERE run_id = :run AND step_id = 'first'"))
    intent = Intent(
        key=key,
        step_id="first",
        plan_version=1,
        tool="pay",
        args={"name": "ann"},
        risk="write",
        recovery="keyed",
        started=1.0,
        deadline=2.0,
    )
    with pytest.raises(StoreUnreadable, match="removed while the run was driven"):
        store.ledger.begin(lease, intent, None)


def test_a_driver_that_was_replaced_cannot_be_brought_back_by_a_lower_fence(driven: Any) -> None:
    store, lease, path = driven
    store.leases.release(lease)
    with SqliteStore(path, key=KEY) as elsewhere:
        elsewhere.leases.acquire(RUN, new_owner())
    edit(path, lambda connection: connection.execute("UPDATE leases SET fence = ? WHERE run_id = ?", (lease.fence, RUN)))
    args = {"name": "eve"}
    intent = Intent(
        key=effect_key(RUN, StepId("x"), "pay", args), step_id="x", plan_version=1, tool="pay", args=args, risk="write", recovery="keyed",
        started=1.0, deadline=2.0,
    )  # fmt: skip
    with pytest.raises(StoreUnreadable, match="of leases"):
        store.ledger.begin(lease, intent, None)


def test_no_takeover_ends_a_process_that_somebody_wrote_into_the_lease(driven: Any) -> None:
    store, lease, path = driven
    victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        named = replace(lease.owner, pid=victim.pid, started=started(psutil.Process(victim.pid)))
        edit(path, lambda connection: connection.execute("UPDATE leases SET owner = ? WHERE run_id = ?", (json.dumps(asdict(named)), RUN)))
        with pytest.raises(StoreUnreadable, match="of leases"):
            store.leases.evict(RUN, named)
        assert victim.poll() is None
    finally:
        victim.communicate(b"\n")


def test_what_another_process_writes_with_the_key_is_no_edit(driven: Any) -> None:
    store, lease, path = driven
    request = store.approvals.open(RUN)[0]
    with SqliteStore(path, key=KEY) as elsewhere:
        elsewhere.approvals.decide(RUN, {request.id: Approve()}, "ann")
        elsewhere.runs.ask_cancel(RUN, "ann")
    assert [record.by for record in store.approvals.decided(RUN)] == ["ann"]
    store.runs.set_status(lease, "running")
    assert store.runs.get(RUN).cancel_by == "ann"


def test_a_refused_write_leaves_the_sum_as_it_was(driven: Any) -> None:
    store, lease, _ = driven
    with pytest.raises(StoreError):
        store.runs.create(RUN, store.runs.get(RUN).goal, thread_id="t")
    store.leases.release(lease)
    with pytest.raises(LeaseLost):
        store.runs.set_status(lease, "paused")
    assert store.leases.acquire(RUN, new_owner()).fence == lease.fence + 1


# ── rows of no run ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_standing_grant_cannot_be_put_in_or_widened_or_brought_back(copy: Callable[[bool], Path]) -> None:
    path = copy(True)
    with SqliteStore(path, key=KEY) as store:
        store.grants.add(Grant(id="standing", tool="pay", schema_digest=Digest("d"), by="ann", created=1.0))
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        before = dict(connection.execute("SELECT * FROM grants").fetchone())
    with SqliteStore(path, key=KEY) as store:
        store.grants.revoke("standing", "bob")
        assert store.grants.standing() == []
    columns = ", ".join(f"{column} = :{column}" for column in before)
    edit(path, lambda connection: connection.execute(f"UPDATE grants SET {columns}", before))
    with pytest.raises(StoreUnreadable, match=r"standing grants or policies were removed .* or set back"):
        resumed(path, sealed=True)
    edit(path, sql("UPDATE grants SET expires = 9e9"))
    with SqliteStore(path, key=KEY) as store, pytest.raises(StoreUnreadable, match="the row standing of grants"):
        store.grants.standing()
    assert PAID == []


def test_without_a_key_a_grant_that_no_longer_says_what_was_granted_covers_nothing(copy: Callable[[bool], Path]) -> None:
    path = copy(False)
    with SqliteStore(path, key=()) as store:
        store.grants.add(Grant(id="standing", tool="pay", schema_digest=Digest("d"), by="ann", created=1.0, expires=2.0))
        edit(path, sql("UPDATE grants SET expires = 9e9"))
        with pytest.raises(StoreUnreadable, match="the row standing of grants was changed"):
            store.grants.standing()


def test_what_was_used_of_a_budget_cannot_be_made_less(driven: Any) -> None:
    store, lease, path = driven
    store.usage.add(lease, "planner", Usage(requests=1, input_tokens=10))
    store.usage.add(lease, "planner", Usage(requests=1, input_tokens=10))
    assert store.usage.of(RUN)["planner"].requests == 2
    edit(path, sql("UPDATE usage_entries SET requests = 0 WHERE run_id = :run"))
    with pytest.raises(StoreUnreadable, match=f"the row {RUN}/planner.* of usage_entries"):
        store.usage.of(RUN)


def test_the_policy_on_record_cannot_be_another(driven: Any) -> None:
    store, _, path = driven
    number = store.policies.note("digest", "{}")
    edit(path, lambda connection: connection.execute("UPDATE policies SET policy = '[]' WHERE id = ?", (number,)))
    with pytest.raises(StoreUnreadable, match=f"the row {number} of policies"):
        store.policies.get(number)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

NEW = "another-key-for-these-tests-and-for-nothing-else"


def test_without_its_key_a_sealed_store_can_be_looked_at_and_nothing_else(copy: Callable[[bool], Path]) -> None:
    path = copy(True)
    with SqliteStore(path, key=()) as store:
        assert store.runs.get(RUN).status == "paused"
        request = store.approvals.open(RUN)[0]
        for write in (
            lambda: store.leases.acquire(RUN, new_owner()),
            lambda: store.approvals.decide(RUN, {request.id: Approve()}),
            lambda: store.runs.ask_cancel(RUN),
            lambda: store.purge([RUN]),
        ):
            with pytest.raises(UsageError, match=r"sealed, and without its key it can only be looked at.*AGENT_GRAPH_STORE_KEY"):
                write()
    assert resumed(path, sealed=True) == "succeeded"


def test_another_key_is_said_to_be_another(copy: Callable[[bool], Path]) -> None:
    path = copy(True)
    with pytest.raises(StoreUnreadable, match="sealed with another key"):
        SqliteStore(path, key=NEW)


def test_a_store_that_was_never_sealed_is_not_sealed_by_the_way(copy: Callable[[bool], Path]) -> None:
    path = copy(False)
    with pytest.raises(StoreUnreadable, match=r"has no seal.*agent-graph doctor --seal"):
        SqliteStore(path, key=KEY)
    assert resumed(path, sealed=False) == "succeeded"


def test_taking_out_every_seal_does_not_make_a_sealed_store_an_open_one(copy: Callable[[bool], Path]) -> None:
    path = copy(True)
    tables = ("runs", "plans", "effects", "approvals", "leases")
    edit(path, sql("DELETE FROM seals", *(f"UPDATE {table} SET mac = NULL" for table in tables)))
    with pytest.raises(StoreUnreadable, match="has no seal"):
        resumed(path, sealed=True)


def test_a_store_that_is_trusted_is_sealed_as_it_is(copy: Callable[[bool], Path]) -> None:
    path = copy(False)
    rows, before = seal_store(path, read_keys(KEY), time.time())
    assert (rows > 10, before) == (True, False)
    assert resumed(path, sealed=True) == "succeeded"
    edit(path, sql("UPDATE runs SET status = 'running' WHERE id = :run"))
    with SqliteStore(path, key=KEY) as store, pytest.raises(StoreUnreadable):
        store.runs.get(RUN)


def test_sealing_anew_does_not_make_good_what_was_edited(copy: Callable[[bool], Path]) -> None:
    path = copy(True)
    edit(path, sql("DELETE FROM seals", "UPDATE runs SET status = 'running' WHERE id = :run"))
    with pytest.raises(StoreUnreadable):
        seal_store(path, read_keys(KEY), time.time())


def test_no_store_is_sealed_while_a_run_is_driven(copy: Callable[[bool], Path]) -> None:
    path = copy(False)
    with SqliteStore(path, key=()) as store:
        store.leases.acquire(RUN, new_owner())
        with pytest.raises(RunBusy, match="sealed while nothing is driven"):
            seal_store(path, read_keys(KEY), time.time())


def test_a_new_key_before_the_old_one_seals_from_then_on_and_the_old_one_goes_when_all_is_sealed_anew(copy: Callable[[bool], Path]) -> None:
    path = copy(True)
    both = read_keys(f"{NEW},{KEY}")
    with SqliteStore(path, key=(NEW, KEY)) as store:
        lease = store.leases.acquire(RUN, new_owner())
        store.runs.set_status(lease, "paused")
        store.leases.release(lease)
        assert store.database.rows("SELECT mac FROM runs WHERE id = ?", (RUN,))[0]["mac"].startswith(f"1.{both[0].name}.")
    with pytest.raises(StoreUnreadable):
        SqliteStore(path, key=NEW)
    assert seal_store(path, both, time.time())[1] is True
    with agent_on_key(path, NEW) as agent:
        assert agent.resume(RUN, Approve()).status == "succeeded"


def agent_on_key(path: Path, key: str) -> AgentGraph:
    return AgentGraph([look, pay], store=SqliteStore(path, key=key))


def test_a_purge_and_a_new_file_leave_the_seals_of_the_others(copy: Callable[[bool], Path]) -> None:
    path = copy(True)
    with agent_on(path, sealed=True) as agent:
        agent.resume(OTHER, Approve())
        assert agent.purge(OTHER) == [OTHER]
        assert [row["id"] for row in agent.store.database.rows("SELECT id FROM seals ORDER BY id")] == ["*", RUN]  # type: ignore[attr-defined]
        assert agent.resume(RUN, Approve()).status == "succeeded"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path_factory.mktemp("empty") / "runs.db", key=KEY) as store:
        yield store


@given(text=st.text(), number=st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=30)
def test_whatever_is_written_verifies(empty: SqliteStore, text: str, number: float) -> None:
    run_id = RunId(new_id())
    try:
        goal = Goal(text=text or "x", params={"n": number, text: [number, text, None, True]})
        empty.runs.create(run_id, goal, thread_id=text, metadata={text: text})
    except (ValueError, StoreError):
        return  # half a character, which no store holds
    lease = empty.leases.acquire(run_id, new_owner())
    empty.runs.finish(lease, "succeeded", answer={"n": number, "t": text})
    empty.leases.release(lease)
    assert empty.leases.acquire(run_id, new_owner()).fence == 2


# ── code in the file ──────────────────────────────────────────────────────────────────────────────────────────────────

YES = "UPDATE approvals SET verdict = 'approve', decision = '{\"type\":\"approve\"}', decided = asked WHERE decided IS NULL"
PLANTED = {
    "a trigger": f"CREATE TRIGGER planted AFTER UPDATE ON runs BEGIN {YES}; END",
    "a trigger of LangGraph's table": f"CREATE TRIGGER planted AFTER INSERT ON checkpoints BEGIN {YES}; END",
    "a view": "CREATE VIEW planted AS SELECT * FROM runs",
    "a default": "ALTER TABLE approvals ADD COLUMN planted TEXT DEFAULT 'approve'",
}


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
@pytest.mark.parametrize("what", PLANTED)
def test_a_schema_that_agent_graph_did_not_make_is_refused(copy: Callable[[bool], Path], what: str, sealed: bool) -> None:
    path = copy(sealed)
    edit(path, lambda connection: connection.execute(PLANTED[what]))
    with pytest.raises(StoreUnreadable, match=r"schema of the store .* was changed outside of agent-graph"):
        SqliteStore(path, key=key_of(sealed))


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
@pytest.mark.parametrize("what", ["a trigger", "a trigger of LangGraph's table"])
def test_a_trigger_that_comes_while_the_store_is_open_is_not_run(copy: Callable[[bool], Path], what: str, sealed: bool) -> None:
    path = copy(sealed)
    with agent_on(path, sealed=sealed) as agent:
        agent.graph.get_state({"configurable": {"thread_id": RUN}})
        edit(path, lambda connection: connection.execute(PLANTED[what]))
        with pytest.raises(StoreUnreadable, match="trigger"):
            agent.resume(RUN)
        assert PAID == []
        assert [row["verdict"] for row in agent.store.database.rows("SELECT verdict FROM approvals WHERE verdict IS NULL")] == [None] * 2  # type: ignore[attr-defined]
