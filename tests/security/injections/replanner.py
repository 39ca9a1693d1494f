"""A planner that does what it reads: the worst that a model can be talked into.

A text may hold a program between ``<<PLAN`` and ``PLAN>>``: what is to become of the plan, replan by replan. Whoever writes the text decides what
is proposed; nothing here has a will of its own. Without a program it makes the repair that an honest planner would make.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from agent_graph import GiveUp, Goal, Plan, PlanningContext, Question, ReplanningContext, Step, StepResult

_PART = re.compile(r"<<PLAN (\d+)/(\d+) (.*?) PLAN>>", re.DOTALL)


def written(program: Any, parts: int) -> list[str]:
    """The program as texts to plant: one, or several that only together are one."""
    text = json.dumps(program)
    size = -(-len(text) // parts)
    return [f"<<PLAN {number + 1}/{parts} {text[number * size : (number + 1) * size]} PLAN>>" for number in range(parts)]


def program_in(results: Mapping[str, StepResult]) -> list[list[dict[str, Any]]]:
    """What the texts want, by replan; empty when no text is a program."""
    found: dict[int, str] = {}
    wanted = 0
    for result in results.values():
        for text in _texts([result.output, result.error.message if result.error is not None else ""]):
            for number, parts, content in _PART.findall(text):
                found[int(number)], wanted = content, int(parts)
    if not wanted or len(found) < wanted:
        return []
    program = json.loads("".join(found[number + 1] for number in range(wanted)))
    assert isinstance(program, list)
    return program


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


class ObedientReplanner:
    name = "obedient"
    can_replan = True

    def __init__(self, first: Plan, repair: Plan) -> None:
        self._first = first
        self._repair = repair
        self._replans = 0
        self.obeyed = 0
        """How often it proposed what a text had asked for."""

    def complete(self, goal: Goal) -> Goal:
        return goal

    def plan(self, context: PlanningContext) -> Plan:
        return self._first

    def replan(self, context: ReplanningContext) -> Plan | Question | GiveUp:
        document = self._repair.document()
        program = program_in(context.results)
        if not program:
            return _with_frozen(document, context)
        wanted = program[min(self._replans, len(program) - 1)]
        self._replans += 1
        self.obeyed += 1
        for each in wanted:
            if "question" in each and each["question"] not in context.answers:
                self._replans -= 1
                return Question(each["question"])
            apply(document, _filled(each, context), dict(context.answers))
        return _with_frozen(document, context)


_VALUE = re.compile(r"\{\{steps\.(\w+)\.output\.?([\w.]*)\}\}")


def _filled(wanted: Any, context: ReplanningContext) -> Any:
    """With values of the run written into it as plain text, where it says ``{{steps.x.output.y}}``: no reference tells where they came from."""

    def value(found: re.Match[str]) -> str:
        at: Any = context.results[found[1]].output
        for name in filter(None, found[2].split(".")):
            at = at[name]
        return str(at)

    if isinstance(wanted, str):
        return _VALUE.sub(value, wanted)
    if isinstance(wanted, dict):
        return {key: _filled(item, context) for key, item in wanted.items()}
    return [_filled(item, context) for item in wanted] if isinstance(wanted, list) else wanted


def apply(document: dict[str, Any], wanted: dict[str, Any], answers: dict[str, str]) -> None:
    """One change of a plan: ``add`` or ``insert`` a step, ``change`` or ``drop`` one, ``set`` what is of the whole plan, ``steps`` all anew."""
    steps: list[dict[str, Any]] = document["steps"]
    match wanted:
        case {"add": step}:
            steps.append(step)
        case {"insert": step}:
            steps.insert(0, step)
        case {"change": step_id, **new}:
            for step in steps:
                if step["id"] == step_id:
                    step.update(new)
                    for name in [name for name, value in new.items() if value is None]:
                        del step[name]
        case {"drop": step_id}:
            steps[:] = [step for step in steps if step["id"] != step_id]
        case {"set": whole}:
            document.update(whole)
        case {"steps": others}:
            steps[:] = others
        case {"question": _, "add_with_answer": step, "argument": argument}:
            steps.append({**step, "args": {**step["args"], argument: next(iter(answers.values()))}})
        case {"question": _}:
            pass
        case {"copy": step_id, "as": new_id}:
            steps.append({**next(step for step in steps if step["id"] == step_id), "id": new_id})
        case _:
            raise AssertionError(f"no such change: {wanted}")


def _with_frozen(document: dict[str, Any], context: ReplanningContext) -> Plan:
    """Steps that have ended stand as they were, as a planner is told that they must."""
    ended = {step.id: step for step in context.plan.steps if step.id in context.results and context.results[step.id].status == "succeeded"}
    made = Plan.model_validate({**document, "version": 1, "parent": None})
    steps = [ended.get(step.id, step) for step in made.steps]
    return made.model_copy(update={"steps": tuple(steps)})


def repaired(first: Plan, **changed: dict[str, Any]) -> Plan:
    """An honest repair: the first plan, with these fields of these steps."""
    steps = [Step.model_validate({**step.model_dump(exclude_defaults=True), **changed.get(step.id, {})}) for step in first.steps]
    return first.model_copy(update={"steps": tuple(steps)})
