"""An ``ask`` step: what it puts to a person, and what the answer is worth.

Choices and the value to confirm may come from earlier steps; the person is told so, sees them whole, and makes them their own by the answer:
that is trusted input, whatever it was chosen from.
"""

from __future__ import annotations

from typing import Any

from agent_graph.execution.allowing import Allowing
from agent_graph.execution.asking import request
from agent_graph.execution.context import RunContext
from agent_graph.execution.judging import Judging
from agent_graph.execution.outcome import Outcome, Waits
from agent_graph.execution.references import MissingOutput, ReferenceError_, resolve
from agent_graph.identity import StepId, digest, effect_key
from agent_graph.plan import Step
from agent_graph.policy.answers import WrongAnswer, choices_of, text_of, value_in
from agent_graph.policy.lineage import FIRST
from agent_graph.policy.provenance import of_step
from agent_graph.verdicts import Provenance, Source


class Clarifying:
    """Of one visit of ``execute``."""

    def __init__(self, run: RunContext, judging: Judging, allowing: Allowing) -> None:
        self.run = run
        self.judging = judging
        self.allowing = allowing

    def ask(self, step: Step) -> Outcome | Waits:
        run = self.run
        try:
            args = resolve(step.args, run.results.output, run.plan.goal.params)
            choices = choices_of(args["choices"]) if "choices" in args else {}
            proposed = _proposed(args, choices)
        except MissingOutput as missing:
            return self.judging.skipped(step, "upstream_missing", str(missing))
        except ReferenceError_ as error:
            return self.judging.blocked(step, "invalid_reference", str(error))
        except WrongAnswer as error:
            return self.judging.blocked(step, "invalid_arguments", f"ask: {error}")
        bound = digest(["ask", run.run_id, step.id, step.ask, *([args] if args else [])])
        answered = run.store.approvals.decision(run.run_id, bound, "question")
        if answered is None or answered.decision is None:
            asked = request(
                run,
                step,
                "question",
                bound,
                "the plan asks",
                question=step.ask,
                choices=tuple(choices),
                proposed=proposed,
                expects=None if choices else step.expected_output,
                sources=(*run.lineage.get(step.id, FIRST).read, *self.sources(step)),
            )
            return Waits(asked)
        if answered.decision.type != "respond":
            return self.judging.blocked(step, "not_answered", getattr(answered.decision, "reason", "") or "nobody answered")
        try:
            value = value_in(answered.decision.text, answered.request)
        except WrongAnswer as error:  # it was looked at when it was recorded: somebody went past us
            return self.judging.blocked(step, "not_answered", str(error))
        result = self.judging.judged(
            step, choices.get(value, value) if choices else value, attempts=1, started=answered.request.asked, finished=run.clock.now()
        )
        result = result.model_copy(update={"provenance": self.provenance(step)})
        key = effect_key(run.run_id, StepId(step.id), "ask", {"ask": step.ask, **args})
        return Outcome(key=key, state="done", result=result, tool="ask", durable=True)

    def provenance(self, step: Step) -> Provenance:
        """A person's word is trusted. What is not for everybody stays so, whoever has confirmed it."""
        run = self.run
        primary = run.flow.fallback_of.get(step.id)
        label = of_step(step, None, run.plan.goal, run.results.label, self.allowing.spec_of, primary)
        return Provenance(source="person", steps=tuple(sorted(step.reads)), trusted=True, sensitive=label.sensitive)

    def sources(self, step: Step) -> tuple[Source, ...]:
        """What of the choices, or of the value to confirm, came from outside or is not for everybody."""
        return tuple(source for source, _ in self.allowing.sources(step)) if step.references else ()


def _proposed(args: dict[str, Any], choices: dict[str, Any]) -> Any:
    """The value to confirm. Raises WrongAnswer."""
    if "value" not in args:
        return None
    value = args["value"]
    if value is None:
        raise WrongAnswer("the value to confirm is null: there is nothing to confirm")
    if choices and text_of(value) not in choices:
        raise WrongAnswer(f"the value to confirm, {text_of(value)[:200]}, is not among the choices")
    return value
