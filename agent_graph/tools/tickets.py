"""A ticket desk in one SQLite file: the smallest real system with an effect that must not happen twice.

The idempotency key that the executor gives to a call is stored with the ticket in a UNIQUE column, in the same transaction. So after a
crash, a timeout or a lost reply the desk itself can say whether the ticket was opened, and a second one for the same key cannot be.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field
from typing_extensions import TypedDict

from agent_graph.errors import NotDone
from agent_graph.ports import Clock, SystemClock
from agent_graph.tools.severity import Severity
from agent_graph.tools.tool import Tool, ToolContext, tool
from agent_graph.verdicts import Absent, Landed, Probed, Unknown

DEFAULT_DESK = ".agent-graph/tickets.db"
BUSY_S = 5.0
"""Seconds to wait for another writer; well below the tool's timeout, so that no call that was given up still lands."""
TIMEOUT_S = 20.0

_CREATE = """
CREATE TABLE IF NOT EXISTS tickets (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    idempotency_key TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    severity TEXT NOT NULL,
    opened_at TEXT NOT NULL
)"""
_INSERT = "INSERT INTO tickets (idempotency_key, title, body, severity, opened_at) VALUES (?, ?, ?, ?, ?)"
_BY_NUMBER = "SELECT number, title, body, severity, opened_at FROM tickets WHERE number = ?"
_BY_KEY = "SELECT number, title, body, severity, opened_at FROM tickets WHERE idempotency_key = ?"
_LAST = "SELECT max(number) FROM tickets"


class Ticket(TypedDict):
    id: str
    """``INC-0001``, counted by the desk."""
    title: str
    body: str
    severity: Severity
    opened_at: str
    """ISO 8601, UTC."""


class TicketExists(Exception):
    """A ticket with this idempotency key is on the desk already.

    Deliberately not ``NotDone``: the effect that this key stands for did happen. To the executor the error is ambiguous, so it asks the
    probe, which gives it the ticket.
    """


def ticket_desk(path: str | Path = DEFAULT_DESK, clock: Clock | None = None) -> list[Tool]:
    """The tools ``open_ticket`` and ``find_ticket`` for the desk in the file ``path``.

    The path is made absolute here, so that a later change of folder does not open a second desk. The file is made by the first ticket.
    """
    desk = Path(path).expanduser().absolute()
    now = (clock or SystemClock()).now

    def probe(context: ToolContext, title: str, body: str, severity: Severity) -> Probed:
        del title, body, severity  # the key stands for the call
        if not desk.exists():
            return Absent()  # the transaction that opens the first ticket makes the file
        try:
            with _connected(desk, "rw") as connection:
                row = connection.execute(_BY_KEY, [context.idempotency_key]).fetchone() if _has_tickets(connection) else None
        except sqlite3.Error as error:
            return Unknown(f"the ticket desk {desk} cannot be read: {error}")
        return Absent() if row is None else Landed(_ticket(row))

    @tool(risk="write", probe=probe, timeout=TIMEOUT_S, settle=BUSY_S + 1)
    def open_ticket(
        context: ToolContext,
        title: Annotated[str, Field(min_length=1, max_length=200, description="One line.")],
        body: Annotated[str, Field(max_length=100_000, description="Markdown; usually the report.")],
        severity: Severity,
    ) -> Ticket:
        """Open a ticket on the desk and return it with its id. This is a write: a person is asked first. Read it back with find_ticket."""
        if not context.idempotency_key:
            raise NotDone("open_ticket needs an idempotency key, so that the same ticket is not opened twice; the executor gives one")
        opened_at = datetime.fromtimestamp(now(), UTC).isoformat(timespec="seconds")
        try:
            desk.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotDone(f"the ticket desk {desk} cannot be made: {error.strerror}; nothing was opened") from error
        committing = False
        try:
            with _connected(desk, "rwc") as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_CREATE)
                number = connection.execute(_INSERT, [context.idempotency_key, title, body, severity, opened_at]).lastrowid
                if context.deadline and now() >= context.deadline:
                    raise NotDone(f"the deadline passed before the ticket desk {desk} could be written; nothing was opened")
                committing = True
                connection.execute("COMMIT")
        except sqlite3.IntegrityError:
            raise TicketExists(f"{desk} holds a ticket with the key {context.idempotency_key} already; ask the probe for it") from None
        except (sqlite3.Error, UnicodeError) as error:
            if committing:  # the commit itself failed: whether it landed is for the probe to say
                raise
            raise NotDone(f"the ticket desk {desk} cannot be written: {error}; nothing was opened") from error
        return {"id": _id(number or 0), "title": title, "body": body, "severity": severity, "opened_at": opened_at}

    @tool(risk="read_only")
    def find_ticket(
        ticket_id: Annotated[str, Field(pattern=r"^INC-\d{4,12}$", description="For example INC-0001.")],
    ) -> Ticket:
        """Read a ticket from the desk by its id: what the desk really holds. Fails when there is no such ticket."""
        if not desk.exists():
            raise ValueError(f"there is no ticket {ticket_id}: the desk {desk} does not exist; no ticket was opened there yet")
        try:
            with _connected(desk, "rw") as connection:
                known = _has_tickets(connection)
                row = connection.execute(_BY_NUMBER, [int(ticket_id.removeprefix("INC-"))]).fetchone() if known else None
                last = connection.execute(_LAST).fetchone()[0] if known else None
        except sqlite3.Error as error:
            raise ValueError(f"the ticket desk {desk} cannot be read: {error}") from None
        if row is None:
            raise ValueError(
                f"there is no ticket {ticket_id} on the desk {desk}; " + (f"the newest is {_id(last)}" if last else "it is empty")
            )
        return _ticket(row)

    return [open_ticket, find_ticket]


@contextmanager
def _connected(desk: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """One connection per call, closed at once: calls come from many threads and, after a crash, from many processes.

    Readers open ``rw`` too (it makes no file): after a crash inside a commit, the first to open the desk must be able to roll it back.
    """
    connection = sqlite3.connect(f"file:{quote(str(desk))}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()  # rolls back what was not committed


def _has_tickets(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'tickets'").fetchone() is not None


def _id(number: int) -> str:
    return f"INC-{number:04d}"


def _ticket(row: tuple[Any, ...]) -> Ticket:
    return {"id": _id(row[0]), "title": row[1], "body": row[2], "severity": row[3], "opened_at": row[4]}
