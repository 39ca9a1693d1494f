"""How grave is what was found: one rule that can be read, argued about and changed, instead of a judgement that cannot."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, with_config
from typing_extensions import TypedDict

from agent_graph.tools.tool import tool

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")


@with_config(extra="ignore")
class FoundWindow(TypedDict):
    start: str
    until: str
    seconds: float
    ongoing: bool


@with_config(extra="ignore")
class Compared(TypedDict):
    start: str
    verdict: Literal["moved", "not moved", "cannot say"]


@with_config(extra="ignore")
class MovedThen(TypedDict):
    start: str
    moved: list[str]


class Judged(TypedDict):
    start: str
    severity: Severity
    why: list[str]


class Decision(TypedDict):
    severity: Severity
    """The gravest of the windows; ``info`` when there is none."""
    rule: str
    windows: list[Judged]


RULE = (
    "low: not unusual for these hours of the day; otherwise medium, and one level more for each of: "
    "it lasted {long:g} min or more, another series moved in it, it was not over when the data ended; at most critical"
)


@tool(risk="read_only", trusted_output=True)  # as far as its arguments are
def decide_severity(
    windows: Annotated[list[FoundWindow], Field(description="`windows` of find_outlier_windows.")],
    compared: Annotated[list[Compared], Field(description="`windows` of compare_with_other_days, for the same windows.")],
    moved: Annotated[list[MovedThen], Field(description="`windows` of which_moved, for the same windows.")],
    long_minutes: Annotated[float, Field(gt=0, description="From so many minutes on, a window counts as long.")] = 60.0,
) -> Decision:
    """Decide the severity of findings by a fixed rule, with reasons; reads nothing and changes nothing.

    A window is `low` when it is not unusual for its hours of the day, else `medium`, raised one level for each of: it was long, another
    series moved in it, it was not over when the data ended. The gravest window decides; without windows it is `info`.
    """
    starts = [window["start"] for window in windows]
    for name, given in (("compared", [one["start"] for one in compared]), ("moved", [one["start"] for one in moved])):
        if given != starts:
            raise ValueError(
                f"{name} is about other windows ({', '.join(given) or 'none'}) than windows ({', '.join(starts) or 'none'}); pass the same ones on"
            )
    judged: list[Judged] = []
    for window, comparison, others in zip(windows, compared, moved, strict=True):
        if comparison["verdict"] == "not moved":
            judged.append({"start": window["start"], "severity": "low", "why": ["not unusual for these hours of the day"]})
            continue
        reasons = {
            f"lasted {long_minutes:g} min or more": window["seconds"] >= 60 * long_minutes,
            f"{len(others['moved'])} other series moved": bool(others["moved"]),
            "not over when the data ended": window["ongoing"],
        }
        first = "unusual for these hours of the day" if comparison["verdict"] == "moved" else "too little data to compare with other days"
        raised = [reason for reason, holds in reasons.items() if holds]
        level = min(SEVERITIES.index("medium") + len(raised), len(SEVERITIES) - 1)
        judged.append({"start": window["start"], "severity": SEVERITIES[level], "why": [first, *raised]})
    gravest = max((SEVERITIES.index(one["severity"]) for one in judged), default=0)
    return {"severity": SEVERITIES[gravest], "rule": RULE.format(long=long_minutes), "windows": judged}
