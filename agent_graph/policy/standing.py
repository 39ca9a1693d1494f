"""Which calls a standing grant covers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agent_graph.errors import NotAnApprover, UsageError
from agent_graph.identity import Digest, canonical, new_id
from agent_graph.policy.approvers import may_not_grant, refused
from agent_graph.policy.expressions import ExpressionError, check_expression, evaluate
from agent_graph.policy.matching import fits
from agent_graph.policy.rules import Policy
from agent_graph.policy.schemas import mismatches
from agent_graph.ports import GrantStore, ToolSpec
from agent_graph.verdicts import Grant


def covers(grant: Grant, spec: ToolSpec, args: Mapping[str, Any], principal: str | None, now: float) -> bool:
    """Whether the grant answers for exactly this call. One that cannot be evaluated covers nothing."""
    if grant.tool != spec.name or grant.schema_digest != spec.digest or grant.revoked is not None:
        return False
    if (grant.expires is not None and grant.expires <= now) or not fits(principal or "", grant.principals):
        return False
    if grant.args is not None:
        return canonical(grant.args) == canonical(dict(args))
    if grant.when is None:
        return False
    context = {
        "call": {"tool": spec.name, "risk": spec.risk, "args": dict(args)},
        "principal": {"name": principal or ""},
        "now": datetime.fromtimestamp(now, UTC),
    }
    try:
        return evaluate(grant.when, context) is True
    except ExpressionError:
        return False


def standing_yes(
    grants: GrantStore, policy: Policy, spec: ToolSpec, args: Mapping[str, Any], principal: str | None, now: float
) -> Grant | None:
    """The grant that covers the call, of somebody who may say yes to it."""
    for grant in grants.standing(spec.name):
        if covers(grant, spec, args, principal, now) and not refused(policy, spec.name, spec.risk, grant.by, principal):
            return grant
    return None


def make_grant(
    grants: GrantStore,
    tools: Mapping[str, ToolSpec],
    policy: Policy,
    now: float,
    tool: str,
    args: Mapping[str, Any] | None,
    when: str | None,
    principals: tuple[str, ...],
    until: float | None,
    by: str | None,
    reason: str,
) -> Grant:
    """Check the grant and put it on record. Raises UsageError, and NotAnApprover."""
    spec = tools.get(tool)
    if spec is None:
        raise UsageError(f"there is no tool {tool!r}; there is {', '.join(tools) or 'none'}")
    if (args is None) == (when is None):
        raise UsageError(
            "say which arguments: either all of them, or when=…, a CEL expression over call.args ('true' for whatever arguments)"
        )
    if args is not None and (wrong := mismatches(spec.args_schema, dict(args))):
        raise UsageError(f"{tool} is never called so: {'; '.join(wrong)}")
    if when is not None:
        try:
            check_expression(when)
        except ExpressionError as error:
            raise UsageError(f"when ({when}): {error}") from None
    if until is not None and until <= now:
        raise UsageError("the grant would have ended before it begins; until= is in seconds since the epoch, UTC")
    if refused := may_not_grant(policy, tool, spec.risk, by):
        raise NotAnApprover(refused)
    return grants.add(
        Grant(
            id=new_id(),
            tool=tool,
            schema_digest=Digest(spec.digest),
            args=dict(args) if args is not None else None,
            when=when,
            principals=principals,
            reason=reason,
            by=by,
            created=now,
            expires=until,
        )
    )
