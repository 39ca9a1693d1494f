"""What the executor asks of a person. The row is written by the scheduler; nothing here waits for an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent_graph.events import Event, Waiting
from agent_graph.execution.context import RunContext
from agent_graph.identity import Digest, digest, new_id
from agent_graph.plan import Step
from agent_graph.ports import Store
from agent_graph.records import Effect, Lease
from agent_graph.verdicts import Request, RequestKind


def put(store: Store, lease: Lease, asked: Request, tell: Callable[[Event], None]) -> None:
    """Write the request, unless the same one is open already, and say that a person is asked."""
    there = store.approvals.ask(lease, asked)
    if there.id == asked.id:
        tell(Waiting(run_id=asked.run_id, at=asked.asked, request=asked.model_dump(mode="json", exclude_defaults=True)))


def request(run: RunContext, step: Step, kind: RequestKind, bound: Digest, reason: str, **more: Any) -> Request:
    """A request about the step, bound to a digest of what is shown, that expires as the policy says."""
    now = run.clock.now()
    ttl = run.rules.policy.approval_ttl_s
    return Request(
        id=new_id(),
        run_id=run.run_id,
        kind=kind,
        digest=bound,
        reason=reason,
        asked=now,
        expires=None if ttl is None else now + ttl,
        plan_version=run.plan.version,
        step_id=step.id,
        **more,
    )


def doubt(run: RunContext, step: Step, effect: Effect, why: str) -> Request:
    """Did this happen? Says what was sent, when, and with which key. It does not expire: the question stays."""
    return Request(
        id=new_id(),
        run_id=run.run_id,
        kind="in_doubt",
        digest=doubt_digest(effect),
        reason=why,
        asked=run.clock.now(),
        plan_version=run.plan.version,
        step_id=step.id,
        tool=effect.tool,
        args=effect.args,
        risk=effect.risk,
        recovery=effect.recovery,
        idempotency_key=effect.key,
        sent_at=effect.started,
    )


def doubt_digest(effect: Effect) -> Digest:
    """One question for each attempt of an effect."""
    return digest(["in_doubt", effect.key, effect.attempt])
