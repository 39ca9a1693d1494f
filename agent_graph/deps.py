"""What a run is made of, and the only wiring: everything below gets its parts from here."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_graph.checkpoints.keys import KEY
from agent_graph.events import Event
from agent_graph.execution.isolation import Workers
from agent_graph.execution.reads import ReadCache
from agent_graph.execution.results import Known
from agent_graph.execution.slots import Slots
from agent_graph.execution.stops import Stops
from agent_graph.identity import RunId, new_id
from agent_graph.models.clients import Clients
from agent_graph.models.roles import Models
from agent_graph.plan import Blueprint, Granularity, Mode, Plan
from agent_graph.policy.compiler import Rules
from agent_graph.ports import Clock, Planner, Store, SystemClock
from agent_graph.records import Lease
from agent_graph.redaction import Redaction
from agent_graph.tools.registry import ToolRegistry
from agent_graph.verdicts import Report

DRIVE = "__agent_graph_drive"
"""Key in ``config["configurable"]`` by which nodes find the drive of ``AgentGraph``; LangGraph keeps such keys out of checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One go at a run by ``AgentGraph``: it holds the lease from beginning to end."""

    id: str = field(default_factory=new_id)
    lease: Lease
    emit: Callable[[Event], None] | None = None
    """None: nobody watches; whoever wants an event later reads the trace."""
    loop: asyncio.AbstractEventLoop | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    known: Known = field(default_factory=Known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    planner: Planner
    tools: ToolRegistry
    rules: Rules
    store: Store
    clock: Clock = field(default_factory=SystemClock)
    drives: dict[str, Drive] = field(default_factory=dict)
    """Drives of this process that are under way, by id."""
    stops: Stops = field(default_factory=Stops)
    """How drives, and nodes that a foreign runner drives, are told to stop."""
    stopping: dict[str, Future[Any]] = field(default_factory=dict)
    """By thread: a node that a foreign runner cancelled and that still records its calls in flight. LangGraph's server starts the thread's
    next drive at once, which waits for it."""
    principal: str | None = None
    """For whom a run acts that a foreign runner begins."""
    slots: Slots = field(default_factory=Slots)
    """Calls that are being made by all runs of this agent, by tool."""
    reads: ReadCache = field(default_factory=ReadCache)
    """What reads gave, of all runs of this agent, for as long as their tools say."""
    workers: Workers = field(default_factory=Workers)
    """Worker processes, for tools that want one."""
    redaction: Redaction = field(default_factory=lambda: Redaction.of(environment()))
    """Secrets that are kept out of whatever is written down."""
    checked: dict[RunId, tuple[Plan, Report]] = field(default_factory=dict)
    """What the compiler said of a plan before its run was made: its first `validate` need not ask again."""
    models: Clients = field(default_factory=lambda: Clients(Models()))
    """By role."""
    blueprints: Mapping[str, Blueprint] = field(default_factory=dict)
    """Nested plans that a step may name."""
    mode: Mode | None = None
    """How much is planned before anything runs; None: as the planner has it."""
    granularity: Granularity = "auto"
    planners: dict[RunId, Planner] = field(default_factory=dict)
    """Planners of runs that were started with a plan of their own."""

    def planner_of(self, run_id: RunId) -> Planner:
        return self.planners.get(run_id, self.planner)


def environment() -> dict[str, str]:
    """The process's environment, without what only names a file: a key's path is no key. Several keys of a store are told apart."""
    found = {name: value for name, value in os.environ.items() if not (value.startswith(("/", "~", ".")) and _is_there(value))}
    return found | {f"{number} {KEY}": part for number, part in enumerate(re.split(r"[,\s]+", os.environ.get(KEY, "")), 1)}


def _is_there(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
