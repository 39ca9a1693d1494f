"""Which rule decided about a call, from what was recorded when it was made."""

from __future__ import annotations

from typing import Any

from agent_graph.errors import UsageError
from agent_graph.identity import RunId
from agent_graph.plan import Model
from agent_graph.policy.matching import FlowRule, Rule
from agent_graph.policy.rules import Policy
from agent_graph.ports import Store


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
        word, number, decided = (recorded or "").split(" ", 2)
        found = store.policies.get(int(number))
        digest, policy = (found.digest, Policy.model_validate_json(found.text)) if found is not None else ("", None)
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


def _by_digest(store: Store, digest: str) -> Policy | None:
    found = store.policies.find(digest)
    return Policy.model_validate_json(found.text) if found is not None else None


def _shown(rule: Rule | FlowRule) -> dict[str, Any]:
    return rule.model_dump(mode="json", exclude_defaults=True)
