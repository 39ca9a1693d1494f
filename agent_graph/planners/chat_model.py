"""A chat model as planner, single shot: one request makes a whole plan, and one revises it.

What comes back is read, held against the schema and turned into a ``Plan``, or it is not used (``models/client.py``).
"""

from __future__ import annotations

import os

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent_graph.errors import ModelError, PlannerError, UsageError
from agent_graph.models.client import MAX_ASKS, Asking, Form, Method, RoleClient
from agent_graph.plan import Goal, Plan
from agent_graph.planners import prompt
from agent_graph.planners.plan_schema import PlanSchema, Reply, plan_schema
from agent_graph.ports import Answer, GiveUp, PlanningContext, Question, ReplanningContext
from agent_graph.records import Usage

TIMEOUT = 180.0
"""Seconds for one try of one request; a reasoning model may think for minutes."""
MAX_RETRIES = 2
"""Of one request by the client: after 408, 409, 429 (as long as Retry-After says), 5xx, a timeout, a lost connection."""


class ChatModelPlanner:
    """``model``: any LangChain chat model. ``max_asks``: requests for one plan, the first included. ``method``: None chooses by the model."""

    can_replan = True
    prompt_version = prompt.VERSION

    def __init__(
        self,
        model: BaseChatModel | RoleClient,
        *,
        name: str | None = None,
        max_asks: int = MAX_ASKS,
        method: Method | None = None,
        replanner: RoleClient | None = None,
    ) -> None:
        self.client = model if isinstance(model, RoleClient) else RoleClient(model, "planner", name=name, max_asks=max_asks, method=method)
        self.replanner = replanner or self.client
        self.name = self.client.name
        self._schema: PlanSchema | None = None

    @property
    def usage(self) -> Usage:
        """Of its model, since it was made."""
        return self.client.used

    def complete(self, goal: Goal) -> Goal:
        return goal

    def plan(self, context: PlanningContext) -> Plan | Question | Answer:
        """Raises PlannerError when the model gives nothing that can be used, or sees no way to the goal."""
        reply = self._ask(self.client, context)
        if isinstance(reply, GiveUp):
            raise PlannerError(f"{self.name} sees no way to the goal: {reply.reason}")
        return reply

    def replan(self, context: ReplanningContext) -> Plan | Question | GiveUp:
        """Raises PlannerError when the model gives nothing that can be used."""
        reply = self._ask(self.replanner, context)
        if isinstance(reply, Answer):  # what has ended is enough: no step is left to do
            return Plan(goal=context.goal, answer=reply.text, reason="what has come so far answers the goal")
        return reply

    def _ask(self, client: RoleClient, context: PlanningContext) -> Reply:
        schema = self._schema_for(context)
        before = context.plan if isinstance(context, ReplanningContext) else None
        written = schema.document if client.method == "plain" else None
        messages: list[BaseMessage] = [SystemMessage(prompt.instructions(context.tools, written)), HumanMessage(prompt.task(context))]
        form = Form(name="reply", schema=schema.document, strict=schema.strict, again=prompt.again)
        asking = Asking(meter=context.meter, run_id=context.run_id, tell=context.tell)
        try:
            return client.document(messages, form, lambda document: schema.read(document, context.goal, before), asking)
        except ModelError as error:
            raise PlannerError(str(error)) from error

    def _schema_for(self, context: PlanningContext) -> PlanSchema:
        """Built once for the same tools, so that it is the same text each time."""
        tools = tuple(context.tools.values())
        if self._schema is None or self._schema.tools != tools:
            self._schema = plan_schema(context.tools)
        return self._schema


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
