"""A judge's finding about one criterion that code cannot check: from evidence alone, with quotes that code looks up.

It decides nothing else: it approves no call, and it is not asked where a deterministic check already says no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_graph.execution.evidence import delimited, filled, is_in
from agent_graph.identity import digest
from agent_graph.models.replies import WrongReply, closed_object
from agent_graph.policy.schemas import mismatches
from agent_graph.verdicts import Judgement

if TYPE_CHECKING:
    from agent_graph.models.client import Asking, RoleClient

MOST_QUOTES = 8
MOST_WORDS = 1_000
"""Characters of what a judge says beside its quotes, and of one quote."""

NOT_QUOTED = "the judge says that it holds, and quotes nothing that shows it"
NOT_FOUND = "the judge's quotes are not in the evidence"

_SCHEMA = closed_object(
    {
        "why": {"type": "string", "description": "one or two sentences"},
        "quotes": {"type": "array", "items": {"type": "string"}, "description": "copied from the evidence, character for character"},
        "holds": {"type": ["boolean", "null"], "description": "null: it cannot be told from this evidence"},
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One criterion, and all that there is to judge it by."""

    criterion: str
    about: str
    """The step, or the goal, in words."""
    evidence: str
    """As ``evidence.shown`` writes it."""
    step_id: str | None = None
    """None: a criterion of the goal."""

    @property
    def key(self) -> str:
        """The same for the same criterion and evidence: it is judged once."""
        return digest(["judge", self.step_id, self.criterion, self.about, self.evidence])


def judge(client: RoleClient, case: Case, asking: Asking, now: float) -> Judgement:
    """What the model finds. Raises ModelError when it gives nothing that can be used, and BudgetExceeded before a request that does not fit."""
    from langchain_core.messages import HumanMessage, SystemMessage

    from agent_graph.models.client import Form

    task = filled(
        "judge_task", criterion=case.criterion, about=delimited("task", case.about), evidence=delimited("evidence", case.evidence)
    )
    schema = filled("judge") + (filled("judge_schema") if client.method == "plain" else "")
    said: Judgement = client.document(
        [SystemMessage(schema), HumanMessage(task)],
        Form(name="judgement", schema=_SCHEMA),
        lambda document: _read(document, case, client.name, now),
        asking,
    )
    return said


def _read(document: Any, case: Case, by: str, now: float) -> Judgement:
    """Raises WrongReply for what is no finding. One without support is a finding: that the judge cannot show it."""
    wrong = mismatches(_SCHEMA, document)
    if wrong:
        raise WrongReply(wrong)
    holds, said, quotes = document["holds"], document["why"].strip(), document["quotes"]
    kept = tuple(quote.strip() for quote in quotes if quote.strip())
    missing = [quote for quote in kept if not is_in(quote, case.evidence)]
    if holds is not None and missing:
        holds, said = None, f"{NOT_FOUND} ({missing[0][:200]!r}): {said}"
    elif holds is True and not kept:
        holds, said = None, f"{NOT_QUOTED}: {said}"
    return Judgement(
        criterion=case.criterion,
        holds=holds,
        why=said[:MOST_WORDS],
        quotes=tuple(quote[:MOST_WORDS] for quote in kept if quote not in missing)[:MOST_QUOTES],
        by=by,
        at=now,
    )
