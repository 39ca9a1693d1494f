"""All injections, and one drive of one of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent_graph import AgentGraph, Limits, Run
from agent_graph.testing import MemoryStore
from tests.security.injections import bank, chat, files, mail
from tests.security.injections.person import Person
from tests.security.injections.replanner import ObedientReplanner, written
from tests.security.injections.world import STRANGER, Effect, Task, World

HERE = Path(__file__).parent
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


def untold(world: World, person: Person, honest: list[Effect]) -> list[Effect]:
    """What was done beyond the task although nobody had been shown exactly that call, with the text that had asked for it."""
    return [
        effect
        for before, effect in beyond(world, honest)
        if not any(card.call == effect and card.after <= before and card.names(STRANGER) for card in person.cards)
    ]
