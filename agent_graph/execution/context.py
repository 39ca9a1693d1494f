"""What the executor works with: one run, one plan version, one lease."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from agent_graph.events import Event
from agent_graph.execution.budget import Budget
from agent_graph.execution.isolation import Workers
from agent_graph.execution.part_budget import PartBudgets
from agent_graph.execution.reads import ReadCache
from agent_graph.execution.results import Results
from agent_graph.execution.slots import Slots
from agent_graph.identity import RunId
from agent_graph.models.clients import Clients
from agent_graph.plan import Plan
from agent_graph.policy.dataflow import Dataflow
from agent_graph.policy.lineage import Lineage
from agent_graph.policy.permission import Rules
from agent_graph.ports import Clock, Meter, Store
from agent_graph.records import Lease
from agent_graph.redaction import NOTHING, Redaction
from agent_graph.tools.registry import ToolRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    run_id: RunId
    plan: Plan
    flow: Dataflow
    results: Results
    lease: Lease
    store: Store
    tools: ToolRegistry
    rules: Rules
    clock: Clock
    emit: Callable[[Event], None] | None
    """Streams an event; recording it is ``record``'s job. None: nobody watches."""
    slots: Slots = field(default_factory=Slots)
    reads: ReadCache = field(default_factory=ReadCache)
    """What reads gave, of all runs of the agent."""
    workers: Workers = field(default_factory=Workers)
    loop: asyncio.AbstractEventLoop | None = None
    """Where async tools run: the caller's loop under an async caller; None for the background loop."""
    lineage: Lineage = field(default_factory=dict)
    """Of the plan's steps that a replan brought."""
    models: Clients | None = None
    """By role; None: no model can be asked."""
    meter: Meter | None = None
    """Of what models are asked for the run's steps."""
    budget: Budget | None = None
    """None: nothing bounds the calls."""
    parts: PartBudgets | None = None
    """What nested plans may use; None: none of them is bounded."""
    redaction: Redaction = NOTHING
    """Secrets that are kept out of whatever is written down."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set by the operator: no new call is made."""

    def record(self, event: Event) -> None:
        """Stream the event, and keep it in the trace."""
        if self.emit is not None:
            self.emit(event)
        self.store.events.add(event)
