"""How a server is reached: a program under its supervisor, or an address whose answers are bounded."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_graph.errors import UsageError
from agent_graph.tools.mcp_config import McpServer
from agent_graph.tools.mcp_log import ServerLog
from agent_graph.tools.mcp_supervisor import LONGEST_LINE, command_for

if TYPE_CHECKING:
    import httpx2


def program(name: str, server: McpServer, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """The command line of a stdio server. Raises UsageError when there is no such program."""
    command = str(server.command)
    where = str(folder / command) if "/" in command or "\\" in command else command
    found = shutil.which(where, path=environment.get("PATH"))
    if found is None:
        raise UsageError(f"MCP server {name!r}: there is no program {command!r}, or it may not be run; install it, or give its path")
    return [found, *server.args]


@asynccontextmanager
async def stdio(name: str, server: McpServer, folder: Path, environment: Mapping[str, str], log: ServerLog) -> AsyncIterator[Any]:
    """The streams of a server that is started now, and is ended with what it started when they are left."""
    from mcp.client.stdio import StdioServerParameters, stdio_client

    passed = server.passed_environment(name, environment)
    command = program(name, server, folder, environment)
    if sys.platform != "win32":  # there the SDK puts it into a job, which ends with us
        command = command_for(command, list(passed))
    stderr = log.stream()
    parameters = StdioServerParameters(command=command[0], args=command[1:], env=passed, cwd=folder / server.cwd)
    try:
        async with stdio_client(parameters, errlog=stderr) as streams:  # type: ignore[arg-type]  # any file with a number will do
            stderr.close()
            yield streams
    finally:
        stderr.close()


@asynccontextmanager
async def http(name: str, server: McpServer, environment: Mapping[str, str]) -> AsyncIterator[Any]:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    headers = {"accept-encoding": "identity", **server.filled_headers(name, environment)}
    client = httpx2.AsyncClient(
        headers=headers,
        timeout=httpx2.Timeout(server.connect_timeout, read=None),  # a call has its own deadline
        trust_env=not server.on_this_machine,  # a proxy has no business with this machine's own addresses
        event_hooks={"response": [_bound]},
    )
    async with client, streamable_http_client(str(server.url), http_client=client, max_sse_event_size=LONGEST_LINE) as streams:
        yield streams


async def _bound(response: httpx2.Response) -> None:
    """Of an answer no more is read than of a line; a stream of events is bounded event by event."""
    import httpx2

    if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101
        response.stream = _bounded_stream(response.stream, response.headers.get("content-encoding", "identity"))


def _bounded_stream(stream: httpx2.AsyncByteStream, encoding: str) -> httpx2.AsyncByteStream:
    import httpx2

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            if encoding.lower() != "identity":
                raise httpx2.StreamError(f"the answer is {encoding}, which was not asked for and may unfold into anything")
            read = 0
            async for chunk in stream:
                read += len(chunk)
                if read > LONGEST_LINE:
                    raise httpx2.StreamError(f"the answer is longer than {LONGEST_LINE:,} bytes")
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()
