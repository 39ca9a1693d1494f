"""The plans that are run while their process is killed: chains, diamonds and wide fans, of one recovery class or of all."""

from __future__ import annotations

from typing import Literal, get_args

from agent_graph import Plan, Step

Kind = Literal["rerun", "idempotent", "keyed", "probeable", "blind"]
"""A recovery class."""

Shape = Literal["pair", "chain", "diamond", "fan"]

Mix = Kind | Literal["mixed"]

KINDS: tuple[Kind, ...] = get_args(Kind)
MIXES: tuple[Mix, ...] = (*KINDS, "mixed")
SHAPES: tuple[Shape, ...] = ("chain", "diamond", "fan")
"""``pair`` is the small plan of ``make test``."""

_NEEDS: dict[Shape, tuple[tuple[int, ...], ...]] = {
    "pair": ((), (0,)),
    "chain": ((), (0,), (1,), (2,), (3,)),
    "diamond": ((), (0,), (0,), (0,), (1, 2, 3)),
    "fan": ((), *((0,) for _ in range(8))),
}
"""Which steps each step comes after."""


def kind_of(mix: Mix, index: int) -> Kind:
    return KINDS[index % len(KINDS)] if mix == "mixed" else mix


def make_plan(shape: Shape, mix: Mix, *, in_worker: bool = False) -> Plan:
    """In a chain each step takes what the one before it gave; elsewhere arguments are known from the start, as a plan gate wants them."""
    needs = _NEEDS[shape]
    return Plan(
        goal=f"{shape} of {mix}",
        steps=tuple(
            Step(
                id=f"s{index}",
                # Calls of one tool do not overlap unless it says so; in a fan they do, so that one kill cuts several.
                tool=kind_of(mix, index) + ("_in_worker" if in_worker else "_side_by_side" if shape == "fan" else ""),
                args={"name": f"s{index}", "after": {"$ref": f"steps.s{index - 1}.output"} if shape in ("pair", "chain") and index else ""},
                depends_on=tuple(f"s{need}" for need in needs[index]),
                success_criteria=(f"output == 's{index}'",) if index == 0 else (),
                max_attempts=3,
            )
            for index in range(len(needs))
        ),
        answer={"$ref": f"steps.s{len(needs) - 1}.output"},
    )


def needs_of(shape: Shape) -> tuple[tuple[int, ...], ...]:
    return _NEEDS[shape]
