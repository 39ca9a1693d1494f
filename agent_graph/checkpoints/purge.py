"""Removing runs that have ended, wholly: their rows, and the LangGraph checkpoints that nothing needs any more. Does not load LangGraph."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from agent_graph.checkpoints.leases import owner_in
from agent_graph.checkpoints.owners import alive
from agent_graph.errors import RunBusy, UnknownRun, UsageError
from agent_graph.identity import RunId
from agent_graph.ports import Store
from agent_graph.records import RunRecord
from agent_graph.state import FINISHED


def choose(store: Store, *, named: Sequence[str] = (), finished: bool = False, updated_before: float | None = None) -> list[RunRecord]:
    """The runs that are meant, oldest first: those that are named, or all that have ended (before then).

    Of the latter, the newest run of a thread stays while another run of that thread stays: what the thread is at, is in it. Raises
    UnknownRun, and UsageError naming every run that has not ended.
    """
    if named:
        records = [store.runs.get(store.runs.find(prefix)) for prefix in dict.fromkeys(named)]
        _refuse_unfinished([(record.id, record.status) for record in records])
        return sorted({record.id: record for record in records}.values(), key=lambda record: record.updated)
    every = store.runs.recent(limit=1_000_000_000)
    chosen = [record for record in every if record.finished and (updated_before is None or record.updated <= updated_before) and finished]
    going = {record.id for record in chosen}
    for thread_id, checkpoint_ns in {(record.thread_id, record.checkpoint_ns) for record in chosen}:
        newest, *older = (record.id for record in store.runs.of_thread(thread_id, checkpoint_ns))
        if newest in going and not going.issuperset(older):
            going.discard(newest)
    return sorted((record for record in chosen if record.id in going), key=lambda record: record.updated)


def remove(connection: sqlite3.Connection, run_ids: Sequence[RunId], now: float) -> list[str]:
    """Inside a transaction: all of them or none. Returns the threads in which no run of ours is left.

    Raises UnknownRun, UsageError and RunBusy, each saying which run is in the way.
    """
    places = _places(connection, run_ids)
    for run_id in run_ids:
        _refuse_driven(connection, run_id, now)
        connection.execute("DELETE FROM runs WHERE id = ?", (run_id,))  # plans, effects, approvals, lease and events go with it
        connection.execute("DELETE FROM seals WHERE id = ?", (run_id,))
    for thread_id, checkpoint_ns in places:
        newest = _newest(connection, thread_id, checkpoint_ns)
        if newest is None:
            forget(connection, thread_id, checkpoint_ns)
        else:
            _forget_before_last_input(connection, thread_id, checkpoint_ns)
    threads = dict.fromkeys(thread_id for thread_id, _ in places)
    return [thread for thread in threads if not connection.execute("SELECT 1 FROM runs WHERE thread_id = ?", (thread,)).fetchone()]


def forget(connection: sqlite3.Connection, thread_id: str, checkpoint_ns: str) -> None:
    """Drop LangGraph's checkpoints there and below. A larger graph that our runs were nodes of keeps its own."""
    for table in _tables(connection):
        connection.execute(
            f"DELETE FROM {table} WHERE thread_id = :thread AND (:ns = '' OR checkpoint_ns = :ns OR substr(checkpoint_ns, 1, :length) = :below)",
            {"thread": thread_id, "ns": checkpoint_ns, "length": len(checkpoint_ns) + 1, "below": f"{checkpoint_ns}|"},
        )


def _places(connection: sqlite3.Connection, run_ids: Sequence[RunId]) -> list[tuple[str, str]]:
    """Threads and namespaces of the runs. Raises when one of them may not go."""
    rows = [(run_id, connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()) for run_id in run_ids]
    missing = [run_id for run_id, row in rows if row is None]
    if missing:
        raise UnknownRun(f"there is no run {', '.join(missing)} any more; nothing was removed")
    _refuse_unfinished([(row["id"], row["status"]) for _, row in rows])
    places = list(dict.fromkeys((row["thread_id"], row["checkpoint_ns"]) for _, row in rows))
    for thread_id, checkpoint_ns in places:
        newest = _newest(connection, thread_id, checkpoint_ns)
        of_thread = connection.execute("SELECT id FROM runs WHERE thread_id = ? AND checkpoint_ns = ?", (thread_id, checkpoint_ns))
        staying = [row["id"] for row in of_thread if row["id"] not in run_ids]
        if newest in run_ids and staying:
            raise UsageError(
                f"run {newest} is the newest of thread {thread_id!r}, which knows by it what it is at; remove the others with it "
                f"({', '.join(staying)}), or let it stay. Nothing was removed"
            )
    return places


def _refuse_unfinished(runs: Sequence[tuple[str, str]]) -> None:
    unfinished = [f"{run_id} ({status})" for run_id, status in runs if status not in FINISHED]
    if unfinished:
        raise UsageError(
            f"only runs that have ended are removed, and {'this one has' if len(unfinished) == 1 else 'these have'} not: "
            f"{', '.join(unfinished)}; end it first, with: agent-graph cancel RUN. Nothing was removed"
        )


def _refuse_driven(connection: sqlite3.Connection, run_id: RunId, now: float) -> None:
    row = connection.execute("SELECT owner, expires FROM leases WHERE run_id = ? AND owner IS NOT NULL", (run_id,)).fetchone()
    if row is not None and alive(owner := owner_in(row, run_id), row["expires"], now):
        raise RunBusy(f"run {run_id} is still being driven by {owner}; nothing was removed: try again when it is done")


def _newest(connection: sqlite3.Connection, thread_id: str, checkpoint_ns: str) -> str | None:
    row = connection.execute(
        "SELECT id FROM runs WHERE thread_id = ? AND checkpoint_ns = ? ORDER BY rowid DESC LIMIT 1", (thread_id, checkpoint_ns)
    ).fetchone()
    return None if row is None else str(row["id"])


def _forget_before_last_input(connection: sqlite3.Connection, thread_id: str, checkpoint_ns: str) -> None:
    """A checkpoint of a run that is gone would, if somebody went on from it, begin that run anew: nothing says that it was done."""
    if "checkpoints" not in (tables := _tables(connection)):
        return
    row = connection.execute(
        """SELECT MAX(checkpoint_id) AS begun FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ?
           AND json_extract(CAST(metadata AS TEXT), '$.source') = 'input'""",
        (thread_id, checkpoint_ns),
    ).fetchone()
    for table in tables:
        connection.execute(
            f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id < ?",
            (thread_id, checkpoint_ns, row["begun"] or ""),
        )


def _tables(connection: sqlite3.Connection) -> list[str]:
    """LangGraph makes them when its saver is first opened."""
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('checkpoints', 'writes') ORDER BY name")
    return [row["name"] for row in found]
