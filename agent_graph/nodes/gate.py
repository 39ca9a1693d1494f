"""What a gate shows and which answers it understands.

The payload is LangChain's ``HITLRequest`` with our fields beside it, so that Studio, Agent Chat UI and Agent Inbox can show and answer it.
Three shapes of answer are read: ``{"decisions": [...]}`` (LangChain), ``[{"type", "args"}]`` (Agent Inbox), and a bare decision.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agent_graph.documents import describe, describe_path
from agent_graph.lookalikes import lookalikes, not_seen, texts
from agent_graph.plan import Plan
from agent_graph.policy.answers import WrongAnswer, text_of, value_in
from agent_graph.policy.rules import Policy
from agent_graph.policy.schemas import types
from agent_graph.trace.render import Bound, LeftOut, Remark, argument_lines, shortened, text_lines
from agent_graph.verdicts import Approve, Decision, Edit, Reject, Request, RequestKind, Resolve, Respond
from agent_graph.visible import clipped, in_code, in_fence, in_markdown, visible

_DECISION: TypeAdapter[Decision] = TypeAdapter(Decision)

RECORDED = "recorded"
"""Marks our own resume: the decision is in the table already, and the value only wakes the graph."""


class Unclear(ValueError):
    """The answer cannot be understood, or is not allowed here; the message says why."""


def payload(request: Request, waiting: int) -> dict[str, Any]:
    """One action; ``waiting`` says how many more requests wait behind it."""
    name, args = action(request)
    args = _carried(args)
    return {
        "action_requests": [{"name": name, "args": args, "arguments": args, "description": description(request)}],
        "review_configs": [{"action_name": name, "allowed_decisions": _offered(request)}],
        "request": _carried(request.model_dump(mode="json", exclude_none=True)),
        "request_id": request.id,
        "digest": request.digest,
        "run_id": request.run_id,
        "more_waiting": waiting - 1,
    }


def _carried(value: Any) -> Any:
    """A checkpoint carries integers of 64 bits. A longer one goes as text, which is read back when a UI sends it."""
    if isinstance(value, dict):
        return {key: _carried(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_carried(item) for item in value]
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**64 else value


_OFFERED: dict[RequestKind, tuple[str, ...]] = {
    "plan": ("approve", "edit", "reject"),
    "step": ("approve", "edit", "reject"),
    "question": ("respond", "edit", "reject"),
    "in_doubt": ("respond", "edit"),
}
"""LangChain's words. A UI that cannot ``respond`` answers a question, or says what happened, by editing the ``answer``."""


def _offered(request: Request) -> list[str]:
    if request.choices_are_verbs:
        return list(request.allowed)
    return [*(("approve",) if request.kind == "question" and request.proposed is not None else ()), *_OFFERED[request.kind]]


def action(request: Request) -> tuple[str, dict[str, Any]]:
    match request.kind:
        case "plan":
            return "execute_plan", {"version": request.plan_version, "calls": [call.model_dump(mode="json") for call in request.calls]}
        case "question":
            if request.criterion is not None:
                return "does_it_hold", {"step": request.step_id, "question": request.question, "criterion": request.criterion}
            if request.choices_are_verbs:
                return "try_again", {"step": request.step_id, "question": request.question}
            proposed = "" if request.proposed is None else text_of(request.proposed)
            return "answer_question", {"question": request.question, "choices": list(request.choices), "answer": proposed}
        case "in_doubt":
            return "say_what_happened", {
                "answer": "",
                "choices": list(request.outcomes),
                "tool": request.tool,
                "sent": dict(request.args or {}),
            }
        case "step":
            return request.tool or "step", dict(request.args or {})


def description(request: Request) -> str:
    """Markdown for people, in which nothing from outside is markup: a picture in a reason would be loaded by the chat that shows it."""
    bound = Bound(everything=f"the field request of this interrupt, or: agent-graph show {request.run_id} --json")
    lines = [f"**{_TITLES[request.kind]}**", "", _words(request.question or request.reason, bound)]
    if request.question:
        lines += ["", f"Why: {_words(request.reason, bound)}"]
    if request.proposed is not None:
        lines += ["", "Proposed, and taken by a plain approve:", "", in_fence([*text_lines(text_of(request.proposed), bound)])]
        lines += ["", *(f"! {each}" for each in lookalikes(text_of(request.proposed)))]
    if request.problem:
        lines += ["", f"The last answer was not taken: {_words(request.problem, bound)}"]
    for issue in request.remarks:
        lines += ["", f"The judge remarks: {_words(issue.said, bound)}"]
    for source in request.sources:
        said = f": {in_code(clipped(source.excerpt, MOST_EXCERPT))}" if source.excerpt else ""
        lines += ["", f"**{source.label}** {in_code(source.what)} reaches {in_code(source.into)}{said} ({in_code(source.path)})"]
    facts = {
        "step": request.step_id,
        "tool": request.tool,
        "risk": request.risk,
        "rule": request.rule,
        "key": request.idempotency_key,
        "request": request.id,
        "digest": request.digest,
    }
    lines += ["", *(f"- {name}: {in_code(value)}" for name, value in facts.items() if value)]
    if shown := list(
        shortened(_calls(request, bound), bound.arguments, "", bound, request.model_dump(mode="json", include={"args", "calls"}))
    ):
        lines += ["", "What is sent, exactly:" if request.criterion is None else "What it is about:", "", in_fence(shown)]
    if any(isinstance(line, LeftOut) for line in shown):
        lines += ["", f"**Not all of it is shown here, and a yes is for all of it**; read the rest first: {bound.everything}."]
    if request.kind == "in_doubt":
        lines += ["", f"Answer {' or '.join(f'`{outcome}`' for outcome in request.outcomes)}."]
        if request.left_running:
            running = in_code(request.left_running)
            lines += ["", f"The call still runs in {running}, so it may yet happen: `absent` can be said when it has ended."]
    return "\n".join(lines)


MOST_EXCERPT = 400
"""Columns of a value from outside that are shown beside where it arrives."""


def _words(text: str, bound: Bound) -> str:
    return in_markdown("\n".join([*text_lines(text, bound), *(f"! {each}" for each in lookalikes(text))]))


def _calls(request: Request, bound: Bound) -> Iterator[str]:
    """The arguments, with what is not seen by looking at them: a chat shows them as they come."""
    if request.args:
        yield from argument_lines(request.args, "", bound)
        yield from _not_seen(request.args)
    for call in request.calls:
        yield f"{clipped(call.tool, MOST_EXCERPT)}  in step {visible(call.step_id)}  ({call.risk})"
        yield from (Remark(f"  {visible(source)}") for source in call.sources)
        yield from argument_lines(call.args, "  ", bound)
        yield from _not_seen(call.args)


def _not_seen(args: Mapping[str, Any]) -> Iterator[str]:
    if found := not_seen("".join(texts(args))):
        yield Remark(f"! what is shown elsewhere may look different: {found}")


_TITLES = {"plan": "Approve the plan", "step": "Approve the call", "question": "A question", "in_doubt": "Did this happen?"}


def read_answer(
    answer: Any,
    request: Request,
    policy: Policy,
    args_schema: Mapping[str, Any] | None = None,
    plan: Plan | None = None,
    *,
    sent_again: bool = False,
) -> Decision:
    """The decision for exactly this request. With the tool's schema, edited values that a form made texts are read back; with the plan, the
    calls that a plan's gate shows may be sent back edited. ``sent_again``: it is known that a machine repeated it. Raises Unclear."""
    one = _single(answer, request)
    address: dict[str, Any] = {key: one.pop(key) for key in ("request_id", "digest") if key in one}
    if not address and isinstance(answer, Mapping):
        address = {key: answer[key] for key in ("request_id", "digest") if key in answer}
    if sent_again and not address:
        raise Unclear("the server was restarted and sent the last answer again, perhaps one to an earlier request; please answer anew")
    check_address(address, request, policy)
    return fit(_read(one, request, args_schema or {}, plan), request)


def check_address(address: Mapping[str, Any], request: Request, policy: Policy) -> None:
    """An answer that names another request is for that one; one that names none is taken by policy only."""
    if not address:
        if request.kind != "question" and (request.risk or "read_only") not in policy.unaddressed:
            raise Unclear(f"a decision about {request.risk} must name its request: add request_id or digest")
        return
    if address.get("request_id", request.id) != request.id or address.get("digest", request.digest) != request.digest:
        raise Unclear("the answer is for another request; this one still waits")


def _single(answer: Any, request: Request) -> dict[str, Any]:
    if isinstance(answer, Mapping) and isinstance(answer.get("decisions"), list):
        answer = answer["decisions"]
    if isinstance(answer, list):
        if len(answer) != 1:
            raise Unclear(f"one request is shown, and {len(answer)} decisions came; answer with exactly one")
        answer = answer[0]
    if isinstance(answer, str):
        is_verb = answer in _VERBS[request.kind] and answer not in request.choices and (answer != "approve" or "approve" in request.allowed)
        return {"type": answer} if is_verb else {"type": "respond", "text": answer}
    if not isinstance(answer, Mapping) or not isinstance(answer.get("type"), str):
        raise Unclear('the answer is not a decision; send {"decisions": [{"type": "approve"}]}, or edit, reject, respond')
    return dict(answer)


_VERBS: dict[RequestKind, tuple[str, ...]] = {
    "plan": ("approve", "reject"),
    "step": ("approve", "reject"),
    "question": ("approve", "reject"),
    "in_doubt": ("landed", "absent"),
}
"""Bare words that decide; any other is a text."""


def _read(one: dict[str, Any], request: Request, args_schema: Mapping[str, Any], plan: Plan | None) -> Decision:
    given = one.get("args")
    match one["type"]:
        case "accept" | "approve":
            return Approve(by=one.get("by"))
        case "ignore":
            return Reject(reason="ignored", by=one.get("by"))
        case "landed" | "absent":
            return Resolve(outcome=one["type"], output=one.get("output"), by=one.get("by"))
        case "response" if isinstance(given, str):
            return _text(given, request)
        case "respond" if "text" not in one:
            return _text(str(one.get("message", "")), request)
        case "reject" if "message" in one:
            return Reject(reason=str(one["message"] or ""), by=one.get("by"))
        case "edit":
            edited = one.get("edited_action") or (given if isinstance(given, Mapping) and given.keys() == {"action", "args"} else None)
            if isinstance(edited, Mapping):
                changed = edited.get("args")
                if request.kind in ("question", "in_doubt") and isinstance(changed, Mapping):
                    return _text(text_of(changed.get("answer", "")), request)
                one = {"type": "edit", "by": one.get("by"), **_edited(changed, request, args_schema, plan)}
        case _:
            pass
    try:
        return _DECISION.validate_python(one)
    except ValidationError as error:
        found = ((describe_path(each["loc"][1:]), describe(each)) for each in error.errors(include_url=False))
        raise Unclear("; ".join(f"{where}: {what}" if where else what for where, what in found)) from None


def _edited(changed: Any, request: Request, args_schema: Mapping[str, Any], plan: Plan | None) -> dict[str, Any]:
    if request.kind == "plan":
        wanted = changed.get("plan", changed) if isinstance(changed, Mapping) else changed
        if plan is not None and isinstance(wanted, Mapping) and "calls" in wanted:
            return {"plan": _with_calls(plan, wanted["calls"], request)}
        return {"plan": wanted}
    if not isinstance(changed, Mapping):
        return {"args": changed}
    return {"args": {name: _as_typed(value, args_schema.get("properties", {}).get(name), args_schema) for name, value in changed.items()}}


def _with_calls(plan: Plan, sent: Any, request: Request) -> dict[str, Any]:
    """The plan with the arguments of the calls as they were sent back: a plan's gate shows calls, so those are what a UI lets people edit."""
    calls = _as_typed(sent, {"type": "array"}, {})
    shown = [(call.step_id, call.tool) for call in request.calls]
    if not isinstance(calls, list) or not all(isinstance(call, Mapping) and isinstance(call.get("args"), Mapping) for call in calls):
        raise Unclear("calls: a list of the calls that are shown, each with its args")
    if [(call.get("step_id"), call.get("tool")) for call in calls] != shown:
        raise Unclear("only the args of the calls that are shown can be edited here; to change more, give the whole plan, with its steps")
    args = {call["step_id"]: dict(call["args"]) for call in calls}
    steps = tuple(step.model_copy(update={"args": args[step.id]}) if step.id in args else step for step in plan.steps)
    return plan.model_copy(update={"steps": steps}).document()


def _as_typed(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Agent Inbox sends each edited value as a text. Where the schema knows no text there, the text is read as JSON."""
    wanted = types(root, schema)
    if not isinstance(value, str) or wanted is None or "string" in wanted:
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value  # validation says what is wrong with it


def _text(text: str, request: Request) -> Decision:
    """Free text: the answer to a question, what became of a call in doubt, and at any other gate but a criterion's a no with its reason."""
    if request.kind == "in_doubt" and text.strip().lower() in ("landed", "absent"):
        return _DECISION.validate_python({"type": "resolve", "outcome": text.strip().lower()})
    return Respond(text=text) if "respond" in request.allowed or request.criterion is not None else Reject(reason=text)


def fit(decision: Decision, request: Request) -> Decision:
    """The decision as it is recorded, if it makes sense here: a yes to a proposed value is that answer. Raises Unclear."""
    if request.criterion is not None and decision.type not in request.allowed:
        raise Unclear("approve when it holds, or reject, with a reason, when it does not: words alone are not taken for either")
    if decision.type not in request.allowed:
        raise Unclear(f"a {request.kind} request is not answered with {decision.type!r}; it takes {', '.join(request.allowed)}")
    if isinstance(decision, Edit):
        wanted = "args" if request.kind == "step" else "plan"
        if getattr(decision, wanted) is None or (decision.args is not None) == (decision.plan is not None):
            raise Unclear(f"an edit of a {request.kind} request gives {wanted}, and nothing else")
    if isinstance(decision, Approve) and request.kind == "question" and not request.choices_are_verbs:
        return Respond(text=text_of(request.proposed), by=decision.by)
    if isinstance(decision, Respond):
        try:
            value = value_in(decision.text, request)
        except WrongAnswer as error:
            raise Unclear(str(error)) from None
        return decision if not request.choices else decision.model_copy(update={"text": value})
    return decision
