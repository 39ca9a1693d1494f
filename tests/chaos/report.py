"""What was measured, as tables that read the same in a terminal and in the docs."""

from __future__ import annotations

import platform
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from .case import Verdict, Window
from .plans import MIXES
from .race import Finish
from .supervise import after_an_intent

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
WINDOWS: tuple[Window, ...] = get_args(Window)

FINDS = {
    "no intents": "duplicates",
    "no probe": "duplicates",
    "new keys": "duplicates",
    "no effects": "lost",
    "no answers": "stuck",
    "no lease": "more than one driver",
}
"""What a control must find."""

SAID = {
    "no intents": "intents are not written",
    "no probe": "the probe always says absent",
    "new keys": "each attempt has a key of its own",
    "no effects": "the tool does nothing, and says that it did",
    "no answers": "nobody answers",
    "no lease": "any owner is taken for dead",
}


@dataclass(slots=True)
class Measured:
    ours: list[Verdict] = field(default_factory=list)
    stock: list[Verdict] = field(default_factory=list)
    controls: list[Verdict] = field(default_factory=list)
    races: list[Finish] = field(default_factory=list)
    seed: int = 0
    seconds: float = 0.0

    @classmethod
    def read(cls, documents: Iterable[dict[str, Any]], seed: int, seconds: float) -> Measured:
        made = cls(seed=seed, seconds=seconds)
        for document in documents:
            if document.pop("unit") == "Meet":
                made.races.append(Finish(**document))
                continue
            verdict = Verdict.load(document)
            kept = made.stock if verdict.case.engine != "ours" else made.controls if verdict.case.fault else made.ours
            kept.append(verdict)
        return made

    # ── whether it holds ──────────────────────────────────────────────────────────────────────────────────────────────

    def violations(self) -> list[str]:
        """Everything that must not be. The controls' own finds are wanted, and their absence is not."""
        found = [f"{verdict.case.name}: {breach}" for verdict in self.ours for breach in verdict.breaches if breach]
        found += [f"race of {each.processes} by {each.door}: {breach}" for each in self.races if not each.fault for breach in each.breaches]
        found += [
            f"control {fault!r} on {kind} found no {FINDS[fault]}: the suite is blind"
            for (fault, kind), n in self.proofs().items()
            if not n
        ]
        return found

    def proofs(self) -> dict[tuple[str, str], int]:
        """By what was broken and the class: how many violations were found."""
        found: Counter[tuple[str, str]] = Counter()
        for verdict in self.controls:
            fault = verdict.case.fault or ""
            of = {"duplicates": verdict.duplicates, "lost": verdict.lost, "stuck": int(verdict.stuck)}
            found[fault, verdict.case.mix] += of[FINDS[fault]]
        for race in self.races:
            if race.fault:
                found[race.fault, "two processes"] += any("at once" in breach or "drove" in breach for breach in race.breaches)
        return dict(found)

    def totals(self) -> dict[str, int]:
        kills = [kill for verdict in self.ours for kill in verdict.kills]
        return {
            "runs": len(self.ours),
            "kills": len(kills),
            "at boundaries": sum(kill.seam is not None for kill in kills),
            "after an intent": sum(map(after_an_intent, kills)),
            "duplicates": sum(verdict.duplicates for verdict in self.ours),
            "lost": sum(verdict.lost for verdict in self.ours),
            "stuck": sum(verdict.stuck for verdict in self.ours),
            "parked": sum(verdict.parked for verdict in self.ours),
        }

    # ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def text(self) -> str:
        total = self.totals()
        summary = (
            f"{total['kills']} kills in {total['runs']} runs: {total['at boundaries']} at a boundary that was chosen, "
            f"the others at a random instant; {total['after an intent']} hit after an intent. "
            f"Seed {self.seed}, {self.seconds / 60:.0f} minutes, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
            f"langgraph {version('langgraph')}, langgraph-checkpoint-sqlite {version('langgraph-checkpoint-sqlite')}."
        )
        parts = [
            summary,
            "By recovery class. `mixed` plans have steps of all classes, so some of theirs are blind.\n\n" + self._by_class(),
            "By class and by the window that the kill hit; a run that was killed in several windows counts in each.\n\n"
            + self._by_window(),
        ]
        if any(not race.fault for race in self.races):
            parts.append("Several processes resume one run whose process was killed, at the same instant.\n\n" + self._of_races())
        if self.stock:
            parts.append(
                "The same plans as nodes of a stock LangGraph graph, killed at random instants and resumed with `invoke(None)`.\n\n"
                + self._of_stock()
            )
        if self.controls:
            parts.append("Would the suite notice? Something is broken on purpose, and the suite must find it.\n\n" + self._of_controls())
        return "\n\n".join(parts) + "\n"

    def _by_class(self) -> str:
        rows = []
        for mix in MIXES:
            ours = [verdict for verdict in self.ours if verdict.case.mix == mix]
            kills = [kill for verdict in ours for kill in verdict.kills]
            repeated, dropped = sum(each.repeated for each in ours), sum(each.deduplicated for each in ours)
            rows.append(
                [
                    mix,
                    len(ours),
                    len(kills),
                    sum(map(after_an_intent, kills)),
                    f"{repeated} ({dropped} dropped by the receiver)" if dropped else repeated,
                    *_verdicts(ours),
                ]
            )
        return table(["class", "runs", "kills", "after an intent", "calls made again", "duplicates", "lost", "stuck", "parked"], rows)

    def _by_window(self) -> str:
        rows = []
        for mix in MIXES:
            for window in WINDOWS:
                hit = [v for v in self.ours if v.case.mix == mix and any(kill.window == window for kill in v.kills)]
                if hit:
                    kills = sum(kill.window == window for verdict in hit for kill in verdict.kills)
                    rows.append([mix, window, kills, len(hit), *_verdicts(hit)])
        return table(["class", "window", "kills", "runs", "duplicates", "lost", "stuck", "parked"], rows)

    def _of_races(self) -> str:
        rows = []
        for processes, door in sorted({(race.processes, race.door) for race in self.races if not race.fault}):
            those = [race for race in self.races if not race.fault and (race.processes, race.door) == (processes, door)]
            one = sum((race.drove, race.refused) == (1, processes - 1) for race in those)
            rows.append([processes, door, len(those), one, sum(race.refused for race in those), sum(race.duplicates for race in those)])
        return table(["processes", "by", "times", "exactly one drove", "refused as busy", "duplicates"], rows)

    def _of_stock(self) -> str:
        names = {
            "stock sync": 'SqliteSaver, durability="sync"',
            "stock async": 'SqliteSaver, durability="async"',
            "stock aio": 'AsyncSqliteSaver, durability="sync"',
        }
        rows = []
        for engine, name in names.items():
            those = [verdict for verdict in self.stock if verdict.case.engine == engine]
            if those:
                twice = sum(verdict.duplicates > 0 for verdict in those)
                rows.append(
                    [
                        name,
                        len(those),
                        sum(len(verdict.kills) for verdict in those),
                        f"{twice} ({100 * twice // len(those)} %)",
                        *_verdicts(those)[:3],
                    ]
                )
        ours = [verdict for verdict in self.ours if verdict.case.random_kills]
        rows.append(
            [
                "agent-graph, random kills only",
                len(ours),
                sum(len(verdict.kills) for verdict in ours),
                f"{sum(verdict.duplicates > 0 for verdict in ours)} (0 %)",
                *_verdicts(ours)[:3],
            ]
        )
        return table(["", "runs", "kills", "runs with duplicates", "duplicates", "lost", "stuck"], rows)

    def _of_controls(self) -> str:
        rows = [[SAID[fault], kind, FINDS[fault], n or "NOTHING"] for (fault, kind), n in self.proofs().items()]
        return table(["broken on purpose", "class", "must find", "found"], rows)


def _verdicts(of: Sequence[Verdict]) -> list[int]:
    return [
        sum(verdict.duplicates for verdict in of),
        sum(verdict.lost for verdict in of),
        sum(verdict.stuck for verdict in of),
        sum(verdict.parked for verdict in of),
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Markdown that is aligned, so that a terminal shows a table, too."""
    cells = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    numeric = [all(isinstance(row[column], int) for row in rows) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(row, widths, numeric, strict=True))
            + " |"
        )

    rule = "|" + "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True)) + "|"
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def write_into(page: Path, text: str) -> None:
    """Replace what stands between the markers. Raises ValueError when they are not there."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the report: it stands between {BEGIN} and {END}")
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
