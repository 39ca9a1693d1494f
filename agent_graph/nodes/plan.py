"""``plan``: ask the planner what is to be done. It calls no tool."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent_graph.errors import BudgetExceeded, CancelAsked, Interrupted
from agent_graph.events import Note, PlanMade
from agent_graph.execution.asking import put
from agent_graph.identity import digest, new_id
from agent_graph.nodes.messages import goal_in, last_message_id, plan_message, unused_message
from agent_graph.nodes.offering import hidden, mode_of, note_choices, readable, shown
from agent_graph.nodes.remarks import remarks
from agent_graph.nodes.visit import Visit
from agent_graph.plan import Goal, Mode, Plan, Step
from agent_graph.planners.inline import NAME as INLINE
from agent_graph.planners.inline import inline_plan
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.lineage import lineage_of
from agent_graph.policy.nesting import lay_out
from agent_graph.policy.provenance import excerpt
from agent_graph.ports import Answer, Planner, PlanningContext, Question
from agent_graph.redaction import Redaction
from agent_graph.state import State, Update
from agent_graph.verdicts import Request, Source


def plan(state: State, visit: Visit) -> Update:
    """Make version 1, or put the planner's question on record. A run that has a plan already goes on with it."""
    taken: Update = {"goal": None, "params": {}, "taken": last_message_id(state), "run_id": visit.run_id}
    if visit.over or visit.current is not None or waits_for_answer(visit):
        unused = note_unused(state, visit)
        if unused is not None:
            taken["messages"] = [unused_message(visit.run_id, taken["taken"], *unused)]
        return taken
    choice = mode_of(visit)
    context = PlanningContext(**asked(visit, choice.mode))
    note_choices(visit, choice, context)
    try:
        came = inline_plan(context) if choice.mode == "inline" else visit.think(lambda: visit.planner.plan(context))
    except CancelAsked:
        return taken
    except BudgetExceeded as error:
        visit.overspent(str(error))
        return taken
    except Interrupted:
        raise
    except Exception as error:
        visit.blame("planner_failed", f"the planner {visit.planner.name} failed: {type(error).__name__}: {error}{hidden(visit, context)}")
        return taken
    match came:
        case Plan():
            by = INLINE if choice.mode == "inline" else visit.planner.name
            made = came.model_copy(update={"goal": visit.record.goal, "version": 1, "parent": None, "created_by": by})
            keep(visit, made)
            taken["messages"] = [plan_message(visit.run_id, made)]
        case Question():
            put_question(visit, came, tuple(params_read(visit.record.goal, visit.deps.redaction)) if reads_values(visit.planner) else ())
        case Answer(text):
            prompt = getattr(visit.planner, "prompt_version", "")
            keep(visit, Plan(goal=visit.record.goal, answer=text, created_by=visit.planner.name, reason="no plan is needed", prompt=prompt))
        case _:
            visit.blame(
                "planner_failed",
                f"the planner {visit.planner.name} returned {type(came).__name__} instead of a Plan, a Question or an Answer",
            )
    return taken


def asked(visit: Visit, mode: Mode | None = None) -> dict[str, Any]:
    """What a planner is told, whether it plans or replans."""
    deps, models = visit.deps, visit.deps.models.models
    mode = mode or mode_of(visit).mode
    return {
        "goal": visit.record.goal,
        "tools": readable(visit) if mode == "inline" else shown(visit).tools,
        "answers": deps.store.approvals.answers(visit.run_id),
        "meter": visit.meter(),
        "tell": visit.tell(),
        "run_id": visit.run_id,
        "mode": mode,
        "granularity": deps.granularity,
        "blueprints": deps.blueprints,
        "executor": deps.models.has("executor"),
        "specialists": {name: one.description for name, one in models.specialists.items()},
    }


def note_unused(state: State, visit: Visit) -> tuple[str, str] | None:
    """New input while the thread's run is still under way changes nothing, and that is said. Returns the input, and why it is not used."""
    given = goal_in(state)
    text = given.get("text") if isinstance(given, dict) else given
    if text is None or text == visit.record.goal.text:
        return None
    why = "it was asked before on this thread" if visit.record.finished else "this run has not ended"
    visit.trace(Note(run_id=visit.run_id, at=visit.now(), message=f"input not used, since {why}: {str(text)[:500]}"))
    return str(text), why


def keep(visit: Visit, made: Plan) -> None:
    """Write a first plan version and say so."""
    made = lay_out(made, visit.deps.blueprints)
    steered = reads_values(visit.planner) and made.created_by != INLINE
    read = tuple(params_read(visit.record.goal, visit.deps.redaction)) if steered else ()
    if made.created_by != INLINE:
        remarks(visit, made)
    visit.add_plan(made, lineage_of(made, read))
    visit.trace(plan_made(made, visit.run_id, visit.now()))


def reads_values(planner: Planner) -> bool:
    """Whether what came from outside has a say in what the planner proposes. One that does not say so is taken to read it."""
    return bool(getattr(planner, "reads_values", True))


def params_read(goal: Goal, redaction: Redaction) -> Iterator[Source]:
    """Of the goal's parameters, those that came from outside and those that are not for everybody, which are not shown."""
    for label, names in (("untrusted", goal.untrusted), ("sensitive", goal.sensitive)):
        for name in names:
            if name in goal.params:
                what = f"params.{name}"
                said = "" if name in goal.sensitive else redaction.text(excerpt(goal.params[name]))
                yield Source.model_validate(
                    {"label": label, "what": what, "path": f"{what} → the plan", "into": "the plan", "excerpt": said}
                )


def plan_made(plan: Plan, run_id: str, at: float, *, watched: bool = True) -> PlanMade:
    """``watched``: with the outline of its steps, which the trace does not keep."""
    return PlanMade(
        run_id=run_id,
        at=at,
        version=plan.version,
        digest=plan.digest,
        steps=outline(plan.steps) if watched else [],
        count=len(plan.steps),
        created_by=plan.created_by,
        prompt=plan.prompt,
    )


def outline(steps: tuple[Step, ...]) -> list[dict[str, object]]:
    """Steps as the events show them."""
    return [
        {
            "id": step.id,
            "kind": step.kind,
            "tool": step.tool,
            "description": step.description,
            "needs": sorted(step.needs | expression_reads(step) - {step.id}),
        }
        for step in steps
    ]


def put_question(visit: Visit, question: Question, read: tuple[Source, ...] = ()) -> None:
    """The planner's question, bounded, for ``approve`` to ask; with what its planner had ``read``, whose words it may be."""
    store = visit.deps.store
    asked = store.approvals.questions(visit.run_id)
    if asked >= visit.deps.rules.limits.max_questions:
        visit.blame("questions_exhausted", f"the planner has asked {asked} questions, and asks again: {question.text}")
        return
    put(
        store,
        visit.lease,
        Request(
            id=new_id(),
            run_id=visit.run_id,
            kind="question",
            digest=digest(["question", visit.run_id, asked, question.text]),
            reason="the planner needs to know this before it can plan",
            asked=visit.now(),
            plan_version=visit.record.plan_version,
            question=question.text,
            choices=question.choices,
            proposed=question.proposed,
            sources=read,
        ),
        visit.trace,
    )


def waits_for_answer(visit: Visit) -> bool:
    """Whether a question of the planner is open, or answered and not yet acted on."""
    approvals = visit.deps.store.approvals
    asked = [*approvals.open(visit.run_id), *(record.request for record in approvals.decided(visit.run_id))]
    return any(request.kind == "question" and request.step_id is None and request.criterion is None for request in asked)
