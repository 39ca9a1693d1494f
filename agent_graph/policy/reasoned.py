"""What is checked of steps that a model carries out: who does so, with which tools, and what those may do to the world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent_graph.lookalikes import resembles
from agent_graph.models.roles import Models
from agent_graph.plan import Risk, Step
from agent_graph.policy.lineage import FIRST, Origin
from agent_graph.policy.permission import Circumstances, Permission, Rules, permit
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Ask, Deny, Issue
from agent_graph.visible import visible

KINDS = ("model", "agent")


def tools_of(step: Step, models: Models) -> tuple[str, ...]:
    """The tools that an ``agent`` step may call: those that it allows, and of them only its specialist's, where that has its own."""
    if step.agent is None:
        return ()
    specialist = models.specialists.get(step.executor or "")
    if specialist is None or not specialist.tools:
        return step.allowed_tools
    return tuple(name for name in step.allowed_tools if name in specialist.tools) if step.allowed_tools else specialist.tools


def risks_of(step: Step, tools: Mapping[str, ToolSpec], models: Models) -> list[Risk]:
    """Of everything that the step may call."""
    names = (step.tool,) if step.tool is not None else tools_of(step, models)
    return [tools[name].risk for name in names if name in tools]


def call_in(step: Step, tool: str, changes: bool, number: int = 0, args: dict[str, Any] | None = None) -> Step:
    """A call that an ``agent`` step makes, as a step of its own, so that it is held against the same rules. The dot keeps its id apart from
    those of a plan. Where the step requires approval, each of its calls that changes something does."""
    return Step.model_construct(
        id=f"{step.id}.{number}",
        tool=tool,
        args=args or {},
        approval=step.approval if changes else "auto",
        max_attempts=step.max_attempts,
    )


def check_reasoned(step: Step, rules: Rules, origin: Origin = FIRST, now: float | None = None, principal: str | None = None) -> list[Issue]:
    """What is wrong with a ``model`` or ``agent`` step."""
    return [*_executor(step, rules.models), *(_tools(step, rules, origin, now, principal) if step.agent is not None else ())]


def asked_in(step: Step, rules: Rules, origin: Origin = FIRST, now: float | None = None, principal: str | None = None) -> str:
    """Why a person will be asked during an ``agent`` step, as far as can be said before it; empty when nobody is."""
    found = []
    for name in tools_of(step, rules.models):
        spec = rules.tools.get(name)
        said = _ahead(step, spec, rules, origin, now, principal).verdict if spec is not None else None
        if isinstance(said, Ask):
            found.append(f"{name}: {said.reason}")
    return "; ".join(found)


def not_followed_in(calls: Sequence[tuple[str, str, bool, bool]], rules: Rules) -> str:
    """What an order rule wants after one of the calls that an agent has made, and is not there; empty when nothing is missing.

    ``calls``: id, tool, whether it succeeded, and whether it happened, in their order. What is to follow must be done by the same agent.
    """
    for rule in rules.policy.order:
        wanted = rule.followed_by
        for at, (call_id, tool, _, happened) in enumerate(calls):
            spec = rules.tools.get(tool)
            if wanted is None or not happened or spec is None or not rule.matches(spec):
                continue
            later = (rules.tools.get(other) for _, other, well, _ in calls[at + 1 :] if well)
            if not any(found is not None and wanted.matches(found) for found in later):
                return f"{rule}: {call_id} was done, and a call of {wanted} must follow and succeed"
    return ""


def _executor(step: Step, models: Models) -> Iterator[Issue]:
    if step.executor is not None:
        if step.executor not in models.specialists:
            known = ", ".join(models.specialists) or "none"
            yield _issue(
                "unknown_executor",
                f"it is for {visible(step.executor)!r}, and there is no such specialist",
                f"there is {known}; leave executor out, or add the specialist to the models",
                step,
            )
    elif models.executor is None and step.use_model is None:
        yield _issue(
            "no_model",
            f"{'an agent' if step.agent is not None else 'a model'} step needs a model, and the executor role has none",
            "give AgentGraph(models={'executor': 'openai:MODEL'}), a models file, or AGENT_GRAPH_EXECUTOR_MODEL",
            step,
        )


def _tools(step: Step, rules: Rules, origin: Origin, now: float | None, principal: str | None) -> Iterator[Issue]:
    names = tools_of(step, rules.models)
    if not names:
        because = f", and specialist {step.executor!r} has none of those that it allows" if step.allowed_tools else ""
        yield _issue("no_tools", f"an agent step may call nothing but what it allows{because}", "list tools in allowed_tools", step)
    for name in dict.fromkeys((*step.allowed_tools, *names)):
        spec = rules.tools.get(name)
        if spec is None:
            alike = resembles(name, rules.tools)
            yield _issue(
                "unknown_tool",
                f"it allows {visible(repr(name))}, and there is no such tool{f': {alike}' if alike else ''}",
                f"use one of: {', '.join(rules.tools) or '(none is registered)'}",
                step,
            )
        elif name in names:
            said = _ahead(step, spec, rules, origin, now, principal)
            if isinstance(said.verdict, Deny):
                yield _issue(
                    said.code, f"it allows {name}: {said.verdict.reason}", "take the tool out of allowed_tools, or change the policy", step
                )


def _ahead(step: Step, spec: ToolSpec, rules: Rules, origin: Origin, now: float | None, principal: str | None) -> Permission:
    """What can be said of a call whose arguments nobody knows yet."""
    seen = Circumstances(args=None, principal=principal, now=now, origin=origin)
    return permit(call_in(step, spec.name, spec.changes), spec, rules, seen)


def _issue(code: str, message: str, fix: str, step: Step) -> Issue:
    return Issue(code=code, step_id=step.id, message=message, fix=fix)
