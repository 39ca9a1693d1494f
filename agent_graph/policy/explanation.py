"""Which rule decided about a call, from what was recorded when it was made."""

from __future__ import annotations

import re
from typing import Any

from agent_graph.errors import UsageError
from agent_graph.identity import RunId
from agent_graph.plan import Model
from agent_graph.policy.matching import FlowRule, Rule
from agent_graph.policy.rules import Policy
from agent_graph.ports import Store
from agent_graph.verdicts import Allow, Ask, Deny, Verdict


class Explanation(Model):
    """What the policy said of a step's newest call."""

    step_id: str
    verdict: str
    """``allow``, ``ask`` or ``deny``."""
    decided_by: str
    """The rule's name or mark, a standing grant, or what else had a say."""
    rules: tuple[dict[str, Any], ...] = ()
    """The rules that are named in it, as the policy has them."""
    policy: str
    """Name."""
    digest: str
    waits: str = ""
    """Why a person is asked now; empty when nobody is."""


def explain(store: Store, run_id: RunId, step_id: str) -> Explanation:
    """Raises UsageError when no call of the step was judged."""
    waiting = next((request for request in store.approvals.open(run_id) if request.step_id == step_id and request.kind == "step"), None)
    recorded = store.ledger.judged(run_id, step_id)
    if waiting is None and recorded is None:
        plan = store.runs.plan(run_id)
        known = list(plan.plan.by_id) if plan is not None else []
        if step_id not in known:
            raise UsageError(f"run {run_id} has no step {step_id!r}; it has {', '.join(known[:20]) or 'no plan yet'}")
        raise UsageError(f"no call of step {step_id!r} of run {run_id} was judged: it has not come to one, or was skipped")
    if waiting is not None:
        word, decided, digest, policy = "ask", waiting.rule, waiting.policy, None
    else:
        word, number, place, decided = read_judged(recorded or "")
        found = store.policies.get(number)
        digest, policy = (found.digest, Policy.model_validate_json(found.text)) if found is not None else ("", None)
        if place is not None and policy is not None:
            decided = policy.marks[place]
    if policy is None and waiting is not None:
        policy = _by_digest(store, digest)
    every: list[Rule | FlowRule] = [*policy.rules, *policy.flows] if policy is not None else []
    rules = [rule for rule in every if rule.mark in decided]
    return Explanation(
        step_id=step_id,
        verdict=word,
        decided_by=decided,
        rules=tuple(map(_shown, rules)),
        policy=policy.name if policy is not None else "(not on record)",
        digest=digest,
        waits=waiting.reason if waiting is not None else "",
    )


_WORDS = {Allow: "a", Ask: "k", Deny: "d"}
_RECORD = re.compile(r"([akd])(\d+)(?:\.(\d+)| (.*))", re.DOTALL)


def write_judged(verdict: Verdict, number: int, decided: str, marks: tuple[str, ...]) -> str:
    """``a1.0``: allowed by the first of policy 1's marks; ``k1 at night; untrusted values``: asked, by more than a rule."""
    place = f".{marks.index(decided)}" if decided in marks else f" {decided}"
    return f"{_WORDS[type(verdict)]}{number}{place}"


def read_judged(record: str) -> tuple[str, int, int | None, str]:
    """Verdict, number of the policy, and what decided: its place among the marks, or words. Raises UsageError for what nobody wrote."""
    found = _RECORD.fullmatch(record)
    if found is None:
        raise UsageError(f"{record[:40]!r} is no record of a verdict; the row was changed, or written by another version")
    word = {"a": "allow", "k": "ask", "d": "deny"}[found[1]]
    return word, int(found[2]), int(found[3]) if found[3] is not None else None, found[4] or ""


def _by_digest(store: Store, digest: str) -> Policy | None:
    found = store.policies.find(digest)
    return Policy.model_validate_json(found.text) if found is not None else None


def _shown(rule: Rule | FlowRule) -> dict[str, Any]:
    return rule.model_dump(mode="json", exclude_defaults=True)
