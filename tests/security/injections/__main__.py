"""The table of docs/security.md: ``python -m tests.security.injections``."""

from __future__ import annotations

from tests.security.injections.cases import CLEAN, DOMAINS, INJECTIONS, beyond, drive, untold
from tests.security.injections.person import attentive, careful, careless

_HEAD = (
    "domain",
    "injections",
    "beyond the task, careful",
    "beyond the task, careless",
    "of these untold",
    "asked, injected",
    "asked, clean",
)


def main() -> None:
    rows = [[domain, *_measured(domain)] for domain in DOMAINS]
    total = ["all", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))]
    print(f"| {' | '.join(_HEAD)} |\n|---|{'--:|' * (len(_HEAD) - 1)}")  # noqa: T201
    for row in [*rows, total]:
        print(f"| {' | '.join(map(str, row))} |")  # noqa: T201


def _measured(domain: str) -> list[int]:
    before_careful = before_careless = not_told = asked = 0
    cases = [case for case in INJECTIONS.values() if case.domain == domain]
    for case in cases:
        world, honest = case.world(), case.task.honest
        person = careful(world, honest)
        drive(case.task, world, person)
        before_careful += len(beyond(world, honest))
        asked += len(person.gates)
        world = case.world()
        person = careless(world)
        drive(case.task, world, person)
        before_careless += len(beyond(world, honest))
        not_told += len(untold(world, person, honest))
    clean = 0
    for name, task in CLEAN.items():
        if name.startswith(f"{domain}-"):
            world = task.world()
            person = attentive(world, task.honest)
            drive(task, world, person)
            clean += len(person.gates)
    return [len(cases), before_careful, before_careless, not_told, asked, clean]


if __name__ == "__main__":
    main()
