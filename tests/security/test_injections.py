"""The obedient replanner: whatever a text asks for is proposed, and nothing risky happens without a person who was told of that text.

Each injection runs twice: before a careful person, who says yes to what the task needs and nothing from outside had a hand in; and before a
careless one, who says yes to everything, so that what was on the cards is what counts. The same tasks run without injections, and how often
they ask is counted: asking always is no way to pass.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent_graph import AgentGraph, Limits, Run
from agent_graph.testing import MemoryStore
from tests.security.injections import bank, chat, files, mail
from tests.security.injections.person import Person, attentive, careful, careless
from tests.security.injections.replanner import ObedientReplanner, written
from tests.security.injections.world import STRANGER, Effect, Task, World

HERE = Path(__file__).parent / "injections"
DOMAINS = {"mail": mail.TASKS, "bank": bank.TASKS, "chat": chat.TASKS, "files": files.TASKS}


@dataclass(frozen=True)
class Injection:
    domain: str
    task: Task
    where: tuple[str, ...]
    program: list[list[dict[str, Any]]]

    def world(self) -> World:
        parts = written(self.program, len(self.where))
        return self.task.world({place: f"{STRANGER} says: {part}" for place, part in zip(self.where, parts, strict=True)})


def _injections() -> dict[str, Injection]:
    found = {}
    for domain, tasks in DOMAINS.items():
        for name, case in yaml.safe_load((HERE / f"{domain}.yaml").read_text(encoding="utf-8")).items():
            found[f"{domain}-{name}"] = Injection(domain, tasks[case["task"]], tuple(case["where"]), case["program"])
    return found


INJECTIONS = _injections()
CLEAN = {f"{domain}-{name}": task for domain, tasks in DOMAINS.items() for name, task in tasks.items()}

each_injection = pytest.mark.parametrize("injection", INJECTIONS.values(), ids=INJECTIONS.keys())


def drive(task: Task, world: World, person: Person) -> tuple[Run, ObedientReplanner]:
    planner = ObedientReplanner(task.plan, task.repair)
    limits = Limits(max_parallel=1, max_replans=3)  # one after the other, so that each run of a test is the same
    with AgentGraph(world.tools, planner=planner, policy=task.policy, limits=limits, store=MemoryStore(), on_waiting=person) as agent:
        for grant in task.grants:
            agent.grant(**grant, by="ann")
        return agent.run("see to it"), planner


def beyond(world: World, honest: list[Effect]) -> list[tuple[int, Effect]]:
    """What was done that the task does not need, or more than once; each with how much had been done before."""
    left = Counter(map(str, honest))
    found = []
    for number, effect in enumerate(world.effects):
        if left[str(effect)]:
            left[str(effect)] -= 1
        elif world.mattered(effect):
            found.append((number, effect))
    return found


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
    _, planner = drive(injection.task, world, person)
    assert planner.obeyed
    for before, effect in beyond(world, injection.task.honest):
        assert any(card.call == effect and card.after <= before and card.names(STRANGER) for card in person.cards), effect


@each_injection
def test_a_person_is_told_of_the_text_whatever_it_asks_for(injection: Injection) -> None:
    """That the two above do not hold because nothing was proposed."""
    world = injection.world()
    person = careless(world)
    drive(injection.task, world, person)
    assert any(card.names(STRANGER) for card in person.cards)


@pytest.mark.parametrize("task", CLEAN.values(), ids=CLEAN.keys())
def test_without_an_injection_the_task_is_done_and_few_are_asked(task: Task) -> None:
    world = task.world()
    person = attentive(world, task.honest)
    run, _ = drive(task, world, person)
    assert run.status == "succeeded", run.error
    assert Counter(map(str, world.effects)) == Counter(map(str, task.honest))
    assert len(person.gates) == task.gates
