"""The bounds of a run: every loop ends, and nothing is begun whose worst case would overrun."""

from __future__ import annotations

from pydantic import Field

from agent_graph.plan import Mode, Model
from agent_graph.records import Usage


class RoleLimits(Model):
    """What a run may ask one role's model for."""

    max_requests: int | None = Field(default=None, ge=0)
    max_tokens: int | None = Field(default=None, ge=0)
    """Read and written."""
    max_money: float | None = Field(default=None, ge=0)


class Price(Model):
    """Of a model, in money per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    """Of input that the server had in its cache; None: as any other input."""

    def of(self, used: Usage) -> float:
        """What it costs."""
        cached = min(used.cached_tokens, used.input_tokens) if self.cached is not None else 0
        return ((used.input_tokens - cached) * self.input + cached * (self.cached or 0.0) + used.output_tokens * self.output) / 1e6


class Limits(Model):
    """What one run may use at most. A run that reaches a bound ends ``failed`` with a reason, never silently.

    A call whose worst case would overrun is refused before it is made. Money is in whatever unit the prices are in.
    """

    max_steps: int = Field(default=500, ge=1)
    """Steps of one plan version."""
    max_parallel: int = Field(default=8, ge=1, le=256)
    """Steps that run side by side."""
    max_replans: int = Field(default=3, ge=0)
    """Plan versions that the planner may make after the first, whatever the reason."""
    max_questions: int = Field(default=5, ge=0)
    """Questions that the planner may ask."""
    max_turns: int = Field(default=20, ge=1)
    """Requests to its model in one ``agent`` step, where the step's budget does not say."""
    max_output_bytes: int = Field(default=262_144, ge=1024)
    """Of one step's output as JSON; a larger one fails its step."""
    max_calls: int | None = Field(default=None, ge=0)
    """Tool calls, each counted once however often it is tried."""
    max_attempts: int | None = Field(default=None, ge=0)
    """Tries of tool calls in all."""
    max_seconds: float | None = Field(default=None, gt=0)
    """On the clock, while the run is worked on: what it waits for people does not count. A call counts with its time limit."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Read and written by the models of all roles."""
    max_money: float | None = Field(default=None, ge=0)
    """Spent on calls and models. What has no known price is put before a person, and a model without one is not asked."""
    roles: dict[str, RoleLimits] = {}
    """By role: ``planner``. What the models' own configuration says holds beside it (docs/models.md)."""
    prices: dict[str, Price] = {}
    """By model, named as its role is (``openai:gpt-5-mini``), or ``model:NAME`` of an object; patterns with ``*`` are read. For others, what
    providers publish, in US dollars, when the extra ``prices`` is installed."""
    mode_steps: dict[Mode, int] = {"inline": 3, "iterative": 100}
    """Steps that a plan of a mode may have, where that is fewer than ``max_steps``."""
    mode_replans: dict[Mode, int] = {"inline": 0}
    """Replans of a plan of a mode, where that is fewer than ``max_replans``."""

    @property
    def bounds_calls(self) -> bool:
        """Whether calls are counted at all."""
        return not (self.max_calls is None and self.max_attempts is None and self.max_seconds is None and self.max_money is None)
