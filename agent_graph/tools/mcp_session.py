"""One held session with one server: opened when it is needed, opened again when it died, closed with what it started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from agent_graph.errors import NotDone
from agent_graph.tools.mcp_connection import Connection, Gone, Refused, said
from agent_graph.tools.mcp_log import ServerLog
from agent_graph.tools.mcp_pins import Definition
from agent_graph.tools.mcp_results import ConnectionLost

if TYPE_CHECKING:
    from mcp_types import CallToolResult, InputRequiredResult

_LAST_WORDS = 0.5
"""Seconds for what a server that ended wrote last to come through."""


class Unreachable(Exception):
    """The server could not be started or reached, or does not say what tools it has. Nothing was called."""


class Session:
    """Of one server. Everything here runs on one event loop."""

    def __init__(self, name: str, reach: Callable[[], AbstractAsyncContextManager[Any]], log: ServerLog, connect_timeout: float) -> None:
        self.name = name
        self._reach = reach
        self._log = log
        self._connect_timeout = connect_timeout
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    async def tools(self) -> dict[str, Definition]:
        """What the server has now, by its own names. Raises Unreachable."""
        return (await self._asked())[1]

    async def call(self, tool: str, args: Mapping[str, Any], pinned: Definition, deadline: float) -> CallToolResult | InputRequiredResult:
        """
        Call the tool if it is still what was pinned. ``deadline`` is in seconds since the epoch. Raises NotDone when it was certainly not
        carried out, and anything else when that is not known.
        """
        left = deadline - time.time()
        try:
            # What goes wrong before the call is definite, if it is noticed before the caller's own deadline cancels us.
            async with asyncio.timeout(max(0.0, left - min(0.5, left / 10))):
                connection, now = await self._asked()
        except TimeoutError:
            raise NotDone(f"MCP server {self.name!r} was not ready in time; {tool} was not called") from None
        except Unreachable as error:
            raise NotDone(f"{error}; {tool} was not called") from None
        changed = pinned.changes(now.get(tool))
        if changed:
            raise NotDone(
                f"{tool} of MCP server {self.name!r} is not what it was when its tools were looked at: {changed}. It was not called; "
                "look at it, then start anew"
            )
        if not connection.alive:  # it is that one or none: another might be to another server
            raise NotDone(f"MCP server {self.name!r} ended before {tool} was called")
        try:
            return await connection.call(tool, args, max(1.0, deadline - time.time()) + 5.0, checks_output=pinned.output_schema is not None)
        except Gone as gone:
            self._drop(connection)
            words = await self._words()
            raise ConnectionLost(
                f"MCP server {self.name!r} ended before it answered the call of {tool}: {gone}{words}; what it did is not known"
            ) from None

    async def close(self) -> None:
        if self._connection is not None:
            self._drop(self._connection)
        while self._ending:
            await asyncio.wait(self._ending)

    async def _asked(self) -> tuple[Connection, dict[str, Definition]]:
        """And the connection that said so. One that turns out to be dead is made once more."""
        for attempt in (1, 2):
            connection = await self._open()
            try:
                async with asyncio.timeout(self._connect_timeout):
                    return connection, await connection.tools()
            except Refused as refused:
                raise Unreachable(f"MCP server {self.name!r} does not say what tools it has: {refused}") from None
            except Gone as gone:
                self._drop(connection)
                if attempt == 2:
                    words = await self._words()
                    raise Unreachable(f"MCP server {self.name!r} ended when it was asked for its tools: {gone}{words}") from None
            except TimeoutError:
                self._drop(connection)
                raise Unreachable(f"MCP server {self.name!r} did not say within {self._connect_timeout:g} s what tools it has") from None
        raise AssertionError

    async def _open(self) -> Connection:
        async with self._opening:
            if self._connection is not None and self._connection.alive:
                return self._connection
            if self._connection is not None:
                self._drop(self._connection)
            connection = Connection(self._reach, self._log, self._connect_timeout)
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await connection.open()
            except TimeoutError:
                self._drop(connection)
                raise Unreachable(f"MCP server {self.name!r} did not begin to speak within {self._connect_timeout:g} s") from None
            except asyncio.CancelledError:
                self._drop(connection)
                raise
            except Exception as error:
                self._drop(connection)
                words = await self._words()
                raise Unreachable(f"MCP server {self.name!r} cannot be reached: {said(error)}{words}") from None
            self._connection = connection
            return connection

    def _drop(self, connection: Connection) -> None:
        """It ends beside us: a server that has to be killed takes seconds, which belong to nobody's deadline."""
        if self._connection is connection:
            self._connection = None
        ending = asyncio.get_running_loop().create_task(connection.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _words(self) -> str:
        until = time.monotonic() + _LAST_WORDS
        while not self._log.complete and time.monotonic() < until:  # noqa: ASYNC110  # its readers are threads
            await asyncio.sleep(0.01)
        words = self._log.last_words()
        return f" (it said: {words}; see {self._log.path})" if words else ""
