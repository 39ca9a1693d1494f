"""What a judge remarks on a plan before a person sees it: warnings beside what code has found, never errors."""

from __future__ import annotations

from agent_graph.errors import BudgetExceeded, CancelAsked, ModelError, UsageError
from agent_graph.events import Note
from agent_graph.execution.outcome import words
from agent_graph.execution.review import review, review_key
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan
from agent_graph.policy.compiler import compile_plan
from agent_graph.verdicts import Issue, Judgement, Report


def remarks(visit: Visit, plan: Plan) -> None:
    """Asked by ``plan`` and ``replan`` right before they write the version; ``validate`` reads what came of it.

    Does nothing unless ``Models.judge_plans`` says so, nor for a plan that cannot run. A judge that cannot be asked costs the plan nothing: it
    is said in the trace.
    """
    deps = visit.deps
    if not deps.models.models.judge_plans or not plan.steps or deps.store.judgements.get(visit.run_id, review_key(plan)) is not None:
        return
    if not compile_plan(plan, deps.rules, visit.run_id).valid:
        return  # its planner makes another one

    def ask() -> Judgement:
        from agent_graph.models.client import Asking

        asking = Asking(meter=visit.meter(plan.version), run_id=visit.run_id)
        said = review(deps.models.of("judge"), plan, deps.tools.specs, asking, visit.now())
        said = said.model_copy(update={"remarks": tuple(without_secrets(visit, issue) for issue in said.remarks)})
        deps.store.judgements.put(visit.lease, review_key(plan), said)
        return said

    try:
        visit.think(ask, "the judge")
    except CancelAsked:
        return  # the next node ends the run
    except (BudgetExceeded, ModelError, UsageError) as error:
        message = words(f"the judge has no remarks on plan version {plan.version}, since it could not be asked: {error}", deps.redaction)
        visit.trace(Note(run_id=visit.run_id, at=visit.now(), message=message))


def without_secrets(visit: Visit, issue: Issue) -> Issue:
    said = visit.deps.redaction
    return issue.model_copy(update={"message": words(issue.message, said), "fix": words(issue.fix, said)})


def with_remarks(visit: Visit, report: Report) -> Report:
    """The report with what the judge has remarked on the newest version."""
    if not visit.deps.models.models.judge_plans:
        return report
    said = visit.deps.store.judgements.get(visit.run_id, review_key(visit.plan))
    return report if said is None else report.model_copy(update={"issues": (*report.issues, *said.remarks)})
