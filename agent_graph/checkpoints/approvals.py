"""Requests and decisions. The row is the authority: ``execute`` looks here, never at what a resume carried.

A request's decision is recorded once, by compare-and-set: the first stands, others are told who decided and when. A yes is bound by
digest to exactly what was shown, and is used up in the transaction that writes the intent.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime

from agent_graph.checkpoints.agreement import decision_in, request_in
from agent_graph.checkpoints.database import Database
from agent_graph.checkpoints.leases import check_fence
from agent_graph.checkpoints.ledger import still_runs
from agent_graph.errors import DecisionConflict, InvalidDecision, NothingPending, StoreError
from agent_graph.identity import Digest, RequestId, RunId, new_id
from agent_graph.ports import Clock
from agent_graph.records import ApprovalRecord, Lease
from agent_graph.verdicts import Call, Decision, Request

_OPEN = "decided IS NULL AND closed IS NULL AND (expires IS NULL OR expires > :now)"


class Approvals:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, lease: Lease, request: Request) -> Request:
        """Write the request, unless the same one is open, or was decided a moment ago and waits to be acted on; returns that one."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> Request:
            check_fence(connection, lease)
            there = connection.execute(
                f"""SELECT * FROM approvals WHERE run_id = :run AND digest = :digest AND kind = :kind
                    AND (({_OPEN}) OR (decided IS NOT NULL AND handled IS NULL AND closed IS NULL))""",
                {"run": request.run_id, "digest": request.digest, "kind": request.kind, "now": now},
            ).fetchone()
            if there is not None:
                return request_in(there)
            connection.execute(
                "INSERT INTO approvals (id, run_id, kind, digest, step_id, plan_version, request, asked, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    request.id,
                    request.run_id,
                    request.kind,
                    request.digest,
                    request.step_id,
                    request.plan_version,
                    request.model_dump_json(exclude_defaults=True),
                    request.asked,
                    request.expires,
                ),
            )
            return request

        return self._database.write(work)

    def open(self, run_id: RunId) -> list[Request]:
        """What waits for a person, oldest first."""
        rows = self._database.sealed_rows(
            "approvals",
            f"SELECT * FROM approvals WHERE run_id = :run AND {_OPEN} ORDER BY asked, id",
            {"run": run_id, "now": self._clock.now()},
        )
        return [self._with_what_still_runs(request_in(row)) for row in rows]

    def _with_what_still_runs(self, request: Request) -> Request:
        if request.kind != "in_doubt" or request.idempotency_key is None:
            return request
        row = self._database.sealed_row("effects", "SELECT * FROM effects WHERE key = ?", (request.idempotency_key,))
        owner = still_runs(row, self._clock.now()) if row is not None else None
        return request if owner is None else request.model_copy(update={"left_running": str(owner)})

    def waiting(self) -> dict[RunId, int]:
        """How many requests wait, by run, over the whole store."""
        rows = self._database.rows(f"SELECT run_id, COUNT(*) AS n FROM approvals WHERE {_OPEN} GROUP BY run_id", {"now": self._clock.now()})
        return {RunId(row["run_id"]): row["n"] for row in rows}

    def get(self, request_id: str) -> ApprovalRecord | None:
        row = self._database.sealed_row("approvals", "SELECT * FROM approvals WHERE id = ?", (request_id,))
        return None if row is None else _record(row)

    def close(self, lease: Lease, request_ids: list[str]) -> None:
        """Requests that no longer fit what would run."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            for request_id in request_ids:
                connection.execute("UPDATE approvals SET closed = ? WHERE id = ? AND decided IS NULL", (now, request_id))

        self._database.write(work)

    # ── deciding ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def decide(self, run_id: RunId, decisions: Mapping[str, Decision], by: str | None = None) -> None:
        """Record decisions, all or none. Needs no lease: a person may decide while the run goes on elsewhere.

        Raises DecisionConflict when one of them was decided before, NothingPending when one is not there any more, and InvalidDecision for an
        ``absent`` while the call that it is about still runs.
        """
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            for request_id, decision in decisions.items():
                row = connection.execute("SELECT * FROM approvals WHERE id = ? AND run_id = ?", (request_id, run_id)).fetchone()
                _may_be_decided(row, request_id, now)
                if decision.type == "resolve" and decision.outcome == "absent":
                    _refuse_absent_while_it_runs(connection, request_in(row), now)
                connection.execute(
                    "UPDATE approvals SET verdict = ?, decision = ?, by = ?, decided = ? WHERE id = ?",
                    (decision.type, decision.model_dump_json(exclude_defaults=False), decision.by or by, now, request_id),
                )

        self._database.write(work)

    def decided(self, run_id: RunId) -> list[ApprovalRecord]:
        """Decisions that ``approve`` has not acted on yet, oldest first."""
        rows = self._database.sealed_rows(
            "approvals",
            "SELECT * FROM approvals WHERE run_id = ? AND decided IS NOT NULL AND handled IS NULL AND closed IS NULL ORDER BY decided, id",
            (run_id,),
        )
        return [_record(row) for row in rows]

    def handle(
        self,
        lease: Lease,
        request_id: str,
        *,
        grants: tuple[Call, ...] = (),
        approved_plan: Digest | None = None,
        expires: float | None = None,
    ) -> None:
        """Mark a decision as acted on, and write what it grants in the same transaction.

        A yes to a plan becomes one grant for each of its calls; an edit becomes a grant for the edited call, or for the edited plan
        (``approved_plan``) and its calls.
        """
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            changed = connection.execute("UPDATE approvals SET handled = ? WHERE id = ? AND handled IS NULL", (now, request_id)).rowcount
            if not changed:
                return
            given = connection.execute("SELECT * FROM approvals WHERE id = ?", (request_id,)).fetchone()
            if (grants or approved_plan) and (given["run_id"] != lease.run_id or given["verdict"] not in ("approve", "edit")):
                raise StoreError(f"request {request_id} was not approved in run {lease.run_id}; it grants nothing")
            decision_in(given)
            shown = request_in(given)
            granted = [
                shown.model_copy(
                    update={
                        "id": new_id(),
                        "kind": "step",
                        "calls": (),
                        "expires": expires,
                        "digest": call.digest,
                        "reason": call.reason,
                        "step_id": call.step_id,
                        "tool": call.tool,
                        "args": call.args,
                        "risk": call.risk,
                        "sources": call.sources,
                    }
                )
                for call in grants
            ]
            if approved_plan is not None:
                granted.append(shown.model_copy(update={"id": new_id(), "kind": "plan", "digest": approved_plan, "calls": grants}))
            for request in granted:
                connection.execute(
                    """INSERT INTO approvals (id, run_id, kind, digest, step_id, plan_version, request, verdict, decision, by, asked, decided, expires,
                                              granted_by, handled)
                       VALUES (?, ?, ?, ?, ?, ?, ?, 'approve', ?, ?, ?, ?, ?, ?, ?)""",
                    (
                        request.id,
                        request.run_id,
                        request.kind,
                        request.digest,
                        request.step_id,
                        request.plan_version,
                        request.model_dump_json(exclude_defaults=True),
                        json.dumps({"type": "approve"}),
                        given["by"],
                        request.asked,
                        given["decided"],
                        request.expires,
                        request_id,
                        now,
                    ),
                )

        self._database.write(work)

    # ── what execute asks ─────────────────────────────────────────────────────────────────────────────────────────────

    def grant(self, run_id: RunId, digest: Digest) -> RequestId | None:
        """An unused, unexpired yes to exactly this call."""
        row = self._database.sealed_row(
            "approvals",
            """SELECT * FROM approvals WHERE run_id = :run AND digest = :digest AND kind = 'step' AND verdict = 'approve'
               AND consumed_by IS NULL AND closed IS NULL AND (expires IS NULL OR expires > :now) ORDER BY decided LIMIT 1""",
            {"run": run_id, "digest": digest, "now": self._clock.now()},
        )
        return None if row is None else RequestId(_record(row).request.id)

    def decision(self, run_id: RunId, digest: Digest, kind: str) -> ApprovalRecord | None:
        """The newest request for this digest that was decided."""
        row = self._database.sealed_row(
            "approvals",
            """SELECT * FROM approvals WHERE run_id = ? AND digest = ? AND kind = ? AND decided IS NOT NULL AND closed IS NULL
               ORDER BY decided DESC LIMIT 1""",
            (run_id, digest, kind),
        )
        return None if row is None else _record(row)

    def answers(self, run_id: RunId) -> dict[str, str]:
        """What people answered to the planner's questions, by the question."""
        rows = self._database.sealed_rows(
            "approvals",
            "SELECT * FROM approvals WHERE run_id = ? AND kind = 'question' AND step_id IS NULL AND verdict = 'respond' ORDER BY decided",
            (run_id,),
        )
        answers = {}
        for record in map(_record, rows):
            if record.decision is not None and record.decision.type == "respond":
                answers[record.request.question or ""] = record.decision.text
        return answers

    def rejections(self, run_id: RunId, plan_version: int) -> list[ApprovalRecord]:
        """What people said no to in a plan version, oldest first."""
        rows = self._database.sealed_rows(
            "approvals",
            "SELECT * FROM approvals WHERE run_id = ? AND plan_version = ? AND verdict = 'reject' ORDER BY decided",
            (run_id, plan_version),
        )
        return [_record(row) for row in rows]

    def questions(self, run_id: RunId) -> int:
        """How many questions the planner has asked."""
        row = self._database.row(
            """SELECT COUNT(*) AS n FROM approvals WHERE run_id = ? AND kind = 'question' AND step_id IS NULL
               AND json_extract(request, '$.criterion') IS NULL""",
            (run_id,),
        )
        return int(row["n"]) if row else 0

    def again(self, lease: Lease, request_id: str, problem: str) -> None:
        """The answer made no sense: the same request stays open, and says what was wrong."""

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            row = connection.execute("SELECT * FROM approvals WHERE id = ?", (request_id,)).fetchone()
            request = request_in(row).model_copy(update={"problem": problem})
            connection.execute(
                "UPDATE approvals SET request = ? WHERE id = ?", (request.model_dump_json(exclude_defaults=True), request_id)
            )

        self._database.write(work, durable=False)

    def void(self, lease: Lease, request_id: str) -> None:
        """A decision that does not count: it stays on record, and grants nothing."""
        now = self._clock.now()

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.execute("UPDATE approvals SET closed = ?, handled = ? WHERE id = ?", (now, now, request_id))

        self._database.write(work)


def _may_be_decided(row: sqlite3.Row | None, request_id: str, now: float) -> None:
    if row is None:
        raise NothingPending(f"no request {request_id} waits; see what does with: agent-graph show RUN")
    if row["decided"] is not None:
        when = datetime.fromtimestamp(row["decided"]).astimezone().isoformat(timespec="seconds")
        raise DecisionConflict(
            f"request {request_id} was decided before: {row['verdict']} by {row['by'] or 'somebody unnamed'} at {when}; that stands"
        )
    if row["closed"] is not None:
        raise NothingPending(
            f"request {request_id} was withdrawn, since what it asked about changed; see what waits now with: agent-graph show {row['run_id']}"
        )
    if row["expires"] is not None and row["expires"] <= now:
        raise NothingPending(f"request {request_id} has expired; resume the run without a decision and it is asked again")


def _refuse_absent_while_it_runs(connection: sqlite3.Connection, request: Request, now: float) -> None:
    row = connection.execute("SELECT run_id, left_by, deadline FROM effects WHERE key = ?", (request.idempotency_key,)).fetchone()
    owner = still_runs(row, now) if row is not None else None
    if owner is not None:
        raise InvalidDecision(
            f"the call of {request.tool} was given up at its deadline, but still runs in {owner}, so it may yet happen: "
            "wait until it ends, or end that process, then say 'absent'"
        )


def _record(row: sqlite3.Row) -> ApprovalRecord:
    return ApprovalRecord(
        request=request_in(row),
        decision=decision_in(row),
        by=row["by"],
        decided=row["decided"],
        consumed_by=row["consumed_by"],
        handled=row["handled"] is not None,
    )
