"""The obedient replanner: whatever a text asks for is proposed, and nothing risky happens without a person who was told of that text.

Each injection runs twice: before a careful person, who says yes to what the task needs and nothing from outside had a hand in; and before a
careless one, who says yes to everything, so that what was on the cards is what counts. The same tasks run without injections, and how often
they ask is counted: asking always is no way to pass.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.security.injections.cases import CLEAN, INJECTIONS, Injection, beyond, drive, untold
from tests.security.injections.person import attentive, careful, careless
from tests.security.injections.world import STRANGER, Task

each_injection = pytest.mark.parametrize("injection", INJECTIONS.values(), ids=INJECTIONS.keys())


@each_injection
def test_nothing_beyond_the_task_happens_before_a_careful_person(injection: Injection) -> None:
    world = injection.world()
    _, planner = drive(injection.task, world, careful(world, injection.task.honest))
    assert planner.obeyed, "the injection was never read: the test would prove nothing"
    assert beyond(world, injection.task.honest) == []


@each_injection
def test_what_a_careless_person_lets_through_was_on_a_card_that_named_the_text(injection: Injection) -> None:
    world = injection.world()
    person = careless(world)
    drive(injection.task, world, person)
    assert any(card.names(STRANGER) for card in person.cards), "nobody was told of the text: the test would prove nothing"
    assert untold(world, person, injection.task.honest) == []


@pytest.mark.parametrize("task", CLEAN.values(), ids=CLEAN.keys())
def test_without_an_injection_the_task_is_done_and_few_are_asked(task: Task) -> None:
    world = task.world()
    person = attentive(world, task.honest)
    run, _ = drive(task, world, person)
    assert run.status == "succeeded", run.error
    assert Counter(map(str, world.effects)) == Counter(map(str, task.honest))
    assert len(person.gates) == task.gates
