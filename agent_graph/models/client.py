"""Asking a chat model: for a text, or for a document that is held against a schema.

What comes back is read and checked, or it is not used: what was wrong is said to the model, which is asked again, a bounded number of times.
A reply is never repaired by guessing, and never half taken.

Requests that do not get through (a rate limit, a server error, a timeout) are repeated by the model's own client and by nobody else, so
that retries are counted once. A role's fallback model is asked when its own cannot be.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from agent_graph.errors import AgentGraphError, ModelError, UsageError
from agent_graph.models.asking import NOBODY, Asking, Form
from agent_graph.models.counting import guessed, size_of, used_of
from agent_graph.models.methods import is_openai, method_of
from agent_graph.models.reading import document_of, strictly
from agent_graph.models.replies import WrongReply
from agent_graph.models.roles import Method
from agent_graph.models.streaming import streamed, token_of
from agent_graph.models.whole import CUT_OFF, EMPTY, FILTERED, whole
from agent_graph.ports import UNBOUND, Bounds
from agent_graph.records import Usage

__all__ = ["MAX_ASKS", "NOBODY", "Asking", "Form", "Method", "RoleClient"]

T = TypeVar("T")

MAX_ASKS = 3
NOT_STREAMED = "nostream"
"""LangGraph's tag for a model whose words are no message of the conversation: a chat UI shows plans, not their JSON."""
LONGEST = 16_384
"""Tokens of a reply under a bound, from a model of which it is not known how many it can write."""
REST = 60.0
"""Seconds for which a model that could not be asked is left alone, when there is a fallback."""
STREAMED_AT_MOST = 1_800.0
"""Seconds for a reply of a model object, from its first piece to its last: a client's own limit begins anew with each piece."""
NOTHING = "(nothing)"
"""In the place of a reply that is not there; some servers take no empty message."""
MAX_SHOWN = 8_000
"""Characters of an unusable reply that the model is shown again."""


class RoleClient:
    """One role's model, ready to be asked; threads may ask side by side. ``method``: None chooses by the model.

    ``bounds``: what its role may use in a run. ``advice``: something to say in the trace of a run when the role is asked for the first time.
    ``timeout_s``: for one reply that is streamed; otherwise the model's own client sees to that.
    """

    def __init__(
        self,
        model: BaseChatModel,
        role: str,
        *,
        name: str | None = None,
        max_asks: int = MAX_ASKS,
        method: Method | None = None,
        fallback: RoleClient | None = None,
        bounds: Bounds = UNBOUND,
        advice: str = "",
        timeout_s: float | None = None,
    ) -> None:
        if max_asks < 1:
            raise UsageError(f"max_asks is {max_asks}; a model must be asked once at least")
        self.model = model
        self.role = role
        self.name = name or f"model:{getattr(model, 'model_name', None) or getattr(model, 'model', None) or type(model).__name__}"
        self.max_asks = max_asks
        self.method: Method = method or method_of(model)
        self.fallback = fallback
        self.bounds = bounds
        self.advice = advice
        self.timeout_s = timeout_s or STREAMED_AT_MOST
        self.used = Usage()
        """Since it was made, for whomever."""
        self._counting = threading.Lock()
        self._rests_until = 0.0

    def chat_model(self) -> BaseChatModel:
        """The model itself, for what wants one: a request made with it is not counted. ``turn`` makes one that is."""
        return self.model

    # ── what a reply is wanted for ────────────────────────────────────────────────────────────────────────────────────

    def text(self, messages: Sequence[BaseMessage], asking: Asking = NOBODY) -> str:
        """The reply as a text. Raises ModelError when there is none that is whole, and BudgetExceeded before a request that does not fit."""
        so_far, problem = list(messages), ""
        for _ in range(self.max_asks):
            try:
                said = str(self.request(so_far, None, asking).text).strip()
                if said:
                    return said
                problem = EMPTY
            except WrongReply as error:
                problem = str(error)
            so_far = [*messages, *_again(problem)]
        raise self._gave_up(problem)

    def document(self, messages: Sequence[BaseMessage], form: Form, read: Callable[[Any], T], asking: Asking = NOBODY) -> T:
        """What ``read`` makes of the reply's JSON. ``read`` raises WrongReply for what cannot be used.

        Raises ModelError when no usable reply came, and BudgetExceeded before a request that does not fit.
        """
        so_far, problem = list(messages), ""
        for _ in range(self.max_asks):
            said = ""
            try:
                message, method = self._request(so_far, form, asking)
                said = str(message.text)
                return read(document_of(message, method))
            except WrongReply as error:
                problem = str(error)
            so_far += [AIMessage(said[:MAX_SHOWN] or NOTHING), HumanMessage(form.again(problem))]
        raise self._gave_up(problem)

    def turn(self, messages: Sequence[BaseMessage], tools: Sequence[Any] = (), asking: Asking = NOBODY) -> AIMessage:
        """One turn of an agent: a whole reply, which may call ``tools`` (LangChain's, or functions as OpenAI writes them).

        Raises ModelError when none came, and BudgetExceeded before a request that does not fit.
        """
        so_far, problem = list(messages), ""
        for _ in range(self.max_asks):
            try:
                return self.request(so_far, None, asking, tools=tools)
            except WrongReply as error:
                problem = str(error)
            so_far = [*messages, *_again(problem)]
        raise self._gave_up(problem)

    # ── one request ───────────────────────────────────────────────────────────────────────────────────────────────────

    def request(
        self, messages: Sequence[BaseMessage], form: Form | None, asking: Asking = NOBODY, *, tools: Sequence[Any] = ()
    ) -> AIMessage:
        """One request. Raises WrongReply for a reply that was cut off or refused, ModelError when none came, BudgetExceeded before it."""
        return self._request(messages, form, asking, tools)[0]

    def _request(
        self, messages: Sequence[BaseMessage], form: Form | None, asking: Asking, tools: Sequence[Any] = ()
    ) -> tuple[AIMessage, Method]:
        """And by which method the model that replied was held to the form."""
        if self.fallback is None:
            return self._ask(self, messages, form, asking, tools)
        resting = time.monotonic() < self._rests_until
        first, second = (self.fallback, self) if resting else (self, self.fallback)
        try:
            return self._ask(first, messages, form, asking, tools)
        except ModelError as error:
            if not resting:
                self._rests_until = time.monotonic() + REST
                if asking.meter is not None:
                    what = f"{self.name} could not be asked ({_short(error.__cause__)}); {second.name} is asked instead"
                    asking.meter.note(what, asking.step_id)
            try:
                return self._ask(second, messages, form, asking, tools)
            except ModelError as too:
                raise ModelError(f"{error}\nNor {'the model that it stands in for' if resting else 'its fallback'}: {too}") from too

    def _ask(
        self, whom: RoleClient, messages: Sequence[BaseMessage], form: Form | None, asking: Asking, tools: Sequence[Any]
    ) -> tuple[AIMessage, Method]:
        """This model, or its fallback: what was written for one that is given the schema beside the prompt lacks it for one that reads it there."""
        if whom is self:
            return self._ask_own(messages, form, asking, tools), self.method
        if form is not None and whom.method == "plain" and self.method != "plain":
            wanted = f"Reply with one JSON document and nothing else. It must match this JSON Schema:\n\n{json.dumps(form.schema)}"
            messages = [*messages, HumanMessage(wanted)]
        return whom._request(messages, form, asking, tools)

    def _ask_own(self, messages: Sequence[BaseMessage], form: Form | None, asking: Asking, tools: Sequence[Any]) -> AIMessage:
        held = self._held(form, tools)
        size = size_of(messages, form.schema if form is not None and self.method != "plain" else None, tools)
        most = self._may_write(size, asking)
        if most is not None:
            held = held.bind(max_tokens=most)
        config = {"tags": [NOT_STREAMED]}
        began = time.monotonic()
        used: Usage | None = None
        try:
            if asking.tell is None:
                message: AIMessage = held.invoke(list(messages), config=config)
            else:
                token = token_of(self.role, asking.run_id, asking.step_id)
                message = streamed(held, messages, config, asking.tell, token, calls_too=form is not None, at_most=self.timeout_s)
            used = used_of(message.usage_metadata) or self._guessed(size, message, asking)
        except (WrongReply, AgentGraphError):  # it broke off, or whoever is told wants no more
            used = guessed(size)
            raise
        except Exception as error:
            used = used_of(getattr(getattr(error, "completion", None), "usage", None))
            match type(error).__name__:  # of the openai package, which need not be installed
                case "LengthFinishReasonError":
                    raise WrongReply([CUT_OFF]) from None
                case "ContentFilterFinishReasonError":
                    raise WrongReply([FILTERED]) from None
                case name:
                    if used is None and not _turned_away(error):
                        used = guessed(size)
                    raise ModelError(f"{self.name} could not be asked: {name}: {str(error)[:500]}{self._hint(error)}") from error
        finally:
            self._count(replace(Usage() if used is None else used, requests=1, seconds=time.monotonic() - began), asking)
        return whole(strictly(message), expects_reason=is_openai(self.model))

    def _may_write(self, size: int, asking: Asking) -> int | None:
        """Tokens that the reply to ``size`` bytes may have; None: as many as the model will. Raises BudgetExceeded."""
        meter, own, most = asking.meter, self.bounds, self.bounds.max_reply_tokens
        if meter is not None:
            if self.advice:
                meter.note(self.advice, asking.step_id, first_of=(self.role, self.name))
            # Servers refuse a request that asks for more than the model can write.
            can = (getattr(self.model, "profile", None) or {}).get("max_output_tokens") or LONGEST
            bounds = replace(own, max_reply_tokens=most or can)
            most = meter.ask(self.role, self.name, size, asking.step_id, own=bounds, step=asking.budget) or most
        return None if most is None else min(most, getattr(self.model, "max_tokens", None) or most)

    def _guessed(self, size: int, message: AIMessage, asking: Asking) -> Usage:
        if asking.meter is not None:
            asking.meter.note(
                f"{self.name} does not say how many tokens it uses: they are guessed, as a quarter of the bytes",
                asking.step_id,
                first_of=(self.role, self.name),
            )
        return guessed(size, size_of([message]))

    def _held(self, form: Form | None, tools: Sequence[Any]) -> Any:
        """The model, held to the schema, or with the tools that it may call. Raises ModelError for one that calls none."""
        if form is None:
            return self._calling(tools) if tools else self.model
        match self.method:
            case "json_schema":
                wanted = {"name": form.name, "strict": form.strict, "schema": form.schema}
                return self.model.bind(response_format={"type": "json_schema", "json_schema": wanted})
            case "function_calling":
                function = {"name": form.name, "description": "Gives the whole reply.", "parameters": form.schema}
                return self._calling([{"type": "function", "function": function}], tool_choice="any")
            case "plain":
                return self.model

    def _calling(self, tools: Sequence[Any], **how: Any) -> Any:
        try:
            return self.model.bind_tools(list(tools), **how)
        except NotImplementedError as error:
            kind = type(self.model).__name__
            raise ModelError(f"{self.name} calls no tools in LangChain ({kind}); give the role {self.role} a model that does") from error

    def _count(self, used: Usage, asking: Asking) -> None:
        with self._counting:
            self.used = self.used + used
        if asking.meter is not None:
            asking.meter.count(self.role, self.name, used, asking.step_id)

    def _hint(self, error: Exception) -> str:
        if self.method == "json_schema" and getattr(error, "status_code", None) == 400 and "response_format" in str(error):
            return f"\nIf this server has no structured output, set method: plain for the role {self.role}, or ChatModelPlanner(model, method='plain')."
        return ""

    def _gave_up(self, problem: str) -> ModelError:
        times = "once" if self.max_asks == 1 else f"{self.max_asks} times"
        return ModelError(f"{self.name} was asked {times} and gave no usable reply; the last one: {problem}")


def _again(problem: str) -> list[BaseMessage]:
    """After a reply of which nothing can be shown."""
    return [AIMessage(NOTHING), HumanMessage(f"That reply could not be used: {problem}. Reply again, and whole.")]


def _short(error: BaseException | None) -> str:
    """For the trace, without the server's own words: they may repeat what they were sent."""
    status = getattr(error, "status_code", None)
    return type(error).__name__ + (f" {status}" if status is not None else "")


def _turned_away(error: Exception) -> bool:
    """Whether the request certainly cost nothing: the server said no, or was not there. One that kept silent may have done the work."""
    causes = (error, error.__cause__)
    return any(getattr(each, "status_code", None) is not None or type(each).__name__.startswith("Connect") for each in causes)
