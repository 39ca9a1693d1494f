"""The answer in words, claim by claim, each held against what it refers to. A claim that nothing shows is marked, never dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agent_graph.execution.claims import UNSUPPORTED
from agent_graph.execution.evidence import MAX_BYTES, MAX_STEP_BYTES, cut, delimited, filled, is_in, of_run, shown
from agent_graph.execution.figures import unseen
from agent_graph.execution.references import ReferenceError_, follow
from agent_graph.execution.results import Results
from agent_graph.models.replies import WrongReply, closed_object
from agent_graph.plan import Goal, Plan, Reference
from agent_graph.policy.schemas import mismatches

if TYPE_CHECKING:
    from agent_graph.models.client import Asking, RoleClient

MOST_CLAIMS = 40
MOST_WORDS = 2_000
"""Characters of one claim, and of its quote."""
MOST_REFS = 12

_CLAIM = closed_object(
    {"text": {"type": "string"}, "refs": {"type": "array", "items": {"type": "string"}}, "quote": {"type": ["string", "null"]}}
)
_SCHEMA = closed_object({"claims": {"type": "array", "items": _CLAIM}})

_STATUS = re.compile(r"steps\.([A-Za-z_]\w*)\.status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    text: str
    refs: tuple[str, ...]
    """Where it is seen: ``steps.look.output.cpu``, ``steps.look.status``, ``params.host``."""
    quote: str | None = None
    supported: bool
    """Whether every place is there, the quote stands at one of them, and every figure is at one of them."""
    why: str = ""
    """Why it is not."""

    @property
    def line(self) -> str:
        return self.text if self.supported else f"{self.text} {UNSUPPORTED}"


def summarize(client: RoleClient, plan: Plan, results: Results, asking: Asking) -> tuple[Claim, ...]:
    """Raises ModelError when the model gives nothing that can be used, and BudgetExceeded before a request that does not fit."""
    from langchain_core.messages import HumanMessage, SystemMessage

    from agent_graph.models.client import Form

    head = filled("summary", most=str(MOST_CLAIMS)) + (filled("summary_schema") if client.method == "plain" else "")
    task = filled(
        "summary_task",
        goal="\n".join([plan.goal.text, *(f"- {constraint}" for constraint in plan.goal.constraints)]),
        answer=_wanted(plan),
        evidence=delimited("evidence", "\n".join([*_params(plan.goal), of_run(plan, results)])),
    )
    said: tuple[Claim, ...] = client.document(
        [SystemMessage(head), HumanMessage(task)],
        Form(name="answer", schema=_SCHEMA),
        lambda document: _read(document, plan, results),
        asking,
    )
    return said


def answer_of(claims: Sequence[Claim], planned: Any) -> dict[str, Any]:
    """What the run answers: the report with its marks, the claims that it consists of, and what the plan itself was to answer."""
    own = {} if planned is None else {"data": planned}
    return {"report": "\n".join(claim.line for claim in claims), "claims": [_document(claim) for claim in claims], **own}


def _document(claim: Claim) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(claim).items() if value not in (None, "")}


def _wanted(plan: Plan) -> str:
    """What the plan says that the answer is made of."""
    if plan.answer is None:
        return "It does not say."
    return delimited("answer", cut(json.dumps(plan.answer, ensure_ascii=False), MAX_STEP_BYTES))


def _params(goal: Goal) -> list[str]:
    """What is not for everybody is not told."""
    return [shown(value, f"params.{name}", MAX_STEP_BYTES) for name, value in goal.params.items() if name not in goal.sensitive]


def _read(document: Any, plan: Plan, results: Results) -> tuple[Claim, ...]:
    """Raises WrongReply."""
    wrong = mismatches(_SCHEMA, document)
    if wrong:
        raise WrongReply(wrong)
    given = [each for each in document["claims"] if each["text"].strip()]
    if not given:
        raise WrongReply(["claims is empty; say at least what was not found"])
    if len(given) > MOST_CLAIMS:
        raise WrongReply([f"there are {len(given)} claims; write at most {MOST_CLAIMS}"])
    return tuple([_claim(each, plan, results) for each in given])


def _claim(said: dict[str, Any], plan: Plan, results: Results) -> Claim:
    text = " ".join(said["text"].split())[:MOST_WORDS].replace(UNSUPPORTED, "").strip()
    refs = tuple(ref.strip() for ref in said["refs"][:MOST_REFS])
    quote = (said["quote"] or "").strip()[:MOST_WORDS] or None
    values = [_value(ref, plan, results) for ref in refs]
    missing = [ref for ref, value in zip(refs, values, strict=True) if value is None]
    why = ""
    if not refs:
        why = "it names no place where it is seen"
    elif missing:
        why = f"there is nothing at {', '.join(missing)}"
    elif quote and not any(is_in(quote, shown(value, ref, MAX_BYTES)) for ref, value in zip(refs, values, strict=True)):
        why = "its quote is not there"
    elif invented := unseen(text, values):
        why = f"{', '.join(invented)} is not there"
    return Claim(text=text, refs=refs, quote=quote, supported=not why, why=why)


def _value(ref: str, plan: Plan, results: Results) -> Any:
    """What the place holds; None where it holds nothing, or there is no such place."""
    status = _STATUS.fullmatch(ref)
    if status is not None:
        return (results.status(status[1]) or "not carried out") if status[1] in plan.by_id else None
    try:
        reference = Reference.parse(ref)
        if reference.step is not None and reference.step not in plan.by_id:
            return None
        return follow(reference, results.output, plan.goal.params)
    except (ValueError, ReferenceError_):
        return None
