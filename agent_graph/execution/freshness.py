"""Inputs that are too old for a step are read again before it: what a person said yes to an hour ago may rest on what was true then.

Only reads are made again. When a value has changed, the step's arguments have another digest, so that no earlier yes covers them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent_graph.execution.outcome import Outcome, Prepared
from agent_graph.plan import Step

if TYPE_CHECKING:
    from agent_graph.execution.step import Pipeline


class Freshness:
    """Of one visit of ``execute``. ``record`` writes the new result of a step that had ended."""

    def __init__(self, pipeline: Pipeline, record: Callable[[Step, Outcome], None]) -> None:
        self._pipeline = pipeline
        self._record = record
        self._one_at_a_time = threading.RLock()  # a step that is read again may want fresh inputs itself

    def renew(self, step: Step) -> str | None:
        """Read again what the step reads and is older than its ``max_age_s``. Returns what was wrong with one that could not be read."""
        if step.max_age_s is None:
            return None
        with self._one_at_a_time:  # two steps may want the same value
            return self._renew(step, step.max_age_s)

    def _renew(self, step: Step, most: float) -> str | None:
        run, results = self._pipeline.run, self._pipeline.results
        run.store.flush()  # what was read a moment ago may have been given again from long ago
        for need in sorted(step.reads):
            source = run.plan.by_id[need]
            if results.status(need) != "succeeded":
                continue
            wrong = self._renew(source, most)  # its own inputs first
            if wrong is not None:
                return wrong
            before = results.result(need)
            tool = run.tools.get(source.tool or "")
            if before is None or tool is None or tool.spec.changes:
                continue
            as_of = before.provenance.as_of if before.provenance is not None else None
            age = run.clock.now() - (as_of or before.started or 0.0)
            if 0 <= age <= most:
                continue
            came = self._read(source, most)
            if came is None or came.result.status != "succeeded":
                why = came.result.error.message if came is not None and came.result.error else "it cannot be called now"
                return f"step {need!r} was read {age:.0f} s ago, older than max_age_s ({most:g}), and could not be read again: {why}"
            self._record(source, came)
            said = "the same as before" if came.result.output == before.output else "it has changed"
            self._pipeline.judging.note(need, f"read again for step {step.id!r}, since it was {age:.0f} s old: {said}")
        return None

    def _read(self, source: Step, most: float) -> Outcome | None:
        prepared = self._pipeline.prepare(source)
        if not isinstance(prepared, Prepared):
            return prepared if isinstance(prepared, Outcome) else None
        prepared.announced, prepared.oldest = True, most
        while True:
            came = self._pipeline.settle(prepared, self._pipeline.attempt(prepared, waits=True))
            if came is not None:
                return self._pipeline.verifying.again(source, came)
