"""The calls that an ``agent`` step makes: each passes the pipeline of a plan's step, has a row of its own, and is made once.

Its id is that of the step and its number in the conversation: ``draft.3``. Who proposes it has read what the calls before it gave, so what
came from outside by then has a say in it, and a person is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent_graph.execution.conversation import Conversation
from agent_graph.execution.inner_asking import ASK_PERSON, ask_person
from agent_graph.execution.inner_ends import Bound, Overspent, Stopped
from agent_graph.execution.inner_made import Made, calls_made, tools_called
from agent_graph.execution.inner_reading import MADE_BEFORE, InnerAllowing, Reading
from agent_graph.execution.inner_telling import told, told_again
from agent_graph.execution.outcome import Later, Outcome, Waits
from agent_graph.identity import call_key
from agent_graph.plan import Step, references
from agent_graph.policy.lineage import FIRST, Origin
from agent_graph.policy.reasoned import call_in, tools_of
from agent_graph.ports import ToolSpec
from agent_graph.threads import start

if TYPE_CHECKING:
    from agent_graph.execution.step import Pipeline

FINISH = "finish"

MOST_CALLS = 64
"""Of one reply; what is beyond is not made. Its model may ask again, as often as it has turns."""

SLOT_POLL = 0.02
"""Seconds between two looks whether the call's tool has a free place."""


class InnerCalls:
    """Of one visit of one ``agent`` step. ``record`` writes what came of a call. ``only_settle``: nothing is begun that was not begun before."""

    def __init__(
        self,
        conversation: Conversation,
        pipeline: Callable[[Any, InnerAllowing], Pipeline],
        record: Callable[[Step, Outcome], None],
        *,
        only_settle: bool = False,
    ) -> None:
        run, step = conversation.run, conversation.step
        self.conversation, self.step = conversation, step
        self.record, self.only_settle = record, only_settle
        self.tools = tools_of(step, run.rules.models)
        self._lineage = dict(run.lineage)
        self._needs = dict(run.flow.every_need)
        self.results = run.results
        self.run = replace(run, lineage=self._lineage, flow=replace(run.flow, every_need=self._needs))
        allowing = InnerAllowing(self.run)
        self._called = allowing.called = self._tools_called()
        self.reading = Reading(run, conversation, self._called)
        self.pipeline = pipeline(self.run, allowing)
        self._made, self._refused = self._landed(), self._rejected()

    def _tools_called(self) -> dict[str, str]:
        """By id, the tool of each call so far: those of earlier conversations, and those that this one wants."""
        found = tools_called(self.run.store.ledger, self.results, self.step.id)
        number = self.conversation.first
        for message in self.conversation.turns:
            for call in message.tool_calls:
                found[f"{self.step.id}.{number}"] = call["name"]
                number += 1
        return found

    def _landed(self) -> dict[str, str]:
        """By ``call_key``, the call of this step whose effect happened."""
        calls = self.run.store.ledger.landed_calls(self.run.run_id)
        return {call_key(tool, args): step_id for tool, args, step_id, _ in calls if step_id.rpartition(".")[0] == self.step.id}

    def _rejected(self) -> dict[str, str]:
        """By ``call_key``, the call that a person said no to: they are not asked for the same thing again."""
        found = {}
        for call_id in self.results.calls_of(self.step.id):
            standing = self.results.standing(call_id)
            effect = self.run.store.ledger.effect(standing.key) if standing is not None and standing.error_code == "rejected" else None
            if effect is not None:
                found[call_key(effect.tool, effect.args)] = call_id
        return found

    @property
    def made(self) -> list[Made]:
        """Id, tool and whether it succeeded, of each call that was made or answered."""
        return calls_made(self.results, self.step.id, self._called)

    @property
    def following(self) -> int:
        """Number of the call that would come next."""
        return self.conversation.first + sum(len(turn.tool_calls) for turn in self.conversation.turns)

    # ── one reply of the model ────────────────────────────────────────────────────────────────────────────────────────

    def answers(self, message: Any) -> list[tuple[str, str]]:
        """For each call of the model's last reply, in their order, its id and what the model is told. Raises Stopped, Bound and Overspent."""
        first = self.following - len(message.tool_calls)
        origin = self.reading.origin(first)
        found: list[tuple[str, str]] = []
        for together in self._together(message.tool_calls[:MOST_CALLS]):
            self.pipeline.pause(0)
            started = first + len(found)
            asked = [
                start(self.answer, str(call["name"]), dict(call["args"]), number, origin) for number, call in enumerate(together, started)
            ]
            wait(asked)  # what is under way is recorded, whatever came of another one
            found += [(str(call["id"]), each.result()) for call, each in zip(together, asked, strict=True)]
        too_many = (
            f"not called: one reply may hold {MOST_CALLS} calls; call again what is still needed, once you have seen what these gave."
        )
        return found + [
            (str(call["id"]), f"{self.step.id}.{number}: {too_many}")
            for number, call in enumerate(message.tool_calls[MOST_CALLS:], first + MOST_CALLS)
        ]

    def _together(self, calls: list[Any]) -> Iterator[list[Any]]:
        """What may be made side by side: reads that stand together. What changes something is made by itself, after what stands before it."""
        most = self.run.rules.limits.max_parallel
        if self.step.budget is not None and self.step.budget.max_calls is not None:
            most = 1  # they are counted one by one
        group: list[Any] = []
        for call in calls:
            spec = self.run.rules.tools.get(str(call["name"])) if call["name"] in self.tools else None
            reads = spec is not None and not spec.changes
            if group and (not reads or len(group) >= most):
                yield group
                group = []
            group.append(call)
            if not reads:
                yield group
                group = []
        if group:
            yield group

    # ── one call ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, name: str, args: dict[str, Any], number: int, origin: Origin) -> str:
        spec = self.run.rules.tools.get(name)
        call = call_in(self.step, name, spec is not None and spec.changes, number, args)
        self._called[call.id] = name
        if name == FINISH and name not in self.tools:
            return f"{call.id}: call finish alone, once you have seen what the other calls gave."
        standing = self.results.standing(call.id)
        if standing is not None and standing.status in ("succeeded", "failed", "blocked", "skipped"):
            result = self.results.result(call.id)
            assert result is not None  # noqa: S101  # it has ended
            before = self._made.get(call_key(name, args)) if standing.error_code == MADE_BEFORE else None
            return told(self.run, call, result, args) if before is None else told_again(self.run, call, before)
        if self.only_settle and standing is None:
            raise Stopped(Later())
        self._lineage[call.id] = origin
        self._needs[call.id] = self._earlier(call)
        came = self.ask_person(call, origin) if name == ASK_PERSON and name not in self.tools else self.make(call, spec)
        if isinstance(came, Waits):
            raise Stopped(self.part_of(came))
        self.record(call, came)
        self.run.store.flush()
        if came.request is not None:
            raise Stopped(self.part_of(Waits(came.request)))
        if came.result.error is not None and came.result.error.code == "budget_exceeded":
            raise Overspent(came.result.error.message)
        if came.result.landed and came.durable and came.tool is not None:
            self._made.setdefault(call_key(came.tool, came.args or {}), call.id)
        if came.result.error is not None and came.result.error.code == "rejected":
            self._refused.setdefault(call_key(name, args), call.id)
        again = came.result.error is not None and came.result.error.code == MADE_BEFORE
        return told_again(self.run, call, self._made[call_key(name, came.args or {})]) if again else told(self.run, call, came.result, args)

    def _earlier(self, call: Step) -> frozenset[str]:
        """What an order rule finds before the call: the step's own needs, and its calls so far."""
        outer = self.run.flow.every_need.get(self.step.id, frozenset())
        return outer | {each for each in self.results.calls_of(self.step.id) if each != call.id}

    def part_of(self, waits: Waits) -> Waits:
        mark = self._lineage.get(waits.request.step_id or "", FIRST).mark
        return Waits(waits.request.model_copy(update={"part_of": self.step.id, "mark": mark}))

    def make(self, call: Step, spec: ToolSpec | None) -> Outcome | Waits:
        judging, name = self.pipeline.judging, call.tool or ""
        if spec is None or name not in self.tools:
            code = "tool_not_allowed" if spec is not None else "unknown_tool"
            may = ", ".join(self.tools)
            return judging.blocked(call, code, f"there is no tool {name!r} for this step; there is: {may}", call.args)
        if references(call.args):
            return judging.blocked(
                call, "invalid_arguments", "arguments are plain values: no object in them may have a key $ref", call.args
            )
        refused = self._refused.get(call_key(name, call.args))
        if refused is not None:
            return judging.blocked(call, "rejected", f"a person rejected this very call before, as {refused}", call.args)
        decided = self.decided(call, spec)
        if isinstance(decided, Outcome):
            return decided
        before = self._made.get(call_key(name, decided.args)) if spec.changes else None
        if before is not None and before != call.id and not self.results.unsettled(call.id):
            return self.made_before(call, decided.args, before)
        self.within(call)
        while not self.run.slots.take(spec, _nobody):
            self.pipeline.pause(SLOT_POLL)
        try:
            came = self.pipeline.carry_out(decided)
        finally:
            self.run.slots.give_back(spec)
        assert not isinstance(came, Later)  # noqa: S101  # a tool's step has nothing inside
        return came

    def decided(self, call: Step, spec: ToolSpec) -> Step | Outcome:
        """The call as a person wants it, if one has said so; or that it is not made. An edited call whose yes ran out is asked for again, and
        that may be edited, too."""
        wanted, since = call, float("-inf")
        while True:  # each decision came after the one before it
            bound = self.pipeline.allowing.bound(wanted, spec, wanted.args)
            record = self.run.store.approvals.decision(self.run.run_id, bound, "step")
            if record is None or record.decision is None or record.decided is None or record.decided <= since:
                return wanted
            decision, since = record.decision, record.decided
            if decision.type == "reject":
                why = f"{'a person' if record.by is None else record.by} rejected this call{': ' + decision.reason if decision.reason else ''}"
                return self.pipeline.judging.blocked(call, "rejected", why, call.args)
            if decision.type != "edit":
                return wanted
            wanted = call_in(self.step, spec.name, spec.changes, int(call.id.rpartition(".")[2]), decision.args or {})

    def ask_person(self, call: Step, origin: Origin) -> Outcome | Waits:
        before = (each for each in self.results.calls_of(self.step.id) if each != call.id)
        asked = sum(self._called.get(each) == ASK_PERSON for each in before)
        return ask_person(self.run, self.pipeline.judging, self.step, call, origin, asked)

    def made_before(self, call: Step, args: dict[str, Any], before: str) -> Outcome:
        """An agent that loses its way, or is carried out anew, does nothing twice. What it is given is as trusted as it was then."""
        result = self.results.result(before)
        came = self.pipeline.judging.skipped(call, MADE_BEFORE, f"the very same call was made as {before}; it was not made again")
        label = {"provenance": result.provenance if result is not None else None}
        return replace(came, args=args, result=came.result.model_copy(update=label))

    def within(self, call: Step) -> None:
        """Raises Bound when the step has made as many calls as it may."""
        most = self.step.budget.max_calls if self.step.budget is not None else None
        if most is None:
            return
        standings = (self.results.standing(each) for each in self.results.calls_of(self.step.id) if each != call.id)
        made = sum(each is not None and each.state != "skipped" for each in standings)
        if made >= most:
            raise Bound(f"it has made {made} of {most} calls")


def _nobody() -> None:
    """Nobody is woken: the place is looked for again in a moment."""
