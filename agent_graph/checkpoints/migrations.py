"""The schema, as numbered steps. A step that has been released is never edited; a change is a new one."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from agent_graph.errors import StoreTooNew, StoreUnreadable


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    sql: str


MIGRATIONS = (
    Migration(
        1,
        "m001_runs",
        """
        CREATE TABLE runs (
            id TEXT PRIMARY KEY,
            thread_id TEXT NOT NULL,
            checkpoint_ns TEXT NOT NULL DEFAULT '',
            goal TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('running', 'paused', 'succeeded', 'failed', 'cancelled')),
            plan_version INTEGER NOT NULL DEFAULT 0,
            planner TEXT NOT NULL DEFAULT '',
            policy TEXT NOT NULL DEFAULT '',
            metadata TEXT,
            created REAL NOT NULL,
            updated REAL NOT NULL,
            answer TEXT,
            observation TEXT,
            error TEXT
        );
        CREATE INDEX runs_by_thread ON runs (thread_id, checkpoint_ns, created);
        CREATE INDEX runs_by_status ON runs (status, created);

        CREATE TABLE plans (
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            version INTEGER NOT NULL,
            digest TEXT NOT NULL,
            parent INTEGER,
            plan TEXT NOT NULL,
            report TEXT,
            verdict TEXT CHECK (verdict IN ('valid', 'invalid')),
            reason TEXT NOT NULL DEFAULT '',
            created_by TEXT NOT NULL DEFAULT '',
            created REAL NOT NULL,
            PRIMARY KEY (run_id, version)
        ) WITHOUT ROWID;

        -- One row per step and distinct arguments. `state` is of the effect, `status` of the step: an effect may have landed (done)
        -- although its step failed a criterion, and it must not be repeated then.
        CREATE TABLE effects (
            key TEXT PRIMARY KEY,
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            step_id TEXT NOT NULL,
            plan_version INTEGER NOT NULL,
            tool TEXT,
            args TEXT,
            risk TEXT,
            recovery TEXT,
            state TEXT NOT NULL CHECK (state IN ('intent', 'done', 'failed', 'in_doubt', 'skipped')),
            status TEXT,
            attempt INTEGER NOT NULL DEFAULT 0,
            fence INTEGER NOT NULL DEFAULT 0,
            approval_id TEXT,
            output TEXT,
            error TEXT,
            evidence TEXT,
            provenance TEXT,
            usage TEXT,
            started REAL,
            deadline REAL,
            finished REAL
        ) WITHOUT ROWID;
        CREATE INDEX effects_by_step ON effects (run_id, step_id);

        CREATE TABLE approvals (
            id TEXT PRIMARY KEY,
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            kind TEXT NOT NULL CHECK (kind IN ('plan', 'step', 'question', 'in_doubt')),
            digest TEXT NOT NULL,
            step_id TEXT,
            plan_version INTEGER NOT NULL DEFAULT 0,
            request TEXT NOT NULL,
            verdict TEXT CHECK (verdict IN ('approve', 'edit', 'reject', 'respond', 'resolve')),
            decision TEXT,
            by TEXT,
            asked REAL NOT NULL,
            decided REAL,
            expires REAL,
            consumed_by TEXT,
            granted_by TEXT,
            handled REAL,
            closed REAL
        ) WITHOUT ROWID;
        CREATE INDEX approvals_by_run ON approvals (run_id, digest);

        CREATE TABLE leases (
            run_id TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
            owner TEXT,
            fence INTEGER NOT NULL,
            expires REAL NOT NULL
        ) WITHOUT ROWID;

        CREATE TABLE events (
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            at REAL NOT NULL,
            phase TEXT NOT NULL,
            kind TEXT NOT NULL,
            plan_version INTEGER,
            step_id TEXT,
            data TEXT NOT NULL,
            PRIMARY KEY (run_id, seq)
        ) WITHOUT ROWID;
        """,
    ),
    Migration(
        2,
        "m002_cancel_undo_left_behind",
        """
        ALTER TABLE runs ADD COLUMN cancel_asked REAL;
        ALTER TABLE runs ADD COLUMN cancel_by TEXT;
        -- Rows of a kilobyte under a random key: in the order of their writing they cost a quarter less than in that of their keys.
        ALTER TABLE effects RENAME TO effects_by_key;
        DROP INDEX effects_by_step;
        CREATE TABLE effects (
            key TEXT PRIMARY KEY,
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            step_id TEXT NOT NULL,
            plan_version INTEGER NOT NULL,
            tool TEXT,
            args TEXT,
            risk TEXT,
            recovery TEXT,
            state TEXT NOT NULL CHECK (state IN ('intent', 'done', 'failed', 'in_doubt', 'skipped')),
            status TEXT,
            attempt INTEGER NOT NULL DEFAULT 0,
            fence INTEGER NOT NULL DEFAULT 0,
            approval_id TEXT,
            output TEXT,
            error TEXT,
            evidence TEXT,
            provenance TEXT,
            usage TEXT,
            started REAL,
            deadline REAL,
            finished REAL,
            undo TEXT,
            left_by TEXT
        );
        INSERT INTO effects SELECT *, NULL, NULL FROM effects_by_key;
        DROP TABLE effects_by_key;
        CREATE INDEX effects_by_run ON effects (run_id);
        """,
    ),
    Migration(
        3,
        "m003_outcomes_in_the_trace",
        """
        -- The outcome's place among the run's events: its row is its line in the trace, which would else say the same a second time.
        ALTER TABLE effects ADD COLUMN seq INTEGER;
        DROP INDEX effects_by_run;
        CREATE INDEX effects_by_run ON effects (run_id, seq);
        """,
    ),
    Migration(
        4,
        "m004_policy_grants_usage_seals",
        """
        -- The version in which a step came, and what its planner had read by then; JSON by step, of steps that a replan brought.
        ALTER TABLE plans ADD COLUMN lineage TEXT;
        -- What the policy said of the call: verdict, number of the policy, rule.
        ALTER TABLE effects ADD COLUMN judged TEXT;

        CREATE TABLE policies (
            id INTEGER PRIMARY KEY,
            digest TEXT NOT NULL UNIQUE,
            policy TEXT NOT NULL,
            seen REAL NOT NULL,
            mac TEXT
        );

        -- Standing grants: not of a run. `content` says which calls; the row is kept when it is revoked.
        CREATE TABLE grants (
            id TEXT PRIMARY KEY,
            content TEXT NOT NULL,
            by TEXT,
            created REAL NOT NULL,
            expires REAL,
            revoked REAL,
            revoked_by TEXT,
            mac TEXT
        ) WITHOUT ROWID;

        -- What models were asked for a run, by role. `unpriced`: requests whose price is not known.
        CREATE TABLE usage (
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            role TEXT NOT NULL,
            requests INTEGER NOT NULL DEFAULT 0,
            input_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            money REAL NOT NULL DEFAULT 0,
            unpriced INTEGER NOT NULL DEFAULT 0,
            mac TEXT,
            PRIMARY KEY (run_id, role)
        ) WITHOUT ROWID;

        -- Each row's HMAC, where the store has a key.
        ALTER TABLE runs ADD COLUMN mac TEXT;
        ALTER TABLE plans ADD COLUMN mac TEXT;
        ALTER TABLE effects ADD COLUMN mac TEXT;
        ALTER TABLE approvals ADD COLUMN mac TEXT;
        """,
    ),
    Migration(
        5,
        "m005_seals",
        """
        ALTER TABLE leases ADD COLUMN mac TEXT;
        -- One row for each run, and one for what is of no run: of how many writes its rows are, so that none can be taken out or set back.
        CREATE TABLE seals (
            id TEXT PRIMARY KEY,
            mac TEXT NOT NULL
        ) WITHOUT ROWID;
        """,
    ),
    Migration(
        6,
        "m006_reasoning",
        """
        -- What each model was asked, by role, step and plan version; `usage` keeps what earlier versions counted by role alone.
        CREATE TABLE usage_entries (
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            role TEXT NOT NULL,
            model TEXT NOT NULL,
            step_id TEXT NOT NULL DEFAULT '',
            plan_version INTEGER NOT NULL DEFAULT 0,
            requests INTEGER NOT NULL DEFAULT 0,
            input_tokens INTEGER NOT NULL DEFAULT 0,
            output_tokens INTEGER NOT NULL DEFAULT 0,
            cached_tokens INTEGER NOT NULL DEFAULT 0,
            reasoning_tokens INTEGER NOT NULL DEFAULT 0,
            seconds REAL NOT NULL DEFAULT 0,
            money REAL NOT NULL DEFAULT 0,
            unpriced INTEGER NOT NULL DEFAULT 0,
            mac TEXT,
            PRIMARY KEY (run_id, role, model, step_id, plan_version)
        ) WITHOUT ROWID;

        -- What an agent step and its model have said so far, message by message; `key` is of the step, its task and its inputs.
        CREATE TABLE conversations (
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            key TEXT NOT NULL,
            number INTEGER NOT NULL,
            message TEXT NOT NULL,
            mac TEXT,
            PRIMARY KEY (run_id, key, number)
        ) WITHOUT ROWID;

        -- What a judge said of a criterion about exactly this evidence, which the key is of.
        CREATE TABLE judgements (
            run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
            key TEXT NOT NULL,
            judgement TEXT NOT NULL,
            mac TEXT,
            PRIMARY KEY (run_id, key)
        ) WITHOUT ROWID;
        """,
    ),
)

LATEST = MIGRATIONS[-1].number


def migrate(connection: sqlite3.Connection, name: str) -> None:
    """Bring the schema up to date. Raises StoreTooNew for a store that a newer version wrote."""
    at = _version(connection)
    if at > LATEST:
        raise StoreTooNew(
            f"the store {name} has schema {at}, written by a newer agent-graph; this one knows up to {LATEST}: upgrade agent-graph, or use another --store"
        )
    if at == LATEST:
        return
    connection.execute("BEGIN IMMEDIATE")  # two processes may open a new store at once; the second finds it done
    try:
        for migration in MIGRATIONS:
            if migration.number > _version(connection):
                for statement in _statements(migration.sql):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {migration.number}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def refuse_foreign(connection: sqlite3.Connection, name: str) -> None:
    """Raises StoreUnreadable for a database of something else, before anything in it is changed."""
    row = connection.execute(
        """SELECT (SELECT user_version FROM pragma_user_version) AS version, (SELECT group_concat(name, ', ') FROM sqlite_schema
           WHERE type = 'table' AND name NOT IN ('checkpoints', 'writes') AND name NOT LIKE 'sqlite~_%' ESCAPE '~') AS tables"""
    ).fetchone()  # one statement, so that a store that another process is just making is seen before or after
    if row["version"] == 0 and row["tables"]:
        raise StoreUnreadable(f"{name} is a database of something else (it has {row['tables'][:200]}); name another file with --store")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(sql: str) -> list[str]:
    """executescript would commit the transaction that the migration runs in."""
    lines = [line for line in sql.splitlines() if not line.strip().startswith("--")]
    return [statement for statement in "\n".join(lines).split(";") if statement.strip()]
