"""The graph: reads like its drawing in docs/graph.md."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, get_args

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessageChunk, AnyMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages, push_message
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import get_runtime
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from agent_graph.deps import Deps
from agent_graph.events import Event, Token
from agent_graph.models.speaking import SPEAKS
from agent_graph.nodes.approve import approve
from agent_graph.nodes.conclude import conclude
from agent_graph.nodes.execute import execute
from agent_graph.nodes.observe import observe
from agent_graph.nodes.plan import plan
from agent_graph.nodes.replan import replan
from agent_graph.nodes.routes import AfterApprove, AfterObserve, AfterValidate, may_the_plan_run, what_comes_next, what_was_decided
from agent_graph.nodes.validate import validate
from agent_graph.nodes.visit import Visit, entering
from agent_graph.state import State, Update
from agent_graph.threads import start


def _newest(before: str, after: str) -> str:
    return after


class GraphState(State, total=False):
    """The state with LangGraph's reducers."""

    messages: Annotated[list[AnyMessage], add_messages]
    drive: Annotated[str, _newest]
    """Every node writes it, and a jump makes two of them run side by side."""


class Input(TypedDict, total=False):
    """What a caller gives: a goal, or a conversation whose last message is one."""

    goal: str | dict[str, Any] | None
    """A text, or a ``Goal`` as plain JSON."""
    params: dict[str, Any]
    """Parameters of the goal, by name."""
    messages: Annotated[list[AnyMessage], add_messages]
    run_id: str


class Output(TypedDict, total=False):
    """What a caller gets."""

    answer: Any
    status: str
    run_id: str
    messages: Annotated[list[AnyMessage], add_messages]


class Context(BaseModel):
    """What one invocation may set. It can only narrow what the agent allows."""

    model_config = ConfigDict(title="agent-graph")

    principal: str | None = Field(default=None, title="Principal", description="For whom a new run acts; recorded with it.")
    review_plans: bool = Field(default=False, title="Review plans", description="Show each plan to a person before anything of it runs.")
    max_parallel: int | None = Field(
        default=None, ge=1, le=256, title="Steps side by side", description="At most this many; never more than the agent allows."
    )
    max_replans: int | None = Field(
        default=None, ge=0, le=100, title="Replans", description="At most this many; never more than the agent allows."
    )
    max_steps: int | None = Field(
        default=None, ge=1, le=10_000, title="Steps", description="At most this many in a plan; never more than the agent allows."
    )


Graph = CompiledStateGraph[GraphState, Context, Input, Output]


def build_graph(deps: Deps, checkpointer: BaseCheckpointSaver[str] | None = None) -> Graph:
    """The compiled graph. Without a checkpointer it is for hosts that bring their own, such as LangGraph's server.

    Raises UsageError for a checkpointer that makes objects of what stands in its rows.
    """
    if checkpointer is not None:
        from agent_graph.checkpoints.serializer import refuse_permissive

        refuse_permissive(checkpointer)
    graph = StateGraph(GraphState, context_schema=Context, input_schema=Input, output_schema=Output)

    graph.add_node("plan", _node(plan, deps))
    graph.add_node("validate", _node(validate, deps))
    graph.add_node("approve", _node(approve, deps))
    graph.add_node("execute", _node(execute, deps))
    graph.add_node("observe", _node(observe, deps))
    graph.add_node("replan", _node(replan, deps))
    graph.add_node("conclude", _node(conclude, deps))

    graph.add_edge(START, "plan")
    graph.add_edge("plan", "validate")
    graph.add_conditional_edges("validate", may_the_plan_run, list(get_args(AfterValidate)))
    graph.add_conditional_edges("approve", what_was_decided, list(get_args(AfterApprove)))
    graph.add_edge("execute", "observe")
    graph.add_conditional_edges("observe", what_comes_next, list(get_args(AfterObserve)))
    graph.add_edge("replan", "validate")
    graph.add_edge("conclude", END)

    return graph.compile(checkpointer=checkpointer, name="agent-graph")


def _node(function: Callable[[State, Visit], Update], deps: Deps) -> RunnableLambda[State, Update]:
    """The node for both worlds: called directly by ``invoke``, on a thread of our own by ``ainvoke``."""

    def visit(
        state: State, config: RunnableConfig, loop: asyncio.AbstractEventLoop | None = None, stop: threading.Event | None = None
    ) -> Update:
        with entering(_narrowed(deps), state, config, _emitter(config), loop, stop) as run:
            changed = function(state, run)
        return {**changed, "drive": run.drive}

    def run(state: State, config: RunnableConfig) -> Update:
        return visit(state, config)

    async def arun(state: State, config: RunnableConfig) -> Update:
        thread_id = str(config.get("configurable", {}).get("thread_id", ""))
        while (before := deps.stopping.get(thread_id)) is not None:
            await asyncio.wait([asyncio.wrap_future(before)])
        stop = threading.Event()
        started = start(visit, state, config, asyncio.get_running_loop(), stop)
        work = asyncio.wrap_future(started)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()  # no new call; what is in flight is recorded before the node is gone
            deps.stopping[thread_id] = started
            started.add_done_callback(lambda _: deps.stopping.pop(thread_id, None))
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()
            raise

    for made in (run, arun):
        # LangChain asks for it at each call, and it would be worked out anew each time.
        made.__dict__["__signature__"] = inspect.signature(made)
    return RunnableLambda(run, arun, name=function.__name__)


def _narrowed(deps: Deps) -> Deps:
    """The agent's parts under this invocation's context: tighter, never wider."""
    given: Any = get_runtime(Context).context  # LangGraph passes what the caller gave, or nothing at all
    if given is None:
        return deps
    context = given if isinstance(given, Context) else Context.model_validate(given)
    limits, policy = deps.rules.limits, deps.rules.policy
    asked = {
        name: min(getattr(limits, name), wanted)
        for name in ("max_parallel", "max_replans", "max_steps")
        if (wanted := getattr(context, name)) is not None
    }
    rules = replace(
        deps.rules,
        limits=limits.model_copy(update=asked),
        policy=policy.model_copy(update={"review_plans": policy.review_plans or context.review_plans}),
    )
    return replace(deps, rules=rules, principal=context.principal)


def _emitter(config: RunnableConfig) -> Callable[[Event], None] | None:
    """Our events as LangGraph's custom stream events, and the words of the answer as a message that grows. None: nobody watches either."""
    writer: Callable[[Any], None] = get_stream_writer()
    events, words = _writes(writer), _streams_messages(config)
    if not (events or words):
        return None
    context = contextvars.copy_context()  # the writer looks up its node there, and workers are threads of their own

    def emit(event: Event) -> None:
        if events:
            context.copy().run(writer, event.document())
        if words and isinstance(event, Token) and event.role == SPEAKS:
            # With an id of its own: what a run answers is the message that ``conclude`` writes, in which what is unsupported is marked.
            context.copy().run(push_message, AIMessageChunk(content=event.text, id=f"{event.run_id}:writing"), state_key=None)

    return emit


def _writes(writer: Callable[[Any], None]) -> bool:
    """Whether anybody gets what is written: where nobody asked for custom events, LangGraph's writer is a function that holds nothing."""
    return getattr(writer, "__closure__", True) is not None


def _streams_messages(config: RunnableConfig) -> bool:
    """Whether somebody asked for messages as they come: LangGraph listens for them with a callback of that name."""
    found = config.get("callbacks")
    listening = found.handlers if isinstance(found, BaseCallbackManager) else found or []
    return any(base.__name__ == "StreamMessagesHandler" for each in listening for base in type(each).__mro__)
