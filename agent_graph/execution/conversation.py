"""What an ``agent`` step and its model have said, on record before anything comes of it, so that the step goes on from there in any process.

A step that is carried out anew begins another conversation. The numbers of its calls count on, so that no two calls of a step share an id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_graph.errors import StoreUnreadable
from agent_graph.execution.context import RunContext
from agent_graph.identity import EffectKey, digest
from agent_graph.plan import Step
from agent_graph.verdicts import Source

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

REPAIR = "repair"
"""Marks what is said about a result that could not be used."""


@dataclass(slots=True, kw_only=True)
class Conversation:
    run: RunContext
    step: Step
    number: int
    """Of the step's conversations, from 0."""
    opening: dict[str, Any]
    messages: list[BaseMessage] = field(default_factory=list)
    """After the opening."""
    worked: float = 0.0
    """Seconds, up to the last message."""

    @property
    def key(self) -> str:
        return _key(self.run, self.step, self.number)

    @property
    def outcome_key(self) -> EffectKey:
        """Of the row in which it ends. Once there is one, the step is carried out anew, if at all."""
        return _outcome_key(self.run, self.step, self.number)

    @property
    def first(self) -> int:
        """Number of its first call."""
        return int(self.opening["first"])

    @property
    def version(self) -> int:
        """The plan version in which it began."""
        return int(self.opening["version"])

    @property
    def read(self) -> tuple[Source, ...]:
        """Of what the step works on: what came from outside, or is sensitive."""
        return tuple(Source.model_validate(each) for each in self.opening["read"])

    @property
    def turns(self) -> list[Any]:
        """What the model said, each time."""
        return [message for message in self.messages if message.type == "ai"]

    @property
    def repairs(self) -> int:
        return sum(bool(message.additional_kwargs.get(REPAIR)) for message in self.messages)

    @property
    def last(self) -> BaseMessage | None:
        return self.messages[-1] if self.messages else None

    def add(self, *messages: BaseMessage, worked: float) -> None:
        """Put on disk what was said, all of it or nothing: the answers to one reply belong together. ``worked``: seconds in all."""
        from langchain_core.messages import message_to_dict

        written = [plain({"said": message_to_dict(message), "worked": round(worked, 3)}) for message in messages]
        self.run.store.conversations.add(self.run.lease, self.key, len(self.messages) + 1, written)
        self.messages += messages
        self.worked = worked


def under_way(run: RunContext, step: Step) -> Conversation | int:
    """The step's conversation that has not ended; or the number of the next one, when there is none. Raises StoreUnreadable."""
    from langchain_core.messages import messages_from_dict

    number = 0
    while True:
        if run.store.ledger.effect(_outcome_key(run, step, number)) is None:
            entries = run.store.conversations.of(run.run_id, _key(run, step, number))
            if not entries:
                return number
            opening, said = entries[0], entries[1:]
            try:
                if opening["step"] == _same(run, step):
                    messages = _answered(messages_from_dict([entry["said"] for entry in said]))
                    worked = float(said[-1]["worked"]) if said else 0.0
                    return Conversation(run=run, step=step, number=number, opening=opening, messages=messages, worked=worked)
            except (KeyError, TypeError, ValueError) as error:
                raise StoreUnreadable.of_row("conversations", f"{run.run_id}/{step.id}", error) from error
        number += 1


def begin(run: RunContext, step: Step, number: int, **opening: Any) -> Conversation:
    """``opening``: what was told, and what had been read."""
    first = 1 + max((int(call_id.rpartition(".")[2]) for call_id in run.results.calls_of(step.id)), default=0)
    whole = plain({"step": _same(run, step), "version": run.plan.version, "first": first, **opening})
    run.store.conversations.add(run.lease, _key(run, step, number), 0, [whole])
    return Conversation(run=run, step=step, number=number, opening=whole)


def _answered(messages: list[BaseMessage]) -> list[BaseMessage]:
    """Without the answers to the last reply, unless each of its calls has one: no model can be asked in between. They are given anew, which
    calls nothing that has ended."""
    from langchain_core.messages import AIMessage, ToolMessage

    at = max((at for at, message in enumerate(messages) if isinstance(message, AIMessage)), default=None)
    if at is None:
        return messages
    reply = messages[at]
    assert isinstance(reply, AIMessage)  # noqa: S101  # it was looked for
    answered = {message.tool_call_id for message in messages[at + 1 :] if isinstance(message, ToolMessage)}
    every = {call["id"] for call in (*reply.tool_calls, *reply.invalid_tool_calls)}
    return messages if every <= answered else messages[: at + 1]


def _same(run: RunContext, step: Step) -> str:
    """Of the step, and of the parameters that it works on: a goal that was revised to others is another task."""
    params = {ref.param: run.plan.goal.params.get(ref.param) for _, ref in step.references if ref.param is not None}
    return digest([step.model_dump(mode="json", exclude_defaults=True), params])


def _key(run: RunContext, step: Step, number: int) -> str:
    return digest(["conversation", run.run_id, step.id, number])[:32]


def _outcome_key(run: RunContext, step: Step, number: int) -> EffectKey:
    return EffectKey(digest(["agent", run.run_id, step.id, number])[:32])


def plain(value: Any) -> Any:
    """As JSON that can be stored. Half a character, as a broken model may write it, is replaced."""
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
    return json.loads(text)
