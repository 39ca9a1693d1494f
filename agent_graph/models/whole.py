"""Whether a message is all of a reply: not cut off, not refused, not held back. Servers say so in different words."""

from __future__ import annotations

from langchain_core.messages import AIMessage

from agent_graph.models.replies import WrongReply

CUT_OFF = "the reply was cut off at the limit of its length; write a shorter one"
FILTERED = "the reply was held back by the server's content filter"
EMPTY = "the reply is empty"
BROKE_OFF = "the reply broke off before its end"


def whole(message: AIMessage, *, expects_reason: bool) -> AIMessage:
    """The message, if it is all of the reply. ``expects_reason``: whether the server always says why a reply ended. Raises WrongReply."""
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
            raise WrongReply([CUT_OFF])
        case "content_filter" | "safety" | "refusal" | "recitation":
            raise WrongReply([FILTERED])
        case "" if expects_reason:
            raise WrongReply([BROKE_OFF])
        case _:
            return message
