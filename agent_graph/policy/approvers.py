"""Who may say yes to what. Names are the host application's; it is its job to know that they are true."""

from __future__ import annotations

from agent_graph.plan import Risk
from agent_graph.policy.matching import fits
from agent_graph.policy.rules import Policy
from agent_graph.verdicts import Request


def may_not_approve(policy: Policy, request: Request, by: str | None, principal: str | None) -> str:
    """Why this person's yes does not count for the request; empty when it does. A no counts, whoever says it."""
    return next(filter(None, (refused(policy, tool, risk, by, principal) for tool, risk in _about(request))), "")


def may_not_grant(policy: Policy, tool: str, risk: Risk, by: str | None) -> str:
    """Why this person's standing yes to a tool does not count; empty when it does."""
    return refused(policy, tool, risk, by, None)


def refused(policy: Policy, tool: str, risk: Risk, by: str | None, principal: str | None) -> str:
    """Why a yes of this person to such a call does not count; empty when it does."""
    if risk != "read_only":
        requester = principal is not None and risk not in policy.self_approval
        if by is None and (requester or policy.approvers):
            return f"a yes to {tool or 'a plan'} ({risk}) must say whose it is: policy {policy.name!r} minds who approves; give by=… or --by NAME"
        if requester and by == principal:
            return f"{by} is the one for whom the run acts, and {tool or 'a plan'} ({risk}) must be approved by somebody else"
        if policy.approvers and not any(
            fits(by or "", rule.by) and fits(tool, rule.tools) and (not rule.risks or risk in rule.risks) for rule in policy.approvers
        ):
            return f"policy {policy.name!r} does not let {by} approve {tool or 'a plan'} ({risk})"
    return ""


def _about(request: Request) -> list[tuple[str, Risk]]:
    """The calls that a yes would let through; of a plan without any, the plan."""
    if request.kind == "plan" and request.calls:
        return [(call.tool, call.risk) for call in request.calls]
    if request.kind == "question" and not request.choices_are_verbs:
        return []
    return [(request.tool or "", request.risk or "read_only")]
