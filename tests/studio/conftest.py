"""A real ``langgraph dev`` for the tests: no network, no ``--allow-blocking``, our store as its checkpointer."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest

from agent_graph import AgentGraph

GRAPH = "agent-graph"
HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# Nothing may be asked of anybody: whatever tries to leave the machine finds a proxy where nobody listens.
NO_NETWORK = {
    "LANGSMITH_TRACING": "false",
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}


class Desk:
    """One person's view of the server."""

    def __init__(self, url: str) -> None:
        from langgraph_sdk import get_sync_client

        self.client = get_sync_client(url=url)
        self.runs, self.threads, self.assistants = self.client.runs, self.client.threads, self.client.assistants

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def thread(self, **more: Any) -> str:
        return str(self.threads.create(**more)["thread_id"])

    def say(self, thread: str, **given: Any) -> Any:
        """Drive the thread's graph until it ends or asks, with an input or a command."""
        return self.runs.wait(thread, GRAPH, **given)

    def answer(self, thread: str, answer: Any) -> Any:
        return self.say(thread, command={"resume": answer})

    def gate(self, thread: str) -> dict[str, Any]:
        """What the thread asks now, as a UI that lists interrupted threads finds it."""
        found = self.threads.get(thread)
        assert found["status"] == "interrupted"
        ((asked,),) = found["interrupts"].values()
        return dict(asked["value"])

    def ask_for(self, goal: str, **given: Any) -> str:
        """A thread of its own that has been driven as far as it goes."""
        thread = self.thread()
        self.say(thread, input={"goal": goal}, **given)
        return thread

    def each(self, work: Callable[[str, Any], Any], cases: dict[str, Any]) -> dict[str, Any]:
        """The work on every case, all at once: the server looks for new runs twice a second, so that one after another would take long."""
        with ThreadPoolExecutor(len(cases)) as pool:
            return dict(zip(cases, pool.map(work, cases, cases.values()), strict=True))

    def status(self, thread: str) -> str:
        return str(self.threads.get(thread)["status"])

    def state(self, thread: str) -> dict[str, Any]:
        return dict(self.threads.get_state(thread)["values"])  # type: ignore[arg-type]


class Server:
    """One ``langgraph dev`` in a folder of its own, which can be killed and started again."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        self.world = folder / "world.log"
        self.store = folder / "runs.db"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {**os.environ, **NO_NETWORK, "WORLD_LOG": str(self.world), "WORLD_STORE": str(self.store)}
        (folder / "langgraph.json").write_text(json.dumps(config), encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--n-jobs-per-worker", "16", "--config", "langgraph.json"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        until(lambda: answers(self.port), "the server", 60, watch=self.process, log=self.log)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the process; with SIGINT it is told to end, as by Ctrl-C."""
        assert self.process is not None
        os.killpg(self.process.pid, how)
        self.process.wait(30)
        self.process = None

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def desk(self) -> Desk:
        return Desk(self.url)

    def effects(self) -> Counter[str]:
        """How often each line was written by the tools."""
        return Counter(self.world.read_text(encoding="utf-8").splitlines()) if self.world.exists() else Counter()

    @staticmethod
    def until(holds: Callable[[], Any], what: str, seconds: float = 30) -> Any:
        return until(holds, what, seconds)

    def wait_for(self, line: str, count: int = 1) -> None:
        until(lambda: self.effects()[line] >= count, repr(line), 30)

    def blocked(self) -> list[str]:
        """Lines of the log that say that something held up the server's loop."""
        return [line for line in self.log.read_text(encoding="utf-8").splitlines() if "BlockingError" in line or "Blocking call" in line]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        connection.request("GET", "/ok")
        return connection.getresponse().status == 200
    return False


def until(
    holds: Callable[[], Any], what: str, seconds: float, *, watch: subprocess.Popen[Any] | None = None, log: Path | None = None
) -> Any:
    """Wait for it, and say what was waited for. A process that is watched must live."""
    end = time.monotonic() + seconds
    while not (came := holds()):
        said = log.read_text(encoding="utf-8")[-3000:] if log is not None else ""
        assert watch is None or watch.poll() is None, f"ended while {what} was waited for:\n{said}"
        assert time.monotonic() < end, f"{what} never came:\n{said}"
        time.sleep(0.05)
    return came


def config(module: str) -> dict[str, Any]:
    return {"dependencies": ["."], "graphs": {"agent-graph": f"{module}:graph"}, "checkpointer": {"path": f"{module}:checkpointer"}}


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one that most tests share; each uses threads of its own."""
    with running(Server(tmp_path_factory.mktemp("studio"), config(str(HERE / "world.py")))) as one:
        yield one
        assert one.blocked() == []  # by all that was asked of it


@pytest.fixture(scope="module")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """More of them, which a test may kill; each in a folder of its own, with its langgraph.json and other files."""
    with contextlib.ExitStack() as stack:

        def make(given: dict[str, Any] | None = None, files: dict[str, str] | None = None) -> Server:
            folder = tmp_path_factory.mktemp("studio")
            for name, text in (files or {}).items():
                (folder / name).write_text(text, encoding="utf-8")
            return stack.enter_context(running(Server(folder, given or config(str(HERE / "world.py")))))

        yield make


@pytest.fixture
def no_network() -> dict[str, str]:
    return NO_NETWORK


@pytest.fixture(name="free_port")
def _free_port() -> int:
    return free_port()


@pytest.fixture
def desk_at() -> type[Desk]:
    return Desk


@pytest.fixture(scope="session")
def world() -> ModuleType:
    """The module that the server runs, for plain Python beside it."""
    spec = importlib.util.spec_from_file_location("studio_world", HERE / "world.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["studio_world"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def desk(server: Server) -> Iterator[Desk]:
    with server.desk() as made:
        yield made


@pytest.fixture
def name() -> str:
    """Tells the effects of one test from those of another."""
    return uuid.uuid4().hex[:8]


@pytest.fixture
def python(server: Server, world: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[AgentGraph]:
    """Plain Python on the server's store, in another process than the server's."""
    monkeypatch.setenv("WORLD_LOG", str(server.world))
    with world.make_agent(server.store) as agent:
        yield agent
