"""Criteria that code cannot check: what a judge or a person has said of them, and the question to a person where nobody has.

A judge's word is on record before it is used, so that it is asked once about the same evidence. A person's word counts before the judge's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent_graph.errors import BudgetExceeded, ModelError, UsageError
from agent_graph.events import Note
from agent_graph.execution.asking import put
from agent_graph.execution.context import RunContext
from agent_graph.execution.criteria import unmet
from agent_graph.execution.evidence import ends, shown
from agent_graph.execution.judge import Case, judge
from agent_graph.execution.outcome import Outcome, Waits, words
from agent_graph.execution.thinking import think
from agent_graph.identity import Digest, digest, new_id
from agent_graph.plan import Judge, Step
from agent_graph.verdicts import Approve, Evidence, Failure, Judgement, Reject, Request, Source, StepResult, StepStatus

MAX_SHOWN = 8_000
"""Bytes of the evidence that stand in the request to a person; all of it is in the run."""

NO_JUDGE = "code cannot check it, and no judge is configured"
NOT_ASKED = "not looked at, since another criterion does not hold"

Wait = Callable[[Callable[[], Any]], Any]
"""Carries out what takes a while, and raises when the run is stopped, cancelled or out of time meanwhile."""


@dataclass(frozen=True, slots=True)
class Verifying:
    """Of one run. Nothing here knows what the criteria are of."""

    run: RunContext
    wait: Wait

    def look(self, cases: Sequence[Case], *, ask: bool = True) -> list[Evidence]:
        """What is known of each, in their order; the judge is asked where nobody has said anything. ``holds`` None: a person must say."""
        found: list[Evidence] = []
        for case in cases:
            refuted = any(each.holds is False for each in found)
            found.append(Evidence(criterion=case.criterion, holds=None, why=NOT_ASKED) if refuted else self.said(case, ask=ask))
        return found

    def said(self, case: Case, *, ask: bool) -> Evidence:
        store, run_id = self.run.store, self.run.run_id
        record = store.approvals.decision(run_id, self.bound(case), "question")
        match record.decision if record is not None else None:
            case Approve() | Reject() as decision:
                assert record is not None  # noqa: S101  # it holds the decision
                why = decision.reason if isinstance(decision, Reject) else ""
                by = f"person:{record.by}" if record.by else "person"
                return Evidence(criterion=case.criterion, holds=isinstance(decision, Approve), why=why, by=by)
            case _:
                pass
        known = store.judgements.get(run_id, case.key)
        if known is None:
            asked = next((each for each in store.approvals.open(run_id) if each.digest == self.bound(case)), None)
            found = asked.reason if asked is not None else self.ask_judge(case) if ask else "nobody has said so"
            if isinstance(found, str):
                return Evidence(criterion=case.criterion, holds=None, why=found)
            known = found
        quotes = {"quotes": list(known.quotes)} if known.quotes else {}
        return Evidence.model_validate(
            {"criterion": case.criterion, "holds": known.holds, "values": quotes, "why": known.why, "by": known.by}
        )

    def ask_judge(self, case: Case) -> Judgement | str:
        """The finding, which is on record then; or why there is none."""
        run, models = self.run, self.run.models
        if models is None or not models.has("judge"):
            return NO_JUDGE

        def ask() -> Judgement:
            from agent_graph.models.client import Asking

            asking = Asking(meter=run.meter, run_id=run.run_id, step_id=case.step_id)
            found = judge(models.of("judge"), case, asking, run.clock.now())
            found = found.model_copy(update={"why": words(found.why, run.redaction)})
            run.store.judgements.put(run.lease, case.key, found)
            return found

        try:
            said: Judgement = self.wait(ask)
        except (BudgetExceeded, ModelError, UsageError) as error:
            return words(f"the judge could not be asked: {error}", run.redaction)
        verdict = {True: "it holds", False: "it does not hold", None: "it cannot say"}[said.holds]
        quotes = "".join(f"; “{quote}”" for quote in said.quotes)
        message = f"{said.by} on “{case.criterion}”: {verdict}. {said.why}{quotes}"
        run.record(Note(run_id=run.run_id, at=said.at, step_id=case.step_id, message=message))
        return said

    # ── a person ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def bound(self, case: Case) -> Digest:
        """What a person's word is bound to: the criterion and the very evidence."""
        return digest(["unverified", self.run.run_id, case.step_id, case.key])

    def request(self, case: Case, known: Evidence, sources: tuple[Source, ...] = ()) -> Request:
        now, ttl = self.run.clock.now(), self.run.rules.policy.approval_ttl_s
        return Request(
            id=new_id(),
            run_id=self.run.run_id,
            kind="question",
            digest=self.bound(case),
            reason=f"the judge cannot say: {known.why}" if known.by else known.why,
            asked=now,
            expires=None if ttl is None else now + ttl,
            plan_version=self.run.plan.version,
            step_id=case.step_id,
            question=f"Does this hold of what {f'step {case.step_id}' if case.step_id else 'the run'} gave? {case.criterion}",
            criterion=case.criterion,
            args={"evidence": ends(case.evidence, MAX_SHOWN)},
            sources=sources,
        )

    def withdraw(self, cases: Iterable[Case]) -> None:
        """What is still asked about these, and decides nothing any more."""
        mine = {self.bound(case) for case in cases}
        waiting = [each.id for each in self.run.store.approvals.open(self.run.run_id) if each.digest in mine]
        if waiting:
            self.run.store.approvals.close(self.run.lease, waiting)


class StepVerifying:
    """Of one visit of ``execute``: steps that were carried out, and whose criteria are open."""

    def __init__(self, run: RunContext, pause: Callable[[float], None]) -> None:
        self.run = run
        self.verifying = Verifying(run, lambda ask: think(ask, pause, run.clock, None))

    def pending(self, step: Step) -> bool:
        return self.run.results.status(step.id) == "needs_clarification"

    def verify(self, step: Step) -> Outcome | Waits:
        """What becomes of the step. What it gave is on disk before anybody is asked: it is not carried out again."""
        store, standing = self.run.store, self.run.results.standing(step.id)
        assert standing is not None  # noqa: S101  # it is pending
        store.flush()
        before = store.ledger.result(standing.key)
        assert before is not None  # noqa: S101  # see above
        cases = self.cases(step, before)
        found = self.verifying.look(cases)
        open_ = [(case, known) for case, known in zip(cases, found, strict=True) if known.holds is None]
        if open_ and all(known.holds is not False for known in found):
            first, *more = [self.verifying.request(case, known, self.sources(step, before)) for case, known in open_]
            for request in more:
                put(store, self.run.lease, request, self.run.record)
            return Waits(first)
        self.verifying.withdraw(cases)
        result = decided(before, found).model_copy(update={"finished": self.run.clock.now()})
        return Outcome(key=standing.key, state=standing.state, result=result, durable=True)

    def again(self, step: Step, came: Outcome) -> Outcome:
        """Of a read that was made again before a step that wants its inputs fresh: what is the same as before is judged as before."""
        if came.result.status != "needs_clarification":
            return came
        return replace(came, result=decided(came.result, self.verifying.look(self.cases(step, came.result))))

    def cases(self, step: Step, result: StepResult) -> list[Case]:
        return [self.case(step, criterion, result) for criterion in step.success_criteria if isinstance(criterion, Judge)]

    def case(self, step: Step, criterion: Judge, result: StepResult) -> Case:
        what = f"What step {step.id!r} of a plan gave" + (f"; its task: {step.description}" if step.description else "")
        about = f"{what}\nThe goal of the plan: {self.run.plan.goal.text}"
        return Case(criterion=criterion.judge, about=about, evidence=shown(result.output, "output"), step_id=step.id)

    def sources(self, step: Step, result: StepResult) -> tuple[Source, ...]:
        """That a person is about to judge words from outside."""
        of = result.provenance
        if of is None or of.trusted:
            return ()
        what = f"steps.{step.id}.output"
        return (Source(label="untrusted", what=what, path=f"{of.source} → {what} → the verdict", into="the verdict"),)


def decided(before: StepResult, found: Sequence[Evidence]) -> StepResult:
    """The step's result with what was ``found``. What is still open counts as what does not hold."""
    missed = unmet([each for each in found if each.holds is False] or found)
    failure = Failure(code="criteria_unmet", message="; ".join(missed)) if missed else None
    status: StepStatus = "failed" if failure else "succeeded"
    return before.model_copy(update={"status": status, "error": failure, "evidence": filled_in(before.evidence, found)})


def filled_in(before: Iterable[Evidence], found: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """The evidence, with what was ``found`` in the places of what was open."""
    said = {each.criterion: each for each in found}
    return tuple([said.get(each.criterion, each) if each.holds is None else each for each in before])
