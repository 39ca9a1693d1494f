"""One run under attack, and what came of it. Both are plain, so that they pass between processes as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from .plans import Mix, Shape, kind_of, needs_of
from .seams import Death

Engine = Literal["ours", "stock sync", "stock async", "stock aio"]
"""``stock …``: the same steps as nodes of a plain LangGraph graph, on SqliteSaver with that durability, or on AsyncSqliteSaver."""

Fault = Literal["no intents", "no probe", "new keys", "no effects", "no answers", "no lease"]
"""What is broken on purpose in a control run, so that the suite shows that it would notice."""

By = Literal["run", "arun", "graph sync", "graph async", "graph exit"]
"""How a run is driven: by ``agent.run``, by ``agent.arun``, or by a plain ``graph.invoke`` with that durability."""

Window = Literal[
    "1 before the intent",
    "2 intent written, not called",
    "3 in the call, before the effect",
    "4 in the call, after the effect",
    "5 call over, outcome not written",
    "6 outcome written, more to do",
    "7 all written, before the checkpoint",
    "8 after the checkpoint",
    "settling an earlier cut",
    "waiting at a gate",
    "decided, not acted on",
]

AFTER_AN_INTENT: tuple[Window, ...] = (
    "2 intent written, not called",
    "3 in the call, before the effect",
    "4 in the call, after the effect",
    "5 call over, outcome not written",
    "settling an earlier cut",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    mix: Mix
    shape: Shape
    seed: int
    engine: Engine = "ours"
    by: By = "run"
    gates: bool = False
    """True: the default policy asks a person before each call that changes something."""
    stays: bool = False
    """True: the process waits at a gate for its answer, and may be killed there; False: it ends, and the next one brings the answer."""
    deaths: tuple[Death | None, ...] = ()
    """By drive: where the process kills itself."""
    random_kills: int = 0
    """At most so many drives are killed from outside after a random time."""
    in_worker: bool = False
    """The calls are made in worker processes, which a kill of the driver leaves behind."""
    orphans: str | None = None
    """The first drive is killed as soon as this step has been called, and resumed at once."""
    fault: Fault | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(f"s{index}" for index in range(len(needs_of(self.shape))))

    def kind(self, step: str) -> str:
        return kind_of(self.mix, self.steps.index(step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    drive: int
    window: Window
    seam: str | None = None
    """Where the process killed itself; None: it was killed from outside."""
    cut: dict[str, Window] = field(default_factory=dict)
    """The steps that were under way, each with its own window."""
    done: tuple[str, ...] = ()
    """The steps whose outcome was on record."""


@dataclass(slots=True, kw_only=True)
class Verdict:
    case: Case
    kills: list[Kill] = field(default_factory=list)
    drives: int = 0
    status: str = ""
    diagnosis: dict[str, Any] | None = None
    duplicates: int = 0
    lost: int = 0
    stuck: bool = False
    parked: int = 0
    """Questions to a person: did this happen?"""
    parked_kinds: list[str] = field(default_factory=list)
    repeated: int = 0
    """Calls beyond one per step: reads again, safe repeats, keyed ones sent again."""
    deduplicated: int = 0
    """Of the keyed ones, those that the receiver recognised and dropped."""
    seconds: float = 0.0
    breaches: list[str] = field(default_factory=list)
    """Each violation in words."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, document: dict[str, Any]) -> Self:
        case = document.pop("case")
        deaths = tuple(None if each is None else Death(**each) for each in case.pop("deaths"))
        kills = [Kill(**{**each, "done": tuple(each["done"])}) for each in document.pop("kills")]
        return cls(case=Case(**case, deaths=deaths), kills=kills, **document)
