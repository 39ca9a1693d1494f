"""LangGraph's own checkpoints, in the same file: its SQLite saver, usable from any loop and any thread, that loads plain data only.

``AsyncSqliteSaver`` is bound to the loop that made it; this one has a plain connection and hops to a thread of ours instead.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.event_hooks import SerdeEvent, register_serde_event_listener
from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.checkpoint.sqlite import SqliteSaver

from agent_graph.checkpoints import database
from agent_graph.checkpoints.database import explain
from agent_graph.checkpoints.retention import DEFAULT, Retention
from agent_graph.checkpoints.schema import run_no_code_of
from agent_graph.checkpoints.serializer import refuse_permissive, strict_serializer
from agent_graph.errors import StoreError, StoreUnreadable
from agent_graph.threads import on_own_thread


def memory_saver() -> InMemorySaver:
    """For a store that is in memory altogether."""
    saver = InMemorySaver(serde=strict_serializer())
    refuse_permissive(saver)
    return saver


Refused = list[str]
"""Types that the strict serializer did not make again while a row was read."""


class Saver(SqliteSaver):
    """LangGraph's SqliteSaver with its async methods, pruning and copying."""

    def __init__(self, path: str, *, busy_timeout: float | None = None, retention: Retention = DEFAULT) -> None:
        self._path = path
        self._retention = retention
        self._patience = database.BUSY_TIMEOUT if busy_timeout is None else busy_timeout
        try:
            connection = sqlite3.connect(path, timeout=self._patience, check_same_thread=False)
        except sqlite3.Error as error:
            raise explain(error, path) from error
        super().__init__(connection, serde=strict_serializer())
        try:
            refuse_permissive(self)
            run_no_code_of(connection)
            self.setup()
            connection.execute("PRAGMA secure_delete = FAST")  # pruning must not write what it drops; purge does
            connection.execute("PRAGMA synchronous = NORMAL")  # a projection: after a power cut the ledger brings it up to date
        except sqlite3.Error as error:
            connection.close()
            raise explain(error, path, self._patience) from error
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        with self.lock:
            self.conn.close()

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """As LangGraph's, which commits half of what failed; here it is rolled back, and errors of the file are told as ours."""
        with self.lock:
            try:
                self.setup()
                with closing(self.conn.cursor()) as cursor:
                    yield cursor
                if transaction:
                    self.conn.commit()
            except BaseException as error:
                with suppress(sqlite3.Error):  # the file was closed under us, or the failure has rolled back already
                    self.conn.rollback()
                if isinstance(error, sqlite3.Error):
                    raise explain(error, self._path, self._patience) from error
                raise

    # ── reading what may be damaged ───────────────────────────────────────────────────────────────────────────────────

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Raises StoreUnreadable, naming the run, for a row that cannot be read, or that holds what no graph of ours writes."""
        where = config["configurable"]
        with self._refusing(str(where["thread_id"]), str(where.get("checkpoint_ns", ""))) as refused:
            found = super().get_tuple(config)
            _check(found, refused)
        return found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Newest first. Raises StoreUnreadable as ``get_tuple`` does."""
        where = (config or {}).get("configurable", {})
        found = super().list(config, filter=filter, before=before, limit=limit)
        while True:
            with self._refusing(str(where.get("thread_id", "")), str(where.get("checkpoint_ns", ""))) as refused:
                one = next(found, None)
                _check(one, refused)
            if one is None:
                return
            yield one

    @contextmanager
    def _refusing(self, thread_id: str, checkpoint_ns: str) -> Iterator[Refused]:
        """What goes wrong while a row is read is told with the run that it belongs to. Yields the list of types that were not made again."""
        refused: Refused = []
        _refused.set(refused)
        try:
            yield refused
        except StoreError:
            raise
        except Exception as error:
            run_id = self._run_of(thread_id, checkpoint_ns)
            if run_id is None and isinstance(error, _NotAsWritten):
                return  # somebody else's graph; its state is its own
            whose = f"run {run_id}" if run_id is not None else f"thread {thread_id!r}"
            todo = (
                f"The ledger is not touched by that: agent-graph show {run_id}. To go on from the ledger alone, drop the checkpoints: "
                f"agent-graph purge {run_id} --checkpoints, then agent-graph resume {run_id}"
                if run_id is not None
                else "restore the store from a copy, or go on with another thread"
            )
            raise StoreUnreadable(
                f"a checkpoint of {whose} in the store {self._path} cannot be read ({_short(error)}); nothing of it was used. {todo}"
            ) from error
        finally:
            _refused.set(None)

    def _run_of(self, thread_id: str, checkpoint_ns: str) -> str | None:
        """The newest run of ours there; None where the checkpoints are somebody else's."""
        with suppress(StoreError), self.cursor(transaction=False) as cursor:
            return _run_of(cursor, thread_id, checkpoint_ns)
        return None

    # ── keeping it small ──────────────────────────────────────────────────────────────────────────────────────────────

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        """As LangGraph's; now and then what it makes superfluous is dropped (``Retention``)."""
        saved = super().put(config, checkpoint, metadata, new_versions)
        step = metadata.get("step", 0)
        if step > 0 and (metadata.get("source") == "input" or step % self._retention.every == 0):
            where = saved["configurable"]
            needed = {str(where["checkpoint_id"]), str(config["configurable"].get("checkpoint_id"))}
            with suppress(StoreError):  # it is written; what is superfluous goes the next time
                self._drop_superseded(str(where["thread_id"]), str(where["checkpoint_ns"]), needed)
        return saved

    def _drop_superseded(self, thread_id: str, checkpoint_ns: str, needed: set[str]) -> None:
        """Only where a run of ours is: a larger graph's checkpoints are its own, and may depend on one another."""
        with self.cursor() as cursor:
            if _run_of(cursor, thread_id, checkpoint_ns) is None:
                return
            history = cursor.execute(
                """SELECT checkpoint_id, COALESCE(json_extract(CAST(metadata AS TEXT), '$.source'), '') = 'input' FROM checkpoints
                   WHERE thread_id = ? AND checkpoint_ns = ? ORDER BY checkpoint_id""",
                (thread_id, checkpoint_ns),
            ).fetchall()
            gone = self._retention.superseded([(checkpoint_id, bool(is_input)) for checkpoint_id, is_input in history])
            # By id and not by order alone: a clock that was set back makes a new id that sorts before older ones.
            self._delete(cursor, [(thread_id, checkpoint_ns, checkpoint_id) for checkpoint_id in gone if checkpoint_id not in needed])

    # ── async, on our own threads ─────────────────────────────────────────────────────────────────────────────────────

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await on_own_thread(self.get_tuple, config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for found in await on_own_thread(lambda: list(self.list(config, filter=filter, before=before, limit=limit))):
            yield found

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:
        return await on_own_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        await on_own_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await on_own_thread(self.delete_thread, thread_id)

    # ── what the plain saver leaves out ───────────────────────────────────────────────────────────────────────────────

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Checkpoints that LangGraph's runs of these ids wrote."""
        with self.cursor() as cursor:
            for run_id in run_ids:
                gone = cursor.execute(
                    "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE json_extract(CAST(metadata AS TEXT), '$.run_id') = ?",
                    (run_id,),
                ).fetchall()
                self._delete(cursor, gone)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await on_own_thread(self.delete_for_runs, run_ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Checkpoints and pending writes under another thread id; ours is not copied: a new run inherits no permission."""
        with self.cursor() as cursor:
            for table in ("checkpoints", "writes"):
                columns = [row[1] for row in cursor.execute(f"PRAGMA table_info({table})") if row[1] != "thread_id"]
                names = ", ".join(columns)
                cursor.execute(
                    f"INSERT OR REPLACE INTO {table} (thread_id, {names}) SELECT ?, {names} FROM {table} WHERE thread_id = ?",
                    (target_thread_id, source_thread_id),
                )

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await on_own_thread(self.copy_thread, source_thread_id, target_thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """``keep_latest`` leaves the newest checkpoint of each namespace; ``delete`` leaves none."""
        with self.cursor() as cursor:
            for thread_id in thread_ids:
                keep = (
                    ""
                    if strategy == "delete"
                    else "AND checkpoint_id <> (SELECT MAX(checkpoint_id) FROM checkpoints c WHERE c.thread_id = checkpoints.thread_id AND c.checkpoint_ns = checkpoints.checkpoint_ns)"
                )
                gone = cursor.execute(
                    f"SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = ? {keep}", (thread_id,)
                ).fetchall()
                self._delete(cursor, gone)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        await on_own_thread(lambda: self.prune(thread_ids, strategy=strategy))

    @staticmethod
    def _delete(cursor: sqlite3.Cursor, rows: Sequence[Any]) -> None:
        for row in rows:
            for table in ("checkpoints", "writes"):
                cursor.execute(f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?", tuple(row))


def _run_of(cursor: sqlite3.Cursor, thread_id: str, checkpoint_ns: str) -> str | None:
    if cursor.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'runs'").fetchone() is None:
        return None  # a saver on a file of its own
    row = cursor.execute(
        "SELECT id FROM runs WHERE thread_id = ? AND checkpoint_ns = ? ORDER BY rowid DESC LIMIT 1", (thread_id, checkpoint_ns)
    ).fetchone()
    return None if row is None else str(row[0])


# ── what a row may hold ───────────────────────────────────────────────────────────────────────────────────────────────


class _NotAsWritten(ValueError):
    """What no graph of ours writes; another's graph may."""


_refused: ContextVar[Refused | None] = ContextVar("refused", default=None)


def _note_refused(event: SerdeEvent) -> None:
    refused = _refused.get()
    if refused is not None and event["kind"].endswith("blocked"):
        refused.append(f"{event['module']}.{event['name']}")


register_serde_event_listener(_note_refused)


def _check(found: CheckpointTuple | None, refused: Sequence[str]) -> None:
    """Raises when it is not a checkpoint, or not as it was written."""
    if found is None:
        return
    held: Any = found.checkpoint
    if not isinstance(held, dict) or not all(
        isinstance(held.get(part), dict) for part in ("channel_values", "channel_versions", "versions_seen")
    ):
        raise ValueError("it is not a checkpoint")
    if not all(isinstance(seen, dict) and _are_versions(seen) for seen in held["versions_seen"].values()):
        raise ValueError("what its nodes have seen cannot be read")
    if not _are_versions(held["channel_versions"]) or not isinstance(held.get("id"), str) or not _has_step(found.metadata):
        raise ValueError("its versions cannot be read")
    gates = [gate for _, channel, gates in found.pending_writes or () if channel == INTERRUPT for gate in gates or (None,)]
    if not all(hasattr(gate, "id") for gate in gates):  # what the serializer does not make again it hands out as None, or as raw content
        raise _NotAsWritten("a gate in it cannot be read")
    said = [held["channel_values"].get("messages"), *(value for _, channel, value in found.pending_writes or () if channel == "messages")]
    if not all(_is_message(one) for messages in said if isinstance(messages, list | tuple) for one in messages):
        raise _NotAsWritten("a message in it cannot be read")
    if refused:
        raise _NotAsWritten(f"it holds a {refused[0]}, which is never made again from a file")


def _has_step(metadata: Any) -> bool:
    return isinstance(metadata, dict) and isinstance(metadata.get("step"), int)


_VERSION = re.compile(r"\d+(\.[\d.]*)?")


def _are_versions(value: dict[Any, Any]) -> bool:
    """Of channels, as LangGraph counts them: a number, or a text that begins with one."""
    return all(
        isinstance(name, str) and (isinstance(version, int | float) or (isinstance(version, str) and _VERSION.match(version) is not None))
        for name, version in value.items()
    )


def _is_message(value: Any) -> bool:
    """As LangGraph reads it: a message, a text, a pair, or a dict of one."""
    if not isinstance(value, dict):
        return isinstance(value, str | tuple | list) or hasattr(value, "content")
    return "content" in value and ("role" in value or "type" in value)


def _short(error: Exception) -> str:
    said = str(error).strip()
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__
