"""The policy: for each call allow, ask a person, or deny. What no rule speaks about is asked."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Literal

from pydantic import Field

from agent_graph.documents import read_document
from agent_graph.identity import Digest, digest
from agent_graph.plan import Model, Risk
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Allow, Ask, Deny, Verdict


class Rule(Model):
    """``verdict`` for the calls that match all that is given."""

    verdict: Literal["allow", "ask", "deny"]
    tools: tuple[str, ...] = ()
    """Names, or patterns with ``*``."""
    risks: tuple[Risk, ...] = ()
    reason: str = ""
    """Shown to the person who is asked, and to the planner that is refused."""

    def matches(self, spec: ToolSpec) -> bool:
        named = not self.tools or any(fnmatch.fnmatchcase(spec.name, pattern) for pattern in self.tools)
        return named and (not self.risks or spec.risk in self.risks)


class Policy(Model):
    """Rules of which the most restrictive that matches wins: deny over ask over allow."""

    name: str = "default"
    rules: tuple[Rule, ...] = ()
    review_plans: bool = False
    """True: each plan version is shown to a person before anything of it runs."""
    unaddressed: tuple[Risk, ...] = ("read_only", "write")
    """Risks for which a chat UI's answer without a request id is taken; it cannot be told from an answer that is sent twice."""
    approval_ttl_s: float | None = Field(default=None, gt=0)
    """Seconds after which an unanswered request, or an unused yes, expires; None: never."""

    escalate: tuple[Risk, ...] = ()
    """Risks of which a call that failed at every attempt is put before a person, instead of going to the planner at once."""

    @classmethod
    def default(cls) -> Policy:
        """Reads run; everything else asks."""
        return cls(rules=(Rule(verdict="allow", risks=("read_only",)),))

    @classmethod
    def allow_all(cls) -> Policy:
        """For tests: nothing asks. The name is in each run's trace."""
        return cls(name="allow_all (nobody is asked)", rules=(Rule(verdict="allow", tools=("*",)),))

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """From YAML or JSON. Raises InvalidDocument."""
        return read_document(path, cls)

    @property
    def digest(self) -> Digest:
        return digest(self.model_dump(mode="json"))

    def judge(self, spec: ToolSpec) -> Verdict:
        matching = [rule for rule in self.rules if rule.matches(spec)]
        for rule in matching:
            if rule.verdict == "deny":
                return Deny(rule.reason or f"policy {self.name!r} denies {spec.name} ({spec.risk})")
        for rule in matching:
            if rule.verdict == "ask":
                return Ask(rule.reason or f"policy {self.name!r} asks before {spec.name} ({spec.risk})")
        if matching:
            return Allow()
        return Ask(f"{spec.name} is {spec.risk}, and policy {self.name!r} allows only what it names")
