"""What a planner is told of what went wrong: from the ledger, and never from what somebody remembers."""

from __future__ import annotations

from agent_graph.nodes.visit import Visit


def why(visit: Visit) -> str:
    """What made a new version necessary."""
    if visit.revised:
        return "a person revised the goal"
    reasons = [str(issue) for issue in visit.current.issues if issue.severity == "error"] if visit.current else []
    for record in visit.deps.store.approvals.rejections(visit.run_id, visit.plan.version):
        said = getattr(record.decision, "reason", "") or "no reason given"
        what = f"step {record.request.step_id}" if record.request.step_id else "the plan"
        reasons.append(f"{what} was rejected by {record.by or 'a person'}: {said}")
    for step in visit.plan.steps:
        if visit.results.halted(step.id):
            result = visit.results.result(step.id)
            reasons.append(f"step {step.id} failed: {result.error.message if result and result.error else ''}")
    return "; ".join(reasons) or "a new plan was asked for"
