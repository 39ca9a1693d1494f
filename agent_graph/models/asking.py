"""What is asked of a model, on whose account, and what the reply must look like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent_graph.events import Event
from agent_graph.plan import StepBudget
from agent_graph.ports import Meter


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """On whose account a request is made, and who watches."""

    meter: Meter | None = None
    """None: nothing is counted."""
    run_id: str = ""
    step_id: str | None = None
    budget: StepBudget | None = None
    """What the step may use, with all that it asked before."""
    tell: Callable[[Event], None] | None = None
    """None: nobody watches, and the reply is not streamed."""


NOBODY = Asking()


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a reply must look like."""

    name: str
    """Letters, digits and underscores; servers show it to the model."""
    schema: dict[str, Any]
    strict: bool = True
    """Whether the schema keeps to the rules of OpenAI's strict mode."""
    again: Callable[[str], str] = "That reply could not be used:\n\n{0}\n\nReply again, with the whole document.".format
    """What is said after a reply that could not be used, of what was wrong with it."""
