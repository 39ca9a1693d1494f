"""What a look at a store finds: each thing with how grave it is, where it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["broken", "attention", "note"]
"""``broken``: the store, or a part of it, cannot be used. ``attention``: somebody should do something. ``note``: good to know."""

Verdict = Literal["well", "attention", "broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    severity: Severity
    code: str
    """Stable, for programs; docs/store.md lists all of them."""
    what: str
    do: str
    """What to do now, as a sentence."""
    command: tuple[str, ...] = ()
    """The words of an agent-graph command that does it; empty where there is none."""
    run_id: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    """Details for programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A store as it was found."""

    path: str
    schema: int | None
    """None where it could not be read."""
    runs: Mapping[str, int] = field(default_factory=dict)
    """How many, by stored status."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes, by part: ledger, events, checkpoints, free (used for what is written next), log (not yet folded into the file)."""
    findings: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        found = {finding.severity for finding in self.findings}
        return "broken" if "broken" in found else "attention" if "attention" in found else "well"
