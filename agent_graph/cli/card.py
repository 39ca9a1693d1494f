"""The card that a person decides by: what, why, risk, the exact arguments, and what the decision is bound to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.panel import Panel
from rich.text import Text

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.cli.output import Out, folded
from agent_graph.cli.program import command
from agent_graph.lookalikes import lookalikes, told
from agent_graph.plan import Plan, Risk, Step
from agent_graph.policy.answers import text_of
from agent_graph.state import Run
from agent_graph.trace.amounts import when
from agent_graph.trace.render import Bound, LeftOut, Remark, argument_lines, text_lines
from agent_graph.verdicts import Request, Source
from agent_graph.visible import clipped, visible

MOST_STEPS = 40
"""Steps of a plan that a card lists; calls that a yes covers are always listed in full."""

RISK_STYLES: dict[Risk, str] = {"read_only": "green", "write": "yellow"}
"""All others are red."""

ALARM = "bold red"

MOST_SAID = 400
"""Columns of what is said on one line beside the arguments: an excerpt, a choice, what a step is for."""

Line = tuple[str, str]
"""A text and its style."""


def show_card(out: Out, run: Run, request: Request, more: int, store: str | Path | None = None) -> None:
    """``more``: how many further requests wait. ``store``: as the person named it; unless given, the one that the command is about."""
    lines = list(card(run, request, more, store or out.store or DEFAULT_PATH))
    if out.terminal:
        body = Text("\n").join(Text(part, style=style) for text, style in lines for part in folded(text, out.width - 4))
        out.console.print(Panel(body, title=Text(title(request)), title_align="left", border_style="yellow", width=out.width))
        return
    out.say()
    out.say(f"── {title(request)} ──" if out.unicode else f"-- {title(request)} --")
    for text, _ in lines:
        for part in folded(text, out.columns) if out.columns else (text,):
            out.say(part)


def title(request: Request) -> str:
    match request.kind:
        case "plan":
            return "May this plan run?"
        case "step":
            return "May this call be made?"
        case "in_doubt":
            return "Did this happen?"
        case "question" if request.criterion is not None:
            return "Does this hold?"
        case "question":
            return "Try it again?" if request.choices_are_verbs else "A question"


def card(run: Run, request: Request, more: int, store: str | Path = DEFAULT_PATH) -> Iterator[Line]:
    bound = Bound(everything=command("show", request.run_id, "--json", store=store))
    left_out = False
    for line, style in _all(run, request, bound):
        left_out = left_out or isinstance(line, LeftOut)
        yield line, style
    if left_out:
        yield f"{'unseen':<9} not all of it is shown here, and a yes is for all of it; read the rest first: {bound.everything}", ALARM
    if more:
        yield f"{'then':<9} {more} more wait{'s' if more == 1 else ''} for an answer", "bold"


def _all(run: Run, request: Request, bound: Bound) -> Iterator[Line]:
    if request.problem:
        yield from _fact("problem", f"The last answer was not taken: {request.problem}", bound, ALARM)
    yield from _what(run, request, bound)
    yield from _fact("why", request.reason, bound)
    if request.risk is not None:
        yield f"{'risk':<9} {request.risk}", RISK_STYLES.get(request.risk, ALARM)
    yield from _sources(request.sources)
    yield from _call(request, bound)
    yield from _plan(run.plan, request, bound)
    yield from _binding(request)


def _fact(name: str, value: str | None, bound: Bound, style: str = "") -> Iterator[Line]:
    if not value:
        return
    head = f"{name:<9} "
    for line in text_lines(value, bound):
        if isinstance(line, Remark):
            yield type(line)(f"{'':<9} {line}"), ALARM
        else:
            yield f"{head}{line}", style
        head = f"{'':<9} │ "
    for each in lookalikes(value):
        yield f"{'':<9} ! {each}", ALARM


def _what(run: Run, request: Request, bound: Bound) -> Iterator[Line]:
    step = run.plan.by_id.get(request.part_of or request.step_id or "") if run.plan is not None else None
    match request.kind:
        case "plan":
            yield from _fact("goal", run.goal.text, bound, "bold")
            if request.calls:
                yield f"{'covers':<9} a yes covers the plan and {_count(len(request.calls), 'call')}, once each", ""
        case "question":
            yield from _fact("question", request.question, bound, "bold")
            for number, choice in enumerate(request.choices, 1):
                yield f"{'':<9} {number}. {_said(choice)}", ""
            if request.proposed is not None:
                yield from _fact("proposed", text_of(request.proposed), bound, "bold cyan")
            if request.expects is not None:
                yield from _fact("wanted", f"a value of this form: {text_of(request.expects)}", bound, "dim")
        case "in_doubt":
            begun = f"begun {when(request.sent_at)}; " if request.sent_at else ""
            yield f"{'what':<9} {_named(request.tool)}: {begun}whether it happened is not known", "bold"
            if request.left_running:
                yield f"{'':<9} the call still runs in {visible(request.left_running)}, and may yet happen", ALARM
        case "step":
            yield from _fact("what", step.description if step is not None and step.description else request.tool, bound, "bold")
    yield from _fact("step", request.step_id, bound)


def _sources(sources: tuple[Source, ...]) -> Iterator[Line]:
    """What somebody outside had a say in, before the arguments in which it arrives."""
    for source in sources:
        excerpt = f": “{_said(source.excerpt)}”" if source.excerpt else ""
        yield f"{source.label:<9} {_said(source.what)} reaches {_said(source.into)}{excerpt}", ALARM
        yield f"{'':<9} │ {_said(source.path)}", ""


def _call(request: Request, bound: Bound) -> Iterator[Line]:
    if request.tool and not request.choices_are_verbs:
        recovery = f"  ({request.recovery})" if request.recovery else ""
        yield f"{'tool':<9} {_named(request.tool)}{recovery}", ""
    if request.args is not None:
        yield "arguments" if request.args else f"{'arguments':<9} none", ""
        yield from _styled(argument_lines(request.args, "  ", bound))
    for call in request.calls:
        yield f"call      {_named(call.tool)}  in step {visible(call.step_id)}  ({call.risk})", RISK_STYLES.get(call.risk, ALARM)
        yield from _sources(call.sources)
        yield from _styled(argument_lines(call.args, "    ", bound) if call.args else ("    no arguments",))


def _styled(lines: Iterable[str]) -> Iterator[Line]:
    for line in lines:
        yield line, ALARM if isinstance(line, Remark) else "cyan"


def _plan(plan: Plan | None, request: Request, bound: Bound) -> Iterator[Line]:
    if request.kind != "plan" or plan is None:
        return
    yield f"{'plan':<9} version {request.plan_version}, {_count(len(plan.steps), 'step')}", ""
    widest = max((len(step.id) for step in plan.steps[:MOST_STEPS]), default=0)
    for step in plan.steps[:MOST_STEPS]:
        yield f"    {step.id:<{widest}}  {_said(_does(step))}", ""
    if len(plan.steps) > MOST_STEPS:
        yield LeftOut(f"    … and {len(plan.steps) - MOST_STEPS} more; all of them: {bound.everything}"), ""
    for issue in request.remarks:
        yield from _fact("remark", f"the judge: {issue.said}", bound, "yellow")


def _does(step: Step) -> str:
    said = step.tool or f"{step.kind}: {getattr(step, step.kind)}"
    return f"{said}  {step.description}" if step.description else said


def _said(text: str) -> str:
    """On one line, and not endless; what is cut off is counted."""
    return told(text, width=MOST_SAID)


def _named(tool: str | None) -> str:
    return told(tool or "", name=True)


def _binding(request: Request) -> Iterator[Line]:
    yield f"{'asked':<9} {when(request.asked)}" + (f", expires {when(request.expires)}" if request.expires else ""), "dim"
    if request.rule:
        yield f"{'rule':<9} {_said(request.rule)}", "dim"
    if request.policy:
        yield f"{'policy':<9} {visible(request.policy)}", "dim"
    if request.idempotency_key:
        yield f"{'key':<9} {visible(request.idempotency_key)}", "dim"
    yield f"{'digest':<9} {request.digest}", "dim"
    yield f"{'request':<9} {request.id}", "dim"
    yield f"{'run':<9} {request.run_id}", "dim"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def how_to_answer(run: Run, store: str) -> list[str]:
    """The commands that answer what waits, from any process."""
    lines: list[str] = []
    for request in run.requests:
        which = ("--request", request.id[:8]) if len(run.requests) > 1 else ()
        if which:
            lines.append(f"  # {title(request)} {clipped(request.tool or request.question or '', 80)}")
        for words, meaning in _answers(request):
            lines.append(f"  {command('resume', run.id, *which, *words, store=store)}" + (f"    # {meaning}" if meaning else ""))
    return lines


def _answers(request: Request) -> list[tuple[tuple[str, ...], str]]:
    match request.kind:
        case "in_doubt":
            absent = [(("--absent",), "it did not; it is safe to call again")] if "absent" in request.outcomes else []
            return [(("--landed",), "it happened"), *absent]
        case "question" if not request.choices_are_verbs:
            answer = ("--answer", request.choices[0] if request.choices else "TEXT")
            takes = (
                [] if request.proposed is None else [(("--approve",), f"take what is proposed: {clipped(text_of(request.proposed), 60)}")]
            )
            return [*takes, (answer, "")]
        case "question" if request.criterion is not None:
            return [(("--approve",), "it holds"), (("--reject", "REASON"), "it does not")]
        case "question":
            return [(("--approve",), "try it again"), (("--reject", "REASON"), "give it up")]
        case "plan" | "step":
            edited = "another plan, as YAML or JSON" if request.kind == "plan" else "other arguments, as YAML or JSON"
            return [(("--approve",), ""), (("--edit", "FILE"), edited), (("--reject", "REASON"), "")]
