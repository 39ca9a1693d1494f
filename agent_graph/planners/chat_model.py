"""A chat model as planner, single shot: one request makes a whole plan, and one revises it.

What comes back is read, held against the schema and turned into a ``Plan``, or it is not used: what was wrong is said to the model, which
is asked again, a bounded number of times. A plan is never repaired by guessing, and never half taken.

Requests that do not get through (a rate limit, a server error, a timeout) are repeated by the model's own client and by nobody else, so
that retries are counted once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from agent_graph.errors import PlannerError, UsageError
from agent_graph.plan import Goal, Plan
from agent_graph.planners import prompt
from agent_graph.planners.plan_schema import PlanSchema, Reply, plan_schema
from agent_graph.planners.reply import WrongReply, parse_first
from agent_graph.ports import Answer, GiveUp, Meter, PlanningContext, Question, ReplanningContext

Method = Literal["json_schema", "function_calling", "plain"]
"""
How the model is held to the schema. ``json_schema``: OpenAI's structured output; ``function_calling``: the reply is the arguments of a
call; ``plain``: the schema stands in the prompt, and the reply is JSON in the text.
"""

TIMEOUT = 180.0
"""Seconds for one try of one request; a reasoning model may think for minutes."""
MAX_RETRIES = 2
"""Of one request by the client: after 408, 409, 429 (as long as Retry-After says), 5xx, a timeout, a lost connection."""
MAX_ASKS = 3
ROLE = "planner"
NOT_STREAMED = "nostream"
"""LangGraph's tag for a model whose words are no message of the conversation: a chat UI shows plans, not their JSON."""
MAX_SHOWN = 8_000
"""Characters of an unusable reply that the model is shown again."""


@dataclass(slots=True)
class Usage:
    """What a planner has used since it was made."""

    requests: int = 0
    """Replies asked for; what the client repeats by itself is not counted again."""
    input_tokens: int = 0
    output_tokens: int = 0


class ChatModelPlanner:
    """``model``: any LangChain chat model. ``max_asks``: requests for one plan, the first included. ``method``: None chooses by the model."""

    can_replan = True
    prompt_version = prompt.VERSION

    def __init__(self, model: BaseChatModel, *, name: str | None = None, max_asks: int = MAX_ASKS, method: Method | None = None) -> None:
        if max_asks < 1:
            raise UsageError(f"max_asks is {max_asks}; a planner must be asked once at least")
        self.model = model
        self.name = name or f"model:{getattr(model, 'model_name', None) or getattr(model, 'model', None) or type(model).__name__}"
        self.max_asks = max_asks
        self.method: Method = method or method_of(model)
        self.usage = Usage()
        self._counting = threading.Lock()
        self._schema: PlanSchema | None = None

    def complete(self, goal: Goal) -> Goal:
        return goal

    def plan(self, context: PlanningContext) -> Plan | Question | Answer:
        """Raises PlannerError when the model gives nothing that can be used, or sees no way to the goal."""
        reply = self._ask(context)
        if isinstance(reply, GiveUp):
            raise PlannerError(f"{self.name} sees no way to the goal: {reply.reason}")
        return reply

    def replan(self, context: ReplanningContext) -> Plan | Question | GiveUp:
        """Raises PlannerError when the model gives nothing that can be used."""
        reply = self._ask(context)
        if isinstance(reply, Answer):  # what has ended is enough: no step is left to do
            return Plan(goal=context.goal, answer=reply.text, reason="what has come so far answers the goal")
        return reply

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, context: PlanningContext) -> Reply:
        schema = self._schema_for(context)
        before = context.plan if isinstance(context, ReplanningContext) else None
        written = schema.document if self.method == "plain" else None
        messages: list[BaseMessage] = [SystemMessage(prompt.instructions(context.tools, written)), HumanMessage(prompt.task(context))]
        problem = ""
        for _ in range(self.max_asks):
            said = ""
            try:
                message = self._request(messages, schema, context.meter)
                said = str(message.text)
                return schema.read(self._document(message), context.goal, before)
            except WrongReply as error:
                problem = str(error)
            messages += [AIMessage(said[:MAX_SHOWN] or "(nothing)"), HumanMessage(prompt.again(problem))]
        asked = "once" if self.max_asks == 1 else f"{self.max_asks} times"
        raise PlannerError(f"{self.name} was asked {asked} and gave no usable reply; the last one: {problem}")

    def _schema_for(self, context: PlanningContext) -> PlanSchema:
        """Built once for the same tools, so that it is the same text each time."""
        tools = tuple(context.tools.values())
        if self._schema is None or self._schema.tools != tools:
            self._schema = plan_schema(context.tools)
        return self._schema

    def _request(self, messages: Sequence[BaseMessage], schema: PlanSchema, meter: Meter | None) -> AIMessage:
        """One request. Raises WrongReply for a reply that was cut off or refused, PlannerError when none came, BudgetExceeded before it."""
        held = self._held(schema)
        if meter is not None:
            size = sum(len(str(message.content).encode()) for message in messages)
            size += 0 if self.method == "plain" else len(json.dumps(schema.document).encode())
            most = meter.ask(ROLE, self.name, size)
            if most is not None:
                held = held.bind(max_tokens=min(most, getattr(self.model, "max_tokens", None) or most))
        try:
            message = held.invoke(list(messages), config={"tags": [NOT_STREAMED]})
        except Exception as error:
            self._count(getattr(getattr(error, "completion", None), "usage", None), meter)
            match type(error).__name__:  # of the openai package, which need not be installed
                case "LengthFinishReasonError":
                    raise WrongReply([_CUT_OFF]) from None
                case "ContentFilterFinishReasonError":
                    raise WrongReply([_FILTERED]) from None
                case name:
                    raise PlannerError(f"{self.name} could not be asked: {name}: {str(error)[:500]}{self._hint(error)}") from error
        self._count(message.usage_metadata, meter)
        return _whole(message, expects_reason=_is_openai(self.model))

    def _held(self, schema: PlanSchema) -> Any:
        """The model, held to the schema."""
        document = schema.document
        match self.method:
            case "json_schema":
                wanted = {"name": "reply", "strict": schema.strict, "schema": document}
                return self.model.bind(response_format={"type": "json_schema", "json_schema": wanted})
            case "function_calling":
                function = {"name": "reply", "description": "Gives the plan, question, answer or reason.", "parameters": document}
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

    def _count(self, usage: Any, meter: Meter | None) -> None:
        """``usage`` as LangChain has it, or as OpenAI has it in an error."""

        def tokens(*names: str) -> int:
            found = (usage.get(name) if isinstance(usage, dict) else getattr(usage, name, None) for name in names)
            return next((count for count in found if isinstance(count, int)), 0)

        read, written = tokens("input_tokens", "prompt_tokens"), tokens("output_tokens", "completion_tokens")
        with self._counting:
            self.usage.requests += 1
            self.usage.input_tokens += read
            self.usage.output_tokens += written
        if meter is not None:
            meter.count(ROLE, self.name, 1, read, written)

    def _hint(self, error: Exception) -> str:
        if self.method == "json_schema" and getattr(error, "status_code", None) == 400 and "response_format" in str(error):
            return "\nIf this server has no structured output, use ChatModelPlanner(model, method='plain')."
        return ""


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────

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


# ── making one ────────────────────────────────────────────────────────────────────────────────────────────────────────


def planner_of(spec: str) -> ChatModelPlanner:
    """The planner of ``openai:MODEL``. This is where the environment is read. Raises UsageError."""
    provider, _, name = spec.partition(":")
    if provider != "openai" or not name:
        raise UsageError(f"{spec!r} is not a model: write openai:MODEL, or give a LangChain chat model object")
    key = os.environ.get("OPENAI_API_KEY")
    if not key:
        raise UsageError(
            f"planner {spec!r} needs a key: set OPENAI_API_KEY. For another server that speaks OpenAI's protocol, set OPENAI_BASE_URL too; "
            "where it wants no key, any text will do"
        )
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    model = ChatOpenAI(
        model=name,
        api_key=SecretStr(key),
        base_url=os.environ.get("OPENAI_BASE_URL") or None,
        timeout=TIMEOUT,
        max_retries=MAX_RETRIES,
    )
    return ChatModelPlanner(model, name=spec)
