"""A reply as it comes: each piece is told, and all of them together are the reply."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage

from agent_graph.events import Event, Token
from agent_graph.models.replies import WrongReply
from agent_graph.models.whole import BROKE_OFF


def streamed(
    model: Any,
    messages: Sequence[BaseMessage],
    config: dict[str, Any],
    tell: Callable[[Event], None],
    token: Callable[[str], Token],
    *,
    calls_too: bool,
    at_most: float,
) -> AIMessageChunk:
    """The whole message, told piece by piece. ``calls_too``: the arguments of a call are the reply. ``at_most``: seconds from its first piece to its last.

    Raises WrongReply when it breaks off in the middle, TimeoutError when it does not end, and what the model raises when nothing came.
    """
    pieces = iter(model.stream(list(messages), config=config))
    so_far: AIMessageChunk | None = None
    begins, until = True, float("inf")
    while True:
        try:
            chunk = next(pieces)
        except StopIteration:
            break
        except Exception as error:
            # With a name of its own: the model has said all that it was going to, and the server why it stopped.
            if so_far is None or type(error).__name__ in ("LengthFinishReasonError", "ContentFilterFinishReasonError"):
                raise
            raise WrongReply([f"{BROKE_OFF} ({type(error).__name__})"]) from error
        if so_far is None:  # tries before it are the client's
            until = time.monotonic() + at_most
        if time.monotonic() > until:
            pieces.close()
            raise TimeoutError(f"the reply was still coming after {at_most:g} seconds")
        so_far = chunk if so_far is None else so_far + chunk
        said = str(chunk.text) or ("".join(part["args"] or "" for part in chunk.tool_call_chunks) if calls_too else "")
        if said:
            tell(replace(token(said), begins=begins))
            begins = False
    if so_far is None:
        raise WrongReply([BROKE_OFF])
    return so_far


def token_of(role: str, run_id: str, step_id: str | None) -> Callable[[str], Token]:
    return lambda text: Token(run_id=run_id, at=time.time(), role=role, text=text, step_id=step_id)
