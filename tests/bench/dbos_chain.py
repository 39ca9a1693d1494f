"""The other peer: DBOS, durable functions on SQLite. An extra; where it is not installed its figures are left out."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from .chains import Seen, seen
from .costs import Cost, cost

INSTALLED = importlib.util.find_spec("dbos") is not None


def chain_costs(folder: str, sizes: list[int]) -> list[Cost]:
    dbos: Any = importlib.import_module("dbos").DBOS

    def look(n: int, after: str) -> Seen:
        return seen(n)

    step = dbos.step()(look)

    def chain(steps: int) -> int:
        last: Seen = {"n": -1, "text": ""}
        for n in range(steps):
            last = step(n, last["text"])
        return last["n"]

    workflow = dbos.workflow()(chain)

    found = []
    for steps in [3, *sizes]:
        path = Path(folder) / f"dbos-{steps}.db"
        dbos(config={"name": "bench", "system_database_url": f"sqlite:///{path}", "log_level": "ERROR", "run_admin_server": False})
        dbos.launch()

        def begin(steps: int = steps) -> Any:
            def run() -> None:
                assert workflow(steps) == steps - 1

            return run

        found.append(cost(steps, path, begin, dbos.destroy))
    return found[1:]
