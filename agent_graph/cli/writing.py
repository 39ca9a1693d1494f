"""What is being written while a model writes it: steps of a plan that is not there yet, and words of the answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent_graph.events import Done, Drafted, Event, PlanMade, Token
from agent_graph.lookalikes import told
from agent_graph.models.drafting import PLANS
from agent_graph.models.speaking import SPEAKS
from agent_graph.trace.checklist import Item
from agent_graph.visible import visible_lines

MOST = 4_000
"""Characters of an answer that are kept to be shown: its end."""


@dataclass(slots=True)
class Writing:
    """Of one drive. Nothing of it counts: the plan, and the answer, come whole."""

    drafted: list[Item] = field(default_factory=list)
    planned: int = 0
    """Characters of the reply that is to be a plan."""
    answer: str = ""
    steps: dict[str, str] = field(default_factory=dict)
    """By step, the last line of what its model says."""

    def see(self, event: Event) -> None:
        match event:
            case Token(role=role) if role in PLANS:
                self.planned = len(event.text) + (0 if event.begins else self.planned)
                if event.begins:
                    self.drafted = []
            case Token(role=role) if role == SPEAKS:
                self.answer = (("" if event.begins else self.answer) + event.text)[-MOST:]
            case Token(step_id=str(step_id)):
                before = "" if event.begins else self.steps.get(step_id, "")
                self.steps[step_id] = (before + event.text)[-MOST:].lstrip().rpartition("\n")[2]
            case Drafted():
                if event.number == 1:
                    self.drafted = []
                step = event.step
                what = str(step.get("tool") or step.get("kind") or "")
                self.drafted.append(Item(id=str(step.get("id")), what=what, description=str(step.get("description") or "")))
            case PlanMade():
                self.drafted, self.planned = [], 0
            case Done():
                self.answer, self.steps = "", {}  # what follows says it whole
            case _:
                pass

    def note_of(self, step_id: str) -> str:
        """What is shown beside a step while it runs."""
        return told(self.steps.get(step_id, ""))

    def last_lines(self, most: int) -> list[str]:
        """Of the answer, as a terminal may be shown them."""
        return list(visible_lines(self.answer))[-most:] if self.answer.strip() else []
