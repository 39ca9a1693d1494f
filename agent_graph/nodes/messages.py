"""The run as a conversation: a goal may come as the last message, and plan, questions, progress and answer leave as messages.

Task state never depends on it. A message has a fixed id, so that one that is said again takes the place of the first.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from agent_graph.identity import RunId, digest
from agent_graph.plan import Plan
from agent_graph.policy.answers import text_of as text_of_value
from agent_graph.revision import Revision
from agent_graph.state import State
from agent_graph.trace.answers import for_people
from agent_graph.trace.revised import revision_lines
from agent_graph.verdicts import Request

MOST_STEPS = 30
"""A longer plan is cut in the conversation, and how much is left out is said."""


def goal_in(state: State) -> Any:
    """The goal that is new in this state: given as such, or as the last message of a person. None when there is none."""
    if state.get("goal") is not None:
        return state["goal"]
    last = last_message(state)
    if last is None or _of(last, "type") != "human" or _of(last, "id") == state.get("taken"):
        return None
    return text_of(_of(last, "content")) or None


def last_message(state: State) -> Any:
    messages = state.get("messages") or [None]
    return messages[-1]


def last_message_id(state: State) -> str:
    """To tell later that the message was taken."""
    return str(_of(last_message(state), "id") or "")


def _of(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, dict) else getattr(message, name, None)


def text_of(content: Any) -> str:
    """A message's content as plain text, whether it is a text or a list of blocks."""
    if isinstance(content, str):
        return content.strip()
    parts = (part if isinstance(part, str) else part.get("text", "") for part in content or () if isinstance(part, str | dict))
    return "\n".join(part for part in parts if part).strip()


def plan_message(run_id: RunId, plan: Plan) -> dict[str, Any]:
    head = f"Plan, version {plan.version}" + (f" ({plan.reason})" if plan.reason else "") + ":"
    lines = [
        f"{number}. {step.description or step.id} — {step.tool or step.kind}" for number, step in enumerate(plan.steps[:MOST_STEPS], 1)
    ]
    if len(plan.steps) > MOST_STEPS:
        lines.append(f"… and {len(plan.steps) - MOST_STEPS} more steps")
    return _message(f"{run_id}:plan:{plan.version}", "\n".join([head, "", *lines]))


def revision_message(run_id: RunId, before: Plan, after: Plan, revision: Revision) -> dict[str, Any]:
    """A version that revises another: what it changed, and no more."""
    lines = list(itertools.islice(revision_lines(revision, before, after), MOST_STEPS + 1))
    more = ["…"] if len(lines) > MOST_STEPS else []
    why = f" ({after.reason})" if after.reason else ""
    text = "\n".join([f"Plan, version {after.version}{why}:", "", "```diff", *lines[:MOST_STEPS], *more, "```"])
    return _message(f"{run_id}:plan:{after.version}", text)


def request_message(request: Request) -> dict[str, Any]:
    match request.kind:
        case "question":
            text = request.question or ""
            if request.choices:
                text += "\n\n" + "\n".join(f"- {choice}" for choice in request.choices)
            if request.proposed is not None:
                text += f"\n\nProposed: {text_of_value(request.proposed)}"
        case "plan":
            text = f"This plan waits for your approval: {request.reason}"
            text += "".join(f"\n\nThe judge remarks: {issue.said}" for issue in request.remarks)
        case "step":
            text = f"`{request.tool}` waits for your approval: {request.reason}"
        case "in_doubt":
            text = f"It is not known whether `{request.tool}` happened: {request.reason}. Did it land, or is it absent?"
    return _message(f"{request.run_id}:request:{request.id}", text)


def unused_message(run_id: RunId, message_id: str, text: str, why: str) -> dict[str, Any]:
    """A UI's chat box starts a new run of the graph instead of answering; whoever typed there must not believe that it was an answer."""
    said = text if len(text) <= 200 else f"{text[:200]}…"
    note = f"Not used, since {why}: “{said}”. What waits is answered where it is shown."
    return _message(f"{run_id}:unused:{digest([message_id, text])[:8]}", note)


def progress_message(run_id: RunId, version: int, ended: int, steps: int, why: str) -> dict[str, Any]:
    """One for each plan version, brought up to date."""
    return _message(f"{run_id}:progress:{version}", f"{ended} of {steps} steps have ended; {why}.")


def answer_message(run_id: RunId, status: str, answer: Any, error: str | None) -> dict[str, Any]:
    parts = [f"The run {status}: {error}"] if error else []
    if answer is not None:
        parts.append(answer_text(answer))
    return _message(f"{run_id}:answer", "\n\n".join(parts) or f"The run {status}.")


def answer_text(answer: Any) -> str:
    """For people: a text as it is; of a structure its ``report``, if it has one, then the rest."""
    answer = for_people(answer)
    if isinstance(answer, str):
        return answer
    if isinstance(answer, dict) and isinstance(answer.get("report"), str):
        rest = "\n".join(f"- {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in answer.items() if key != "report")
        return f"{answer['report'].rstrip()}\n\n{rest}".rstrip()
    return f"```json\n{json.dumps(answer, indent=2, ensure_ascii=False)}\n```"


def _message(message_id: str, text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "id": message_id}
