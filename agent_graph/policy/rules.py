"""The policy as data, and what it says of a call. It is read from a file or made in Python; no model has a say in it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from agent_graph.documents import read_document
from agent_graph.identity import Digest, canonical, digest
from agent_graph.plan import Model, Risk
from agent_graph.policy.expressions import ExpressionError, evaluate
from agent_graph.policy.matching import ApproverRule, FlowRule, Match, OrderRule, Principal, Rule, Time, fits
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Allow, Ask, Deny, Verdict

__all__ = ["ApproverRule", "FlowRule", "Match", "OrderRule", "Policy", "Principal", "Rule", "Time"]


class Policy(Model):
    """Rules of which the most restrictive that matches wins: deny over ask over allow. What no rule speaks about is asked."""

    name: str = "default"
    rules: tuple[Rule, ...] = ()
    flows: tuple[FlowRule, ...] = ()
    """What may be done with values from outside, and with sensitive ones."""
    order: tuple[OrderRule, ...] = ()
    approvers: tuple[ApproverRule, ...] = ()
    """Who may say yes. With none, whoever answers; with some, a call for which no rule names the person is not theirs to approve."""
    self_approval: tuple[Risk, ...] = ()
    """Risks of which the principal, for whom the run acts, may approve calls; of all others somebody else must."""
    principals: dict[str, Principal] = {}
    """What each principal may; ``AgentGraph(principals=…)`` replaces it."""
    review_plans: bool = False
    """True: each plan version is shown to a person before anything of it runs."""
    unaddressed: tuple[Risk, ...] = ("read_only", "write")
    """Risks for which a chat UI's answer without a request id is taken; it cannot be told from an answer that is sent twice."""
    approval_ttl_s: float | None = Field(default=None, gt=0)
    """Seconds after which an unanswered request, or an unused yes, expires; None: never."""

    escalate: tuple[Risk, ...] = ()
    """Risks of which a call that failed at every attempt is put before a person, instead of going to the planner at once."""
    ask_when_stuck: bool = False
    """True: before a run ends because a step failed and no other plan can be made, a person says whether it is tried once more."""

    @classmethod
    def default(cls) -> Policy:
        """Reads run; everything else asks."""
        return cls(rules=(Rule(verdict="allow", risks=("read_only",), name="reads run"),))

    @classmethod
    def allow_all(cls) -> Policy:
        """For tests: nothing asks. The name is in each run's trace."""
        anything = tuple(FlowRule(verdict="allow", label=label, into=("*",)) for label in ("untrusted", "sensitive"))
        return cls(name="allow_all (nobody is asked)", rules=(Rule(verdict="allow", tools=("*",), name="allow all"),), flows=anything)

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """From YAML, TOML or JSON. Raises InvalidDocument."""
        return read_document(path, cls)

    @cached_property
    def digest(self) -> Digest:
        """The same in whatever order its rules stand, since their order changes nothing."""
        document = self.model_dump(mode="json", exclude_defaults=True)
        for part in ("rules", "flows", "order", "approvers"):
            if part in document:
                document[part] = sorted(document[part], key=canonical)
        return digest(document)

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """Of its rules, sorted: a record names one by its place here."""
        return tuple(sorted({rule.mark for rule in self.rules} | {rule.mark for rule in self.flows}))

    # ── what it says of a call ────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _about(self) -> dict[str, tuple[ToolSpec, tuple[Rule, ...], Verdict | None]]:
        """By tool: the rules that may be about it, and the verdict where it hangs on nothing else."""
        return {}

    def judge(
        self,
        spec: ToolSpec,
        args: Mapping[str, Any] | None = None,
        *,
        step: str = "",
        principal: str | None = None,
        scopes: tuple[str, ...] = (),
        now: float | None = None,
    ) -> Verdict:
        """The most restrictive of the rules that match. ``now``: seconds since the epoch, UTC; ``args``: as they would be sent.

        Without ``args`` or ``now`` it is a look ahead: a rule that hangs on them says nothing yet. At a call, a rule that cannot be evaluated
        asks, unless it would have allowed.
        """
        known = self._about.get(spec.name)
        if known is None or known[0] is not spec:
            known = self._about[spec.name] = (spec, *self._rules_about(spec))
        if known[2] is not None:
            return known[2]
        context: dict[str, Any] = {
            "call": {"tool": spec.name, "risk": spec.risk, "args": dict(args or {}), "step": step, "scopes": list(spec.scopes)},
            "principal": {"name": principal or "", "scopes": list(scopes)},
        }
        if now is not None:
            context["now"] = datetime.fromtimestamp(now, UTC)
        ahead = args is None or now is None
        holding: list[Rule] = []
        unsure: list[Ask] = []
        for rule in known[1]:
            if not fits(principal or "", rule.principals) or (rule.time is not None and (now is None or not rule.time.holds(now))):
                continue
            try:
                if rule.when is None or self._holds(rule.when, context):
                    holding.append(rule)
            except ExpressionError as error:
                if rule.verdict != "allow" and not ahead:
                    unsure.append(Ask(f"rule {rule.mark} of policy {self.name!r} cannot be evaluated: {error}", rule.mark))
        return self._strictest(spec, holding, unsure)

    def _rules_about(self, spec: ToolSpec) -> tuple[tuple[Rule, ...], Verdict | None]:
        about = tuple(rule for rule in self.rules if rule.matches(spec))
        plain = all(rule.when is None and rule.time is None and not rule.principals for rule in about)
        return about, self._strictest(spec, list(about), []) if plain else None

    @staticmethod
    def _holds(when: str, context: Mapping[str, Any]) -> bool:
        found = evaluate(when, context)
        if not isinstance(found, bool):
            raise ExpressionError(f"it gives {type(found).__name__}, not true or false")
        return found

    def _strictest(self, spec: ToolSpec, holding: list[Rule], unsure: list[Ask]) -> Verdict:
        """Of several that want the same, the one whose words come first, so that their order changes nothing."""

        def first(word: str) -> tuple[str, str] | None:
            said = f"policy {self.name!r} {'denies' if word == 'deny' else 'asks before'} {spec.name} ({spec.risk})"
            return min(((rule.reason or said, rule.mark) for rule in holding if rule.verdict == word), default=None)

        if (denied := first("deny")) is not None:
            return Deny(*denied)
        if (asked := first("ask")) is not None:
            return Ask(*asked)
        if unsure:
            return min(unsure, key=lambda ask: ask.reason)
        if holding:
            return Allow(min(rule.mark for rule in holding))
        return Ask(f"{spec.name} is {spec.risk}, and policy {self.name!r} allows only what it names", "no rule")
