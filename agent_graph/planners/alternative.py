"""Another tool for a step that failed: one that gives the same facts from facts at hand. No model is asked.

The caller writes the plan that comes of it as the next version. The new step takes over the arguments of the one that failed; whoever proposed
those, and what they had read, has a say in it too: its lineage is to be that of the failed step.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from agent_graph.identity import RunId
from agent_graph.plan import RISKS, Criterion, Judge, Plan, Reference, Step, is_reference
from agent_graph.planners.composing import Writing, solve
from agent_graph.planners.facts import AtHand, Maker, Need, at_hand, maker_of, reference
from agent_graph.planners.search import Missing
from agent_graph.policy.compiler import SoFar, compile_plan
from agent_graph.policy.permission import Circumstances, Rules, permit
from agent_graph.policy.rewriting import CannotRewrite, Keys, rewritten
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Deny, StepResult

NAME = "chain"
"""``created_by`` of a version that came about so."""

READ_FAILURES = frozenset({"tool_failed", "timeout", "unexpected_output", "criteria_unmet", "empty_result", "output_too_large"})


def alternative(
    failed: Step,
    plan: Plan,
    tools: Mapping[str, ToolSpec],
    results: Mapping[str, StepResult],
    rules: Rules,
    *,
    tried: Collection[str] = (),
) -> Plan | None:
    """The next version of the plan, with another tool in the place of the failed step's; None when there is none.

    Both tools must declare the facts (``gives``), as far as the rest of the plan uses them. The failure must be definite: of a call that changes something, that it certainly did not happen. The other tool's risk is not higher, the
    policy does not deny it, and it has failed in no step of the run yet, nor is it among ``tried``. Facts at hand are the failed step's own
    arguments, the goal's parameters and what steps before it gave; what else the tool needs, reads may bring. ``results``: of the whole run.
    """
    spec, result = tools.get(failed.tool or ""), results.get(failed.id)
    # Two reads that happen to give a `name` are not the same: only what their authors call one kind is.
    if spec is None or not spec.gives or result is None or not is_definite(result, spec):
        return None
    maker = maker_of(spec)
    try:
        kinds = _Uses(failed, maker, plan).kinds()
    except CannotRewrite:
        return None
    used_up = {spec.name, *tried, *_failed_tools(plan, results)}
    others = [
        maker_of(each)
        for name, each in tools.items()
        if each.gives and name not in used_up and _may_stand_in(each, spec, failed, plan, rules)
    ]
    there = _there(failed, maker, plan, tools, results, kinds)
    helpers = [each for each in others if not each.spec.changes]
    found: list[tuple[float, int, list[Maker]]] = []
    for number, other in enumerate(others):
        if all(other.has(Need(kind, maker.types_of(kind))) for kind in kinds):
            way = solve(list(other.needs.values()), there, [each for each in helpers if each is not other])
            if not isinstance(way, Missing):
                before = [each for each in helpers if each is not other]
                found.append((way.cost + other.spec.cost, number, [*(before[each] for each in way.order), other]))
    for _, _, makers in sorted(found, key=lambda each: each[:2]):
        made = _with(makers, failed, maker, plan, there, results)
        if made is not None and _compiles(made, rules, plan, results):
            return made
    return None


def is_definite(result: StepResult, spec: ToolSpec) -> bool:
    if result.status != "failed" or result.error is None:
        return False
    if not spec.changes:
        return result.error.code in READ_FAILURES
    return not result.landed and result.error.code == "tool_failed" and result.error.retryable


def _failed_tools(plan: Plan, results: Mapping[str, StepResult]) -> set[str]:
    found = set()
    for step_id, result in results.items():
        if result.status in ("failed", "blocked"):
            step = plan.by_id.get(step_id)
            found |= {step.tool} if step is not None and step.tool is not None else set()
            found |= {result.provenance.source} if result.provenance is not None else set()
    return found


def _may_stand_in(other: ToolSpec, spec: ToolSpec, failed: Step, plan: Plan, rules: Rules) -> bool:
    if RISKS.index(other.risk) > RISKS.index(spec.risk) or (failed.allowed_tools and other.name not in failed.allowed_tools):
        return False
    asked = permit(failed.model_copy(update={"tool": other.name}), other, rules, Circumstances(args=None, principal=plan.goal.principal))
    return not isinstance(asked.verdict, Deny)


def _there(
    failed: Step, maker: Maker, plan: Plan, tools: Mapping[str, ToolSpec], results: Mapping[str, StepResult], kinds: Collection[str]
) -> list[AtHand]:
    """Facts at hand, those that are to be found anew apart: the failed step's arguments first."""
    own = [
        AtHand(failed.args[name], None, need.kind) for name, need in (*maker.needs.items(), *maker.may_take.items()) if name in failed.args
    ]
    position = plan.steps.index(failed)
    done = {
        step.id: maker_of(spec)
        for step in plan.steps[:position]
        if (spec := tools.get(step.tool or "")) is not None
        and (result := results.get(step.id)) is not None
        and result.status == "succeeded"
    }
    return [*own, *(each for each in at_hand(plan, done) if each.kind not in kinds)]


def _compiles(made: Plan, rules: Rules, plan: Plan, results: Mapping[str, StepResult]) -> bool:
    frozen = {step.id: step for step in plan.steps if (result := results.get(step.id)) is not None and result.status == "succeeded"}
    return compile_plan(made, rules, RunId("preview"), SoFar(frozen=frozen)).valid


# ── the plan with the other tool in it ────────────────────────────────────────────────────────────────────────────────


def _with(
    makers: list[Maker], failed: Step, maker: Maker, plan: Plan, there: list[AtHand], results: Mapping[str, StepResult]
) -> Plan | None:
    """None when something that must not change would have to."""
    writing = Writing(there, {*plan.by_id, *results})
    around = {"when": failed.when, "depends_on": failed.depends_on, "part_of": failed.part_of}
    before = [writing.step(each, plan.goal).model_copy(update=around) for each in makers[:-1]]
    new = writing.step(makers[-1], plan.goal, step_id=failed.id)
    moved = _Moved(failed, maker, new.id, makers[-1])
    try:
        new = failed.model_copy(
            update={
                "id": new.id,
                "tool": new.tool,
                "args": new.args,
                "expected_output": moved.schema(failed.expected_output),
                "success_criteria": moved.criteria(failed.success_criteria, own=True),
                "timeout_s": None,
            }
        )
        steps: list[Step] = []
        for step in plan.steps:
            if step.id == failed.id:
                steps += [*before, new]
                continue
            after = moved.step(step)
            ended = results.get(step.id)
            if after != step and ended is not None and ended.status in ("succeeded", "skipped"):
                return None
            steps.append(after)
        return plan.model_copy(
            update={
                "steps": tuple(steps),
                "answer": moved.value(plan.answer),
                "success_criteria": moved.criteria(plan.success_criteria),
                "stop_when": moved.text(plan.stop_when),
                "assumptions": tuple(rewritten(each, moved.place) for each in plan.assumptions),
                "version": plan.version + 1,
                "parent": plan.version,
                "created_by": NAME,
                "reason": f"{failed.tool} failed in step {failed.id}; {new.tool} gives {', '.join(moved.kinds) or 'the same'} too",
            }
        )
    except CannotRewrite:
        return None


class _Uses:
    """What of a step's output the rest of the plan uses."""

    def __init__(self, failed: Step, maker: Maker, plan: Plan) -> None:
        self.failed = failed
        self.maker = maker
        self.plan = plan

    def kinds(self) -> list[str]:
        """The kinds of fact that it must give. Raises CannotRewrite where more is used than facts."""
        moved = _Moved(self.failed, self.maker, self.failed.id, self.maker)
        for step in self.plan.steps:
            if step.id != self.failed.id:
                moved.step(step)
        moved.criteria(self.failed.success_criteria, own=True)
        moved.value(self.plan.answer)
        moved.criteria(self.plan.success_criteria)
        moved.text(self.plan.stop_when)
        for each in self.plan.assumptions:
            rewritten(each, moved.place)
        goal = _Moved(self.failed, self.maker, self.failed.id, self.maker)
        goal.criteria(self.plan.goal.success_criteria)
        if goal.met or re.search(rf"\bsteps\.{self.failed.id}\b", self.plan.template or ""):
            raise CannotRewrite("the goal, or the template of the answer, names the step")
        return list(moved.kinds) or list(self.maker.gives)


class _Moved:
    """Whatever reads the failed step's output, over the new one's. Each raises CannotRewrite where a place has none in the other."""

    def __init__(self, failed: Step, maker: Maker, new_id: str, other: Maker) -> None:
        self.failed = failed
        self.maker = maker
        self.new_id = new_id
        self.other = other
        self.kinds: dict[str, None] = {}
        """The kinds of fact that were read."""
        self.met = False
        """Whether the step was named at all."""

    def step(self, step: Step) -> Step:
        old = self.failed.id
        update: dict[str, Any] = {}
        if old in step.reads:
            update["args"] = self.value(step.args)
        if old in step.depends_on:
            update["depends_on"] = tuple(self.new_id if each == old else each for each in step.depends_on)
        if step.fallback == old:
            update["on_failure"] = f"step:{self.new_id}"
        if step.when is not None and (when := self.text(step.when)) != step.when:
            update["when"] = when
        if (criteria := self.criteria(step.success_criteria)) != step.success_criteria:
            update["success_criteria"] = criteria
        return step.model_copy(update=update) if update else step

    def value(self, value: Any) -> Any:
        if is_reference(value):
            read = Reference.parse(value["$ref"])
            return value if read.step != self.failed.id else self.reference(read.path)
        if isinstance(value, dict):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value

    def reference(self, path: str | None) -> dict[str, Any]:
        self.met = True
        path = (path or "").removeprefix("@")
        for kind, at in self._by_length():
            rest = path.removeprefix(at)
            if path.startswith(at) and (not at or not rest or rest[0] in ".["):
                self.kinds[kind] = None
                there = self._there(kind)
                below = rest.removeprefix(".")
                return reference(self.new_id, there + (below if not there or below.startswith("[") or not below else f".{below}"))
        raise CannotRewrite(f"{path!r} of its output is no fact that it gives")

    def criteria(self, criteria: Iterable[Criterion], *, own: bool = False) -> tuple[Criterion, ...]:
        return tuple(each if isinstance(each, Judge) else rewritten(each, self.own_place if own else self.place) for each in criteria)

    def text(self, text: str | None) -> str | None:
        return None if text is None else rewritten(text, self.place)

    def place(self, root: str, keys: Keys) -> tuple[str, int] | None:
        if root == "steps" and not keys:
            raise CannotRewrite("it reads 'steps' as a whole")
        if root != "steps" or keys[0] != self.failed.id:
            return None
        self.met = True
        if len(keys) < 2 or keys[1] != "output":
            return f"steps.{self.new_id}", 1
        text, replaced = self._keys(keys[2:])
        return f"steps.{self.new_id}.output{text}", 2 + replaced

    def own_place(self, root: str, keys: Keys) -> tuple[str, int] | None:
        if root != "output":
            return self.place(root, keys)
        text, replaced = self._keys(keys)
        return f"output{text}", replaced

    def schema(self, expected: dict[str, Any] | None) -> dict[str, Any] | None:
        """What was expected of the whole output can be expected only of one of the same form."""
        if expected is not None and any(self.maker.gives[kind] != self._there(kind) for kind in self.kinds or self.maker.gives):
            raise CannotRewrite("its output was expected in a form that the other one does not have")
        return expected

    def _keys(self, keys: Keys) -> tuple[str, int]:
        for kind, at in self._by_length():
            mine = _keys_of(at)
            if mine is not None and keys[: len(mine)] == mine:
                self.kinds[kind] = None
                there = _keys_of(self._there(kind))
                if there is None:
                    raise CannotRewrite(f"an expression cannot follow where {self.other.spec.name} has {kind}")
                return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in there), len(mine)
        raise CannotRewrite(f"{'.'.join(map(str, keys))!r} of its output is no fact that it gives")

    def _by_length(self) -> list[tuple[str, str]]:
        return sorted(self.maker.gives.items(), key=lambda each: -len(each[1]))

    def _there(self, kind: str) -> str:
        if kind not in self.other.gives:
            raise CannotRewrite(f"{self.other.spec.name} does not give {kind}")
        return self.other.gives[kind]


def _keys_of(path: str) -> Keys | None:
    """A plain path as keys; None where it is more than that."""
    if not path:
        return ()
    if not re.fullmatch(r"(?:[A-Za-z_]\w*|\[\d+\])(?:\.[A-Za-z_]\w*|\[\d+\])*", path):
        return None
    return tuple(int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"[A-Za-z_]\w*|\[\d+\]", path))
