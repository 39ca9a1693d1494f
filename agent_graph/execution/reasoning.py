"""Steps that a model carries out. ``model``: one reply about the step's inputs. ``agent``: turns with tools (``agent_step.py``).

Neither has an effect of its own: what an agent's calls do, they do as steps with rows of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_graph.errors import BudgetExceeded, ModelError
from agent_graph.events import StepStarted
from agent_graph.execution.conversation import Conversation, begin, under_way
from agent_graph.execution.inner_calls import InnerCalls
from agent_graph.execution.inner_reading import InnerAllowing
from agent_graph.execution.judging import Judging
from agent_graph.execution.normalise import keep
from agent_graph.execution.outcome import Later, Outcome, Waits
from agent_graph.execution.references import MissingOutput, ReferenceError_, resolve
from agent_graph.execution.telling import VERSION, instructions, task
from agent_graph.execution.thinking import TooLate, think
from agent_graph.identity import StepId, effect_key
from agent_graph.models.clients import Clients
from agent_graph.models.replies import closed_object
from agent_graph.models.roles import Models
from agent_graph.plan import Step
from agent_graph.policy.provenance import labelled, of_step, path_of
from agent_graph.policy.schemas import mismatches
from agent_graph.verdicts import Failure, Provenance, Source

if TYPE_CHECKING:
    from agent_graph.execution.step import Pipeline
    from agent_graph.models.client import RoleClient


class Reasoning:
    """Of one visit of ``execute``."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.run, self.judging = pipeline.run, pipeline.judging
        self.models = self.run.models or Clients(Models())

    def carry_out(self, step: Step, *, only_settle: bool = False) -> Outcome | Waits | Later:
        """``only_settle``: what calls of the step have begun is settled, and nothing new begins. Raises UsageError when nobody can be asked."""
        if step.agent is not None:
            return self.agent(step, only_settle=only_settle)
        inputs = self.inputs(step)
        return inputs if isinstance(inputs, Outcome) else self.model(step, inputs)

    def inputs(self, step: Step) -> dict[str, Any] | Outcome:
        """What the step works on, as its model may see it; or why it is not carried out."""
        stale = self.pipeline.freshness.renew(step)
        if stale is not None:
            return self.judging.blocked(step, "stale_input", stale)
        skipped = self.pipeline.skip(step)
        if skipped is not None:
            return skipped
        try:
            args = resolve(step.args, self.pipeline.results.output, self.run.plan.goal.params)
        except MissingOutput as missing:
            return self.judging.skipped(step, "upstream_missing", str(missing))
        except ReferenceError_ as error:
            return self.judging.blocked(step, "invalid_reference", str(error))
        kept = keep(args, self.run.rules.limits.max_output_bytes, self.run.redaction)
        if kept.failure is not None:
            return self.judging.blocked(step, "inputs_too_large", f"what it works on is too large: {kept.failure.message}")
        if kept.redacted:
            self.judging.note(step.id, "something in what it works on was a secret, or looked like one, and was replaced")
        made: dict[str, Any] = kept.value
        return made

    def provenance(self, step: Step, by: str) -> Provenance:
        """What a model makes of its inputs is as trusted as they are; what an agent gives is not."""
        flow, results, allowing = self.run.flow, self.pipeline.results, self.pipeline.allowing
        label = of_step(step, None, self.run.plan.goal, results.label, allowing.spec_of, flow.fallback_of.get(step.id))
        params = {reference.param for _, reference in step.references if reference.param is not None}
        return Provenance(
            source=by, steps=tuple(sorted(step.reads)), params=tuple(sorted(params)), trusted=label.trusted, sensitive=label.sensitive
        )

    def started(self, step: Step) -> float:
        now = self.run.clock.now()
        if self.run.emit is not None:
            self.run.emit(StepStarted(run_id=self.run.run_id, at=now, step_id=step.id, plan_version=self.run.plan.version))
        return now

    # ── one reply ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def model(self, step: Step, inputs: dict[str, Any]) -> Outcome:
        run, client = self.run, self.models.of_step(step)
        key = effect_key(run.run_id, StepId(step.id), "model", {"prompt": step.model, "inputs": inputs})
        provenance, started = self.provenance(step, client.name), self.started(step)
        attempt, output, failure = 0, None, None
        while True:
            attempt += 1
            try:
                output = think(lambda: self.reply(step, inputs, client), self.pipeline.pause, run.clock, step.timeout_s)
                break
            except BudgetExceeded as error:
                return self.judging.blocked(step, "budget_exceeded", str(error))
            except (ModelError, TooLate) as error:
                code = "timeout" if isinstance(error, TooLate) else "model_failed"
                failure = Failure(code=code, message=self.judging.words(error), retryable=True)
                if attempt >= step.max_attempts:
                    break
                failure = None
        kept = keep(output, run.rules.limits.max_output_bytes, run.redaction)
        self.judging.note_kept(step, kept)
        result = self.judging.judged(
            step,
            kept.value,
            attempts=attempt,
            started=started,
            finished=run.clock.now(),
            failure=failure or kept.failure,
            provenance=provenance,
        )
        return Outcome(key=key, state="done" if failure is None else "failed", result=result, durable=True)

    def reply(self, step: Step, inputs: dict[str, Any], client: RoleClient) -> Any:
        """A text, or a document that matches ``expected_output``. What does not is told to the model, which is asked again."""
        from langchain_core.messages import HumanMessage, SystemMessage

        from agent_graph.models.client import Asking, Form
        from agent_graph.models.replies import WrongReply

        run, wanted = self.run, step.expected_output
        system = SystemMessage(instructions(step, self.models.models))
        asking = Asking(meter=run.meter, run_id=run.run_id, step_id=step.id, budget=step.budget, tell=run.emit if wanted is None else None)
        if wanted is None:
            return client.text([system, HumanMessage(task(step, inputs))], asking)
        schema = wanted if wanted.get("type") == "object" else _wrapped(wanted)

        def read(document: Any) -> Any:
            wrong = mismatches(schema, document)
            if wrong:
                raise WrongReply(wrong)
            return document if schema is wanted else document["output"]

        told = task(step, inputs, schema if client.method == "plain" else None)
        return client.document([system, HumanMessage(told)], Form(name="reply", schema=schema, strict=_is_strict(schema)), read, asking)

    # ── turns with tools ──────────────────────────────────────────────────────────────────────────────────────────────

    def agent(self, step: Step, *, only_settle: bool) -> Outcome | Waits | Later:
        found = under_way(self.run, step)
        if isinstance(found, Conversation):
            conversation = found
        elif only_settle:
            return Later()
        else:
            inputs = self.inputs(step)
            if isinstance(inputs, Outcome):
                return inputs
            self.models.of_step(step)  # or nothing is begun
            conversation = self.opened(step, found, inputs)
        client = self.models.of_step(step)
        self.started(step)
        from agent_graph.execution.agent_step import AgentStep

        calls = InnerCalls(conversation, self.inner_pipeline, self.pipeline.record, only_settle=only_settle)
        provenance = self.provenance(step, client.name)
        return AgentStep(conversation, calls, client, self.judging, self.pipeline.pause, provenance).carry_out()

    def opened(self, step: Step, number: int, inputs: dict[str, Any]) -> Conversation:
        """It keeps what was told at its beginning: a newer wording, or an input that was read anew, is for the next conversation."""
        return begin(
            self.run,
            step,
            number,
            prompt=VERSION,
            system=instructions(step, self.models.models),
            task=task(step, inputs),
            read=[source.model_dump(mode="json", exclude_defaults=True) for source in self.read(step)],
        )

    def read(self, step: Step) -> list[Source]:
        """What came from outside, or is sensitive, and reaches the step: whatever its agent calls, these have a say in it."""
        run, allowing, results = self.run, self.pipeline.allowing, self.pipeline.results
        goal, found = run.plan.goal, []
        for label, inflow in labelled(step, goal, results.label, allowing.spec_of, run.flow.fallback_of.get(step.id)):
            path, _ = path_of(label, inflow, run.plan, goal, results.label, allowing.spec_of)
            said = allowing.excerpt(inflow) if label == "untrusted" else ""
            found.append(
                Source(label=label, what=inflow.reference.text, path=f"{path} → agent {step.id}", into=f"agent {step.id}", excerpt=said)
            )
        return found

    def inner_pipeline(self, run: Any, allowing: InnerAllowing) -> Pipeline:
        """For the calls of an agent: its thread stays with each of them."""
        own = self.pipeline
        judging = Judging(run, own.results)
        return type(own)(run, own.results, judging, own.calls, own.pause, own.record, allowing=allowing, stays=True)


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    """As an object, since most servers take nothing else at the root."""
    inner = dict(schema)
    shared: dict[str, Any] = {name: inner.pop(name) for name in ("$defs", "definitions") if name in inner}
    return {**closed_object({"output": inner}), **shared}


_STRICT = frozenset(
    ("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "description", "title", "$ref", "$defs")
)
"""What a schema in OpenAI's strict mode may hold; the others differ from server to server."""


def _is_strict(schema: Any) -> bool:
    """Whether a schema keeps to the rules of OpenAI's strict mode: closed objects, and everything in them required."""
    if not isinstance(schema, dict):
        return schema is not False
    if not schema.keys() <= _STRICT:
        return False
    named = schema.get("properties", {})
    if schema.get("type") == "object" and (
        schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(named)
    ):
        return False
    below = [
        *named.values(),
        *schema.get("$defs", {}).values(),
        *schema.get("anyOf", ()),
        *([schema["items"]] if "items" in schema else ()),
    ]
    return all(map(_is_strict, below))
