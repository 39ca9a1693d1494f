"""The effect ledger: an intent before each call that can change something, an outcome after each step.

A row is keyed by what is done (run, step, tool, arguments), so that the same effect is found again after a crash or a replan.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from agent_graph.checkpoints.agreement import refuse_other_call, sent
from agent_graph.checkpoints.database import Database, reads_row
from agent_graph.checkpoints.leases import HELD, check_fence, hold_against
from agent_graph.checkpoints.owners import alive
from agent_graph.checkpoints.texts import text_of, value_of
from agent_graph.checkpoints.trace import NEXT, keep_line
from agent_graph.errors import ApprovalMissing, CancelAsked, StoreError
from agent_graph.identity import EffectKey, RequestId, RunId
from agent_graph.ports import Clock
from agent_graph.records import Effect, EffectState, Intent, Lease, Owner, Spending, Standing
from agent_graph.verdicts import Evidence, Failure, LandedEffect, Provenance, StepResult, Undo


class Ledger:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    # ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, lease: Lease, intent: Intent, approval: RequestId | None) -> int:
        """Write the intent, on disk before this returns, and use up its approval in the same transaction. Returns the attempt, from 1.

        Raises ApprovalMissing when the approval was used, revoked or has expired, CancelAsked when the run is to end, and LeaseLost; the tool
        must not be called then.
        """
        now = self._clock.now()
        values = {
            "key": intent.key,
            "run": lease.run_id,
            "step": intent.step_id,
            "version": intent.plan_version,
            "tool": intent.tool,
            "args": text_of(intent.args),
            "risk": intent.risk,
            "recovery": intent.recovery,
            "fence": lease.fence,
            "approval": approval,
            "judged": intent.judged,
            "started": intent.started,
            "deadline": intent.deadline,
        }

        def work(connection: sqlite3.Connection) -> int:
            _check_may_begin(connection, lease)
            if self._database.seals is not None:  # a fence that was lowered would let a driver go on that was replaced
                self._database.seals.check(
                    "leases", connection.execute("SELECT * FROM leases WHERE run_id = ?", (lease.run_id,)).fetchone()
                )
            if approval is not None:
                _consume(connection, approval, lease.run_id, intent, now)
            row = connection.execute(_BEGIN, values).fetchone()
            if row is None:
                keep_line(connection, intent.key)
                row = connection.execute(_BEGIN_AGAIN, values).fetchone()
            if row is None:
                raise ApprovalMissing(f"effect {intent.step_id}:{intent.tool} has landed already; it is not called again")
            return int(row["attempt"])

        return self._database.write(work)

    def finish(
        self,
        lease: Lease,
        key: EffectKey,
        state: EffectState,
        result: StepResult,
        *,
        tool: str | None = None,
        args: dict[str, Any] | None = None,
        risk: str | None = None,
        durable: bool,
        left: Owner | None = None,
        undo: Undo | None = None,
        judged: str | None = None,
    ) -> None:
        """Queue the outcome of a step; ``Store.flush`` commits it. A step without an intent (a read) gets its row here.

        An outcome that has ended (``result.finished``) is a line of the trace, as the ``StepFinished`` that it is read as.
        """
        values = {
            "key": key,
            "run": lease.run_id,
            "step": result.step_id,
            "version": result.plan_version,
            "tool": tool,
            "args": text_of(args),
            "risk": risk,
            "state": state,
            "status": result.status,
            "attempt": result.attempts,
            "fence": lease.fence,
            "output": text_of(result.output),
            "error": result.error.model_dump_json() if result.error else None,
            "evidence": f"[{','.join([each.model_dump_json(exclude_defaults=True) for each in result.evidence])}]"
            if result.evidence
            else None,
            "provenance": result.provenance.model_dump_json(exclude_defaults=True) if result.provenance else None,
            "started": result.started,
            "finished": result.finished,
            "left": text_of(asdict(left)) if left is not None else None,
            "undo": undo.model_dump_json() if undo is not None else None,
            "judged": judged,
        }

        def work(connection: sqlite3.Connection) -> None:
            # A change has the open row of its intent, and a read has none before it was made: one statement then.
            if connection.execute(_END if durable else _FINISH, values).rowcount:
                return
            check_fence(connection, lease)
            if not (_written_again(connection, values) or connection.execute(_FINISH, values).rowcount):
                raise StoreError(
                    f"effect {key} of step {result.step_id!r} has landed; that it is {state} was not written, and it stays landed"
                )

        self._database.defer(work, durable=durable)

    def not_done(self, lease: Lease, key: EffectKey, failure: Failure) -> None:
        """The call certainly changed nothing, and is to be made again: until then there is no open intent."""

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            connection.execute(
                "UPDATE effects SET state = 'failed', error = ? WHERE key = ? AND state = 'intent'", (failure.model_dump_json(), key)
            )

        self._database.write(work)

    def came_back(self, key: EffectKey) -> None:
        """A call that was given up at its deadline runs no longer. Said without a lease: the drive that made it may be over."""
        self._database.write(
            lambda connection: connection.execute("UPDATE effects SET left_by = NULL WHERE key = ?", (key,)), durable=False
        )

    def reopen(self, lease: Lease, key: EffectKey) -> None:
        """A person wants the step tried again. An effect that has landed stays landed; only its criteria are looked at anew."""

        def work(connection: sqlite3.Connection) -> None:
            check_fence(connection, lease)
            failed = "key = ? AND status IN ('failed', 'blocked')"
            if connection.execute(f"SELECT 1 FROM effects WHERE {failed}", (key,)).fetchone():
                keep_line(connection, key)
                connection.execute(f"UPDATE effects SET status = NULL, seq = NULL WHERE {failed}", (key,))

        self._database.write(work)

    # ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def standings(self, run_id: RunId) -> dict[str, Standing]:
        """How each step of the run stands: its newest row, without the output. The fence orders drives, since a clock may be set back."""
        rows = self._database.sealed_rows(
            "effects",
            f"""SELECT {self._whole(_STANDING)} FROM effects WHERE run_id = ? ORDER BY plan_version, fence, COALESCE(finished, started)""",
            (run_id,),
        )
        return {row["step_id"]: Standing._make((*tuple(row)[:6], row["label"] or 0)) for row in rows}

    def effect(self, key: EffectKey) -> Effect | None:
        row = self._database.sealed_row("effects", "SELECT * FROM effects WHERE key = ?", (key,))
        if row is None:
            return None
        return Effect(
            key=key,
            step_id=row["step_id"],
            plan_version=row["plan_version"],
            tool=row["tool"] or "",
            args=sent(row),
            risk=row["risk"],
            recovery=row["recovery"],
            started=row["started"] or 0.0,
            deadline=row["deadline"] or 0.0,
            state=row["state"],
            status=row["status"],
            attempt=row["attempt"],
            approval_id=row["approval_id"],
            left=still_runs(row, self._clock.now()),
        )

    def landed(self, run_id: RunId) -> list[LandedEffect]:
        """Effects that happened, the last one first."""
        rows = self._database.sealed_rows(
            "effects",
            """SELECT * FROM effects WHERE run_id = ? AND state = 'done' AND recovery IS NOT NULL AND tool IS NOT NULL
               ORDER BY COALESCE(finished, started) DESC, step_id""",
            (run_id,),
        )
        return [_landed(row) for row in rows]

    def landed_calls(self, run_id: RunId) -> list[tuple[str, dict[str, Any], str, int]]:
        """Tool, arguments, step and plan version of each effect that happened."""
        rows = self._database.sealed_rows(
            "effects", "SELECT * FROM effects WHERE run_id = ? AND state = 'done' AND recovery IS NOT NULL AND tool IS NOT NULL", (run_id,)
        )
        return [(row["tool"], sent(row), row["step_id"], row["plan_version"]) for row in rows]

    def spending(self, run_id: RunId) -> list[Spending]:
        """By tool, how many calls were made, and how often in all; attempts whose outcome gave way to another are in the trace."""
        rows = self._database.rows(
            """SELECT tool, COUNT(*) AS calls, SUM(attempt) AS attempts FROM effects
               WHERE run_id = :run AND tool IS NOT NULL AND attempt > 0 GROUP BY tool ORDER BY tool""",
            {"run": run_id},
        )
        return [Spending(tool=row["tool"], calls=row["calls"], attempts=row["attempts"]) for row in rows]

    def calls_of(self, run_id: RunId, tools: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        """Tool and arguments of the calls of these tools that were made, and may have happened."""
        rows = self._database.sealed_rows(
            "effects",
            f"""SELECT * FROM effects WHERE run_id = ? AND attempt > 0 AND state IN ('intent', 'done', 'in_doubt')
                AND tool IN ({",".join("?" * len(tools))})""",
            [run_id, *tools],
        )
        return [(row["tool"], sent(row)) for row in rows]

    def judged(self, run_id: RunId, step_id: str) -> str | None:
        """What the policy said of the step's newest call."""
        row = self._database.row(
            """SELECT judged FROM effects WHERE run_id = ? AND step_id = ? AND judged IS NOT NULL
               ORDER BY plan_version DESC, fence DESC, COALESCE(finished, started) DESC LIMIT 1""",
            (run_id, step_id),
        )
        return None if row is None else str(row["judged"])

    def open_effects(self, run_id: RunId) -> list[Effect]:
        """Begun, and their outcome is not known."""
        rows = self._database.rows("SELECT key FROM effects WHERE run_id = ? AND state IN ('intent', 'in_doubt')", (run_id,))
        found = (self.effect(EffectKey(row["key"])) for row in rows)
        return [effect for effect in found if effect is not None]

    def _whole(self, columns: str) -> str:
        """A seal is of the whole row; without one, what nobody asks for is not read."""
        return columns if self._database.seals is None else f"{columns}, *"

    def result(self, key: EffectKey) -> StepResult | None:
        """One step's result, output included; None while its outcome is open."""
        row = self._database.sealed_row(
            "effects", f"SELECT {self._whole(_RESULT)} FROM effects WHERE key = ? AND status IS NOT NULL", (key,)
        )
        return None if row is None else _result(row, row["run_id"])

    def results(self, run_id: RunId) -> Mapping[str, StepResult]:
        """The newest result of each step, as they stand now; each is parsed when somebody looks at it."""
        rows = self._database.sealed_rows(
            "effects",
            f"SELECT {self._whole(_RESULT)} FROM effects WHERE run_id = ? AND status IS NOT NULL ORDER BY plan_version, fence, COALESCE(finished, started)",
            (run_id,),
        )
        return StoredResults(run_id, {row["step_id"]: row for row in rows})


_RESULT = "run_id, step_id, status, state, attempt, plan_version, started, finished, output, evidence, error, provenance"
"""What a result is made of."""


_STANDING = """key, step_id, plan_version, state, status, json_extract(error, '$.code') AS error_code,
    (instr(provenance, '"trusted":true') > 0) + 2 * (instr(provenance, '"sensitive":true') > 0) AS label"""
"""What a standing is made of."""


class StoredResults(Mapping[str, StepResult]):
    """Results by step, as they stood when they were read. A run of thousands of steps is shown without parsing what nobody looks at."""

    __slots__ = ("_rows", "_run_id")

    def __init__(self, run_id: RunId, rows: dict[str, sqlite3.Row]) -> None:
        self._run_id = run_id
        self._rows = rows

    def __getitem__(self, step_id: str) -> StepResult:
        return _result(self._rows[step_id], self._run_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process, or a copy: parsed."""
        return dict, (dict(self),)


_BEGIN = """
    INSERT INTO effects (key, run_id, step_id, plan_version, tool, args, risk, recovery, state, attempt, fence, approval_id, started, deadline,
                         judged)
    VALUES (:key, :run, :step, :version, :tool, :args, :risk, :recovery, 'intent', 1, :fence, :approval, :started, :deadline, :judged)
    ON CONFLICT (key) DO NOTHING RETURNING attempt"""

_BEGIN_AGAIN = """
    UPDATE effects SET plan_version = :version, state = 'intent', status = NULL, seq = NULL, attempt = attempt + 1, fence = :fence,
        approval_id = COALESCE(:approval, approval_id), output = NULL, error = NULL, evidence = NULL, finished = NULL, started = :started,
        deadline = :deadline, risk = :risk, recovery = :recovery, judged = :judged
    WHERE key = :key AND state <> 'done' RETURNING attempt"""

_FINISH = f"""
    INSERT INTO effects (key, run_id, step_id, plan_version, tool, args, risk, state, status, attempt, fence, output, error, evidence, provenance,
                         started, finished, left_by, undo, judged, seq)
    SELECT :key, :run, :step, :version, :tool, :args, :risk, :state, :status, :attempt, :fence, :output, :error, :evidence, :provenance,
           :started, :finished, :left, :undo, :judged, CASE WHEN :finished IS NULL THEN NULL ELSE {NEXT} END
    WHERE {HELD} ON CONFLICT (key) DO NOTHING"""

_OUTCOME = f"""
    UPDATE effects SET plan_version = :version, tool = COALESCE(:tool, tool), args = COALESCE(:args, args), risk = COALESCE(:risk, risk),
        state = :state, status = :status, attempt = MAX(attempt, :attempt), fence = :fence, output = :output, error = :error, evidence = :evidence,
        provenance = :provenance, started = COALESCE(:started, started), finished = :finished, left_by = :left, undo = COALESCE(:undo, undo),
        judged = COALESCE(:judged, judged), seq = CASE WHEN :finished IS NULL THEN NULL ELSE {NEXT} END
    WHERE key = :key AND """

_END = f"{_OUTCOME} state = 'intent' AND status IS NULL AND {HELD}"
"""Of an intent that is open."""

_FINISH_AGAIN = f"{_OUTCOME} (state <> 'done' OR recovery IS NULL OR :state = 'done')"
"""Of whatever may be: what has landed stays landed."""


def _written_again(connection: sqlite3.Connection, values: dict[str, Any]) -> bool:
    keep_line(connection, values["key"])
    return connection.execute(_FINISH_AGAIN, values).rowcount > 0


def _check_may_begin(connection: sqlite3.Connection, lease: Lease) -> None:
    """In the transaction of the intent, so that nothing begins for a driver that was replaced, nor after the wish to cancel was recorded."""
    row = connection.execute(
        "SELECT fence, owner, cancel_asked, cancel_by FROM leases JOIN runs ON runs.id = leases.run_id WHERE run_id = ?", (lease.run_id,)
    ).fetchone()
    hold_against(lease, row)
    if row["cancel_asked"] is not None:
        raise CancelAsked(f"run {lease.run_id} was cancelled by {row['cancel_by'] or 'somebody'}; the call was not made")


def still_runs(row: sqlite3.Row, now: float) -> Owner | None:
    """The process in which a call that was given up still runs. One on another machine, which cannot be asked, is believed for an hour."""
    owner = _left_by(row)
    return owner if owner is not None and alive(owner, (row["deadline"] or now) + 3600.0, now) else None


@reads_row("effects")
def _left_by(row: sqlite3.Row) -> Owner | None:
    return Owner(**value_of(row["left_by"])) if row["left_by"] is not None else None


def _consume(connection: sqlite3.Connection, approval: RequestId, run_id: RunId, intent: Intent, now: float) -> None:
    """``execute`` found the approval by the digest of the call; here it is held once more against what is about to be called.

    Whose yes has begun the very effect before has used it, whatever the row of the yes says.
    """
    used = connection.execute(
        """UPDATE approvals SET consumed_by = :key
           WHERE id = :id AND run_id = :run AND kind = 'step' AND step_id = :step AND json_extract(request, '$.tool') = :tool
           AND verdict = 'approve' AND consumed_by IS NULL AND closed IS NULL AND (expires IS NULL OR expires > :now)
           AND NOT EXISTS (SELECT 1 FROM effects WHERE key = :key AND approval_id = :id) RETURNING *""",
        {"id": approval, "run": run_id, "step": intent.step_id, "tool": intent.tool, "key": intent.key, "now": now},
    ).fetchone()
    if used is None:
        raise ApprovalMissing(
            f"approval {approval} was used, revoked, has expired or is for another call; the call was not made and is asked again"
        )
    refuse_other_call(used, intent.tool, intent.args)


@reads_row("effects")
def _landed(row: sqlite3.Row) -> LandedEffect:
    return LandedEffect(
        step_id=row["step_id"],
        tool=row["tool"],
        args=sent(row),
        risk=row["risk"],
        finished=row["finished"] or row["started"] or 0.0,
        undo=Undo(**value_of(row["undo"])) if row["undo"] else None,
    )


@reads_row("effects")
def _result(row: sqlite3.Row, run_id: str) -> StepResult:
    return StepResult(
        step_id=row["step_id"],
        status=row["status"],
        output=value_of(row["output"]),
        evidence=tuple(Evidence.model_validate(each) for each in value_of(row["evidence"]) or ()),
        error=Failure.model_validate_json(row["error"]) if row["error"] else None,
        attempts=row["attempt"],
        started=row["started"],
        finished=row["finished"],
        plan_version=row["plan_version"],
        provenance=Provenance.model_validate_json(row["provenance"]) if row["provenance"] else None,
        landed=row["state"] == "done",
    )
