"""Which model does what: one configuration for all roles, from code, a file or the environment. Nothing here loads LangChain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, SkipValidation, ValidationError, field_validator, model_validator

from agent_graph.documents import Document, describe, describe_path, read_text
from agent_graph.errors import InvalidDocument, UsageError
from agent_graph.plan import Identifier, Model

Role = Literal["planner", "replanner", "executor", "judge", "summarizer"]
"""
``planner``: makes a plan; ``replanner``: revises it (the planner's, unless given); ``executor``: carries out ``model`` and ``agent`` steps, and
answers without a plan; ``judge``: says whether criteria hold that code cannot check, and may remark on a plan; ``summarizer``: writes the answer.
"""

ROLES: tuple[Role, ...] = get_args(Role)

AS = " as "
"""Between a model's name and the specialist's as whom it was asked: ``openai:gpt-5-mini as writer``."""

Method = Literal["json_schema", "function_calling", "plain"]
"""
How a model is held to a schema. ``json_schema``: OpenAI's structured output; ``function_calling``: the reply is the arguments of a
call; ``plain``: the schema stands in the prompt, and the reply is JSON in the text.
"""

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


# A provider has more than one letter, unlike a drive; and the name of a file ends in its kind.
_SPEC = re.compile(r"[a-z][a-z0-9_]+:(?!.*\.(?:ya?ml|json)$).*", re.DOTALL)


def names_model(text: str) -> bool:
    """Whether the text is the spec of a chat model, such as ``openai:gpt-5``, and not the path of a file."""
    return _SPEC.fullmatch(text) is not None


class RoleModel(Model):
    """The model of one role."""

    model: SkipValidation[Any]
    """``openai:gpt-5-mini``, any other string that LangChain's ``init_chat_model`` reads, or a chat model object."""
    base_url: str | None = None
    """Of a server that speaks the provider's protocol; None: the provider's own, or as its environment variables say."""
    key_from: str | None = None
    """Name of the environment variable that holds the key; None: the provider's usual one. The key itself never stands here."""
    temperature: float | None = Field(default=None, ge=0)
    reasoning_effort: Effort | None = None
    """How long a reasoning model thinks before it writes."""
    method: Method | None = None
    """How it is held to a schema; None chooses by what the model supports."""
    timeout_s: float = Field(default=180.0, gt=0)
    """Seconds for one try of one request."""
    max_retries: int = Field(default=2, ge=0)
    """Of one request by the client: after 408, 409, 429 (as long as Retry-After says), 5xx, a timeout, a lost connection."""
    max_asks: int = Field(default=3, ge=1)
    """Requests for one usable reply, the first included: what was wrong is said, and it is asked again."""
    max_reply_tokens: int | None = Field(default=None, ge=1)
    fallback: SkipValidation[Any] = None
    """Another model, asked when this one cannot be: its spec, an object, or a mapping like this one."""
    max_requests: int | None = Field(default=None, ge=0)
    """In one run."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Read and written in one run."""
    max_money: float | None = Field(default=None, ge=0)
    """In one run."""

    @field_validator("model", mode="after")
    @classmethod
    def _says_which(cls, model: Any) -> Any:
        if model is None or (isinstance(model, str) and not model.strip()):
            raise ValueError("name a model, such as openai:gpt-5-mini, or give a chat model object")
        if isinstance(model, bool | int | float | list | tuple | dict):
            raise ValueError(f"{model!r} is not a model: name one, such as openai:gpt-5-mini, or give a chat model object")  # noqa: TRY004  # pydantic's
        return model

    @field_validator("fallback", mode="before")
    @classmethod
    def _fallback_too(cls, fallback: Any) -> Any:
        if isinstance(fallback, Mapping):
            return RoleModel.model_validate(fallback)
        return fallback if fallback is None or isinstance(fallback, RoleModel) else cls._says_which(fallback)

    @model_validator(mode="after")
    def _an_object_has_its_own(self) -> Self:
        """What an object was made with cannot be changed from outside."""
        beside = sorted(OF_A_SPEC & self.model_fields_set)
        if not isinstance(self.model, str) and beside:
            raise ValueError(
                f"the model is an object, so {', '.join(beside)} cannot be set beside it; give it to the object when it is made"
            )
        return self


OF_A_SPEC = frozenset({"base_url", "key_from", "temperature", "reasoning_effort", "timeout_s", "max_retries"})
"""Fields by which a model is made; an object has been."""


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
    specialists: dict[Identifier, Specialist] = {}
    judge_plans: bool = False
    """Whether the judge remarks on each plan before a person sees it."""

    @field_validator(*ROLES, mode="before")
    @classmethod
    def _a_spec_alone(cls, given: Any) -> Any:
        return given if given is None or isinstance(given, RoleModel | Mapping) else {"model": given}

    @classmethod
    def of(cls, given: Models | Mapping[str, Any] | str | Path) -> Models:
        """From a mapping by role (``{"planner": "openai:gpt-5", "executor": {"model": …}}``) or the path of a YAML file of that form.

        Raises InvalidDocument and UsageError.
        """
        match given:
            case Models():
                return given
            case str() if names_model(given):
                raise UsageError(f"{given!r} names a model, and not whose: give models={{'planner': {given!r}, …}}, or the path of a file")
            case str() | Path():
                return Document(read_text(given), str(given)).read(cls)
            case _ if not isinstance(given, Mapping):
                raise UsageError(f"{given!r} says nothing of models: give a mapping by role, or the path of a YAML file of that form")
            case _:
                try:
                    return cls.model_validate(dict(given))
                except ValidationError as error:
                    raise InvalidDocument("\n".join(_explain(each) for each in error.errors(include_url=False))) from None

    @classmethod
    def from_env(cls, environ: Mapping[str, str], base: Models | None = None) -> Models:
        """From variables such as ``AGENT_GRAPH_MODEL`` and ``AGENT_GRAPH_JUDGE_TIMEOUT_S`` (docs/models.md), over what ``base`` says.

        Raises UsageError.
        """
        from agent_graph.models.environment import models_from

        return models_from(environ, base or cls())


def _explain(error: Any) -> str:
    """One of pydantic's, in our words."""
    where = describe_path(tuple(error["loc"])) or "models"
    if error["type"] == "extra_forbidden":
        model = Models if len(error["loc"]) == 1 else Specialist if error["loc"][0] == "specialists" else RoleModel
        return f"{where}: this is not known here; there is {', '.join(model.model_fields)}"
    return f"{where}: {describe(error)}"
