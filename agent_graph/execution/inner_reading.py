"""What an agent has read by the time it asks for a call. Text from outside may ask for calls, so it has a say in each that comes after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent_graph.execution.allowing import Allowing
from agent_graph.execution.context import RunContext
from agent_graph.execution.conversation import Conversation
from agent_graph.plan import Step
from agent_graph.policy.lineage import FIRST, Origin
from agent_graph.policy.provenance import Label, excerpt
from agent_graph.ports import ToolSpec
from agent_graph.verdicts import Source

MADE_BEFORE = "made_before"
"""Why a call that changes something is not made: its step has made it. What it gave then is read again."""


class InnerAllowing(Allowing):
    """Knows the calls of the step beside those of the plan, and that what an agent asks for is as trusted as what it had read."""

    called: dict[str, str]
    """By id, the tool of each call of the step."""

    def spec_of(self, step_id: str) -> ToolSpec | None:
        name = self.called.get(step_id)
        return self.run.rules.tools.get(name) if name is not None else super().spec_of(step_id)

    def label(self, step: Step, spec: ToolSpec) -> Label:
        made, read = super().label(step, spec), self.run.lineage.get(step.id, FIRST).read
        labels = {source.label for source in read}
        return Label(trusted=made.trusted and "untrusted" not in labels, sensitive=made.sensitive or "sensitive" in labels)


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one conversation. ``run``: with the plan's own lineage; ``called``: as in ``InnerAllowing``."""

    run: RunContext
    conversation: Conversation
    called: dict[str, str]

    def origin(self, before: int) -> Origin:
        """Of the calls in one reply, the first of which has this number: the plan's own story, the step's inputs, and what its calls gave."""
        step = self.conversation.step
        outer = self.run.lineage.get(step.id, FIRST)
        found = [*outer.read, *self.conversation.read]
        for number in range(self.conversation.first, before):
            call_id = f"{step.id}.{number}"
            standing, spec = self.run.results.standing(call_id), self.run.rules.tools.get(self.called.get(call_id, ""))
            gave = standing is not None and (standing.status in ("succeeded", "failed") or standing.error_code == MADE_BEFORE)
            if standing is None or spec is None or not gave:
                continue
            labels = ["untrusted"] if not standing.label & 1 else []
            if standing.label & 2 or any(each.partition(".")[0] == "output" for each in spec.sensitive):
                labels.append("sensitive")
            found += [self._source(label, call_id, spec) for label in labels]
        return Origin(since=max(outer.since, self.conversation.version), read=tuple(dict.fromkeys(found)), around=outer.around)

    def _source(self, label: Any, call_id: str, spec: ToolSpec) -> Source:
        what, agent = f"steps.{call_id}.output", f"agent {self.conversation.step.id}"
        said = ""
        if label == "untrusted":
            result = self.run.results.result(call_id)
            said = excerpt(result.output if result is not None and result.output is not None else "")
        return Source(label=label, what=what, path=f"{spec.name} → {what} → {agent}", into=agent, excerpt=said)
