"""The search under the chain planner: never dearer than brute force, and quick with hundreds of tools."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_graph.planners.search import Found, Making, Missing, cheapest

FACTS = st.integers(0, 6)
MAKING = st.builds(
    Making, st.frozensets(FACTS, max_size=3), st.frozensets(FACTS, min_size=1, max_size=2), st.sampled_from([0.0, 1.0, 1.0, 2.0, 3.5])
)


def leads_to(chosen: tuple[int, ...], known: frozenset[int], makings: list[Making[int]]) -> frozenset[int]:
    facts, left = set(known), list(chosen)
    while usable := [number for number in left if makings[number].needs <= facts]:
        facts |= makings[usable[0]].gives
        left.remove(usable[0])
    return frozenset(facts)


def brute_force(wanted: list[int], known: frozenset[int], makings: list[Making[int]]) -> float | None:
    costs = [
        sum(makings[number].cost for number in chosen)
        for size in range(len(makings) + 1)
        for chosen in itertools.combinations(range(len(makings)), size)
        if set(wanted) <= leads_to(chosen, known, makings)
    ]
    return min(costs, default=None)


@given(wanted=st.lists(FACTS, min_size=1, max_size=3), known=st.frozensets(FACTS, max_size=2), makings=st.lists(MAKING, max_size=8))
@settings(max_examples=400, deadline=None)
def test_what_is_found_costs_what_the_cheapest_set_of_makers_costs(
    wanted: list[int], known: frozenset[int], makings: list[Making[int]]
) -> None:
    found = cheapest(wanted, known, makings)
    least = brute_force(wanted, known, makings)
    if isinstance(found, Missing):
        assert least is None
    else:
        assert found.cost == pytest.approx(least)
        assert found.least


@given(wanted=st.lists(FACTS, min_size=1, max_size=3), known=st.frozensets(FACTS, max_size=2), makings=st.lists(MAKING, max_size=8))
@settings(max_examples=200, deadline=None)
def test_each_maker_stands_after_those_that_it_needs(wanted: list[int], known: frozenset[int], makings: list[Making[int]]) -> None:
    found = cheapest(wanted, known, makings)
    if isinstance(found, Found):
        facts = set(known)
        for number in found.order:
            assert makings[number].needs <= facts
            facts |= makings[number].gives
        assert set(wanted) <= facts


@given(wanted=st.lists(FACTS, min_size=1, max_size=2), makings=st.lists(MAKING, max_size=8))
@settings(max_examples=200, deadline=None)
def test_what_is_lacking_is_given_by_nobody(wanted: list[int], makings: list[Making[int]]) -> None:
    found = cheapest(wanted, frozenset(), makings)
    if isinstance(found, Missing):
        for fact, users in found.lacking.items():
            assert all(fact not in making.gives for making in makings)
            assert all(fact in makings[user].needs for user in users)


def test_a_maker_that_serves_two_is_paid_once() -> None:
    shared = Making(frozenset(), frozenset({"s"}), 3.0)
    one, two = Making(frozenset({"s"}), frozenset({"a"}), 1.0), Making(frozenset({"s"}), frozenset({"b"}), 1.0)
    own_a, own_b = Making(frozenset(), frozenset({"a"}), 2.8), Making(frozenset(), frozenset({"b"}), 2.8)
    # By itself, each of a and b is cheaper without the shared one (2.8 < 4); together 5 < 5.6.
    assert cheapest(["a", "b"], frozenset(), [shared, one, two, own_a, own_b]) == Found((0, 1, 2), 5.0, least=True)


def test_a_fact_that_a_maker_in_a_circle_gives_may_have_to_come_from_elsewhere() -> None:
    # To make z, one needs y, for y one needs x; and who makes z makes an x, too, which comes too late.
    shared = Making(frozenset(), frozenset({"s"}), 3.0)
    pair = [Making(frozenset({"s"}), frozenset({kind}), 1.0) for kind in "ab"]
    own = [Making(frozenset(), frozenset({kind}), 2.8) for kind in "ab"]
    late = Making(frozenset({"y"}), frozenset({"z", "x"}), 1.0)
    circle = [late, Making(frozenset({"x"}), frozenset({"y"}), 1.0), Making(frozenset(), frozenset({"x"}), 1.0)]
    found = cheapest(["a", "b", "z"], frozenset(), [shared, *pair, *own, *circle])
    assert isinstance(found, Found)
    assert (found.cost, set(found.order)) == (8.0, {0, 1, 2, 5, 6, 7})


def test_makers_that_wait_for_each_other_are_no_way() -> None:
    a, b = Making(frozenset({"b"}), frozenset({"a"}), 1.0), Making(frozenset({"a"}), frozenset({"b"}), 1.0)
    assert cheapest(["a"], frozenset(), [a, b]) == Missing(("a",), {})


def layered(tools: int, ways: int) -> list[Making[int]]:
    return [Making(frozenset({number // ways}), frozenset({number // ways + 1}), 1.0 + number % 3) for number in range(tools)]


@pytest.mark.parametrize("ways", [1, 2, 5])
def test_five_hundred_tools_take_few_milliseconds(ways: int) -> None:
    # A chain of ten among tools that lead elsewhere, as a registry has them.
    chain = layered(10 * ways, ways)
    others = [Making(frozenset({1000 + number % 50}), frozenset({1100 + number}), 1.0) for number in range(500 - len(chain))]
    makings = [*others, *chain]
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        found = cheapest([10], frozenset({0, 1000}), makings)
        taken.append(time.perf_counter() - begun)
        assert isinstance(found, Found)
        assert (len(found.order), found.least) == (10, True)
    assert min(taken) < 0.02


def test_a_search_that_would_take_too_long_ends_with_what_it_has() -> None:
    # Three facts in each of twenty layers, each made in four ways from two of the layer before: very many sets, of nearly one cost.
    makings = [
        Making(
            frozenset({(layer, fact), (layer, (fact + 1) % 3)}), frozenset({(layer + 1, fact)}), 1.0 + (7 * layer + 3 * fact + 5 * way) % 4
        )
        for layer in range(20)
        for fact in range(3)
        for way in range(4)
    ]
    begun = time.perf_counter()
    found = cheapest([(20, 0)], frozenset({(0, 0), (0, 1), (0, 2)}), makings)
    assert isinstance(found, Found)
    assert time.perf_counter() - begun < 3.0
