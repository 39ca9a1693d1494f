"""Which values from outside, and which sensitive ones, can reach a call: told from the plan's references before anything runs.

A value is trusted when nobody outside can have written any of it, and sensitive when something that is not for everybody went into it. Its
labels follow it through references, through what a tool makes of it, and through conditions: a step that runs because of what a mail said is
under that mail's influence. What merely waits for a step (``depends_on``) is not: that step can keep it from running, and change nothing in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agent_graph.plan import Goal, Plan, Reference, Step
from agent_graph.policy.dataflow import expression_reads
from agent_graph.policy.expressions import ExpressionError, steps_read
from agent_graph.policy.matching import Label as LabelName
from agent_graph.policy.rules import Policy
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Allow, Ask, Deny, Source, Verdict


class Label(NamedTuple):
    """Of a step's output."""

    trusted: bool
    sensitive: bool
    """Whether something sensitive went in; what its tool itself says is in ``ToolSpec.sensitive``."""


OUTSIDE = Label(trusted=False, sensitive=False)
OURS = Label(trusted=True, sensitive=False)

LabelOf = Callable[[str], Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inflow:
    """A value that has a say in a step."""

    into: str
    """``args.to``, ``when``, or ``on_failure`` of the step that this one stands in for."""
    reference: Reference


def inflows(step: Step, primary: str | None = None) -> Iterator[Inflow]:
    """Everything that decides what a step is called with, and whether it is. ``primary``: the step that it stands in for."""
    for at, reference in step.references:
        yield Inflow(into=f"args.{at}", reference=reference)
    if step.when is not None:
        for read in sorted(_steps(step.when)):
            yield Inflow(into="when", reference=Reference(f"steps.{read}", step=read))
        for name in sorted(_params(step.when)):
            yield Inflow(into="when", reference=Reference("params" if name == ANY else f"params.{name}", param=name))
    if primary is not None:
        yield Inflow(into="on_failure", reference=Reference(f"steps.{primary}", step=primary))


_PARAM = re.compile(r"(?<![\w.])params\b(?:\s*(?:\.\s*([A-Za-z_]\w*)(?!\w|\s*\()|\[\s*['\"]([A-Za-z_]\w*)['\"]\s*\]))?")

ANY = "*"
"""In the place of a parameter's name: whichever, as where a condition looks through all of them."""


def _params(expression: str) -> set[str]:
    return {found[1] or found[2] or ANY for found in _PARAM.finditer(expression)}


def _steps(expression: str) -> frozenset[str]:
    try:
        return steps_read(expression)
    except ExpressionError:
        return frozenset()  # the compiler reports it


# ── one step ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def of_reference(reference: Reference, goal: Goal, label_of: LabelOf, spec_of: Callable[[str], ToolSpec | None]) -> Label:
    """The label of what a reference points to. ``spec_of``: the tool of a step."""
    if reference.param == ANY:
        return Label(trusted=not goal.untrusted, sensitive=bool(goal.sensitive))
    if reference.param is not None:
        return Label(trusted=reference.param not in goal.untrusted, sensitive=reference.param in goal.sensitive)
    assert reference.step is not None  # noqa: S101  # a reference is one or the other
    label, spec = label_of(reference.step), spec_of(reference.step)
    if spec is not None and spec.sensitive and not label.sensitive and _touches(spec.sensitive, reference.path):
        return Label(trusted=label.trusted, sensitive=True)
    return label


def _touches(sensitive: tuple[str, ...], path: str | None) -> bool:
    """Whether a path below an output may hold something of what is sensitive in it."""
    places = [each.partition(".")[2] for each in sensitive if each.partition(".")[0] == "output"]
    if not places:
        return False
    if path is None or "" in places:
        return True
    plain = re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[-?\d+\])*", path)
    if plain is None:
        return True  # a filter or a function: what it picks is not followed
    bare = re.sub(r"\[-?\d+\]", "", path)
    return any(bare == place or bare.startswith(f"{place}.") or place.startswith(f"{bare}.") for place in places)


def of_step(
    step: Step, spec: ToolSpec | None, goal: Goal, label_of: LabelOf, spec_of: Callable[[str], ToolSpec | None], primary: str | None = None
) -> Label:
    """The label of what a step gives. An answer of a person is trusted. What a model or a nested plan gives is as its inputs are; what an agent
    gives never is."""
    into = [of_reference(each.reference, goal, label_of, spec_of) for each in inflows(step, primary)]
    into += [label_of(read) for read in expression_reads(step) - {step.id}]
    own = step.kind in {"ask", "model", "blueprint"} or (spec is not None and spec.trusted_output)
    given = spec is not None and any(name in step.args for name in spec.sensitive)
    return Label(trusted=own and all(label.trusted for label in into), sensitive=given or any(label.sensitive for label in into))


# ── the whole plan ────────────────────────────────────────────────────────────────────────────────────────────────────


class Labels:
    """Of every step of a plan, told from its references alone; what is told at run time is never worse."""

    def __init__(self, plan: Plan, tools: Mapping[str, ToolSpec]) -> None:
        self.plan = plan
        self._tools = tools
        self._primary = {step.fallback: step.id for step in plan.steps if step.fallback is not None}
        self._labels: dict[str, Label] = {}
        for step in plan.steps:  # listed in an order in which they can run
            made = of_step(step, self.spec_of(step.id), plan.goal, self.of, self.spec_of, self._primary.get(step.id))
            reads_more = step.agent is not None and not made.sensitive and self._may_read_sensitive(step)
            self._labels[step.id] = Label(trusted=made.trusted, sensitive=True) if reads_more else made

    def _may_read_sensitive(self, step: Step) -> bool:
        """Whether one of the tools that an agent may call gives something sensitive. Without a list, a specialist's tools: any."""
        specs = [self._tools[name] for name in step.allowed_tools or self._tools if name in self._tools]
        return any(each.partition(".")[0] == "output" for spec in specs for each in spec.sensitive)

    def of(self, step_id: str) -> Label:
        """Of what a step gives, or the one that stands in for it."""
        label = self._labels.get(step_id, OUTSIDE)
        step = self.plan.by_id.get(step_id)
        fallback = step.fallback if step is not None else None
        if fallback is None or fallback not in self._labels:
            return label
        other = self._labels[fallback]
        return Label(trusted=label.trusted and other.trusted, sensitive=label.sensitive or other.sensitive)

    def spec_of(self, step_id: str) -> ToolSpec | None:
        step = self.plan.by_id.get(step_id)
        return self._tools.get(step.tool or "") if step is not None else None

    def into(self, step: Step) -> list[tuple[LabelName, Inflow]]:
        primary = self._primary.get(step.id)

        def label_of(step_id: str) -> Label:
            """That a step failed is its own story: what stands in for it has none yet."""
            return self._labels.get(step_id, OUTSIDE) if step_id == primary else self.of(step_id)

        return list(labelled(step, self.plan.goal, label_of, self.spec_of, primary))


def labelled(
    step: Step, goal: Goal, label_of: LabelOf, spec_of: Callable[[str], ToolSpec | None], primary: str | None
) -> Iterator[tuple[LabelName, Inflow]]:
    """What reaches a step and is untrusted or sensitive. A sensitive value says something by a condition, too."""
    for inflow in inflows(step, primary):
        label = of_reference(inflow.reference, goal, label_of, spec_of)
        if not label.trusted:
            yield "untrusted", inflow
        if label.sensitive:
            yield "sensitive", inflow


# ── what the policy says of it ────────────────────────────────────────────────────────────────────────────────────────


def is_watched(name: LabelName, spec: ToolSpec) -> bool:
    """Whether such a value matters to a call of the tool where no rule speaks about it."""
    return spec.changes if name == "untrusted" else spec.outbound


def judge_flow(policy: Policy, spec: ToolSpec, source: Source, origin: str) -> Verdict:
    """What is done about one value that reaches a call. ``origin``: the tool, or ``params.<name>``, where it came into the run."""
    matching = [rule for rule in policy.flows if rule.matches(source.label, spec, source.into, origin)]
    said = f"{source.label}: {source.path}"
    for word, verdict in (("deny", Deny), ("ask", Ask)):
        found = min(((rule.reason, rule.mark) for rule in matching if rule.verdict == word), default=None)
        if found is not None:
            return verdict(f"{found[0]} ({said})" if found[0] else said, found[1])
    if matching or not is_watched(source.label, spec):
        return Allow(min((rule.mark for rule in matching), default=""))
    return Ask(said, f"{source.label} values")


def path_of(
    name: LabelName, inflow: Inflow, plan: Plan, goal: Goal, label_of: LabelOf, spec_of: Callable[[str], ToolSpec | None]
) -> tuple[str, str]:
    """How the value came there, from its origin, and the origin: a tool's name, ``params.<name>``, or the kind of a step."""
    parts, seen = [inflow.into, inflow.reference.text], {inflow.reference.step}
    at = inflow.reference
    while at.step is not None:
        step, spec = plan.by_id.get(at.step), spec_of(at.step)
        origin = spec.name if spec is not None else step.kind if step is not None else at.step
        before = None
        if step is not None and not (name == "untrusted" and spec is not None and not spec.trusted_output):
            wanted = (each for label, each in labelled(step, goal, label_of, spec_of, None) if label == name)
            before = next((each for each in wanted if each.reference.step not in seen), None)
        if before is None:
            return " → ".join([origin, *reversed(parts)]), origin
        parts += [f"{origin}({before.into.removeprefix('args.')})", before.reference.text]
        seen.add(before.reference.step)
        at = before.reference
    return " → ".join(reversed(parts)), at.text


def excerpt(value: Any, most: int = 160) -> str:
    """The beginning of a value, and how much more there is."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more characters)"
