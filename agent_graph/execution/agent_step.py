"""An ``agent`` step: its model and its tools take turns until it finishes, a bound is reached, or a person must be asked.

Whatever the model says is on disk before anything comes of it. Where a person is asked, the step ends for this visit; the next one finds the
conversation, and goes on with the very call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from agent_graph.errors import BudgetExceeded, ModelError
from agent_graph.execution.agent_loop import ENDED, MODEL, TOOLS, take_turns
from agent_graph.execution.claims import CLAIMS_SCHEMA, evidence, marked
from agent_graph.execution.conversation import REPAIR, Conversation, plain
from agent_graph.execution.inner_asking import ASK_PERSON, ASK_SCHEMA
from agent_graph.execution.inner_calls import FINISH, InnerCalls
from agent_graph.execution.inner_ends import Bound, Overspent, Stopped
from agent_graph.execution.normalise import keep
from agent_graph.execution.outcome import Later, Outcome, Waits
from agent_graph.execution.thinking import TooLate, think
from agent_graph.identity import EffectKey, digest
from agent_graph.models.client import Asking
from agent_graph.models.replies import closed_object, parse_first
from agent_graph.policy.reasoned import not_followed_in
from agent_graph.policy.schemas import mismatches
from agent_graph.verdicts import Failure, Provenance, StepResult

if TYPE_CHECKING:
    from agent_graph.execution.judging import Judging
    from agent_graph.models.client import RoleClient

NOT_GIVEN = object()


class AgentStep:
    """Of one visit. ``pause`` raises when the run is stopped; ``provenance``: of what goes into the step."""

    def __init__(
        self,
        conversation: Conversation,
        calls: InnerCalls,
        client: RoleClient,
        judging: Judging,
        pause: Callable[[float], None],
        provenance: Provenance,
    ) -> None:
        self.conversation, self.calls, self.client = conversation, calls, client
        self.judging, self.pause, self.provenance = judging, pause, provenance
        self.run, self.step = conversation.run, conversation.step
        self._began = self.run.clock.monotonic()
        self._before = conversation.worked
        self._tools = self._offered()
        self._output: Any = NOT_GIVEN
        self._claims: list[dict[str, Any]] = []
        self._wrong, self._code = "", "unexpected_output"

    def carry_out(self) -> Outcome | Waits | Later:
        started = self.run.clock.now()
        try:
            take_turns(self)
        except Stopped as stopped:
            return stopped.came
        except Bound as bound:
            return self.at_bound(started, str(bound))
        except (Overspent, BudgetExceeded) as error:
            own = isinstance(error, BudgetExceeded) and str(error).endswith(f" of step {self.step.id}")
            return self.at_bound(started, str(error)) if own else self.judging.blocked(self.step, "budget_exceeded", str(error))
        except ModelError as error:
            return self.failed(started, "model_failed", self.judging.words(error))
        except TooLate as late:
            return self.failed(started, "timeout", str(late))
        if self._output is NOT_GIVEN:
            return self.failed(started, self._code, self._wrong, self.conversation.outcome_key)
        return self.ended(started)

    # ── the two sides of the loop ─────────────────────────────────────────────────────────────────────────────────────

    def turn(self) -> AIMessage:
        """What the model says next; on disk before it is looked at."""
        if self.calls.only_settle:
            raise Stopped(Later())
        self.pause(0)
        self._check_bounds()
        asking = Asking(meter=self.run.meter, run_id=self.run.run_id, step_id=self.step.id, budget=self.step.budget, tell=self.run.emit)
        told: list[BaseMessage] = [
            SystemMessage(self.conversation.opening["system"]),
            HumanMessage(self.conversation.opening["task"]),
            *self.conversation.messages,
        ]
        said = think(lambda: self.client.turn(told, self._tools, asking), self.pause, self.run.clock, self.step.timeout_s)
        said = _with_ids(said)
        self.conversation.add(said, worked=self.worked())
        return said

    def after(self, said: AIMessage) -> tuple[list[BaseMessage], str]:
        """What the model is told of its own words, and who is next: its tools, itself, or nobody."""
        self._output, self._claims, self._wrong = NOT_GIVEN, [], ""
        problems: list[BaseMessage] = [
            ToolMessage(f"{call.get('name')}: the arguments are not JSON: {str(call.get('error'))[:500]}", tool_call_id=str(call["id"]))
            for call in said.invalid_tool_calls
        ]
        finishes = [call for call in said.tool_calls if call["name"] == FINISH and FINISH not in self.calls.tools]
        if len(said.tool_calls) == 1 and finishes and not problems:
            wrong = self._finish(finishes[0]["args"])
            problems += [ToolMessage(wrong, tool_call_id=str(finishes[0]["id"]), additional_kwargs={REPAIR: True})] if wrong else []
        elif said.tool_calls:
            return problems, TOOLS
        elif not problems:
            wrong = self._read(str(said.text))
            problems += [HumanMessage(wrong, additional_kwargs={REPAIR: True})] if wrong else []
        if not problems or self._given_up():
            return [], ENDED
        return problems, MODEL

    def answers(self, said: AIMessage) -> list[ToolMessage]:
        return [ToolMessage(told, tool_call_id=call_id) for call_id, told in self.calls.answers(said)]

    def add(self, messages: Sequence[BaseMessage]) -> None:
        if messages:
            self.conversation.add(*messages, worked=self.worked())

    def worked(self) -> float:
        """Seconds for which the step has been worked on, over all visits of this conversation."""
        return self._before + self.run.clock.monotonic() - self._began

    # ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_bounds(self) -> None:
        budget, limits = self.step.budget, self.run.rules.limits
        most = budget.max_turns if budget is not None and budget.max_turns is not None else limits.max_turns
        turns = len(self.conversation.turns)
        if turns >= most:
            raise Bound(f"its model was asked {turns} of {most} times, and it has not finished")
        if budget is not None and budget.max_seconds is not None and self.worked() >= budget.max_seconds:
            raise Bound(f"it has worked {self.worked():.0f} of {budget.max_seconds:g} seconds")
        if self.run.budget is not None and limits.max_seconds is not None and self.run.budget.seconds() >= limits.max_seconds:
            raise Overspent(f"the {limits.max_seconds:g} seconds of the run are over")

    # ── the result ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _finish(self, args: dict[str, Any]) -> str:
        """What is wrong with the call of ``finish``; empty when the step ends with it."""
        wrong = mismatches(self._finish_schema(), args)
        if wrong:
            return self._not_taken("; ".join(wrong))
        return self._take(args["answer"], args["claims"])

    def _read(self, text: str) -> str:
        """What is wrong with words that end the loop without ``finish``; empty when they are the result."""
        wanted = self.step.expected_output
        if wanted is None:
            return self._take(text.strip()) if text.strip() else self._not_taken(f"the reply is empty; call {FINISH} with the result")
        begins = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=0)
        try:
            document, _ = parse_first(text[begins:].strip())
        except ValueError as error:
            return self._not_taken(f"the reply is not the JSON that is wanted ({error}); call {FINISH} with the result")
        wrong = mismatches(wanted, document)
        return self._not_taken("; ".join(wrong)) if wrong else self._take(document)

    def _take(self, output: Any, claims: Sequence[dict[str, Any]] = ()) -> str:
        missing = not_followed_in(self.calls.made, self.run.rules)
        if missing:
            return self._not_taken(missing, "order_violated")
        self._output, self._claims = output, list(claims)
        return ""

    def _not_taken(self, problem: str, code: str = "unexpected_output") -> str:
        self._wrong, self._code = problem, code
        return f"That result cannot be taken: {problem}"

    def _given_up(self) -> bool:
        """Whether it was asked for its result as often as it may be."""
        return bool(self._wrong) and self.conversation.repairs + 1 >= self.client.max_asks

    def ended(self, started: float) -> Outcome:
        run, by = self.run, self.client.name
        succeeded = {call.id for call in self.calls.made if call.succeeded}
        kept = keep(marked(self._output, self._claims, succeeded), run.rules.limits.max_output_bytes, run.redaction)
        self.judging.note_kept(self.step, kept)
        read = {source.label for source in self.calls.reading.origin(self.calls.following).read}
        result = self.judging.judged(
            self.step,
            kept.value,
            attempts=self.conversation.number + 1,
            started=started,
            finished=run.clock.now(),
            failure=kept.failure,
            provenance=self.provenance.model_copy(update={"source": by, "sensitive": self.provenance.sensitive or "sensitive" in read}),
        )
        shown = evidence(self._claims, succeeded, by, any_call=bool(self.calls.made))
        result = result.model_copy(update={"evidence": (*result.evidence, *shown)})
        return Outcome(key=self.conversation.outcome_key, state="done", result=result, durable=True)

    def at_bound(self, started: float, which: str) -> Outcome:
        return self.failed(started, "agent_bound", f"agent {self.step.id} has reached a bound: {which}", self.conversation.outcome_key)

    def failed(self, started: float, code: str, message: str, key: EffectKey | None = None) -> Outcome:
        """``key``: of the conversation, when it has come to its end with that; without it, another try goes on where it was."""
        result = StepResult(
            step_id=self.step.id,
            status="failed",
            error=Failure(code=code, message=message, retryable=key is None),
            attempts=self.conversation.number + 1,
            started=started,
            finished=self.run.clock.now(),
            plan_version=self.run.plan.version,
            provenance=self.provenance,
        )
        other = EffectKey(digest(["agent failed", self.run.run_id, self.step.id])[:32])
        return Outcome(key=key or other, state="failed", result=result, durable=True)

    # ── what the model may call ───────────────────────────────────────────────────────────────────────────────────────

    def _offered(self) -> list[dict[str, Any]]:
        specs = self.run.rules.tools
        offered = [_function(name, specs[name].description, specs[name].args_schema) for name in self.calls.tools if name in specs]
        if ASK_PERSON not in self.calls.tools:
            offered.append(_function(ASK_PERSON, "Asks a person, and gives the answer. They may take days.", ASK_SCHEMA))
        if FINISH not in self.calls.tools:
            offered.append(_function(FINISH, "Ends the task with its result.", self._finish_schema()))
        return offered

    def _finish_schema(self) -> dict[str, Any]:
        wanted = dict(self.step.expected_output) if self.step.expected_output is not None else {"type": "string"}
        shared = {name: wanted.pop(name) for name in ("$defs", "definitions") if name in wanted}
        return {**closed_object({"answer": wanted, "claims": CLAIMS_SCHEMA}), **shared}


def _function(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description.strip(), "parameters": parameters}}


def _with_ids(said: AIMessage) -> AIMessage:
    """With an id for each call that no other has, and without what cannot be stored."""
    given: list[Any] = [*said.tool_calls, *said.invalid_tool_calls]
    taken, calls, seen = {call["id"] for call in given}, [], set[str]()
    for call in given:
        call_id = call["id"]
        if not call_id or call_id in seen:
            call_id = next(name for number in count(len(seen)) if (name := f"call_{number}") not in taken)
        seen.add(call_id)
        taken.add(call_id)
        calls.append({**call, "id": call_id})
    good = len(said.tool_calls)
    changed = {"content": plain(said.content), "tool_calls": plain(calls[:good]), "invalid_tool_calls": plain(calls[good:])}
    return said.model_copy(update=changed)
