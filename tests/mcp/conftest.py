"""Real servers: those of the protocol's makers, from npm and PyPI, and two of ours, one of them hostile."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent_graph.tools.mcp import MCPServers
from agent_graph.tools.mcp_config import McpConfig
from agent_graph.tools.tool import Tool

SERVERS = Path(__file__).parent / "servers"
FROM_NPM = {"@modelcontextprotocol/server-filesystem": "2026.8.31", "@modelcontextprotocol/server-everything": "2026.8.31"}
CI = os.environ.get("CI", "").lower() in {"1", "true"}

Open = Callable[..., MCPServers]


@pytest.fixture
def open_servers(tmp_path: Path) -> Iterator[Open]:
    """Servers from a config, ended after the test. Logs are below the test's folder."""
    opened: list[MCPServers] = []

    def opens(servers: dict[str, Any], environment: dict[str, str] | None = None, **more: Any) -> MCPServers:
        config = McpConfig.model_validate({"servers": servers, "logs": "logs", **more})
        opened.append(MCPServers(config, folder=tmp_path, environment=environment))
        return opened[-1]

    yield opens
    for each in opened:
        each.close()


def named(servers: MCPServers) -> dict[str, Tool]:
    return {each.name: each for each in servers.tools}


class Rogue:
    """The hostile server, seen from outside."""

    def __init__(self, folder: Path, open_servers: Open) -> None:
        self.folder = folder
        self._open = open_servers

    def offer(self, *tools: str | dict[str, Any]) -> None:
        anything = {"type": "object", "properties": {"text": {"type": "string"}}}
        whole = [{"inputSchema": anything, **({"name": each} if isinstance(each, str) else each)} for each in tools]
        (self.folder / "tools.json.new").write_text(json.dumps(whole))
        (self.folder / "tools.json.new").replace(self.folder / "tools.json")

    def servers(
        self,
        *tools: str | dict[str, Any],
        mode: str = "",
        environment: dict[str, str] | None = None,
        pins: str | None = None,
        **server: Any,
    ) -> MCPServers:
        if tools:
            self.offer(*tools)
        config = {"command": sys.executable, "args": [str(SERVERS / "rogue.py"), str(self.folder), mode], **server}
        return self._open({"rogue": config}, environment, pins=pins)

    def tool(self, name: str, *others: str | dict[str, Any], **server: Any) -> Tool:
        return named(self.servers(name, *others, **server))[f"rogue.{name}"]

    def effects(self) -> list[Any]:
        return self._lines("effects.jsonl")

    def received(self, method: str) -> list[Any]:
        return [each for each in self._lines("received.jsonl") if each.get("method") == method]

    def pids(self) -> list[int]:
        return [int(each) for each in self._lines("pids.jsonl")]

    def kill(self) -> None:
        os.kill(self.pids()[-1], signal.SIGKILL)

    def _lines(self, name: str) -> list[Any]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def rogue(tmp_path: Path, open_servers: Open) -> Rogue:
    folder = tmp_path / "rogue"
    folder.mkdir()
    return Rogue(folder, open_servers)


def until(what: Callable[[], Any], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(what())


def when(what: Callable[[], Any], do: Callable[[], None]) -> threading.Thread:
    """Do it, on a thread, as soon as that is so."""

    def wait() -> None:
        if until(what):
            do()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def is_gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


# ── servers from npm ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def npm_servers(request: pytest.FixtureRequest) -> Path:
    """The folder with the servers of npm, installed once into the cache of pytest, by one worker. Not run where there is no registry."""
    assert request.config.cache is not None
    versions = "-".join(sorted(FROM_NPM.values()))
    home = request.config.cache.mkdir("mcp-servers")
    folder = home / versions
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fresh = home / f"{versions}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            (fresh / "package.json").write_text("{}")
            wanted = [f"{name}@{version}" for name, version in FROM_NPM.items()]
            # Scripts of packages are not run: what is installed runs only as a server, in a test.
            done = subprocess.run(
                ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", *wanted],
                cwd=fresh,
                capture_output=True,
                text=True,
                check=False,
                timeout=100,
            )
            if done.returncode:
                why = f"npm cannot install the servers: {done.stderr.strip().splitlines()[-1:]}"
                if CI:
                    pytest.fail(why, pytrace=False)
                pytest.skip(why)
            fresh.rename(folder)
    return folder / "node_modules" / "@modelcontextprotocol"


@pytest.fixture
def filesystem(npm_servers: Path, tmp_path: Path) -> dict[str, Any]:
    """The config of server-filesystem for the folder ``data``."""
    (tmp_path / "data").mkdir()
    return {"command": "node", "args": [str(npm_servers / "server-filesystem" / "dist" / "index.js"), str(tmp_path / "data")]}


@pytest.fixture
def everything(npm_servers: Path) -> dict[str, Any]:
    return {"command": "node", "args": [str(npm_servers / "server-everything" / "dist" / "index.js"), "stdio"]}


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Desk:
    """Our server over HTTP on a port of this machine."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, str(SERVERS / "desk.py"), str(self.file), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert until(self._listens, 30)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def booked(self) -> list[str]:
        return self.file.read_text().split() if self.file.exists() else []

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "booked.txt")
    made.start()
    yield made
    made.kill()
