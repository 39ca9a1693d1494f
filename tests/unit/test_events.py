"""Events: one document each, which reads back to the same event, also when a newer version wrote it."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any, get_args, get_type_hints

import pytest

from agent_graph.events import AnyEvent, Event, Note, PlanMade, Replanned, read_event

KINDS: tuple[type[Event], ...] = get_args(AnyEvent)

SAMPLES: dict[Any, Any] = {str: "x", int: 3, float: 0.5, bool: True}


def made(kind: type[Event], *, whole: bool) -> Event:
    """An event with each field set, or only with those that have no default."""
    hints = get_type_hints(kind)
    values = {}
    for field in fields(kind):
        if whole or (field.default is MISSING and field.default_factory is MISSING):
            hint = hints[field.name]
            values[field.name] = SAMPLES.get(hint, "y" if hint == str | None else {"a": 1} if "dict[" in str(hint)[:5] else [])
    return kind(**values)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "bare"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_document_reads_back_to_the_same_event(kind: type[Event], whole: bool) -> None:
    event = made(kind, whole=whole)
    assert read_event(json.loads(json.dumps(event.document()))) == event


def test_kinds_are_distinct_and_the_document_carries_them() -> None:
    assert len({kind.kind for kind in KINDS}) == len(KINDS)
    assert Note(run_id="r", at=1.0, message="m").document() == {"kind": "note", "run_id": "r", "at": 1.0, "step_id": None, "message": "m"}


def test_a_field_that_a_newer_version_added_is_left_out() -> None:
    assert read_event({"kind": "note", "run_id": "r", "at": 1.0, "message": "m", "colour": "red"}) == Note(run_id="r", at=1.0, message="m")


def test_an_unknown_kind_is_not_taken_for_another() -> None:
    with pytest.raises(KeyError, match="party"):
        read_event({"kind": "party", "run_id": "r", "at": 1.0})


def test_a_replan_is_told_apart_from_a_first_plan() -> None:
    replanned = Replanned(run_id="r", at=1.0, version=2, digest="d", reason="why")
    assert isinstance(replanned, PlanMade)
    assert type(read_event(replanned.document())) is Replanned


def test_every_phase_has_an_event() -> None:
    assert {kind.phase for kind in KINDS} == {"planning", "policy", "approval", "execution"}
