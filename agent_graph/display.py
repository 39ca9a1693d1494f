"""``Plan`` and ``Run`` as HTML, for notebooks: plain tables, since GitHub takes styles and scripts out.

Everything shown may come from outside, and an approval is only worth something if the person saw what will be sent: markup is escaped,
and characters that an eye would not see are written out.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agent_graph.lookalikes import lookalikes, texts
from agent_graph.visible import visible

if TYPE_CHECKING:  # both import this module; it needs their names only
    from agent_graph.plan import Plan, Step
    from agent_graph.state import Run
    from agent_graph.verdicts import Failure, Request, Source, StepResult

MOST_LINE = 60
"""Characters of a JSON value that stand on one line; a longer one gets a line for each entry."""

_LEFT = ' style="text-align:left;vertical-align:top"'
"""Jupyter aligns cells to the right, which no text survives."""

_AS_IT_IS = ' style="text-align:left;white-space:pre-wrap"'
"""Two spaces are not one."""

LINE = "\n"


def plan_html(plan: Plan) -> str:
    """The plan's steps in its order: what each calls, what it is for, and what it waits for."""
    by = f", made by {_text(plan.created_by)}" if plan.created_by else ""
    reason = f": {_text(plan.reason)}" if plan.reason else ""
    rows = [(_text(step.id), _what(step), _description(step), _text(", ".join(sorted(step.needs)))) for step in plan.steps]
    return _box(
        [
            f"<div><b>Plan</b> version {plan.version}{by}{reason}</div>",
            f"<div><b>goal</b> {_text(plan.goal.text)}</div>",
            _table(("step", "calls", "description", "needs"), rows),
            f"<div>digest <code>{_text(plan.digest)}</code></div>",
        ]
    )


def run_html(run: Run) -> str:
    """How the run stands: its steps, what waits for a person, and what came of it."""
    return _box(_run(run))


def _box(parts: Iterable[str]) -> str:
    """Notebooks typeset what stands between two dollar signs, so that a text would not be shown as it is; these classes keep them off."""
    return f'<div class="tex2jax_ignore mathjax_ignore">{"".join(parts)}</div>'


def _run(run: Run) -> Iterator[str]:
    risk = f", risk {_text(run.risk)}" if run.risk else ""
    driven = f", driven by {_text(run.owner)}" if run.owner else ""
    yield f"<div><b>Run</b> <code>{_text(run.id)}</code> <b>{_text(run.status)}</b>{risk}{driven}</div>"
    yield f"<div><b>goal</b> {_text(run.goal.text)}</div>"
    if run.plan is not None:
        yield _table(("step", "calls", "status", "seconds", "error"), [_standing(run, step) for step in run.plan.steps])
    for request in run.requests:
        yield from _request(request)
    if run.error is not None:
        at = f" in step {_text(run.error.step_id)}" if run.error.step_id else ""
        yield f"<div><b>error</b>{at} [{_text(run.error.code)}] {_text(run.error.message)}</div>"
    if run.answer is not None:
        yield f"<div><b>answer</b></div>{_values(run.answer) if isinstance(run.answer, Mapping) else _value(run.answer)}"


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _what(step: Step) -> str:
    return f"<code>{_text(step.tool)}</code>" if step.tool is not None else f"{step.kind}: {_text(getattr(step, step.kind))}"


def _description(step: Step) -> str:
    condition = f"<i>when</i> <code>{_text(step.when)}</code>" if step.when is not None else ""
    return "<br>".join(part for part in (_text(step.description), condition) if part)


def _standing(run: Run, step: Step) -> tuple[str, ...]:
    result = run.results.get(step.id)
    asked = any(request.step_id == step.id for request in run.requests)
    if result is None:
        return _text(step.id), _what(step), "asks" if asked else "", "", ""
    old = f" (version {result.plan_version})" if run.plan is not None and result.plan_version != run.plan.version else ""
    status = "in_doubt, asks" if asked and result.status == "in_doubt" else "asks" if asked else f"{result.status}{old}"
    return _text(step.id), _what(step), _text(status), _seconds(result), _error(result.error)


def _seconds(result: StepResult) -> str:
    return "" if result.started is None or result.finished is None else f"{max(0.0, result.finished - result.started):.2f}"


def _error(error: Failure | None) -> str:
    return "" if error is None else f"[{_text(error.code)}] {_text(error.message)}"


def _request(request: Request) -> Iterator[str]:
    """What waits, complete: a yes is bound to exactly this."""
    where = f", step <b>{_text(request.step_id)}</b>" if request.step_id else ""
    tool = f", tool <code>{_text(request.tool)}</code>" if request.tool else ""
    risk = f", risk {_text(request.risk)}" if request.risk else ""
    yield f"<div><b>waits</b>: {request.kind}{where}{tool}{risk}</div>"
    if request.problem:
        yield f"<div><b>the last answer was not taken</b>: {_text(request.problem)}</div>"
    if request.question:
        yield f"<div><b>question</b> {_text(request.question)}</div>{_remarks(request.question)}"
    if request.choices:
        yield f"<ol>{''.join(f'<li>{_text(choice)}</li>' for choice in request.choices)}</ol>"
    yield f"<div><b>why</b> {_text(request.reason)}</div>{_remarks(request.reason)}"
    for issue in request.remarks:
        yield f"<div><b>the judge remarks</b> {_text(issue.said)}</div>"
    yield from _sources(request.sources)
    if request.args is not None:
        yield _values(request.args)
    for call in request.calls:
        yield f"<div><b>call</b> <code>{_text(call.tool)}</code>, step <b>{_text(call.step_id)}</b>, risk {_text(call.risk)}</div>"
        yield from _sources(call.sources)
        yield _values(call.args)
        yield f"<div>digest <code>{_text(call.digest)}</code></div>"
    key = f" · key <code>{_text(request.idempotency_key)}</code>" if request.idempotency_key else ""
    rule = f" · rule <code>{_text(request.rule)}</code>" if request.rule else ""
    yield f"<div>request <code>{_text(request.id)}</code>{key}{rule} · digest <code>{_text(request.digest)}</code></div>"


def _sources(sources: Iterable[Source]) -> Iterator[str]:
    """What somebody outside had a say in, before the arguments in which it arrives."""
    for source in sources:
        excerpt = f": “{_text(source.excerpt)}”" if source.excerpt else ""
        yield (
            f"<div><b>{source.label}</b> <code>{_text(source.what)}</code> reaches <code>{_text(source.into)}</code>{excerpt} "
            f"({_text(source.path)})</div>"
        )


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _values(values: Mapping[str, Any]) -> str:
    return (
        _table(("argument", "value"), [(_text(name) + _remarks(name, name=True), _value(value)) for name, value in values.items()])
        if values
        else "<div>none</div>"
    )


def _value(value: Any) -> str:
    """A JSON value, complete and exact. A text of several lines is shown as it reads, Markdown included; all else as JSON."""
    if isinstance(value, str) and "\n" in value:
        # Counted, since a line break at the end is not seen.
        return f"<div>{len(value.split(LINE))} lines</div>{_block(value)}{_remarks(value)}"
    flat = json.dumps(value, ensure_ascii=False, default=str)
    if len(flat) <= MOST_LINE or not isinstance(value, Mapping | list | tuple):
        return f"<code{_AS_IT_IS}>{_text(flat)}</code>{''.join(_remarks(each) for each in texts(value))}"
    return _block(json.dumps(value, ensure_ascii=False, default=str, indent=2)) + "".join(_remarks(each) for each in texts(value))


def _remarks(text: str, *, name: bool = False) -> str:
    """Words of it that may be read as others."""
    return "".join(f"<div><b>!</b> {_text(each)}</div>" for each in lookalikes(text, name=name))


def _block(text: str) -> str:
    """Browsers leave out a line break right after the tag, so there is always one to leave out."""
    return f"<pre{_AS_IT_IS}>{LINE}{_text(text, keep=LINE)}</pre>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML already."""
    top = "".join(f"<th{_LEFT}>{name}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td{_LEFT}>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _text(value: object, *, keep: str = "") -> str:
    """Text from outside as HTML text. ``keep`` lists the controls that stay."""
    return html.escape(visible(value, keep=keep))
