"""The calls that an ``agent`` step makes: each passes the pipeline of a plan's step, has a row of its own, and is made once.

Its id is that of the step and its number in the conversation: ``draft.3``. Who proposes it has read what the calls before it gave, so what
came from outside by then has a say in it, and a person is told so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent_graph.execution.allowing import Allowing
from agent_graph.execution.asking import request
from agent_graph.execution.conversation import Conversation
from agent_graph.execution.evidence import cut, delimited
from agent_graph.execution.outcome import Later, Outcome, Waits
from agent_graph.execution.telling import as_text
from agent_graph.identity import StepId, call_key, digest, effect_key
from agent_graph.plan import Step, references
from agent_graph.policy.lineage import FIRST, Origin
from agent_graph.policy.provenance import Label, excerpt
from agent_graph.policy.reasoned import call_in, tools_of
from agent_graph.policy.schemas import mismatches
from agent_graph.ports import ToolSpec
from agent_graph.threads import start
from agent_graph.verdicts import Provenance, Source, StepResult

if TYPE_CHECKING:
    from agent_graph.execution.step import Pipeline

ASK_PERSON = "ask_person"
FINISH = "finish"

MAX_SHOWN_BYTES = 40_000
"""Of what one call gave, as the model is shown it."""
MADE_BEFORE = "made_before"
"""Why a call that changes something is not made: this step has made it."""
SLOT_POLL = 0.02
"""Seconds between two looks whether the call's tool has a free place."""

ASK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 1, "description": "One question, which a person can answer without knowing the task."},
        "choices": {"type": "array", "items": {"type": "string"}, "description": "The answers to choose from; empty for free text."},
    },
    "required": ["question"],
    "additionalProperties": False,
}


class Stopped(Exception):  # no error: the agent's loop ends here for now
    """The step goes no further in this visit."""

    def __init__(self, came: Waits | Later) -> None:
        super().__init__()
        self.came = came


class Bound(Exception):
    """The step has reached what it may use; says what."""


class Overspent(Exception):
    """What comes next does not fit into what the run may still use; says why."""


class InnerAllowing(Allowing):
    """Knows the calls of the step beside those of the plan, and that what an agent asks for is as trusted as what it had read."""

    called: dict[str, str]

    def spec_of(self, step_id: str) -> ToolSpec | None:
        name = self.called.get(step_id)
        return self.run.rules.tools.get(name) if name is not None else super().spec_of(step_id)

    def label(self, step: Step, spec: ToolSpec) -> Label:
        made, read = super().label(step, spec), self.run.lineage.get(step.id, FIRST).read
        labels = {source.label for source in read}
        return Label(trusted=made.trusted and "untrusted" not in labels, sensitive=made.sensitive or "sensitive" in labels)


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
        self.run = replace(run, lineage=self._lineage, flow=replace(run.flow, every_need=self._needs))
        allowing = InnerAllowing(self.run)
        self._called = allowing.called = self._tools_called()
        self.pipeline = pipeline(self.run, allowing)
        self.results = run.results
        self._made = self._landed()

    def _tools_called(self) -> dict[str, str]:
        """By id, the tool of each call so far."""
        found, number = {}, self.conversation.first
        for message in self.conversation.turns:
            for call in message.tool_calls:
                found[f"{self.step.id}.{number}"] = call["name"]
                number += 1
        return found

    def _landed(self) -> dict[str, str]:
        """By ``call_key``, the call of this step whose effect happened."""
        calls = self.run.store.ledger.landed_calls(self.run.run_id)
        return {call_key(tool, args): step_id for tool, args, step_id, _ in calls if step_id.rpartition(".")[0] == self.step.id}

    @property
    def made(self) -> list[tuple[str, str, bool]]:
        """Id, tool and whether it succeeded, of each call that was made or answered."""
        standings = ((call_id, self.results.standing(call_id)) for call_id in self.results.calls_of(self.step.id))
        return [
            (call_id, self._called.get(call_id, ""), at.status == "succeeded")
            for call_id, at in standings
            if at is not None and at.state != "skipped"
        ]

    @property
    def following(self) -> int:
        """Number of the call that would come next."""
        return self.conversation.first + sum(len(turn.tool_calls) for turn in self.conversation.turns)

    # ── one reply of the model ────────────────────────────────────────────────────────────────────────────────────────

    def answers(self, message: Any) -> list[tuple[str, str]]:
        """For each call of the model's last reply, in their order, its id and what the model is told. Raises Stopped, Bound and Overspent."""
        turns = self.conversation.turns
        first = self.conversation.first + sum(len(turn.tool_calls) for turn in turns[: turns.index(message)])
        origin = self.origin(first)
        found: list[tuple[str, str]] = []
        for together in self._together(message.tool_calls):
            self.pipeline.pause(0)
            started = first + len(found)
            asked = [
                start(self.answer, str(call["name"]), dict(call["args"]), number, origin) for number, call in enumerate(together, started)
            ]
            wait(asked)  # what is under way is recorded, whatever came of another one
            found += [(str(call["id"]), each.result()) for call, each in zip(together, asked, strict=True)]
        return found

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

    def origin(self, before: int) -> Origin:
        """Of the calls in one reply: what had been read by who wrote it, the plan's own story included."""
        outer = self.run.lineage.get(self.step.id, FIRST)
        found = [*outer.read, *self.conversation.read]
        for number in range(self.conversation.first, before):
            call_id = f"{self.step.id}.{number}"
            standing, spec = self.results.standing(call_id), self.run.rules.tools.get(self._called.get(call_id, ""))
            gave = standing is not None and (standing.status in ("succeeded", "failed") or standing.error_code == MADE_BEFORE)
            if standing is None or spec is None or not gave:
                continue
            labels = ["untrusted"] if not standing.label & 1 else []
            if standing.label & 2 or any(each.partition(".")[0] == "output" for each in spec.sensitive):
                labels.append("sensitive")
            found += [self._source(label, call_id, spec) for label in labels]
        return Origin(since=max(outer.since, self.conversation.version), read=tuple(dict.fromkeys(found)), around=outer.around)

    def _source(self, label: Any, call_id: str, spec: ToolSpec) -> Source:
        what = f"steps.{call_id}.output"
        said = ""
        if label == "untrusted":
            result = self.results.result(call_id)
            said = excerpt(result.output if result is not None and result.output is not None else "")
        return Source(
            label=label, what=what, path=f"{spec.name} → {what} → agent {self.step.id}", into=f"agent {self.step.id}", excerpt=said
        )

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
            return self.told(call, result, args) if before is None else self.told_again(call, before)
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
        again = came.result.error is not None and came.result.error.code == MADE_BEFORE
        return self.told_again(call, self._made[call_key(name, came.args or {})]) if again else self.told(call, came.result, args)

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
        """The call as a person wants it, if one has said so; or that it is not made."""
        bound = self.pipeline.allowing.bound(call, spec, call.args)
        record = self.run.store.approvals.decision(self.run.run_id, bound, "step")
        decision = record.decision if record is not None else None
        if decision is None or record is None:
            return call
        if decision.type == "reject":
            why = f"{'a person' if record.by is None else record.by} rejected this call{': ' + decision.reason if decision.reason else ''}"
            return self.pipeline.judging.blocked(call, "rejected", why, call.args)
        if decision.type == "edit":
            return call_in(self.step, spec.name, spec.changes, int(call.id.rpartition(".")[2]), decision.args or {})
        return call

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

    def ask_person(self, call: Step, origin: Origin) -> Outcome | Waits:
        """What a person answers is trusted like whatever people say."""
        run, judging = self.run, self.pipeline.judging
        wrong = mismatches(ASK_SCHEMA, call.args)
        if wrong:
            return judging.blocked(call, "invalid_arguments", "; ".join(wrong), call.args)
        asked = sum(self._called.get(each) == ASK_PERSON for each in self.results.calls_of(self.step.id) if each != call.id)
        if asked >= run.rules.limits.max_questions:
            return judging.blocked(call, "too_many_questions", f"it has asked {asked} questions, as many as it may", call.args)
        args: dict[str, Any] = call.args
        question, choices = judging.words(args["question"]), tuple(map(judging.words, args.get("choices") or ()))
        bound = digest(["ask", run.run_id, call.id, question, choices])
        record = run.store.approvals.decision(run.run_id, bound, "question")
        decision = record.decision if record is not None else None
        if record is None or decision is None:
            return Waits(
                request(run, call, "question", bound, f"agent {self.step.id} asks", question=question, choices=choices, sources=origin.read)
            )
        if decision.type != "respond":
            why = getattr(decision, "reason", "")
            return judging.blocked(call, "not_answered", f"a person gave no answer{': ' + why if why else ''}", call.args)
        now = run.clock.now()
        result = StepResult(
            step_id=call.id,
            status="succeeded",
            output=judging.words(decision.text),
            attempts=1,
            started=record.request.asked,
            finished=now,
            plan_version=run.plan.version,
            provenance=Provenance(source="person", trusted=True),
        )
        key = effect_key(run.run_id, StepId(call.id), ASK_PERSON, call.args)
        return Outcome(key=key, state="done", result=result, tool=ASK_PERSON, args=call.args, durable=True)

    # ── what the model is told of it ──────────────────────────────────────────────────────────────────────────────────

    def told(self, call: Step, result: StepResult, asked: dict[str, Any]) -> str:
        head = f"{call.id}: {_SAID.get(result.status, result.status)}"
        if result.error is not None:
            head += f" ({result.error.code}): {result.error.message}" if result.status == "blocked" else f" ({result.error.code})"
        sent = self._edited(call, result, asked)
        if sent is not None:
            head += f". A person changed its arguments; what was sent: {as_text(sent)}"
        lines = [head]
        if result.error is not None and result.status != "blocked":
            lines.append(self._data(f"error of {call.id}", result.error.message))
        if result.output is not None or result.status == "succeeded":
            lines.append(self._data(call.id, result.output))
        return "\n".join(lines)

    def told_again(self, call: Step, before: str) -> str:
        result = self.results.result(before)
        said = f"{call.id}: the very same call was made as {before}, and is not made again. {before} gave:"
        return f"{said}\n{self._data(before, result.output if result is not None else None)}"

    def _edited(self, call: Step, result: StepResult, asked: dict[str, Any]) -> dict[str, Any] | None:
        """What was sent in place of what the model had asked for."""
        standing = self.results.standing(call.id)
        effect = self.run.store.ledger.effect(standing.key) if standing is not None and result.status != "blocked" else None
        return effect.args if effect is not None and effect.tool == call.tool and effect.args != asked else None

    def _data(self, of: str, value: Any) -> str:
        return delimited(of, cut(as_text(value), MAX_SHOWN_BYTES))


_SAID = {"succeeded": "succeeded", "failed": "failed", "blocked": "was not called", "skipped": "was not called"}


def _nobody() -> None:
    """Nobody is woken: the place is looked for again in a moment."""
