"""The bounds of a run: every loop ends."""

from __future__ import annotations

from pydantic import Field

from agent_graph.plan import Model


class Limits(Model):
    """What one run may use at most. A run that reaches a bound ends ``failed`` with a reason, never silently."""

    max_steps: int = Field(default=500, ge=1)
    """Steps of one plan version."""
    max_parallel: int = Field(default=8, ge=1, le=256)
    """Steps that run side by side."""
    max_replans: int = Field(default=3, ge=0)
    """Plan versions that the planner may make after the first, whatever the reason."""
    max_questions: int = Field(default=5, ge=0)
    """Questions that the planner may ask."""
    max_output_bytes: int = Field(default=262_144, ge=1024)
    """Of one step's output as JSON; a larger one fails its step."""
