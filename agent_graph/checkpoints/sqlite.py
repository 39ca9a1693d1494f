"""LangGraph's own checkpoints, in the same file: its SQLite saver, usable from any loop and any thread, that loads plain data only.

``AsyncSqliteSaver`` is bound to the loop that made it; this one has a plain connection and hops to a thread of ours instead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from agent_graph.checkpoints.database import explain
from agent_graph.threads import on_own_thread


def strict_serializer() -> JsonPlusSerializer:
    """Loads only LangGraph's and LangChain's own safe-listed types, whatever a row in the file says (CVE-2026-28277)."""
    return JsonPlusSerializer(allowed_msgpack_modules=None)


def memory_saver() -> InMemorySaver:
    """For a store that is in memory altogether."""
    return InMemorySaver(serde=strict_serializer())


class Saver(SqliteSaver):
    """LangGraph's SqliteSaver with its async methods, pruning and copying."""

    def __init__(self, path: str, *, busy_timeout: float = 10.0) -> None:
        self._path = path
        connection = sqlite3.connect(path, timeout=busy_timeout, check_same_thread=False)
        super().__init__(connection, serde=strict_serializer())
        try:
            self.setup()
        except sqlite3.Error as error:
            connection.close()
            raise explain(error, path) from error

    def close(self) -> None:
        with self.lock:
            self.conn.close()

    @contextmanager
    def cursor(self, transaction: bool = True) -> Iterator[sqlite3.Cursor]:
        """LangGraph's, with errors of the file told as ours."""
        try:
            with super().cursor(transaction) as cursor:
                yield cursor
        except sqlite3.Error as error:
            raise explain(error, self._path) from error

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
    def _delete(cursor: sqlite3.Cursor, rows: Iterator[Any] | Sequence[Any]) -> None:
        for row in rows:
            for table in ("checkpoints", "writes"):
                cursor.execute(f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?", tuple(row))
