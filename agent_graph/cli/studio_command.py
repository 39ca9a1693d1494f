"""``agent-graph studio``: LangGraph's own server on a store, with the runs that are in it.

The server knows only threads that were made through it. So those of the store are registered with it, and each that waits for a person is
led to its gate once more, which changes nothing and lets the server see that it waits: only then do Studio and Agent Inbox list it.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli.exits import FAILED, SUCCEEDED
from agent_graph.cli.options import PolicyPath, StorePath, Tools
from agent_graph.cli.output import Out
from agent_graph.cli.recipe import Recipe, absolute, load_policy, load_registry
from agent_graph.errors import UsageError
from agent_graph.examples import blueprints
from agent_graph.identity import RunId
from agent_graph.planners.choose import as_planner
from agent_graph.ports import Store
from agent_graph.records import RunRecord
from agent_graph.runs import read_run

GRAPH = "agent-graph"
LANGGRAPH_JSON = {
    "dependencies": ["."],
    "graphs": {GRAPH: "agent_graph.studio:graph"},
    "checkpointer": {"path": "agent_graph.studio.checkpointer"},
}
# The server's own number of jobs is one: a slow run would keep every other from its gate.
DEV = [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--host", "127.0.0.1", "--n-jobs-per-worker", "10"]
PORT = 2024
STUDIO = "https://smith.langchain.com/studio/?baseUrl="
MOST_THREADS = 100
"""Registered with the server, newest first."""
START_PATIENCE = 60.0
STOP_PATIENCE = 15.0
"""Seconds; the server itself waits five for calls in flight."""


def studio(
    context: typer.Context,
    planner: Annotated[
        str, typer.Option("--planner", metavar="NAME|FILE|openai:MODEL", help="Who plans what is asked for in Studio.")
    ] = "investigate-metric",
    tools: Tools = [],  # noqa: B006
    policy: PolicyPath = None,
    store: StorePath = str(DEFAULT_PATH),
    port: Annotated[int, typer.Option("--port", metavar="PORT", help="Where the server listens, on this machine only.")] = PORT,
) -> int:
    """Look at runs in LangGraph Studio, answer them there, start new ones.

    Starts LangGraph's development server on the store, until Ctrl-C. Whoever can reach its port can answer what waits. Needs the extra:
    pip install 'agent-graph[studio]'
    """
    out = Out.of(context)
    return serve(out, planner=planner, tools=tools, policy=policy, store=store, port=port)


def serve(out: Out, *, planner: str, tools: list[str], policy: str | None, store: str, port: int) -> int:
    """Until Ctrl-C. Raises UsageError before anything is started, for parts that cannot work."""
    if importlib.util.find_spec("langgraph_cli") is None or importlib.util.find_spec("langgraph_api") is None:
        raise UsageError("LangGraph's development server is not installed: pip install 'agent-graph[studio]'")
    recipe = Recipe(cwd=str(Path.cwd()), tools=tuple(absolute(spec) for spec in tools), bundled=not tools, policy=policy)
    known_tools = set(load_registry(recipe))
    load_policy(recipe)
    planner = str(blueprints().get(planner, planner))
    as_planner(planner)
    path = Path(store).absolute()
    with SqliteStore(path) as opened:
        # What the command line says counts, whatever the caller's environment holds.
        environment = {
            "AGENT_GRAPH_STORE": str(path),
            "AGENT_GRAPH_PLANNER": planner,
            "AGENT_GRAPH_TOOLS": shlex.join(recipe.tools),
            "AGENT_GRAPH_POLICY": policy or "",
        }
        free = port if _is_free(port) else _any_port()
        if free != port:
            out.say(f"port {port} is taken; the server listens on {free}")
        with _running(free, environment) as process:
            url = f"http://127.0.0.1:{free}"
            try:
                if not _wait_for(free, process):
                    out.say("the server did not start; what it said is above")
                    return FAILED
                registered = register(opened, url, known_tools)
                out.say(f"Studio   {STUDIO}{url}")
                out.say(f"API      {url}   (its description: {url}/docs)")
                for line in registered.lines():
                    out.say(line)
                out.say("Ctrl-C ends it; runs stay in the store")
                sys.stdout.flush()
                return SUCCEEDED if process.wait() == 0 else FAILED
            except KeyboardInterrupt:
                return SUCCEEDED


# ── the store's threads ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(kw_only=True)
class Registered:
    """What the server was told of."""

    threads: int = 0
    waiting: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    """How many were not, by the reason."""

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def lines(self) -> list[str]:
        shown = f"Threads  {self.threads} of the store; {self.waiting} wait for a person"
        return [shown, *(f"         {n} left out: {why}" for why, n in self.left_out.items())]


def register(store: Store, url: str, known_tools: set[str]) -> Registered:
    """Make the store's newest threads known to the server at ``url``, and lead those that wait for a person to their gate."""
    from langgraph_sdk import get_sync_client

    done = Registered()
    drives: list[tuple[str, str]] = []
    with get_sync_client(url=url) as client:
        for record in _newest_of_each_thread(store):
            reason = _unfit(store, record, known_tools)
            if reason:
                done.leave_out(reason)
                continue
            about: Any = {"agent_graph_run": record.id, "goal": record.goal.text[:200]}
            thread = client.threads.create(thread_id=record.thread_id, graph_id=GRAPH, metadata=about, if_exists="do_nothing")
            done.threads += 1
            waits = _waits(store, record)
            done.waiting += waits
            if waits or (record.finished and thread["status"] == "interrupted"):
                drives.append((record.thread_id, client.runs.create(record.thread_id, GRAPH, input=None)["run_id"]))
        for thread_id, drive in drives:
            client.runs.join(thread_id, drive)
    return done


def _newest_of_each_thread(store: Store) -> list[RunRecord]:
    newest: dict[str, RunRecord] = {}
    for record in store.runs.recent(limit=10 * MOST_THREADS):
        newest.setdefault(record.thread_id, record)
    return list(newest.values())[:MOST_THREADS]


def _unfit(store: Store, record: RunRecord, known_tools: set[str]) -> str:
    """Why the server must not go on with a run; empty when it may."""
    try:
        uuid.UUID(record.thread_id)
    except ValueError:
        return "their thread is not a UUID, which the server wants"
    if record.checkpoint_ns:
        return "they are part of a larger graph; serve that one"
    current = store.runs.plan(RunId(record.id))
    if not record.finished and current is not None and {step.tool for step in current.plan.steps if step.tool} - known_tools:
        return "they need tools that this server does not have, without which they would fail; start it with --tools"
    return ""


def _waits(store: Store, record: RunRecord) -> bool:
    """Whether a person is asked, and leading the run to its gate does nothing but ask."""
    run_id = RunId(record.id)
    return read_run(store, run_id, results=False).status == "paused" and not store.approvals.decided(run_id)


# ── the server ────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _running(port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """``langgraph dev``, out of reach of the terminal's Ctrl-C: it is told to end by us, once."""
    quiet = {"LANGSMITH_TRACING": "false", "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LOG_LEVEL": "WARNING"}
    with tempfile.TemporaryDirectory(prefix="agent-graph-") as folder:
        config = Path(folder, "langgraph.json")
        config.write_text(json.dumps(LANGGRAPH_JSON), encoding="utf-8")
        process = subprocess.Popen(  # noqa: S603  # our own words
            [*DEV, "--port", str(port), "--config", str(config)],
            env={**quiet, **os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_PATIENCE)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
            connection.request("GET", "/ok")
            if connection.getresponse().status == 200:
                return True
        time.sleep(0.1)
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
