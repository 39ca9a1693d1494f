"""A look at a store that changes nothing in it, also at one that is damaged, foreign, older or newer. Does not load LangGraph.

The file is opened read-only, and past ``Database``, which would migrate it and may refuse it.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from agent_graph.checkpoints.database import FILE_MODE, FOLDER_MODE, explain, log_is_gone, parts_of
from agent_graph.checkpoints.findings import Finding, Health
from agent_graph.checkpoints.keys import Keys
from agent_graph.checkpoints.log import left_out
from agent_graph.checkpoints.migrations import LATEST, refuse_foreign
from agent_graph.checkpoints.standing import findings_of_runs
from agent_graph.errors import StoreUnreadable, UsageError

RESTORE = "restore it from a copy; until then nothing that it says about what was done can be relied on"

_PARTS = {"events": "events", "checkpoints": "checkpoints", "writes": "checkpoints"}
"""Tables that are not the ledger's."""


def examine(path: str | Path, now: float, keys: Keys = ()) -> Health:
    """``keys``: with them, each seal is verified. Raises UsageError when there is no such file, StoreError when it is locked or cannot be reached."""
    file = Path(path)
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        raise UsageError(f"there is no store at {file}; name it with --store") from None
    except OSError as error:
        return _broken(file, "unreachable", f"{file} cannot be reached: {error.strerror}", "check the permissions of its folder")
    if file.is_dir():
        return _broken(file, "not_a_store", f"{file} is a folder", f"name a file in it, for example {file / 'runs.db'}")
    if size == 0:
        return _broken(file, "empty", f"{file} is empty: it was cut off, or never written", RESTORE)
    return _examine(file, now, keys)


def _examine(file: Path, now: float, keys: Keys) -> Health:
    found = [*_modes(file), *_log(file)]
    try:
        with closing(_open(file)) as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            refuse_foreign(connection, str(file))
            if version > LATEST:
                newer = f"{file} has schema {version}, written by a newer agent-graph; this one knows up to {LATEST}"
                found.append(Finding(severity="broken", code="schema_newer", what=newer, do="upgrade agent-graph"))
                return Health(path=str(file), schema=version, findings=tuple(found))
            found += [*_schema(version), *_integrity(connection), *findings_of_runs(connection, now, version, keys)]
            return Health(path=str(file), schema=version, runs=_runs(connection), sizes=_sizes(connection, file), findings=tuple(found))
    except StoreUnreadable as error:
        return _broken(file, "not_a_store", str(error), "name another file with --store", found)
    except sqlite3.Error as error:
        said = explain(error, str(file))
        if not isinstance(said, StoreUnreadable) and "cannot be opened" not in str(said):
            raise said from error
        if "not a database" in str(error):
            return _broken(
                file, "not_a_store", f"{file} is not a store, or its beginning is damaged", "name another with --store, or " + RESTORE
            )
        return _broken(file, "damaged", f"{file} cannot be read: {error}", RESTORE, found)


def _open(file: Path) -> sqlite3.Connection:
    """Read-only. Without a log nobody has the file open, and SQLite is kept from making one."""
    alone = "" if parts_of(file)[1].exists() else "&immutable=1"
    connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro{alone}", uri=True, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return connection


def _broken(file: Path, code: str, what: str, do: str, found: list[Finding] | None = None) -> Health:
    return Health(path=str(file), schema=None, findings=(*(found or ()), Finding(severity="broken", code=code, what=what, do=do)))


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _modes(file: Path) -> Iterator[Finding]:
    if os.name == "nt":
        return
    for part in parts_of(file):
        mode = stat.S_IMODE(part.stat().st_mode) if part.exists() else FILE_MODE
        if mode & FILE_MODE != FILE_MODE:
            yield Finding(
                severity="attention",
                code="file_mode",
                what=f"{part} has mode {mode:04o}, so that its owner cannot write it",
                do=f"chmod 600 {shlex.quote(str(part))}",
                about={"path": str(part), "mode": f"{mode:04o}"},
            )
        elif mode & ~FILE_MODE:
            yield Finding(
                severity="attention",
                code="file_mode",
                what=f"{part} has mode {mode:04o}, so that others than its owner may reach what it holds",
                do=f"chmod 600 {shlex.quote(str(part))}",
                about={"path": str(part), "mode": f"{mode:04o}"},
            )
    folder = file.absolute().parent
    mode = stat.S_IMODE(folder.stat().st_mode)
    others_may_replace = mode & 0o022 and not mode & stat.S_ISVTX
    if mode & 0o077:
        yield Finding(
            severity="attention" if others_may_replace else "note",
            code="folder_mode",
            what=f"the folder {folder} has mode {mode:04o}, so that others may "
            + ("remove or replace the store" if others_may_replace else "see that there is a store, though not what it holds"),
            do=f"chmod {FOLDER_MODE:o} {shlex.quote(str(folder))}, or keep the store in a folder of its own",
            about={"path": str(folder), "mode": f"{mode:04o}"},
        )


def _log(file: Path) -> Iterator[Finding]:
    _, log, index = parts_of(file)
    if log_is_gone(file):
        yield Finding(
            severity="broken",
            code="log_missing",
            what=f"the store was not closed, and its log {log} is gone: what its runs did last was written there",
            do=f"put the log back, or restore the store from a copy. What is in the file can be used again once {index} is removed; effects "
            "that are not on record may be done a second time then",
        )
    commits = left_out(log)
    if commits:
        yield Finding(
            severity="broken",
            code="log_damaged",
            what=f"the log {log} is damaged: at least {commits} commit{'s' if commits != 1 else ''} behind that place cannot be read, and "
            "are left out when the store is opened",
            do="make a copy of the store with its log before anything opens it; " + RESTORE,
        )


def _schema(version: int) -> Iterator[Finding]:
    if version < LATEST:
        yield Finding(
            severity="note",
            code="schema_older",
            what=f"schema {version}, written by an older agent-graph; this one writes {LATEST}",
            do="nothing; the next command that writes brings it up to date, after which the older one refuses it. Keep a copy if you go back",
        )


def _integrity(connection: sqlite3.Connection) -> Iterator[Finding]:
    try:
        wrong = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)") if row[0] != "ok"]
    except sqlite3.DatabaseError as error:
        wrong = [str(error)]
    if wrong:
        yield Finding(
            severity="broken", code="damaged", what=f"the file is damaged: {'; '.join(wrong[:3])}", do=RESTORE, about={"all": wrong}
        )
        return
    orphans = [f"{row['table']} without its {row['parent']}" for row in connection.execute("PRAGMA foreign_key_check")]
    if orphans:
        yield Finding(
            severity="attention",
            code="orphan_rows",
            what=f"{len(orphans)} rows belong to no run ({', '.join(sorted(set(orphans)))}): something else than agent-graph has written here",
            do=RESTORE,
        )


# ── figures ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _runs(connection: sqlite3.Connection) -> dict[str, int]:
    try:
        return {
            row["status"]: row["n"] for row in connection.execute("SELECT status, COUNT(*) AS n FROM runs GROUP BY status ORDER BY status")
        }
    except sqlite3.DatabaseError:
        return {}


def _sizes(connection: sqlite3.Connection, file: Path) -> dict[str, int]:
    """By the pages of each part; where SQLite was built without that figure, of the whole file."""
    page = int(connection.execute("PRAGMA page_size").fetchone()[0])
    free = int(connection.execute("PRAGMA freelist_count").fetchone()[0]) * page
    log = parts_of(file)[1]
    rest = {"free": free, "log": log.stat().st_size if log.exists() else 0}
    try:
        table_of = {row["name"]: row["tbl_name"] for row in connection.execute("SELECT name, tbl_name FROM sqlite_schema")}
        parts = {"ledger": 0, "events": 0, "checkpoints": 0}
        for row in connection.execute("SELECT name, SUM(pgsize) AS size FROM dbstat GROUP BY name"):
            parts[_PARTS.get(table_of.get(row["name"], ""), "ledger")] += row["size"]
    except sqlite3.DatabaseError:
        return {"file": file.stat().st_size, **rest}
    return {**parts, **rest}
