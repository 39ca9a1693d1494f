"""One connection to a server, from its opening to its end, and every way in which it can end told as one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from agent_graph.errors import NotDone
from agent_graph.tools.mcp_log import ServerLog
from agent_graph.tools.mcp_pins import Definition
from agent_graph.tools.mcp_results import ToolFailed, definite
from agent_graph.visible import visible

if TYPE_CHECKING:
    from mcp import Client, MCPError
    from mcp_types import CallToolResult, InputRequiredResult, LoggingMessageNotificationParams
    from pydantic import TypeAdapter

MOST_PAGES = 100
"""Pages of a list of tools that are read; a server can go on for ever."""

MOST_TOOLS = 2_000

_CLOSING = 8.0
"""Seconds for a server to end; the SDK asks it, then kills it."""


class Gone(Exception):
    """The connection is over."""


class Refused(Exception):
    """The server answers, but not with what was asked for."""


class Connection:
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
                self._log.add(f"agent-graph: the connection ended: {said(error)}")
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
                    raise Refused(f"{error.error_count()} things are wrong with its list") from None
            for each in page.tools:
                if each.name in found:
                    raise Refused(f"two of them are called {visible(each.name)!r}, and which of them would be called is not known")
                try:
                    found[each.name] = Definition.of(each)
                except ValueError as error:
                    raise Refused(f"{visible(each.name)} is described by what is no definition: {error}") from None
            cursor = page.next_cursor
            if not cursor:
                return found
            if len(found) > MOST_TOOLS:
                break
        raise Refused(f"its list goes on after {len(found)} tools")

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
            raise Gone("it is not connected")
        try:
            yield client
        except MCPError as error:
            if _is_end(error):
                raise Gone(error.message) from None
            raise Refused(f"error {error.code}: {error.message}") from None
        except (ToolFailed, NotDone, Refused):
            raise
        except Exception as error:
            raise Gone(said(error)) from None


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


def said(error: BaseException) -> str:
    cause = _plain(error)
    return str(cause) or type(cause).__name__
