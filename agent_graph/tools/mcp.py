"""MCP: the tools of servers that others wrote, as tools of ours.

The official SDK is used, not langchain-mcp-adapters: that one opens a session for each call, makes an error result a text, hides which
errors are definite, and does not go with the SDK's version 2. What a server says of itself is a hint from somebody whom nobody has checked:
it can raise a risk, never lower one.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import stat
import threading
import time
import weakref
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

from agent_graph.documents import read_document
from agent_graph.errors import NotDone, UsageError
from agent_graph.redaction import Redaction
from agent_graph.tools.mcp_config import McpConfig, McpServer
from agent_graph.tools.mcp_log import ServerLog
from agent_graph.tools.mcp_pins import Definition, check_pins, write_pins
from agent_graph.tools.mcp_results import output
from agent_graph.tools.mcp_session import Session, Unreachable
from agent_graph.tools.mcp_tools import as_tool, used_tools
from agent_graph.tools.mcp_transport import http, stdio
from agent_graph.tools.tool import Tool, ToolContext

T = TypeVar("T")

LOGS = ".agent-graph/mcp"

_CLOSING = 20.0
"""Seconds in which all servers together end."""


class MCPServers:
    """
    The servers of one config. ``tools`` opens them, at first use; ``close`` ends them, and so does the end of the process. Use it from any
    thread and any event loop: the sessions live on a loop of their own.
    """

    def __init__(self, config: McpConfig, *, folder: str | Path = ".", environment: Mapping[str, str] | None = None) -> None:
        """``folder`` is what paths of the config are seen from. Raises UsageError when a variable that it names is not set."""
        _need_sdk()
        self.config = config
        self._folder = Path(folder).absolute()
        self._environment = dict(os.environ if environment is None else environment)
        for name, server in config.servers.items():
            server.filled_headers(name, self._environment)
            server.passed_environment(name, self._environment)
        self._lock = threading.RLock()  # whoever holds it may wait for the loop, so nothing on the loop takes it
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()
        self._sessions: dict[str, Session] = {}
        self._logs: list[ServerLog] = []
        self._used: dict[str, dict[str, Definition]] | None = None
        self._tools: list[Tool] | None = None
        _open.add(self)

    @classmethod
    def load(cls, path: str | Path, *, environment: Mapping[str, str] | None = None) -> Self:
        """From a YAML or JSON file. Raises InvalidDocument, or UsageError when everybody may write it, or a variable of it is not set."""
        if os.name == "posix" and Path(path).exists() and Path(path).stat().st_mode & stat.S_IWOTH:
            raise UsageError(f"{path} says which programs are started, and everybody on this machine may write it; run: chmod o-w {path}")
        return cls(read_document(path, McpConfig), folder=Path(path).absolute().parent, environment=environment)

    @property
    def tools(self) -> list[Tool]:
        """
        All tools that the config lets through, in the order of its servers. Raises UsageError when a server cannot be reached, offers what
        cannot be used, or is not what its pins say.
        """
        with self._lock:
            if self._tools is None:
                used = self._look()
                if self.config.pins is not None:
                    for name, definitions in used.items():
                        check_pins(self._pins(), name, definitions)
                self._tools = [
                    as_tool(name, self.config.servers[name], definition, partial(self._call, name, definition))
                    for name, definitions in used.items()
                    for definition in definitions.values()
                ]
            return list(self._tools)

    @property
    def secrets(self) -> dict[str, str]:
        """Values that are sent as headers, by the names of their variables: hand them to ``AgentGraph(secrets=…)``."""
        names = {name for server in self.config.servers.values() for name in server.variables()}
        return {name: self._environment[name] for name in sorted(names)}

    def write_pins(self, path: str | Path | None = None) -> Path:
        """
        Write down what the servers offer now, to be looked at and committed. ``path`` stands in for the config's ``pins``. Raises UsageError
        when neither is given.
        """
        if path is None and self.config.pins is None:
            raise UsageError("there is no place for the pins: say pins: mcp.lock.json in the config, or write_pins(path)")
        target = Path(path) if path is not None else self._pins()
        try:
            write_pins(target, self._look())
        except OSError as error:
            raise UsageError(f"the pins cannot be written to {target}: {error.strerror}") from None
        return target

    def close(self) -> None:
        """End all sessions and the programs behind them. The tools can be called again: that opens them anew."""
        with self._starting:
            loop, self._loop = self._loop, None
        if loop is None or self._process != os.getpid():  # after a fork they are our parent's
            return

        async def end() -> None:
            sessions, self._sessions = self._sessions, {}
            logs, self._logs = self._logs, []
            await asyncio.gather(*(each.close() for each in sessions.values()), return_exceptions=True)
            for log in logs:
                log.close()

        # What is not ended in time is killed by its supervisor, when this process ends.
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(end(), loop).result(_CLOSING)
        loop.call_soon_threadsafe(loop.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _pins(self) -> Path:
        return self._folder / str(self.config.pins)

    def _look(self) -> dict[str, dict[str, Definition]]:
        """What is used of what all servers offer, asked once."""
        with self._lock:
            if self._used is None:
                offered = self._on_loop(self._offered()).result()
                self._used = {name: used_tools(name, self.config.servers[name], each) for name, each in offered.items()}
            return self._used

    async def _offered(self) -> dict[str, dict[str, Definition]]:
        """Of all servers at once, since each takes a while to start. All of them have answered before one that failed is told."""
        names = list(self.config.servers)
        found = await asyncio.gather(*(self._tools_of(name) for name in names), return_exceptions=True)
        for each in found:
            if isinstance(each, Unreachable):
                raise UsageError(f"{each}; its tools cannot be used") from None
            if isinstance(each, BaseException):
                raise each
        return {name: each for name, each in zip(names, found, strict=True) if isinstance(each, dict)}

    async def _tools_of(self, name: str) -> dict[str, Definition]:
        return await self._session(name).tools()

    async def _call(self, name: str, definition: Definition, context: ToolContext, args: dict[str, Any]) -> Any:
        """On whatever loop the executor calls from; the session's own does the work, and is told when the caller gives up."""
        server = self.config.servers[name]
        rules = server.tools.get(definition.name)
        said = rules.definite_errors if rules is not None else None
        deadline = context.deadline or time.time() + server.timeout
        work = self._on_loop(self._send(name, definition, args, deadline))
        result = await asyncio.wrap_future(work)
        return output(
            result,
            definition.name,
            structured=definition.output_schema is not None,
            definite_errors=server.definite_errors if said is None else said,
        )

    async def _send(self, name: str, definition: Definition, args: dict[str, Any], deadline: float) -> Any:
        try:
            session = self._session(name)
        except Unreachable as error:
            raise NotDone(f"{error}; {definition.name} was not called") from None
        return await session.call(definition.name, args, definition, deadline)

    def _session(self, name: str) -> Session:
        """On the loop of the sessions only."""
        if name not in self._sessions:
            server = self.config.servers[name]
            folder = self._folder / self.config.logs if self.config.logs is not None else Path(LOGS)
            sent = {each: self._environment[each] for each in server.variables()}
            redaction = Redaction.of(server.passed_environment(name, self._environment), sent)
            try:
                log = ServerLog(folder.absolute() / f"{name}.log", redaction)
            except OSError as error:
                raise Unreachable(f"the log of MCP server {name!r} cannot be kept in {folder}: {error.strerror}") from None
            self._logs.append(log)
            self._sessions[name] = Session(name, partial(self._reach, name, server, log), log, server.connect_timeout)
        return self._sessions[name]

    def _reach(self, name: str, server: McpServer, log: ServerLog) -> AbstractAsyncContextManager[Any]:
        if server.url is not None:
            return http(name, server, self._environment)
        return stdio(name, server, self._folder, self._environment, log)

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._starting:
            if self._process != os.getpid():  # after a fork neither the loop nor the sessions are ours
                self._process, self._loop, self._sessions, self._logs = os.getpid(), None, {}, []
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name="agent-graph mcp", daemon=True).start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _need_sdk() -> None:
    try:
        import mcp.client
    except ImportError as error:
        raise UsageError(f"MCP servers need the extra 'mcp' ({error}); install it: pip install 'agent-graph[mcp]'") from None
    # Without a listener, Python would print the SDK's warnings, tracebacks among them, to the terminal.
    logging.getLogger(mcp.__name__.partition(".")[0]).addHandler(logging.NullHandler())


_open: weakref.WeakSet[MCPServers] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for each in list(_open):
        each.close()
