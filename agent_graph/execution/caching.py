"""What a read gave, given again to the same call while its tool's ``ttl`` lasts. docs/caching.md says what that promises.

Scope, policy and approval have their say before anybody looks here: what is kept is never a way around them. One agent's reads only: another
agent may have the same tool over another database. It lives in the process, so that nothing of it outlives a restart.
"""

from __future__ import annotations

import threading
from dataclasses import replace

from agent_graph.execution.calls import copied
from agent_graph.execution.context import RunContext
from agent_graph.execution.judging import Judging
from agent_graph.execution.normalise import Kept
from agent_graph.execution.outcome import Outcome, Prepared, Returned
from agent_graph.execution.reads import KeptRead
from agent_graph.identity import digest


class Caching:
    """Of one visit of ``execute``."""

    def __init__(self, run: RunContext, judging: Judging) -> None:
        self._run = run
        self._judging = judging
        self._lock = threading.Lock()
        self._before: float | None = None
        """When the last effect that is on record came to an end; None: not looked up yet."""

    def given_again(self, prepared: Prepared) -> Returned | None:
        """What an earlier call gave, where that may stand for this one."""
        ttl = prepared.tool.spec.ttl
        if ttl is None:
            return None
        run = self._run
        found = run.reads.get(self._key(prepared), run.clock.monotonic() - min(ttl, prepared.oldest))
        # Whoever has written reads what is there after it: in a run, a read is never older than its last effect.
        if found is None or found.at <= self._last_change():
            return None
        now = run.clock.now()
        prepared.started, prepared.as_of = now, found.at
        said = f"given again from a call {max(0.0, now - found.at):.1f} s ago, within the ttl of {prepared.tool.name} ({ttl:g} s): no call was made"
        self._judging.note(prepared.step.id, said)
        return Returned(Kept(value=copied(found.value)))

    def changes(self) -> None:
        """A call that can change something begins, or has come to an end: what was read before it may not be so any more."""
        self._run.reads.changed(self._run.run_id, self._run.clock.now())

    def keep(self, prepared: Prepared, outcome: Outcome) -> Outcome:
        """Remember what a read gave; say of one that was given again how old it is."""
        if prepared.as_of is not None:
            provenance = prepared.provenance.model_copy(update={"as_of": prepared.as_of})
            return replace(outcome, result=outcome.result.model_copy(update={"provenance": provenance}))
        if prepared.tool.spec.ttl is not None and outcome.result.status == "succeeded":
            begun = prepared.until - prepared.timeout
            self._run.reads.put(self._key(prepared), KeptRead(value=outcome.result.output, at=prepared.started, begun=begun))
        return outcome

    def _key(self, prepared: Prepared) -> str:
        return digest(["read", prepared.tool.name, prepared.tool.spec.digest, prepared.args, self._run.plan.goal.principal])

    def _last_change(self) -> float:
        """Of the run, in whatever process. An effect whose outcome is not known may happen just now."""
        ledger, run_id = self._run.store.ledger, self._run.run_id
        with self._lock:
            if self._before is None:
                if ledger.open_effects(run_id):
                    return float("inf")
                self._before = max((effect.finished for effect in ledger.landed(run_id)), default=0.0)
            return max(self._before, self._run.reads.last_change(run_id))
