"""Whether the call that a step has come to may be made, now that its arguments are known. It is asked at each call, whatever was said before."""

from __future__ import annotations

from typing import Any

from agent_graph.execution.context import RunContext
from agent_graph.execution.references import ReferenceError_, follow
from agent_graph.identity import RequestId, StepId, call_digest, call_key
from agent_graph.plan import Step
from agent_graph.policy.approvers import may_not_approve
from agent_graph.policy.explanation import write_judged
from agent_graph.policy.lineage import FIRST
from agent_graph.policy.ordering import not_yet
from agent_graph.policy.permission import Circumstances, Permission, is_plain, permit
from agent_graph.policy.provenance import OUTSIDE, Inflow, Label, excerpt, labelled, of_step, path_of
from agent_graph.policy.spending import price_of
from agent_graph.policy.standing import standing_yes
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Allow, Grant, Provenance, Source, Verdict


class Allowing:
    """Of one visit of ``execute``."""

    def __init__(self, run: RunContext) -> None:
        self.run = run
        self.results = run.results
        self._number: int | None = None
        goal, rules = run.plan.goal, run.rules
        self._anything_sensitive = bool(goal.sensitive) or any(spec.sensitive for spec in rules.tools.values())
        self._allowed: dict[str, Permission] = {}
        self._recorded: dict[tuple[type[Verdict], str], str] = {}

    # ── where values come from ────────────────────────────────────────────────────────────────────────────────────────

    def spec_of(self, step_id: str) -> ToolSpec | None:
        step = self.run.plan.by_id.get(step_id)
        return self.run.rules.tools.get(step.tool or "") if step is not None else None

    def label(self, step: Step, spec: ToolSpec) -> Label:
        """Of what the step will give, from what its inputs turned out to be."""
        if not (self._anything_sensitive or spec.trusted_output):
            return OUTSIDE
        return of_step(step, spec, self.run.plan.goal, self.results.label, self.spec_of, self.run.flow.fallback_of.get(step.id))

    def provenance(self, step: Step, spec: ToolSpec) -> Provenance:
        label = self.label(step, spec)
        return Provenance(
            source=spec.name,
            steps=tuple(sorted(step.reads)),
            params=tuple(sorted({reference.param for _, reference in step.references if reference.param is not None})),
            trusted=label.trusted,
            sensitive=label.sensitive,
        )

    def flows(self, step: Step, spec: ToolSpec) -> list[tuple[Source, str]]:
        """Values from outside, and sensitive ones, that reach this very call."""
        primary = self.run.flow.fallback_of.get(step.id)
        if not (spec.changes or spec.outbound or self.run.rules.policy.flows) or not (step.references or step.when or primary):
            return []
        return self.sources(step)

    def sources(self, step: Step) -> list[tuple[Source, str]]:
        """Values from outside, and sensitive ones, that reach the step, each with its origin."""
        primary, goal = self.run.flow.fallback_of.get(step.id), self.run.plan.goal
        found = []
        for name, inflow in labelled(step, goal, self.results.label, self.spec_of, primary):
            path, origin = path_of(name, inflow, self.run.plan, goal, self.results.label, self.spec_of)
            said = self.excerpt(inflow) if name == "untrusted" else ""
            found.append((Source(label=name, what=inflow.reference.text, path=path, into=inflow.into, excerpt=said), origin))
        return found

    def excerpt(self, inflow: Inflow) -> str:
        """The beginning of the value. What a parameter holds is as the host gave it: without its secrets."""
        try:
            return self.run.redaction.text(excerpt(follow(inflow.reference, self.results.output, self.run.plan.goal.params)))
        except ReferenceError_:
            return ""

    # ── what is said of the call ──────────────────────────────────────────────────────────────────────────────────────

    def permission(self, step: Step, spec: ToolSpec, args: dict[str, Any]) -> Permission:
        run = self.run
        if is_plain(step, spec, run.rules):
            goal = run.plan.goal
            said = run.rules.policy.judge(
                spec, args, step=step.id, principal=goal.principal, scopes=run.rules.scopes_of(goal.principal), now=run.clock.now()
            )
            if isinstance(said, Allow):
                return self._allowed.get(said.rule) or self._allowed.setdefault(said.rule, Permission(verdict=said))
        origin = run.lineage.get(step.id, FIRST)
        return permit(
            step,
            spec,
            run.rules,
            Circumstances(
                args=args,
                principal=run.plan.goal.principal,
                now=run.clock.now(),
                flows=self.flows(step, spec),
                origin=origin,
                repeats=self.repeats(step, spec, args, origin.since),
                unpriced=run.rules.limits.max_money is not None and price_of(spec, args) is None,
            ),
        )

    def repeats(self, step: Step, spec: ToolSpec, args: dict[str, Any], since: int) -> str | None:
        """The step of an earlier plan version whose landed effect this call would do again."""
        if since == 1 or not spec.changes:
            return None
        before = self.results.landed(call_key(spec.name, args))
        return before[0] if before is not None and before[0] != step.id and before[1] < since else None

    def out_of_order(self, step: Step, spec: ToolSpec) -> str:
        order = self.run.rules.policy.order
        if not order:
            return ""
        return not_yet(step, spec, order, self.run.flow.every_need, self.spec_of, lambda need: self.results.status(need) == "succeeded")

    def bound(self, step: Step, spec: ToolSpec, args: dict[str, Any]) -> Any:
        """What a yes to exactly this call is bound to."""
        mark = self.run.lineage.get(step.id, FIRST).mark
        return call_digest(self.run.run_id, StepId(step.id), spec.name, spec.digest, args, mark)

    def approval(self, step: Step, spec: ToolSpec, args: dict[str, Any]) -> RequestId | None:
        """The unused yes that covers exactly this call, of somebody who may say it."""
        found = self.run.store.approvals.grant(self.run.run_id, self.bound(step, spec, args))
        if found is None:
            return None
        record = self.run.store.approvals.get(found)
        if record is None or may_not_approve(self.run.rules.policy, record.request, record.by, self.run.plan.goal.principal):
            return None
        return found

    def standing(self, spec: ToolSpec, args: dict[str, Any]) -> Grant | None:
        """A standing grant that covers the call."""
        run = self.run
        return standing_yes(run.store.grants, run.rules.policy, spec, args, run.plan.goal.principal, run.clock.now())

    def recorded(self, verdict: Verdict, standing: Grant | None = None) -> str:
        """For the ledger: the verdict, the number of the policy, and what decided; in few bytes, since each row has it."""
        policy = self.run.rules.policy
        if self._number is None:
            self._number = self.run.store.policies.note(policy.digest, policy.model_dump_json(exclude_defaults=True))
        said = f"standing grant {standing.id}" if standing is not None else verdict.rule
        known = self._recorded.get((type(verdict), said))
        if known is None:
            known = self._recorded[type(verdict), said] = write_judged(verdict, self._number, said, policy.marks)
        return known
