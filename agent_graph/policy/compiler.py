"""The plan compiler: from a plan, the rules and what has happened to a report of coded issues and needed approvals. Pure; no model, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from agent_graph.identity import RunId, StepId, call_digest, call_key
from agent_graph.lookalikes import resembles
from agent_graph.plan import RISKS, Judge, Plan, Reference, Step, highest, references
from agent_graph.policy.answers import answer_schema, check_ask
from agent_graph.policy.dataflow import Dataflow, expression_reads, find_cycle
from agent_graph.policy.expressions import ExpressionError, check_expression, paths_read, steps_read
from agent_graph.policy.granularity import too_coarse
from agent_graph.policy.issues import ISSUES
from agent_graph.policy.lineage import FIRST, Lineage, Origin
from agent_graph.policy.nesting import wrong_with
from agent_graph.policy.ordering import violations
from agent_graph.policy.params import with_params
from agent_graph.policy.permission import Circumstances, Permission, Rules, is_plain, permit
from agent_graph.policy.provenance import Labels, path_of
from agent_graph.policy.reasoned import KINDS, asked_in, check_reasoned, risks_of
from agent_graph.policy.repeating import Failed, repeats
from agent_graph.policy.schemas import argument_mismatches, below, check_path, check_schema
from agent_graph.policy.serving import idle_steps, too_much
from agent_graph.policy.spending import Spent, needs_of, overruns, price_of
from agent_graph.policy.template import problems as template_problems
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Allow, Ask, Call, Deny, Issue, Report, Source
from agent_graph.visible import visible

__all__ = ["Rules", "SoFar", "compile_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoFar:
    """What has happened in the run before."""

    frozen: Mapping[str, Step] = field(default_factory=dict)
    """The steps that have ended, as they were in the version that ran them."""
    lineage: Lineage = field(default_factory=dict)
    """Of the steps of this version."""
    landed: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Effects that happened: by ``call_key``, the step and the plan version that made the call."""
    spent: Spent = field(default_factory=Spent)
    replans: int = 0
    """Versions that the planner has made after the first, this one included."""
    now: float | None = None
    """Seconds since the epoch, UTC."""
    failed: Mapping[str, Failed] = field(default_factory=dict)
    """Calls that came to nothing in an earlier version, and should not be proposed again."""


def compile_plan(plan: Plan, rules: Rules, run_id: RunId, so_far: SoFar | None = None) -> Report:
    """Check the whole plan."""
    return _Compiler(plan, rules, run_id, so_far or SoFar()).report()


class _Compiler:
    def __init__(self, plan: Plan, rules: Rules, run_id: RunId, so_far: SoFar) -> None:
        self.plan = plan
        self.rules = rules
        self.run_id = run_id
        self.so_far = so_far
        self.frozen = so_far.frozen
        self.position = {step.id: index for index, step in reversed(list(enumerate(plan.steps)))}
        self.needs = {step.id: step.needs | read if (read := expression_reads(step)) else step.needs for step in plan.steps}
        self._types: dict[str, Mapping[str, Any] | str | None] = {}
        self._asks: dict[str, str] = {}

    def report(self) -> Report:
        issues = [*self.whole_plan(), *self.structure(), *self.spending()]
        calls: list[Call] = []
        for step in self.plan.steps:
            issues.extend(self.step(step))
            if step.id not in self.frozen:
                found, call = self.permission(step)
                issues.extend(found)
                calls.extend(call)
        return Report(
            issues=tuple(issues),
            risk=self.risk(),
            calls=tuple(calls),
            review=self.review(calls),
            asks=self._asks,
            policy=self.rules.policy.digest,
        )

    def risk(self) -> Any:
        return highest(risk for step in self.plan.steps for risk in risks_of(step, self.rules.tools, self.rules.models))

    def review(self, calls: list[Call]) -> str:
        """Why a person sees the plan before it runs; empty when nobody has to."""
        if self.rules.policy.review_plans:
            return f"policy {self.rules.policy.name!r} has each plan reviewed"
        required = [step.id for step in self.plan.steps if step.approval == "required" and step.id not in self.frozen]
        if required:
            return f"approval is required for {', '.join(required)}"
        return "; ".join(dict.fromkeys(call.reason for call in calls))

    # ── the plan as a whole ───────────────────────────────────────────────────────────────────────────────────────────

    def whole_plan(self) -> Iterator[Issue]:
        plan, limits = self.plan, self.rules.limits
        if not plan.steps and plan.answer is None:
            yield _issue("no_steps", "the plan has no steps and no answer", "add a step, or an answer")
        most = min(limits.max_steps, limits.mode_steps.get(plan.mode, limits.max_steps))
        if len(plan.steps) > most:
            in_mode = f" in mode {plan.mode!r}" if most < limits.max_steps else ""
            yield _issue(
                "too_many_steps",
                f"{len(plan.steps)} steps; at most {most} are allowed{in_mode}",
                f"split the goal, or raise limits.{'mode_steps' if in_mode else 'max_steps'}",
            )
        most = min(limits.max_replans, limits.mode_replans.get(plan.mode, limits.max_replans))
        if self.so_far.replans > most:
            yield _issue(
                "too_many_replans",
                f"this is replan {self.so_far.replans}; mode {plan.mode!r} allows {most}",
                "use a mode that may replan, or raise the limit",
            )
        if plan.mode != "iterative":  # there the planner reads what each step gives
            yield from self.serving()
        if plan.mode == "auto":
            yield _issue("not_supported", "a plan is in the mode that was chosen, and 'auto' is none", "write single_shot, or iterative")
        for step, said in too_coarse(plan, self.rules.tools):
            yield _issue("too_coarse", said, "make each of these calls a step of its own", step.id)
        if plan.risk_level is not None and RISKS.index(plan.risk_level) < RISKS.index(self.risk()):
            yield _issue("risk_understated", f"the plan says {plan.risk_level}; its tools make it {self.risk()}", severity="warning")
        for index, criterion in enumerate((*plan.goal.success_criteria, *plan.success_criteria)):
            yield from self.expression(criterion, f"success criterion {index + 1}", None)
        if plan.stop_when is not None:
            yield from self.expression(plan.stop_when, "stop_when", None)
        for index, assumption in enumerate(plan.assumptions):
            yield from self.expression(assumption, f"assumption {index + 1}", None)
        if self.so_far.failed:
            proposed = [(step, self.with_params(step)) for step in plan.steps if step.id not in self.frozen]
            yield from repeats(plan, self.needs, proposed, self.so_far.failed)
        if plan.template is not None:
            for wrong in template_problems(plan.template, self.position):
                yield _issue("invalid_template", f"the template of the answer: {wrong}", "see jinja.palletsprojects.com")
        for at, text in references(plan.answer):
            yield from self.reference(Reference.parse(text), f"answer{'.' + at if at else ''}", None)
        for step, missing in violations(plan, self.rules.policy.order, self.rules.tools, self.needs, self.frozen):
            yield _issue("order_violated", missing, "add the step that is missing, and have the other one wait for it", step.id)

    def serving(self) -> Iterator[Issue]:
        """Steps that serve nothing."""
        if much := too_much(self.plan, self.rules.tools, self.needs):
            yield _issue("over_planned", much, "leave out what nobody asked for", severity="warning")
        for step in idle_steps(self.plan, self.rules.tools, self.needs):
            yield _issue(
                "unused_output",
                "it changes nothing, and nothing uses what it gives: no step, criterion or answer",
                "use its output, or leave the step out",
                step.id,
                severity="warning",
            )

    def spending(self) -> Iterator[Issue]:
        limits = self.rules.limits
        if not limits.bounds_calls:
            return
        needs = needs_of(self.plan, (step for step in self.plan.steps if step.id not in self.frozen), self.rules.tools)
        for code, said in overruns(needs, limits, self.so_far.spent, limits.max_parallel):
            severity = "error" if code == "over_budget" else "warning"
            yield _issue(code, said, "plan fewer or cheaper calls, or raise the limit", severity=severity)

    @cached_property
    def stands_in(self) -> dict[str, str]:
        """By fallback step, the step that it stands in for."""
        return {step.fallback: step.id for step in self.plan.steps if step.fallback is not None}

    @cached_property
    def scopes(self) -> tuple[str, ...]:
        return self.rules.scopes_of(self.plan.goal.principal)

    @cached_property
    def labels(self) -> Labels:
        return Labels(self.plan, self.rules.tools)

    def structure(self) -> Iterator[Issue]:
        seen: set[str] = set()
        for step in self.plan.steps:
            if step.id in seen:
                yield _issue("duplicate_step", f"another step is called {step.id!r} too", "give each step an id of its own", step.id)
            seen.add(step.id)
        forward = [
            (step.id, need)
            for step in self.plan.steps
            for need in self.needs[step.id]
            if self.position.get(need, -1) >= self.position[step.id]
        ]
        if forward:  # where each need stands before its step, nothing goes round
            yield from self.order(forward)
        yield from self.fallbacks()
        for step_id, was in self.frozen.items():
            now = self.plan.by_id.get(step_id)
            if now != was:
                how = "is left out" if now is None else "is changed"
                yield _issue(
                    "frozen_step_changed",
                    f"it has ended, and {how} in version {self.plan.version}",
                    "leave it as it was; add another step",
                    step_id,
                )

    def order(self, forward: list[tuple[str, str]]) -> Iterator[Issue]:
        selves = {step.id for step in self.plan.steps if step.id in step.needs}
        for step_id in selves:
            yield _issue("cycle", f"it waits for itself: {step_id} → {step_id}", "take the dependency or reference out", step_id)
        cycle = find_cycle({step_id: needs - {step_id} for step_id, needs in self.needs.items()})
        if cycle is not None:
            yield _issue(
                "cycle", f"steps wait for each other: {' → '.join(cycle)}", "take one of these dependencies or references out", cycle[0]
            )
        circle = set(cycle or ()) | selves
        for step_id, need in sorted(forward, key=lambda pair: (self.position[pair[0]], pair[1])):
            if need != step_id and not {need, step_id} <= circle:
                yield _issue("forward_reference", f"it uses {need!r}, which stands after it", f"move {need!r} before it", step_id)

    def fallbacks(self) -> Iterator[Issue]:
        stands_in: dict[str, str] = {}
        for step in self.plan.steps:
            other = step.fallback
            if other is None:
                continue
            fix = "name a later step of its own that uses neither this one's output nor anything that waits for it"
            if other not in self.position:
                yield _issue("invalid_fallback", f"on_failure names {other!r}, which is not in the plan", fix, step.id)
            elif other == step.id or self.position[other] < self.position[step.id]:
                yield _issue("invalid_fallback", f"on_failure names {other!r}, which does not stand after it", fix, step.id)
            elif other in stands_in:
                yield _issue("invalid_fallback", f"{other!r} stands in for {stands_in[other]!r} already", fix, step.id)
            elif step.id in self.needs[other]:
                yield _issue("invalid_fallback", f"{other!r} uses the output of the step that it stands in for", fix, step.id)
            else:
                stands_in[other] = step.id
        circle = find_cycle(Dataflow.of(self.plan).needs) if stands_in and len(self.plan.by_id) == len(self.plan.steps) else None
        if circle is not None and (standing := [step_id for step_id in circle if step_id in stands_in]):
            other = standing[0]
            path = " → ".join(circle)
            yield _issue(
                "invalid_fallback",
                f"{other!r} stands in for {stands_in[other]!r}, and waits for what waits for it: {path}",
                fix,
                stands_in[other],
            )

    # ── one step ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, step: Step) -> Iterator[Issue]:
        if step.kind in KINDS:
            yield from check_reasoned(step, self.rules, *self.seen(step))
        if step.id not in self.frozen and (nested := wrong_with(step, self.plan, self.rules.blueprints)) is not None:
            yield _issue("invalid_blueprint", nested, "", step.id)
        for need in step.depends_on:
            if need not in self.position:
                yield _issue("dangling_reference", f"depends_on names {need!r}, which is not in the plan", self.known_steps(), step.id)
        for at, reference in step.references:
            yield from self.reference(reference, f"args{'.' + at if at else ''}", step.id)
        if step.when is not None:
            yield from self.expression(step.when, "when", step.id, own_output=False)
        for index, criterion in enumerate(step.success_criteria):
            yield from self.expression(criterion, f"success criterion {index + 1}", step.id, own_output=True)
        if step.expected_output is not None and (wrong := check_schema(step.expected_output)) is not None:
            yield _issue("invalid_schema", f"expected_output is not a JSON Schema: {wrong}", "", step.id)
        if step.kind == "ask" and step.args:
            for wrong, fix in check_ask(step):
                yield _issue("invalid_arguments", wrong, fix, step.id)
        if step.tool is not None:
            yield from self.tool_call(step, step.tool)

    def tool_call(self, step: Step, name: str) -> Iterator[Issue]:
        spec = self.rules.tools.get(name)
        if spec is None:
            yield _issue(
                "unknown_tool",
                f"there is no tool {visible(repr(name))}" + (f": {alike}" if (alike := resembles(name, self.rules.tools)) else ""),
                f"use one of: {', '.join(self.rules.tools) or '(none is registered)'}",
                step.id,
            )
            return
        if step.allowed_tools and name not in step.allowed_tools:
            yield _issue("tool_not_allowed", f"it calls {name!r}, but allows only {', '.join(step.allowed_tools)}", "", step.id)
        type_of: dict[str, Mapping[str, Any]] = {}
        for _, reference in step.references:
            known = self.type_of(reference)
            if isinstance(known, Mapping):
                type_of[reference.text] = known
        for wrong in argument_mismatches(spec.args_schema, self.with_params(step), type_of):
            yield _issue("invalid_arguments", f"{name}: {wrong}", "", step.id)

    def permission(self, step: Step) -> tuple[list[Issue], list[Call]]:
        """What may be done with the step: a denial is an issue, and an ask about known arguments a call to be shown."""
        spec = self.rules.tools.get(step.tool or "")
        if step.agent is not None and (asked := asked_in(step, self.rules, *self.seen(step))):
            self._asks[step.id] = asked
        if spec is None:
            return [], []
        goal, now = self.plan.goal, self.so_far.now
        args = None if step.reads else self.with_params(step)
        if is_plain(step, spec, self.rules):
            said = self.rules.policy.judge(spec, args, step=step.id, principal=goal.principal, scopes=self.scopes, now=now)
            if isinstance(said, Allow):
                return [], []
        origin = self.so_far.lineage.get(step.id, FIRST)
        found = permit(
            step,
            spec,
            self.rules,
            Circumstances(
                args=args,
                principal=goal.principal,
                now=now,
                flows=self.flows(step, spec),
                origin=origin,
                repeats=self.repeats(step, spec, args, origin.since),
                unpriced=self.rules.limits.max_money is not None and args is not None and price_of(spec, args) is None,
            ),
        )
        if isinstance(found.verdict, Deny):
            return [_issue(found.code, found.verdict.reason, _DENIED.get(found.code, ""), step.id)], []
        if not isinstance(found.verdict, Ask):
            return [], []
        self._asks[step.id] = found.verdict.reason
        issues = [_issue(code, said, "a person is asked", step.id, severity="warning") for code, said in found.said.items()]
        if args is None:
            return issues, []  # its arguments come from earlier steps: asked when they are known
        return issues, [self.call(step, spec, args, origin.mark, found)]

    def seen(self, step: Step) -> tuple[Origin, float | None, str | None]:
        """By what the calls of an ``agent`` step are judged before it runs."""
        return self.so_far.lineage.get(step.id, FIRST), self.so_far.now, self.plan.goal.principal

    def call(self, step: Step, spec: ToolSpec, args: dict[str, Any], mark: str, found: Permission) -> Call:
        assert isinstance(found.verdict, Ask)  # noqa: S101  # only what asks is shown
        bound = call_digest(self.run_id, StepId(step.id), spec.name, spec.digest, args, mark)
        return Call(
            step_id=step.id,
            tool=spec.name,
            args=args,
            risk=spec.risk,
            digest=bound,
            reason=found.verdict.reason,
            sources=found.sources,
            standing=found.standing,
        )

    def flows(self, step: Step, spec: ToolSpec) -> list[tuple[Source, str]]:
        """What reaches the call and matters there, or is spoken of by the policy."""
        if not (spec.changes or spec.outbound or self.rules.policy.flows) or not (
            step.references or step.when or step.id in self.stands_in
        ):
            return []
        labels, found = self.labels, []
        for name, inflow in labels.into(step):
            path, origin = path_of(name, inflow, self.plan, self.plan.goal, labels.of, labels.spec_of)
            found.append((Source(label=name, what=inflow.reference.text, path=path, into=inflow.into), origin))
        return found

    def repeats(self, step: Step, spec: ToolSpec, args: dict[str, Any] | None, since: int) -> str | None:
        """The step whose landed effect this call of a later version would do again."""
        if args is None or not spec.changes or not self.so_far.landed:
            return None
        before = self.so_far.landed.get(call_key(spec.name, args))
        return before[0] if before is not None and before[0] != step.id and before[1] < since else None

    # ── references and expressions ────────────────────────────────────────────────────────────────────────────────────

    def reference(self, reference: Reference, where: str, step_id: str | None) -> Iterator[Issue]:
        if reference.param is not None:
            if reference.param not in self.plan.goal.params:
                known = ", ".join(self.plan.goal.params) or "none"
                yield _issue(
                    "unknown_param",
                    f"{where} refers to params.{reference.param}, which the goal does not have",
                    f"there is: {known}",
                    step_id,
                )
            return
        if reference.step not in self.position:
            yield _issue(
                "dangling_reference",
                f"{where} refers to {reference.text!r}, but there is no step {reference.step!r}",
                self.known_steps(),
                step_id,
            )
            return
        try:
            check_path(reference.path)
        except ValueError as error:
            yield _issue(
                "invalid_reference", f"{where} refers to {reference.text!r}: {str(error).splitlines()[0]}", "see jmespath.org", step_id
            )
            return
        known_type = self.type_of(reference)
        if isinstance(known_type, str):
            yield _issue("unknown_output", f"{where} refers to {reference.text!r}: {known_type}", "", step_id)

    def type_of(self, reference: Reference) -> Mapping[str, Any] | str | None:
        """The schema of what the reference will hold; a text when there can be no such value; None when it is not known."""
        source = self.plan.by_id.get(reference.step or "")
        if source is None:
            return None
        if source.expected_output:
            known = _below(source.expected_output, reference.path)
            if not isinstance(known, str):
                return known  # what it does not name, the tool may give all the same
        if source.kind == "ask":
            return _below(answer_schema(source), reference.path)
        # Of one tool and path there is one answer, however many steps ask.
        asked = f"{source.kind} {source.tool} {source.expected_output is None} {reference.path}"
        if asked not in self._types:
            spec = self.rules.tools.get(source.tool or "")
            said = source.kind in KINDS and source.expected_output is None
            schema = {"type": "string"} if said else spec.output_schema if spec else None
            self._types[asked] = _below(schema, reference.path)
        return self._types[asked]

    def expression(self, text: str | Judge, where: str, step_id: str | None, *, own_output: bool = False) -> Iterator[Issue]:
        if isinstance(text, Judge):
            if not text.judge.strip():
                yield _issue("invalid_expression", f"{where} says nothing that a judge could decide", "say what must hold", step_id)
            return
        try:
            check_expression(text)
        except ExpressionError as error:
            yield _issue("invalid_expression", f"{where} ({text}): {error}", "", step_id)
            return
        yield from self.places_read(text, where, step_id)
        for read in sorted(steps_read(text)):
            if read not in self.position:
                yield _issue(
                    "dangling_reference", f"{where} ({text}) reads step {read!r}, which is not in the plan", self.known_steps(), step_id
                )
            elif read == step_id and not own_output:
                yield _issue("invalid_expression", f"{where} ({text}) reads the step's own result before it runs", "", step_id)

    def places_read(self, text: str, where: str, step_id: str | None) -> Iterator[Issue]:
        """Places in outputs that the expression reads and no step gives."""
        for path in paths_read(text):
            match path:
                case ("steps", str(step), "output", *rest) if rest:
                    source = step
                case ("output", *rest) if rest and step_id is not None:
                    source = step_id
                case _:
                    continue
            at = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)[1:] if isinstance(rest[0], str) else None
            if at is None:
                continue
            known = self.type_of(Reference(text="", step=source, path=at))
            if isinstance(known, str):
                yield _issue("unknown_output", f"{where} ({text}) reads {at!r} of step {source!r}: {known}", "", step_id)

    def with_params(self, step: Step) -> dict[str, Any]:
        return with_params(step, self.plan.goal.params)

    def known_steps(self) -> str:
        ids = [step.id for step in self.plan.steps]
        return f"there is: {', '.join(ids[:20])}{' …' if len(ids) > 20 else ''}"


_DENIED = {
    "denied_by_policy": "use another tool, or change the policy",
    "missing_scope": "use another tool, or run it for somebody who may",
    "untrusted_flow": "take the value from a trusted step, or change the policy",
    "sensitive_flow": "keep the value inside, or change the policy",
}


def _below(schema: Mapping[str, Any] | None, path: str | None) -> Mapping[str, Any] | str | None:
    return schema if schema is None or not path else below(schema, path)


def _issue(code: str, message: str, fix: str = "", step_id: str | None = None, *, severity: Any = "error") -> Issue:
    assert code in ISSUES, code  # noqa: S101  # the list is closed
    return Issue(code=code, severity=severity, step_id=step_id, message=message, fix=fix)
