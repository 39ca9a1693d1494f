"""Runs and their plan versions."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from agent_graph.checkpoints.database import Database, reads_row
from agent_graph.checkpoints.leases import check_fence
from agent_graph.checkpoints.texts import text_of, value_of
from agent_graph.errors import StoreError, StoreUnreadable, UnknownRun
from agent_graph.identity import Digest, RunId
from agent_graph.plan import Goal, Plan
from agent_graph.ports import Clock
from agent_graph.records import Lease, PlanRecord, RunRecord
from agent_graph.state import StoredStatus
from agent_graph.verdicts import Diagnosis, Observation, Report


class Runs:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create(
        self,
        run_id: RunId,
        goal: Goal,
        *,
        thread_id: str,
        checkpoint_ns: str = "",
        planner: str = "",
        policy: str = "",
        metadata: dict[str, Any] | None = None,
        plan: Plan | None = None,
    ) -> RunRecord:
        """With a plan that came along, in one transaction: no other process could make it again. Raises StoreError when the id is taken."""
        now = self._clock.now()
        values = (
            run_id,
            thread_id,
            checkpoint_ns,
            goal.model_dump_json(exclude_defaults=True),
            planner,
            policy,
            text_of(metadata),
            now,
            now,
        )

        text = plan.written() if plan is not None else ""

        def work(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone():
                raise StoreError(f"there is a run {run_id} already; resume it, or give another run_id")
            connection.execute(
                """INSERT INTO runs (id, thread_id, checkpoint_ns, goal, status, planner, policy, metadata, created, updated)
                   VALUES (?, ?, ?, ?, 'running', ?, ?, ?, ?, ?)""",
                values,
            )
            if plan is not None:
                _insert_plan(connection, run_id, plan, text, now)

        self._database.write(work)
        return self.get(run_id)

    def get(self, run_id: str) -> RunRecord:
        """Raises UnknownRun."""
        row = self._database.sealed_row("runs", "SELECT * FROM runs WHERE id = ?", (run_id,))
        if row is None:
            raise UnknownRun(f"there is no run {run_id} in {self._database.path}; list them with: agent-graph runs")
        return _run(row)

    def find(self, prefix: str) -> RunId:
        """The one run whose id starts so. Raises UnknownRun when there is none, or more than one."""
        rows = self._database.rows("SELECT id FROM runs WHERE substr(id, 1, ?) = ? ORDER BY created DESC LIMIT 10", (len(prefix), prefix))
        if len(rows) != 1 or not prefix:
            some = (
                f"more than one run starts with {prefix!r}: {', '.join(row['id'] for row in rows)}"
                if rows and prefix
                else f"there is no run {prefix!r}"
            )
            raise UnknownRun(f"{some} in {self._database.path}; list them with: agent-graph runs")
        return RunId(rows[0]["id"])

    def current(self, thread_id: str, checkpoint_ns: str = "") -> RunRecord | None:
        """The newest run of the thread: the one that was made last, whatever the clock said."""
        row = self._database.sealed_row(
            "runs",
            "SELECT * FROM runs WHERE thread_id = ? AND checkpoint_ns = ? ORDER BY rowid DESC LIMIT 1",
            (thread_id, checkpoint_ns),
        )
        return None if row is None else _run(row)

    def of_thread(self, thread_id: str, checkpoint_ns: str = "") -> list[RunRecord]:
        """The thread's runs, the one that was made last first."""
        rows = self._database.sealed_rows(
            "runs", "SELECT * FROM runs WHERE thread_id = ? AND checkpoint_ns = ? ORDER BY rowid DESC", (thread_id, checkpoint_ns)
        )
        return [_run(row) for row in rows]

    def recent(self, status: StoredStatus | None = None, limit: int = 100) -> list[RunRecord]:
        """Newest first. Only to look at: no seal is held against them, so that one row that was changed does not hide the others."""
        where, values = ("WHERE status = ?", [status]) if status else ("", [])
        return [
            _run(row)
            for row in self._database.rows(f"SELECT * FROM runs {where} ORDER BY created DESC, rowid DESC LIMIT ?", [*values, limit])
        ]

    def with_metadata(self, key: str, value: str) -> list[RunRecord]:
        """Runs whose metadata say so, oldest first."""
        rows = self._database.sealed_rows(
            "runs", "SELECT * FROM runs WHERE metadata IS NOT NULL AND json_extract(metadata, '$.' || ?) = ? ORDER BY rowid", (key, value)
        )
        return [_run(row) for row in rows]

    def set_status(self, lease: Lease, status: StoredStatus, observation: Observation | None = None) -> None:
        """Between ``running`` and ``paused``; a run that has finished stays as it is."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.execute(
                """UPDATE runs SET status = ?, updated = ?, observation = COALESCE(?, observation)
                   WHERE id = ? AND status IN ('running', 'paused')""",
                (status, now, observation.model_dump_json() if observation else None, lease.run_id),
            )

        self._database.write(work, durable=False)

    def blame(self, lease: Lease, error: Diagnosis) -> None:
        """Why the run is going to end ``failed``; the first reason stands. ``conclude`` reads it here."""

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.execute("UPDATE runs SET error = COALESCE(error, ?) WHERE id = ?", (error.model_dump_json(), lease.run_id))

        self._database.write(work)

    def finish(self, lease: Lease, status: StoredStatus, *, answer: Any = None, error: Diagnosis | None = None) -> None:
        """The end of a run; what still waited is closed. The first end stands."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            changed = connection.execute(
                "UPDATE runs SET status = ?, answer = ?, error = ?, updated = ? WHERE id = ? AND status IN ('running', 'paused')",
                (status, text_of(answer), error.model_dump_json() if error else None, now, lease.run_id),
            ).rowcount
            if changed:
                connection.execute(
                    "UPDATE approvals SET closed = ? WHERE run_id = ? AND decided IS NULL AND closed IS NULL", (now, lease.run_id)
                )

        self._database.write(work)

    def ask_cancel(self, run_id: RunId, by: str | None = None) -> RunRecord:
        """Put on record that the run is to end; the first who asks is kept. From here on no intent is written. Needs no lease.

        A run that has finished stays as it is. Raises UnknownRun.
        """
        now = self._clock.now()
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE runs SET cancel_asked = ?, cancel_by = ? WHERE id = ? AND status IN ('running', 'paused') AND cancel_asked IS NULL",
                (now, by, run_id),
            )
        )
        return self.get(run_id)

    def revise(self, lease: Lease, goal: Goal, closed: Sequence[str] = ()) -> None:
        """Another goal for a run that has not finished; ``closed``: ids of the requests that were about the old one, whose decisions, if there
        are any, are not acted on any more. What people answered stays on record. Raises StoreError for a run that is to end."""
        now = self._clock.now()
        text = goal.model_dump_json(exclude_defaults=True)

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            changed = connection.execute(
                """UPDATE runs SET goal = ?, updated = ? WHERE id = ? AND status IN ('running', 'paused')
                   AND error IS NULL AND cancel_asked IS NULL""",
                (text, now, lease.run_id),
            ).rowcount
            if not changed:
                raise StoreError(f"run {lease.run_id} has ended, or is about to; its goal stays as it is")
            for request_id in closed:
                connection.execute(
                    "UPDATE approvals SET closed = ? WHERE id = ? AND run_id = ? AND handled IS NULL AND closed IS NULL",
                    (now, request_id, lease.run_id),
                )
            waits = connection.execute(
                "SELECT 1 FROM approvals WHERE run_id = ? AND decided IS NULL AND closed IS NULL LIMIT 1", (lease.run_id,)
            ).fetchone()
            connection.execute("UPDATE runs SET status = ? WHERE id = ?", ("paused" if waits else "running", lease.run_id))

        self._database.write(work)

    # ── plans ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def add_plan(self, lease: Lease, plan: Plan, lineage: Mapping[str, Any] | None = None) -> None:
        """A new version. Writing the same version again is no change; another plan under its number is refused."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            there = connection.execute("SELECT digest FROM plans WHERE run_id = ? AND version = ?", (lease.run_id, plan.version)).fetchone()
            if there is not None:
                if there["digest"] != plan.digest:
                    raise StoreError(f"run {lease.run_id} has another plan of version {plan.version}; a plan is never edited in place")
                return
            _insert_plan(connection, lease.run_id, plan, plan.written(), now, text_of(dict(lineage)) if lineage else None)

        self._database.write(work)

    def judge_plan(self, lease: Lease, version: int, report: Report) -> None:
        """What validation found; ``execute`` refuses a version without a ``valid`` verdict."""

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.execute(
                "UPDATE plans SET report = ?, verdict = ? WHERE run_id = ? AND version = ?",
                (report.model_dump_json(exclude_defaults=True), "valid" if report.valid else "invalid", lease.run_id, version),
            )

        self._database.write(work)

    def plan(self, run_id: RunId, version: int | None = None) -> PlanRecord | None:
        """One version, or the newest. Raises StoreUnreadable when the row no longer matches its digest."""
        row = self._database.sealed_row(
            "plans",
            "SELECT * FROM plans WHERE run_id = :run AND version = COALESCE(:version, (SELECT MAX(version) FROM plans WHERE run_id = :run))",
            {"run": run_id, "version": version},
        )
        return None if row is None else _plan(row)

    def plans(self, run_id: RunId) -> list[PlanRecord]:
        rows = self._database.sealed_rows("plans", "SELECT * FROM plans WHERE run_id = ? ORDER BY version", (run_id,))
        return [_plan(row) for row in rows]


def _insert_plan(connection: sqlite3.Connection, run_id: RunId, plan: Plan, text: str, now: float, lineage: str | None = None) -> None:
    connection.execute(
        """INSERT INTO plans (run_id, version, digest, parent, plan, reason, created_by, created, lineage) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (run_id, plan.version, plan.digest, plan.parent, text, plan.reason, plan.created_by, now, lineage),
    )
    connection.execute("UPDATE runs SET plan_version = ?, updated = ? WHERE id = ?", (plan.version, now, run_id))


@reads_row("runs")
def _run(row: sqlite3.Row) -> RunRecord:
    return RunRecord(
        id=RunId(row["id"]),
        thread_id=row["thread_id"],
        checkpoint_ns=row["checkpoint_ns"],
        goal=Goal.model_validate_json(row["goal"]),
        status=row["status"],
        plan_version=row["plan_version"],
        planner=row["planner"],
        policy=row["policy"],
        metadata=value_of(row["metadata"]) or {},
        created=row["created"],
        updated=row["updated"],
        answer=value_of(row["answer"]),
        observed=row["observation"],
        error=Diagnosis.model_validate_json(row["error"]) if row["error"] else None,
        cancel_asked=row["cancel_asked"],
        cancel_by=row["cancel_by"],
    )


class _Known:
    """Plans of this process by the hash of their text, the last ones: each node of a drive asks for its plan, and a frozen plan is the same to all."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._plans: dict[bytes, Plan] = {}
        self._lock = threading.Lock()

    def get(self, key: bytes) -> Plan | None:
        return self._plans.get(key)

    def remember(self, key: bytes, plan: Plan) -> None:
        """``plan`` is what the text of the hash says."""
        with self._lock:
            self._plans.pop(key, None)
            self._plans[key] = plan
            if len(self._plans) > self._most:
                del self._plans[next(iter(self._plans))]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


_PLANS = _Known(64)


@reads_row("plans")
def _plan(row: sqlite3.Row) -> PlanRecord:
    text, written = row["plan"], Digest(row["digest"])
    key = _hash(text)
    plan = _PLANS.get(key)
    if plan is None:
        plan = Plan.read(text, written)
    if plan is None or plan.digest != written:
        raise StoreUnreadable(
            f"plan version {row['version']} of run {row['run_id']} was changed in the store: its digest does not match; nothing of it will run"
        )
    _PLANS.remember(key, plan)
    report = Report.model_validate_json(row["report"]) if row["report"] else Report()
    return PlanRecord(
        plan=plan,
        digest=Digest(row["digest"]),
        verdict=row["verdict"],
        issues=report.issues,
        risk=report.risk if row["report"] else None,
        calls=report.calls,
        policy=report.policy,
        lineage=value_of(row["lineage"]) or {},
    )
