"""``ask_person``: what an agent may call beside its tools, to ask somebody. The answer is trusted like whatever people say."""

from __future__ import annotations

from typing import Any

from agent_graph.execution.asking import request
from agent_graph.execution.context import RunContext
from agent_graph.execution.judging import Judging
from agent_graph.execution.outcome import Outcome, Waits
from agent_graph.identity import StepId, digest, effect_key
from agent_graph.plan import Step
from agent_graph.policy.lineage import Origin
from agent_graph.policy.schemas import mismatches
from agent_graph.verdicts import Provenance, StepResult

ASK_PERSON = "ask_person"

ASK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 1, "description": "One question, which a person can answer without knowing the task."},
        "choices": {"type": "array", "items": {"type": "string"}, "description": "The answers to choose from; empty for free text."},
    },
    "required": ["question"],
    "additionalProperties": False,
}


def ask_person(run: RunContext, judging: Judging, step: Step, call: Step, origin: Origin, asked: int) -> Outcome | Waits:
    """``step``: the agent; ``origin``: what it had read; ``asked``: how many questions it has asked before."""
    wrong = mismatches(ASK_SCHEMA, call.args)
    if wrong:
        return judging.blocked(call, "invalid_arguments", "; ".join(wrong), call.args)
    if asked >= run.rules.limits.max_questions:
        return judging.blocked(call, "too_many_questions", f"it has asked {asked} questions, as many as it may", call.args)
    args: dict[str, Any] = call.args
    question, choices = judging.words(args["question"]), tuple(map(judging.words, args.get("choices") or ()))
    bound = digest(["ask", run.run_id, call.id, question, choices])
    record = run.store.approvals.decision(run.run_id, bound, "question")
    if record is None or record.decision is None:
        why = f"agent {step.id} asks"
        return Waits(request(run, call, "question", bound, why, question=question, choices=choices, sources=origin.read))
    if record.decision.type != "respond":
        why = getattr(record.decision, "reason", "")
        return judging.blocked(call, "not_answered", f"a person gave no answer{': ' + why if why else ''}", call.args)
    result = StepResult(
        step_id=call.id,
        status="succeeded",
        output=judging.words(record.decision.text),
        attempts=1,
        started=record.request.asked,
        finished=run.clock.now(),
        plan_version=run.plan.version,
        provenance=Provenance(source="person", trusted=True),
    )
    key = effect_key(run.run_id, StepId(call.id), ASK_PERSON, args)
    return Outcome(key=key, state="done", result=result, tool=ASK_PERSON, args=args, durable=True)
