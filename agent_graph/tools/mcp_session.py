"""One held session with one server: opened when it is needed, opened again when it died, closed with what it started."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from agent_graph.errors import NotDone
from agent_graph.tools.mcp_log import ServerLog
from agent_graph.tools.mcp_pins import Definition
from agent_graph.tools.mcp_results import ConnectionLost, ToolFailed, definite
from agent_graph.visible import visible

if TYPE_CHECKING:
    from mcp import Client, MCPError
    from mcp_types import CallToolResult, InputRequiredResult, LoggingMessageNotificationParams
    from pydantic import TypeAdapter

MOST_PAGES = 100
"""Pages of a list of tools that are read; a server can go on for ever."""

MOST_TOOLS = 2_000

_LAST_WORDS = 0.5
"""Seconds for what a server that ended wrote last to come through."""

_CLOSING = 8.0
"""Seconds for a server to end; the SDK asks it, then kills it."""


class Unreachable(Exception):
    """The server could not be started or reached, or does not say what tools it has. Nothing was called."""


class _Gone(Exception):
    """The connection is over."""


class _Refused(Exception):
    """The server answers, but not with what was asked for."""


class Session:
    """Of one server. Everything here runs on one event loop."""

    def __init__(self, name: str, reach: Callable[[], AbstractAsyncContextManager[Any]], log: ServerLog, connect_timeout: float) -> None:
        self.name = name
        self._reach = reach
        self._log = log
        self._connect_timeout = connect_timeout
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    async def tools(self) -> dict[str, Definition]:
        """What the server has now, by its own names. A connection that turns out to be dead is made once more. Raises Unreachable."""
        for attempt in (1, 2):
            connection = await self._open()
            try:
                async with asyncio.timeout(self._connect_timeout):
                    return await connection.tools()
            except _Refused as refused:
                raise Unreachable(f"MCP server {self.name!r} does not say what tools it has: {refused}") from None
            except _Gone as gone:
                self._drop(connection)
                if attempt == 2:
                    words = await self._words()
                    raise Unreachable(f"MCP server {self.name!r} ended when it was asked for its tools: {gone}{words}") from None
            except TimeoutError:
                self._drop(connection)
                raise Unreachable(f"MCP server {self.name!r} did not say within {self._connect_timeout:g} s what tools it has") from None
        raise AssertionError

    async def call(self, tool: str, args: Mapping[str, Any], pinned: Definition, deadline: float) -> CallToolResult | InputRequiredResult:
        """
        Call the tool if it is still what was pinned. ``deadline`` is in seconds since the epoch. Raises NotDone when it was certainly not
        carried out, and anything else when that is not known.
        """
        left = deadline - time.time()
        try:
            # What goes wrong before the call is definite, if it is noticed before the caller's own deadline cancels us.
            async with asyncio.timeout(max(0.0, left - min(0.5, left / 10))):
                now = await self.tools()
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
        connection = self._connection
        if connection is None:
            raise NotDone(f"MCP server {self.name!r} ended before {tool} was called")
        try:
            return await connection.call(tool, args, max(1.0, deadline - time.time()) + 5.0, checks_output=pinned.output_schema is not None)
        except _Gone as gone:
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

    async def _open(self) -> _Connection:
        async with self._opening:
            if self._connection is not None and self._connection.alive:
                return self._connection
            if self._connection is not None:
                self._drop(self._connection)
            connection = _Connection(self._reach, self._log, self._connect_timeout)
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
                raise Unreachable(f"MCP server {self.name!r} cannot be reached: {_said(error)}{words}") from None
            self._connection = connection
            return connection

    def _drop(self, connection: _Connection) -> None:
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
        said = self._log.last_words()
        return f" (it said: {said}; see {self._log.path})" if said else ""


class _Connection:
    """From its opening to its end it lives in one task, since the SDK's scopes may not be left by another."""

    def __init__(self, reach: Callable[[], AbstractAsyncContextManager[Any]], log: ServerLog, patience: float) -> None:
        self._reach = reach
        self._log = log
        self._patience = patience
        self._client: Client | None = None
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self._client is not None

    async def open(self) -> None:
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(opened))
        await opened

    async def _live(self, opened: asyncio.Future[None]) -> None:
        from mcp import Client

        # No cache: what a tool is has to be asked, not remembered. Half the time is for the question in which version it speaks, which an
        # old server may leave unanswered.
        client = Client(
            self._reach(),
            mode="auto",
            cache=None,
            logging_callback=self._note,
            message_handler=self._heard,
            read_timeout_seconds=self._patience / 2,
        )
        try:
            async with client:
                self._client = client
                if not opened.done():
                    opened.set_result(None)
                await self._leave.wait()
                self._client = None
        except BaseException as error:
            if not opened.done():
                opened.set_exception(_plain(error))
            else:
                self._log.add(f"agent-graph: the connection ended: {_said(error)}")
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self._client = None

    async def _note(self, params: LoggingMessageNotificationParams) -> None:
        self._log.add(f"{params.level}: {params.data}")

    async def _heard(self, message: object) -> None:
        if isinstance(message, Exception):  # a line that is no message; some servers greet on stdout
            self._log.add(f"agent-graph: it sent what is no message: {message}")

    async def close(self) -> None:
        if self._task is None:
            return
        if self._client is None:
            self._task.cancel()
        self._leave.set()
        _, late = await asyncio.wait([self._task], timeout=_CLOSING)
        if late:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CLOSING)

    async def tools(self) -> dict[str, Definition]:
        from mcp_types import PaginatedRequestParams
        from pydantic import ValidationError

        found: dict[str, Definition] = {}
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            async with self._talking() as client:
                try:
                    page = await client.session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
                except ValidationError as error:
                    raise _Refused(f"{error.error_count()} things are wrong with its list") from None
            for each in page.tools:
                if each.name in found:
                    raise _Refused(f"two of them are called {visible(each.name)!r}, and which of them would be called is not known")
                try:
                    found[each.name] = Definition.of(each)
                except ValueError as error:
                    raise _Refused(f"{visible(each.name)} is described by what is no definition: {error}") from None
            cursor = page.next_cursor
            if not cursor:
                return found
            if len(found) > MOST_TOOLS:
                break
        raise _Refused(f"its list goes on after {len(found)} tools")

    async def call(
        self, tool: str, args: Mapping[str, Any], seconds: float, *, checks_output: bool
    ) -> CallToolResult | InputRequiredResult:
        from mcp import MCPError
        from mcp_types import CallToolRequest, CallToolRequestParams
        from pydantic import ValidationError

        # Not the client's own call_tool: it would call a second time after some errors, and would raise when an output does not fit its
        # schema, although the call was carried out. The executor checks the output.
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=dict(args)))
        async with self._talking() as client:
            try:
                return await client.session.send_request(request, _answers(), request_read_timeout_seconds=seconds)
            except MCPError as error:
                if _is_end(error):
                    raise
                if definite(error.error, checks_output=checks_output):
                    raise NotDone(f"{tool} was not carried out: {error.message}") from None
                raise ToolFailed(f"{tool}: the server answered with error {error.code}: {error.message}") from None
            except ValidationError as error:
                raise ToolFailed(f"{tool}: the server's answer is none: {error.error_count()} things are wrong with it") from None

    @contextlib.asynccontextmanager
    async def _talking(self) -> AsyncIterator[Client]:
        """The client, and every way in which the connection can end told as one."""
        from mcp import MCPError

        client = self._client
        if client is None:
            raise _Gone("it is not connected")
        try:
            yield client
        except MCPError as error:
            if _is_end(error):
                raise _Gone(error.message) from None
            raise _Refused(f"error {error.code}: {error.message}") from None
        except (ToolFailed, NotDone, _Refused):
            raise
        except Exception as error:
            raise _Gone(_said(error)) from None


@functools.cache
def _answers() -> TypeAdapter[CallToolResult | InputRequiredResult]:
    from mcp_types import CallToolResult, InputRequiredResult
    from pydantic import TypeAdapter

    return TypeAdapter(CallToolResult | InputRequiredResult)


def _is_end(error: MCPError) -> bool:
    from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST

    # A server that was started anew does not know the session; over HTTP, the SDK says so with this message.
    return error.code == CONNECTION_CLOSED or (error.code == INVALID_REQUEST and error.message == "Session terminated")


def _plain(error: BaseException) -> Exception:
    """The first real cause in a group, as something that can be raised to whoever waits."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else RuntimeError(str(error))


def _said(error: BaseException) -> str:
    cause = _plain(error)
    return str(cause) or type(cause).__name__
