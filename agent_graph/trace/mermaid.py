"""A plan as a Mermaid flowchart, with the state of each step as a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent_graph.lookalikes import told
from agent_graph.plan import Plan, Step
from agent_graph.visible import visible

_STYLES = {
    "succeeded": "fill:#d7f0dc,stroke:#2e7d32,color:#111",
    "running": "fill:#d8e8fb,stroke:#1565c0,color:#111,stroke-width:3px",
    "begun": "fill:#fff3cd,stroke:#b26a00,color:#111,stroke-dasharray:4 3",
    "asks": "fill:#fff3cd,stroke:#b26a00,color:#111,stroke-width:3px",
    "in_doubt": "fill:#fde3c8,stroke:#b23c00,color:#111,stroke-width:3px",
    "failed": "fill:#f8d7da,stroke:#b71c1c,color:#111",
    "blocked": "fill:#f8d7da,stroke:#b71c1c,color:#111,stroke-dasharray:4 3",
    "skipped": "fill:#eeeeee,stroke:#999999,color:#666,stroke-dasharray:4 3",
    "waiting": "fill:#ffffff,stroke:#666666,color:#111",
}

_ENTITIES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "\\": "#92;", "{": "#123;", "}": "#125;"}


def flowchart(plan: Plan, needs: Mapping[str, frozenset[str]], states: Mapping[str, str] | None = None) -> str:
    """``needs``: by step, the steps it waits for. ``states``: by step, how it stands; without them nothing is coloured."""
    lines = ["flowchart TD"]
    places = {step.id: f"s{index}_{step.id}" for index, step in enumerate(plan.steps)}
    for step in plan.steps:
        before, after = ("[/", "/]") if step.kind == "ask" else ("([", "])") if step.approval == "required" else ("[", "]")
        lines.append(f'  {places[step.id]}{before}"{_label(step)}"{after}')
    for step in plan.steps:
        lines += [f"  {places[need]} --> {places[step.id]}" for need in _ordered(plan, step, needs)]
        if step.fallback in places:
            lines.append(f"  {places[step.id]} -. if it fails .-> {places[step.fallback]}")
    if states is not None:
        lines += _classes(places, states)
    return "\n".join(lines) + "\n"


def _classes(places: Mapping[str, str], states: Mapping[str, str]) -> Iterator[str]:
    by_state: dict[str, list[str]] = {}
    for step_id, place in places.items():
        by_state.setdefault(states.get(step_id, "waiting"), []).append(place)
    for state, members in by_state.items():
        yield f"  classDef {state} {_STYLES.get(state, _STYLES['waiting'])}"
        yield f"  class {','.join(members)} {state}"


def _ordered(plan: Plan, step: Step, needs: Mapping[str, frozenset[str]]) -> list[str]:
    """In the plan's order, without the step that this one stands in for: the dotted arrow says that already."""
    wanted = needs.get(step.id, frozenset())
    return [other.id for other in plan.steps if other.id in wanted and other.fallback != step.id]


def _label(step: Step) -> str:
    lines = [
        f"<b>{_escaped(step.id)}</b>",
        _escaped(told(step.tool, name=True) if step.tool else f"{step.kind}: {told(getattr(step, step.kind), width=60)}"),
    ]
    if step.when is not None:
        lines.append(f"<i>when {_escaped(told(step.when, width=60))}</i>")
    return "<br/>".join(lines)


def _escaped(text: str) -> str:
    return "".join(_ENTITIES.get(character, character) for character in visible(text))
