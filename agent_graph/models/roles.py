"""Which model does what: one configuration for all roles, from code, a file or the environment. Nothing here loads LangChain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, SkipValidation

from agent_graph.plan import Model

Role = Literal["planner", "replanner", "executor", "judge", "summarizer"]
"""
``planner``: makes a plan; ``replanner``: revises it (the planner's, unless given); ``executor``: carries out ``model`` and ``agent`` steps, and
answers without a plan; ``judge``: says whether criteria hold that code cannot check, and may remark on a plan; ``summarizer``: writes the answer.
"""

ROLES: tuple[Role, ...] = get_args(Role)


class RoleModel(Model):
    """The model of one role."""

    model: SkipValidation[Any]
    """``openai:gpt-5-mini``, any other string that LangChain's ``init_chat_model`` reads, or a chat model object."""
    temperature: float | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high"] | None = None
    timeout_s: float = Field(default=180.0, gt=0)
    """Seconds for one try of one request."""
    max_retries: int = Field(default=2, ge=0)
    """Of one request by the client: after 408, 409, 429 (as long as Retry-After says), 5xx, a timeout, a lost connection."""
    max_asks: int = Field(default=3, ge=1)
    """Requests for one usable reply, the first included: what was wrong is said, and it is asked again."""
    max_reply_tokens: int | None = Field(default=None, ge=1)
    fallback: SkipValidation[Any] = None
    """Another model, asked when this one cannot be."""
    max_requests: int | None = Field(default=None, ge=0)
    """In one run."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Read and written in one run."""
    max_money: float | None = Field(default=None, ge=0)
    """In one run."""


class Specialist(RoleModel):
    """A named executor: a step may be given to it."""

    description: str
    """What it is good at; planners read it."""
    prompt: str = ""
    """Its instructions, before the step's own."""
    tools: tuple[str, ...] = ()
    """The tools that it may use at most; empty: those that its step allows."""


class Models(Model):
    """The models of an agent. A role that is not given is not there, except that a replanner is the planner and a summarizer is optional."""

    planner: RoleModel | None = None
    replanner: RoleModel | None = None
    executor: RoleModel | None = None
    judge: RoleModel | None = None
    summarizer: RoleModel | None = None
    specialists: dict[str, Specialist] = {}
    judge_plans: bool = False
    """Whether the judge remarks on each plan before a person sees it."""

    @classmethod
    def of(cls, given: Models | Mapping[str, Any] | str | Path) -> Self:
        """From a mapping by role (``{"planner": "openai:gpt-5", "executor": {"model": …}}``) or the path of a YAML file of that form.

        Raises InvalidDocument and UsageError.
        """
        raise NotImplementedError
