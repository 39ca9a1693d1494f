"""The lower bound that makespans are held against."""

from __future__ import annotations

import pytest

from .dags import MEAN, Dag, layered

DIAMOND = Dag(needs=((), (0,), (0,), (1, 2)), seconds=(1.0, 2.0, 5.0, 1.0))


def test_no_schedule_is_faster_than_the_longest_chain() -> None:
    assert DIAMOND.lower_bound() == 7.0


def test_no_schedule_is_faster_than_the_work_shared_out_evenly() -> None:
    wide = Dag(needs=((), (), (), ()), seconds=(1.0, 1.0, 1.0, 1.0))
    assert [wide.lower_bound(limit) for limit in (1, 2, 4, None)] == [4.0, 2.0, 1.0, 1.0]


def test_with_a_limit_the_larger_of_the_two_bounds_counts() -> None:
    assert DIAMOND.lower_bound(1) == 9.0
    assert DIAMOND.lower_bound(2) == 7.0


def test_the_same_seed_gives_the_same_graph() -> None:
    assert layered(50, 3) == layered(50, 3)
    assert layered(50, 3) != layered(50, 4)


@pytest.mark.parametrize("steps", [50, 200])
def test_a_step_needs_only_steps_before_it_and_all_but_the_first_layer_need_some(steps: int) -> None:
    dag = layered(steps, 1)
    assert all(need < n for n, needs in enumerate(dag.needs) for need in needs)
    assert min(n for n, needs in enumerate(dag.needs) if needs) in (5, 10)
    assert all(dag.needs[10:])


def test_steps_sleep_the_mean_that_is_said() -> None:
    seconds = layered(20_000, 1).seconds
    assert sum(seconds) / len(seconds) == pytest.approx(MEAN, rel=0.05)
