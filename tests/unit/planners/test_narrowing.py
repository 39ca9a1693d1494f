"""Of many tools, those that fit the goal's words, the same for the same goal, and never without what must be there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent_graph.planners.narrowing import narrow, relevant
from agent_graph.ports import ToolSpec

ROOMS = ["kitchen", "cellar", "attic", "garden", "garage", "office", "hall", "library", "workshop", "stable"]


def spec(name: str, description: str = "", **properties: str) -> ToolSpec:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {arg: {"type": "string", "description": said} for arg, said in properties.items()},
    }
    return ToolSpec(name=name, description=description, args_schema=schema, output_schema=None, risk="read_only", recovery="rerun")


def named(*specs: ToolSpec) -> dict[str, ToolSpec]:
    return {each.name: each for each in specs}


HOUSE = named(*(spec(f"{verb}_{room}", f"Does something in the {room}.") for verb in ("clean", "heat", "paint") for room in ROOMS))


def test_few_tools_are_all_shown() -> None:
    assert narrow(HOUSE, "heat the attic").tools is HOUSE


def test_of_many_the_fitting_ones_are_shown_in_their_own_order() -> None:
    found = narrow(HOUSE, "heat the attic", most=3)
    assert "heat_attic" in found.tools
    assert len(found.tools) == 3
    assert list(found.tools) == [name for name in HOUSE if name in found.tools]
    assert set(found.left_out) == HOUSE.keys() - found.tools.keys()


def test_words_are_compared_without_their_endings_and_out_of_camel_case() -> None:
    tools = named(spec("listTickets"), spec("send_mail"), *HOUSE.values())
    assert "listTickets" in narrow(tools, "which ticket is listed?", most=2).tools


def test_the_names_and_descriptions_of_arguments_count() -> None:
    tools = {**HOUSE, **named(spec("lookup", "Looks something up.", iban="The number of a bank account."))}
    assert "lookup" in narrow(tools, "whose bank account is this?", most=1).tools


def test_a_tool_that_is_named_stays_and_so_does_what_must() -> None:
    found = narrow(HOUSE, "run paint_hall, whatever it says about gardens", most=2, keep=["clean_stable"])
    assert {"paint_hall", "clean_stable"} <= found.tools.keys()


def test_a_name_inside_of_a_word_is_not_named() -> None:
    tools = named(spec("art"), *HOUSE.values())
    assert "art" not in narrow(tools, "start to heat", most=3).tools


def test_when_no_word_fits_the_first_tools_are_shown() -> None:
    assert list(narrow(HOUSE, "¿qué tiempo hace?", most=2).tools) == list(HOUSE)[:2]


def test_bytes_are_bounded_too() -> None:
    tools = named(spec("long", "heat " * 2_000), spec("short", "heat"), spec("other", "cool"))
    assert list(narrow(tools, "heat", most_bytes=1_000).tools) == ["short", "other"]


def test_what_was_left_out_is_named_up_to_a_bound() -> None:
    tools = named(*(spec(f"t{number}") for number in range(200)))
    said = str(narrow(tools, "t7", most=40))
    assert said.startswith("the planner is shown 40 of 200 tools, by the words of the goal; left out: ")
    assert said.endswith(" and 100 more")


def test_relevant_are_those_near_the_best() -> None:
    assert relevant(HOUSE, "heat the attic")[0].name == "heat_attic"
    assert relevant(HOUSE, "zzz") == []


@given(st.text(max_size=60), st.integers(0, 40))
def test_whatever_is_asked_the_bound_holds_and_nothing_is_lost(words: str, most: int) -> None:
    found = narrow(HOUSE, words, most=most)
    assert len(found.tools) <= most or len(HOUSE) <= most or any(name in words for name in HOUSE)
    assert {*found.tools, *found.left_out} == HOUSE.keys()
    assert found == narrow(HOUSE, words, most=most)
