"""A chat model as planner: one request makes a plan or the next steps of one, and one revises it.

What comes back is read, held against the schema and turned into a ``Plan``, or it is not used (``models/client.py``).
"""

from __future__ import annotations

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent_graph.errors import ModelError, PlannerError
from agent_graph.models.client import MAX_ASKS, Asking, Form, Method, RoleClient
from agent_graph.models.clients import Clients
from agent_graph.models.drafting import drafts
from agent_graph.models.roles import Models
from agent_graph.plan import Goal, Plan
from agent_graph.planners import prompt
from agent_graph.planners.context import task
from agent_graph.planners.measure import measure_of
from agent_graph.planners.narrowing import MAX_TOOLS
from agent_graph.planners.offer import Offer
from agent_graph.planners.plan_schema import PlanSchema, Reply, plan_schema
from agent_graph.ports import Answer, GiveUp, PlanningContext, Question, ReplanningContext
from agent_graph.records import Usage


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
        max_tools: int = MAX_TOOLS,
    ) -> None:
        self.client = model if isinstance(model, RoleClient) else RoleClient(model, "planner", name=name, max_asks=max_asks, method=method)
        self.replanner = replanner or self.client
        self.name = self.client.name
        self.max_tools = max_tools
        """That it is shown; of more, those are chosen that fit the goal's words."""
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
            return Plan(goal=context.goal, answer=reply.text, reason="what has come so far answers the goal", prompt=prompt.VERSION)
        return reply

    def _ask(self, client: RoleClient, context: PlanningContext) -> Reply:
        schema = self._schema_for(context)
        before = context.plan if isinstance(context, ReplanningContext) else None
        written = schema.document if client.method == "plain" else None
        name = getattr(client.model, "model_name", None) or getattr(client.model, "model", None)
        told = task(context, measure_of(name))
        messages: list[BaseMessage] = [SystemMessage(prompt.instructions(schema.offer, written)), HumanMessage(told)]
        form = Form(name="reply", schema=schema.document, strict=schema.strict, again=prompt.again)
        asking = Asking(meter=context.meter, run_id=context.run_id, tell=drafts(context.tell, context.run_id))
        try:
            reply = client.document(messages, form, lambda document: schema.read(document, context.goal, before), asking)
        except ModelError as error:
            raise PlannerError(str(error)) from error
        return reply.model_copy(update={"prompt": prompt.VERSION}) if isinstance(reply, Plan) else reply

    def _schema_for(self, context: PlanningContext) -> PlanSchema:
        """Built once for the same offer, so that it is the same text each time."""
        offer, made = Offer.of(context), self._schema
        if made is None or made.offer != offer:
            made = self._schema = plan_schema(offer)
        return made


# ── making one ────────────────────────────────────────────────────────────────────────────────────────────────────────


def planner_of(spec: str) -> ChatModelPlanner:
    """The planner of ``openai:MODEL``, or of any other text that LangChain's ``init_chat_model`` reads. Raises UsageError."""
    return planner_from(Clients(Models.of({"planner": spec})))


def planner_from(clients: Clients) -> ChatModelPlanner:
    """The planner's model, with the replanner's where it has its own. Raises UsageError."""
    return ChatModelPlanner(clients.of("planner"), replanner=clients.of("replanner"))
