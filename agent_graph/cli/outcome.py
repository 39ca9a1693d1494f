"""How a run stands, at the end of a command and in ``show``: what came of it, what waits, what to do now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent_graph.cli.card import how_to_answer, show_card
from agent_graph.cli.exits import BUSY, FAILED, INTERRUPTED, PAUSED, SUCCEEDED
from agent_graph.cli.output import STYLES, Out
from agent_graph.cli.program import command
from agent_graph.state import Run, RunStatus
from agent_graph.trace.amounts import seconds, when
from agent_graph.trace.answers import for_people
from agent_graph.trace.render import value_lines
from agent_graph.verdicts import Cause, Diagnosis
from agent_graph.visible import visible

EXIT: dict[RunStatus, int] = {
    "succeeded": SUCCEEDED,
    "failed": FAILED,
    "cancelled": FAILED,
    "paused": PAUSED,
    "running": BUSY,
    "interrupted": INTERRUPTED,
}

ADVICE: dict[Cause, str] = {
    "plan": "change the plan or the blueprint, check it with: agent-graph validate, and run it again",
    "execution": "look at the trace; if the cause is not yours, it is a bug of agent-graph",
    "tool": "look at what the tool said; when its system is well again, run it again",
    "policy": "the policy forbids this; ask whoever keeps it, or reach the goal another way",
    "human": "nothing to repair: a person decided so; start another run when it is wanted after all",
    "budget": "a bound was reached; make the goal smaller, or raise the limit",
}
"""By who or what is to blame: what to do now."""

ADVICE_OF = {
    "planner_failed": "look at what it says; for a model, at its address, key and settings (docs/models.md), and run it again",
    "model_failed": "look at what it says: the model's address, key and settings (docs/models.md), or the step's task; then run it again",
}
"""By reason code, where that says more than the cause."""


def report_outcome(out: Out, run: Run, store: str, *, cards: bool = True) -> int:
    """Say how the run stands after a command drove it; the exit code."""
    if out.json:
        out.document(run)
        return EXIT[run.status]
    match run.status:
        case "succeeded":
            out.say(f"succeeded, {seconds(run.updated - run.created)} after its start", STYLES["succeeded"])
            say_answer(out, run.answer)
        case "failed" | "cancelled":
            say_diagnosis(out, run, store)
        case "paused":
            say_waiting(out, run, store, cards=cards)
        case "interrupted":
            say_resumable(out, run.id, store)
        case "running":
            out.say(f"run {run.id} is being driven by {visible(run.owner or 'another process')}", STYLES["running"])
    return EXIT[run.status]


def say_answer(out: Out, answer: Any) -> None:
    """A text as it reads; of a structure, its entries, with a ``report`` at the end as text."""
    if answer is None:
        return
    answer = for_people(answer)
    report = answer.get("report") if isinstance(answer, Mapping) else None
    if isinstance(answer, str):
        out.text(answer)
    elif isinstance(answer, Mapping):
        for line in value_lines({key: value for key, value in answer.items() if not (key == "report" and isinstance(report, str))}):
            out.say(line)
        if isinstance(report, str):
            out.say()
            out.text(report)
    else:
        for line in value_lines(answer):
            out.say(line)


def say_diagnosis(out: Out, run: Run, store: str) -> None:
    error = run.error or Diagnosis(code="unknown", cause="execution", message="no reason is recorded")
    took = seconds(run.updated - run.created)
    out.say(f"{run.status}, {took} after its start: [{error.code}] {visible(error.message)}", STYLES[run.status])
    out.say(f"  cause: {error.cause}" + (f", at step {visible(error.step_id)}" if error.step_id else ""))
    out.say(f"  what to do: {ADVICE_OF.get(error.code) or ADVICE[error.cause]}")
    out.say(f"  the whole story: {command('trace', run.id, store=store)}")
    say_open_effects(out, run)
    say_landed(out, run, store)
    if run.answer is not None:
        out.say("as far as it came:")
        say_answer(out, run.answer)


def say_open_effects(out: Out, run: Run) -> None:
    """Of a run that has ended: what nobody will settle any more but a person."""
    if not run.open_effects:
        return
    out.say("begun, and the outcome is not known; look it up in the system that was called:", "bold yellow")
    for effect in run.open_effects:
        out.say(f"  step {visible(effect.step_id)}: {visible(effect.tool)}, sent {when(effect.started)}, key {effect.key}")
        for line in value_lines(effect.args):
            out.say(f"    {line}")


def say_landed(out: Out, run: Run, store: str) -> None:
    """Of a run that failed or was cancelled: what it did all the same, and how it is taken back."""
    if not run.landed:
        return
    out.say("done all the same:")
    for effect in run.landed:
        back = f"  (undo: {visible(effect.undo.tool)})" if effect.undo else ""
        out.say(f"  step {visible(effect.step_id)}: {visible(effect.tool)}, {when(effect.finished)}{back}")
    if any(effect.undo for effect in run.landed):
        out.say(f"  to take back what can be undone, each call after a yes: {command('undo', run.id, store=store)}")


def say_waiting(out: Out, run: Run, store: str, *, cards: bool = True) -> None:
    if cards:
        for index, request in enumerate(run.requests):
            show_card(out, run, request, more=len(run.requests) - 1 - index, store=store)
        out.say()
    out.say(f"run {run.id} waits for a person; it goes on from any process:", STYLES["paused"])
    for line in how_to_answer(run, store):
        out.say(line)


def say_resumable(out: Out, run_id: str, store: str) -> None:
    out.say(f"run {run_id} was interrupted; finished steps are not run again. It goes on with:", STYLES["interrupted"])
    out.say(f"  {command('resume', run_id, store=store)}")
