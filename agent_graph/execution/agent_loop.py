"""LangChain's agent, carrying out an ``agent`` step: it takes the turns; what is said, called and stored goes through our hands.

It has no checkpoint of its own. A loop that goes on in another process begins with the messages on record, at whoever was next.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelResponse, hook_config
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool

if TYPE_CHECKING:
    from agent_graph.execution.agent_step import AgentStep

TOOLS, MODEL, ENDED = "tools", "model", "end"


def take_turns(step: AgentStep) -> None:
    """Until the step has its result, or cannot get one. Raises whatever ended it before."""
    ours = _Ours(step)
    agent: Any = create_agent(step.client.chat_model(), [_NOTHING], middleware=[ours])
    messages = [HumanMessage(step.conversation.opening["task"]), *step.conversation.messages]
    try:
        agent.invoke({"messages": messages}, config={"recursion_limit": 1_000_000, "callbacks": []})
    except BaseException:
        if ours.stopped is not None:
            raise ours.stopped from None
        raise


class _Ours(AgentMiddleware[Any, Any, Any]):
    def __init__(self, step: AgentStep) -> None:
        super().__init__()
        self.step = step
        self.stopped: BaseException | None = None
        """What ended the loop while tools were called."""
        self._said = AIMessage("")
        self._problems: list[Any] = []
        self._answers: dict[str, Any] | None = None
        """To the calls of the last reply, by id."""
        self._lock = threading.Lock()

    @hook_config(can_jump_to=["tools", "model", "end"])
    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        last = self.step.conversation.last
        return self._next(last) if isinstance(last, AIMessage) else None

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        return ModelResponse(result=[self.step.turn()])

    @hook_config(can_jump_to=["tools", "model", "end"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        last = self.step.conversation.last
        return self._next(last) if isinstance(last, AIMessage) else None

    def _next(self, said: AIMessage) -> dict[str, Any]:
        told, following = self.step.after(said)
        self._answers = None
        if following == TOOLS:
            # What is wrong with some of its calls is told with what came of the others: both are on record at once, or neither.
            self._said, self._problems = said, told
            return {"jump_to": TOOLS}
        self.step.add(told)
        return {"jump_to": following, "messages": told}

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        """The calls of one reply are made in their order, by whichever of LangGraph's threads comes first."""
        with self._lock:
            if self.stopped is not None:
                raise self.stopped
            if self._answers is None:
                try:
                    told = self.step.answers(self._said)
                    self.step.add([*self._problems, *told])
                except BaseException as error:
                    self.stopped = error
                    raise
                self._answers = {message.tool_call_id: message for message in told}
            return self._answers[request.tool_call["id"]]


def _never() -> None:
    raise AssertionError("calls are made by the pipeline")


_NOTHING = StructuredTool.from_function(_never, name="nothing", description="Stands for the step's tools, which the pipeline calls.")
