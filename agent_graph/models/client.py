"""Asking a chat model: for a text, or for a document that is held against a schema.

What comes back is read and checked, or it is not used: what was wrong is said to the model, which is asked again, a bounded number of times.
A reply is never repaired by guessing, and never half taken.

Requests that do not get through (a rate limit, a server error, a timeout) are repeated by the model's own client and by nobody else, so
that retries are counted once. A role's fallback model is asked when its own cannot be.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from agent_graph.errors import ModelError, UsageError
from agent_graph.events import Event
from agent_graph.models.replies import WrongReply, parse_first
from agent_graph.ports import Meter
from agent_graph.records import Usage

T = TypeVar("T")

Method = Literal["json_schema", "function_calling", "plain"]
"""
How the model is held to a schema. ``json_schema``: OpenAI's structured output; ``function_calling``: the reply is the arguments of a
call; ``plain``: the schema stands in the prompt, and the reply is JSON in the text.
"""

MAX_ASKS = 3
NOT_STREAMED = "nostream"
"""LangGraph's tag for a model whose words are no message of the conversation: a chat UI shows plans, not their JSON."""
MAX_SHOWN = 8_000
"""Characters of an unusable reply that the model is shown again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """On whose account a request is made, and who watches."""

    meter: Meter | None = None
    """None: nothing is counted."""
    run_id: str = ""
    step_id: str | None = None
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


class RoleClient:
    """One role's model, ready to be asked. ``method``: None chooses by the model."""

    def __init__(
        self,
        model: BaseChatModel,
        role: str,
        *,
        name: str | None = None,
        max_asks: int = MAX_ASKS,
        method: Method | None = None,
        fallback: RoleClient | None = None,
    ) -> None:
        if max_asks < 1:
            raise UsageError(f"max_asks is {max_asks}; a model must be asked once at least")
        self.model = model
        self.role = role
        self.name = name or f"model:{getattr(model, 'model_name', None) or getattr(model, 'model', None) or type(model).__name__}"
        self.max_asks = max_asks
        self.method: Method = method or method_of(model)
        self.fallback = fallback
        self.used = Usage()
        """Since it was made, for whomever."""
        self._counting = threading.Lock()

    def text(self, messages: Sequence[BaseMessage], asking: Asking = NOBODY) -> str:
        """The reply as a text. Raises ModelError when there is none that is whole, and BudgetExceeded before a request that does not fit."""
        problem = ""
        for _ in range(self.max_asks):
            try:
                said = str(self.request(messages, None, asking).text).strip()
            except WrongReply as error:
                problem = str(error)
                continue
            if said:
                return said
            problem = "the reply is empty"
        raise ModelError(f"{self.name} was asked {_times(self.max_asks)} and gave no usable reply; the last one: {problem}")

    def document(self, messages: Sequence[BaseMessage], form: Form, read: Callable[[Any], T], asking: Asking = NOBODY) -> T:
        """What ``read`` makes of the reply's JSON. ``read`` raises WrongReply for what cannot be used.

        Raises ModelError when no usable reply came, and BudgetExceeded before a request that does not fit.
        """
        so_far, problem = list(messages), ""
        for _ in range(self.max_asks):
            said = ""
            try:
                message = self.request(so_far, form, asking)
                said = str(message.text)
                return read(self._document(message))
            except WrongReply as error:
                problem = str(error)
            so_far += [AIMessage(said[:MAX_SHOWN] or "(nothing)"), HumanMessage(form.again(problem))]
        raise ModelError(f"{self.name} was asked {_times(self.max_asks)} and gave no usable reply; the last one: {problem}")

    def request(self, messages: Sequence[BaseMessage], form: Form | None, asking: Asking = NOBODY) -> AIMessage:
        """One request. Raises WrongReply for a reply that was cut off or refused, ModelError when none came, BudgetExceeded before it."""
        held = self._held(form)
        if asking.meter is not None:
            size = sum(len(str(message.content).encode()) for message in messages)
            size += len(json.dumps(form.schema).encode()) if form is not None and self.method != "plain" else 0
            most = asking.meter.ask(self.role, self.name, size, asking.step_id)
            if most is not None:
                held = held.bind(max_tokens=min(most, getattr(self.model, "max_tokens", None) or most))
        began = time.monotonic()
        try:
            message: AIMessage = held.invoke(list(messages), config={"tags": [NOT_STREAMED]})
        except Exception as error:
            self._count(getattr(getattr(error, "completion", None), "usage", None), asking, time.monotonic() - began)
            match type(error).__name__:  # of the openai package, which need not be installed
                case "LengthFinishReasonError":
                    raise WrongReply([_CUT_OFF]) from None
                case "ContentFilterFinishReasonError":
                    raise WrongReply([_FILTERED]) from None
                case name:
                    if self.fallback is not None:
                        return self.fallback.request(messages, form, asking)
                    raise ModelError(f"{self.name} could not be asked: {name}: {str(error)[:500]}{self._hint(error)}") from error
        self._count(message.usage_metadata, asking, time.monotonic() - began)
        return _whole(message, expects_reason=_is_openai(self.model))

    def _held(self, form: Form | None) -> Any:
        """The model, held to the schema."""
        if form is None:
            return self.model
        match self.method:
            case "json_schema":
                wanted = {"name": form.name, "strict": form.strict, "schema": form.schema}
                return self.model.bind(response_format={"type": "json_schema", "json_schema": wanted})
            case "function_calling":
                function = {"name": form.name, "description": "Gives the whole reply.", "parameters": form.schema}
                return self.model.bind_tools([{"type": "function", "function": function}], tool_choice="any")
            case "plain":
                return self.model

    def _document(self, message: AIMessage) -> Any:
        """The JSON document of a whole reply. Raises WrongReply."""
        if self.method == "function_calling" and message.tool_calls:
            return message.tool_calls[0]["args"]
        if self.method == "function_calling" and message.invalid_tool_calls:
            raise WrongReply([f"the arguments of the call are not JSON: {str(message.invalid_tool_calls[0].get('args'))[:200]!r}"])
        text = str(message.text).strip()
        if not text:
            raise WrongReply(["the reply is empty"])
        if self.method != "json_schema":  # in prose, or in a fence; the first object, whole
            text = text[max(0, text.find("{")) :]
        try:
            document, end = parse_first(text)
        except ValueError as error:
            raise WrongReply([f"the reply is not JSON: {error}"]) from None
        if self.method == "json_schema" and text[end:].strip():
            raise WrongReply([f"there is more after the JSON document: {text[end:].strip()[:100]!r}"])
        return document

    def _count(self, usage: Any, asking: Asking, seconds: float) -> None:
        """``usage`` as LangChain has it, or as OpenAI has it in an error."""
        used = used_of(usage, seconds)
        with self._counting:
            self.used = self.used + used
        if asking.meter is not None:
            asking.meter.count(self.role, self.name, used, asking.step_id)

    def _hint(self, error: Exception) -> str:
        if self.method == "json_schema" and getattr(error, "status_code", None) == 400 and "response_format" in str(error):
            return "\nIf this server has no structured output, use ChatModelPlanner(model, method='plain')."
        return ""


def used_of(usage: Any, seconds: float) -> Usage:
    """Of one request: ``usage`` as LangChain has it, as OpenAI has it in an error, or None."""

    def tokens(*names: str, of: Any = usage) -> int:
        found = (of.get(name) if isinstance(of, dict) else getattr(of, name, None) for name in names)
        return next((count for count in found if isinstance(count, int)), 0)

    details = usage if isinstance(usage, dict) else {}
    return Usage(
        requests=1,
        input_tokens=tokens("input_tokens", "prompt_tokens"),
        output_tokens=tokens("output_tokens", "completion_tokens"),
        cached_tokens=tokens("cache_read", of=details.get("input_token_details") or {}),
        reasoning_tokens=tokens("reasoning", of=details.get("output_token_details") or {}),
        seconds=seconds,
    )


_CUT_OFF = "the reply was cut off at the limit of its length; write a shorter one"
_FILTERED = "the reply was held back by the server's content filter"


def _whole(message: AIMessage, *, expects_reason: bool) -> AIMessage:
    """The message, if it is all of the reply. Servers say so in different words. Raises WrongReply."""
    said = message.response_metadata
    refusal = message.additional_kwargs.get("refusal") or next(
        (block.get("refusal") for block in message.content if isinstance(block, dict) and block.get("type") == "refusal"), None
    )
    if refusal:
        raise WrongReply(
            [f"you refused: {str(refusal)[:500]} — if there is no acceptable plan for the goal, reply with give_up and say why"]
        )
    reason = said.get("finish_reason") or said.get("stop_reason") or said.get("done_reason") or said.get("status")
    match str(reason or "").lower():
        case "length" | "max_tokens" | "model_length" | "incomplete":
            raise WrongReply([_CUT_OFF])
        case "content_filter" | "safety" | "refusal" | "recitation":
            raise WrongReply([_FILTERED])
        case "" if expects_reason:
            raise WrongReply(["the reply broke off before its end"])
        case _:
            return message


def method_of(model: BaseChatModel) -> Method:
    """The strictest method that the model's class is known to have."""
    if _is_openai(model):
        return "json_schema"
    return "function_calling" if type(model).bind_tools is not BaseChatModel.bind_tools else "plain"


def _is_openai(model: BaseChatModel) -> bool:
    module = sys.modules.get("langchain_openai.chat_models.base")
    return module is not None and isinstance(model, module.BaseChatOpenAI)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
