"""One spelling of "the same thing": digests and keys that do not move with what is not said."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_graph.identity import RunId, StepId, call_digest, canonical, digest, effect_key, new_id

RUN, STEP = RunId("r"), StepId("s")


def test_canonical_json_is_sorted_and_tight_and_plain() -> None:
    assert canonical({"b": [1, 2.5, None, True], "a": "grüße"}) == '{"a":"grüße","b":[1,2.5,null,true]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": {1, 2}}, object()], ids=["nan", "inf", "a set", "an object"])
def test_what_json_does_not_have_has_no_digest(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        digest(value)


def test_a_digest_is_the_same_in_each_process() -> None:
    code = "from agent_graph.identity import digest; print(digest({'b': ['é', 1.5], 'a': None}))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == digest({"a": None, "b": ["é", 1.5]})
    assert len(digest(1)) == 64


def test_half_a_character_has_a_digest_too() -> None:
    assert digest("\ud800") != digest("\ud801")


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=5), st.randoms())
def test_the_order_of_keys_makes_no_difference(value: dict[str, int], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)


def test_the_key_of_an_effect_changes_with_run_step_tool_and_arguments() -> None:
    keys = {
        effect_key(RUN, STEP, "t", {"a": 1}),
        effect_key(RunId("r2"), STEP, "t", {"a": 1}),
        effect_key(RUN, StepId("s2"), "t", {"a": 1}),
        effect_key(RUN, STEP, "t2", {"a": 1}),
        effect_key(RUN, STEP, "t", {"a": 2}),
    }
    assert len(keys) == 5
    assert effect_key(RUN, STEP, "t", {"a": 1}) in keys


def test_parts_cannot_be_shifted_from_one_place_to_the_next() -> None:
    assert effect_key(RunId("ab"), StepId("c"), "t", {}) != effect_key(RunId("a"), StepId("bc"), "t", {})


def test_an_approval_is_bound_to_the_tools_schema_as_well() -> None:
    assert call_digest(RUN, STEP, "t", "schema 1", {}) != call_digest(RUN, STEP, "t", "schema 2", {})
    assert call_digest(RUN, STEP, "t", "schema 1", {"a": 1}) != call_digest(RUN, STEP, "t", "schema 1", {"a": "1"})


def test_a_new_id_is_a_uuid_and_new() -> None:
    assert len({new_id() for _ in range(100)}) == 100
    assert str(uuid.UUID(new_id())).count("-") == 4
