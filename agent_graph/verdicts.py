"""What was found and decided: closed sets of types, never bools, so that a ``match`` over them ends in ``assert_never``."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, SkipValidation, model_validator

from agent_graph.identity import Digest, check_writable
from agent_graph.lookalikes import told
from agent_graph.plan import Model, Plan, Recovery, Risk
from agent_graph.visible import abridged, visible

# ── policy ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Allow:
    """The call may run without a person."""

    rule: str = field(default="", compare=False)
    """What decided: a rule's name or mark, or what else had a say."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A person must say yes to exactly this call first."""

    reason: str
    rule: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Deny:
    """The call does not run, whoever says yes."""

    reason: str
    rule: str = field(default="", compare=False)


Verdict = Allow | Ask | Deny

# ── validation ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Issue(Model):
    """One finding about a plan. ``code`` is from the closed list in docs/issues.md."""

    code: str
    severity: Literal["error", "warning"] = "error"
    """An error keeps the plan from running; a warning is shown."""
    step_id: str | None = None
    message: str
    fix: str = ""

    @property
    def said(self) -> str:
        """Without its code."""
        where = f"step {self.step_id!r}: " if self.step_id else ""
        return f"{where}{self.message}" + (f" — {self.fix}" if self.fix else "")

    def __str__(self) -> str:
        return f"[{self.code}] {self.said}"


# ── what a probe says ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Landed:
    """The effect happened; ``output`` is what the call would have returned."""

    output: Any = None


@dataclass(frozen=True, slots=True)
class Absent:
    """The effect did not happen, so it is safe to call again."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The system cannot say; a person is asked."""

    why: str = ""


Probed = Landed | Absent | Unknown

# ── taking back ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Undo(Model):
    """The call that takes an effect back: proposed to a person, never made by itself."""

    tool: str
    """A registered tool."""
    args: dict[str, JsonValue] = {}


class LandedEffect(Model):
    """An effect of a run that happened, and what would take it back."""

    step_id: str
    tool: str
    args: dict[str, JsonValue]
    risk: Risk
    finished: float
    """Seconds since the epoch, UTC."""
    undo: Undo | None = None
    """None: the tool declares none."""


class OpenEffect(Model):
    """An effect that was begun and whose outcome is not known: its call is in flight, was cut off, or ended without a reply to trust."""

    step_id: str
    tool: str
    args: dict[str, JsonValue]
    """What was sent."""
    key: str
    """The idempotency key that was sent along."""
    attempt: int
    started: float
    """When it was sent last, in seconds since the epoch, UTC."""


# ── results ───────────────────────────────────────────────────────────────────────────────────────────────────────────

StepStatus = Literal["succeeded", "failed", "blocked", "needs_clarification", "in_doubt", "skipped"]
"""
``succeeded``: output valid and every success criterion held, with the values recorded;
``failed``: tried, and the result is definite; ``blocked``: not called (policy, arguments, scope, limits);
``needs_clarification``: waits for an answer; ``in_doubt``: a write was begun and its outcome is not known;
``skipped``: its condition was false, or what it refers to is not there.
"""


CONDITION_FALSE = "condition_false"
"""Why a step was skipped by its own ``when``; the only skip that a replan leaves as it is."""


class Failure(Model):
    """Why a step did not succeed."""

    code: str
    message: str
    retryable: bool = False


class Evidence(Model):
    """One criterion and what it saw."""

    criterion: str
    holds: bool | None
    """None: it could not be evaluated; ``why`` says so."""
    values: Annotated[dict[str, JsonValue], SkipValidation] = {}
    """The values that the criterion read, by their path."""
    why: str = ""
    by: str = ""
    """Who said so where code could not check it: a judge's model, or a person."""


class Judgement(Model):
    """What a judge or a person said of a criterion that code cannot check."""

    criterion: str
    holds: bool | None
    """None: the judge cannot say, or its quotes are not in the evidence."""
    why: str = ""
    quotes: tuple[str, ...] = ()
    """Words of the evidence that show it."""
    by: str = ""
    """The judge's model, or ``person:<name>``."""
    at: float = 0.0
    """Seconds since the epoch, UTC."""
    remarks: tuple[Issue, ...] = ()
    """Of a plan: what the judge has to say of it."""


class Provenance(Model):
    """Where a value came from."""

    source: str
    """The tool, or ``person``."""
    steps: tuple[str, ...] = ()
    """The steps whose outputs went into it."""
    params: tuple[str, ...] = ()
    trusted: bool = False
    """Whether nobody outside can have written any of it: its tool is trusted, and whatever went into the call was."""
    sensitive: bool = False
    """Whether something sensitive went into the call. What the tool itself says of its output is in ``ToolSpec.sensitive``."""
    as_of: float | None = None
    """When it was read, where it was given again from an earlier call (``ttl``); in seconds since the epoch, UTC."""


class Source(Model):
    """A value from outside, or a sensitive one, and where in a call it arrives."""

    label: Literal["untrusted", "sensitive"]
    what: str
    """The reference: ``steps.mail.output.body`` or ``params.text``."""
    path: str
    """How it got there, from its origin: ``read_mail → steps.mail.output.body → args.to``."""
    into: str
    """Where it arrives: ``args.to``, ``when``, or ``the plan`` where a planner had read it before it wrote the step."""
    excerpt: str = ""
    """The beginning of the value, where it is known."""

    def __str__(self) -> str:
        said = f": {self.excerpt!r}" if self.excerpt else ""
        return visible(f"{self.label}: {self.path}{said}")


class StepResult(Model):
    """What became of one step. Times are seconds since the epoch, UTC."""

    step_id: str
    status: StepStatus
    output: Annotated[JsonValue, SkipValidation] = None
    """Plain JSON."""
    evidence: tuple[Evidence, ...] = ()
    error: Failure | None = None
    attempts: int = 0
    started: float | None = None
    finished: float | None = None
    plan_version: int = 1
    provenance: Provenance | None = None
    landed: bool = False
    """True when the tool was called and its effect is known to have happened, whatever the status says."""


class Deviation(Model):
    """One way in which what came differs from what was expected."""

    step_id: str
    code: str
    message: str


class Observation(Model):
    """What was expected, what came, and what comes next."""

    expected: tuple[str, ...] = ()
    """Steps of the plan that had to end."""
    came: dict[str, StepStatus] = {}
    deviations: tuple[Deviation, ...] = ()
    next: Literal["execute", "approve", "replan", "conclude"]
    why: str


# ── gates ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

RequestKind = Literal["plan", "step", "question", "in_doubt"]
DecisionKind = Literal["approve", "edit", "reject", "respond", "resolve"]


class Call(Model):
    """One tool call as a person is shown it."""

    step_id: str
    tool: str
    args: dict[str, JsonValue]
    risk: Risk
    digest: Digest
    reason: str = ""
    sources: tuple[Source, ...] = ()
    """Values from outside, and sensitive ones, that have a say in it."""
    standing: bool = False
    """Whether a standing grant may answer for it: nothing but the policy's rules asks."""


class Request(Model):
    """What a gate asks. The decision is bound to ``digest``: to exactly what is shown here."""

    id: str
    run_id: str
    kind: RequestKind
    digest: Digest
    reason: str
    """Why a person is asked."""
    asked: float
    """Seconds since the epoch, UTC."""
    expires: float | None = None
    plan_version: int = 0
    """0: there is no plan yet."""
    step_id: str | None = None
    tool: str | None = None
    args: dict[str, JsonValue] | None = None
    risk: Risk | None = None
    recovery: Recovery | None = None
    question: str | None = None
    choices: tuple[str, ...] = ()
    proposed: JsonValue = None
    """kind ``question``: a value to confirm; a plain yes takes it as the answer."""
    expects: dict[str, JsonValue] | None = None
    """kind ``question``: JSON Schema of the answer, where it is no mere text; what is not a text is given as JSON."""
    part_of: str | None = None
    """The ``agent`` step that wants to make this call."""
    mark: str = ""
    """With ``part_of``: of what its agent had read by then; the yes is bound to it."""
    criterion: str | None = None
    """kind ``question``: a criterion that neither code nor a judge could decide; approve: it holds, reject: it does not."""
    calls: tuple[Call, ...] = ()
    """kind ``plan``: the calls whose arguments are known now; a yes covers them, one by one."""
    remarks: tuple[Issue, ...] = ()
    """kind ``plan``: what a judge has to say of it."""
    sources: tuple[Source, ...] = ()
    """Values from outside, and sensitive ones, that have a say in the call."""
    rule: str = ""
    """What of the policy asks."""
    policy: str = ""
    """Digest of the policy that asks."""
    idempotency_key: str | None = None
    sent_at: float | None = None
    """kind ``in_doubt``: when the call was begun."""
    left_running: str | None = None
    """kind ``in_doubt``: the process in which the call, given up at its deadline, still runs. Until it ends, nobody can say ``absent``."""
    problem: str | None = None
    """What was wrong with the last answer, when it is asked again."""

    @property
    def allowed(self) -> tuple[DecisionKind, ...]:
        """The kinds of decision that make sense here."""
        match self.kind:
            case "plan" | "step":
                return ("approve", "edit", "reject")
            case "in_doubt":
                return ("resolve",)
            case "question" if self.question is None or self.choices_are_verbs:
                return ("approve", "reject")
            case "question":
                return ("respond", "reject") if self.proposed is None else ("approve", "respond", "reject")

    @property
    def outcomes(self) -> tuple[Literal["landed", "absent"], ...]:
        """What may be said of an effect in doubt. While its call still runs, nobody can know that it will not happen."""
        return ("landed",) if self.left_running else ("landed", "absent")

    @property
    def choices_are_verbs(self) -> bool:
        """A failed step that says ``on_failure: ask`` is answered with approve (try again) or reject, and so is a criterion (it holds)."""
        return self.kind == "question" and (self.tool is not None or self.criterion is not None)

    def __str__(self) -> str:
        when = datetime.fromtimestamp(self.asked).astimezone().isoformat(timespec="seconds")
        call = ", ".join(f"{name}={abridged(repr(value), 120)}" for name, value in (self.args or {}).items())
        what = self.question if self.kind == "question" else f"{self.tool}({call})" if self.tool else f"plan version {self.plan_version}"
        return told(f"{self.kind} {self.id} asked {when}: {what} — {self.reason} [digest {self.digest[:12]}]")

    def __repr__(self) -> str:
        return f"<{self}>"


class _Decision(Model):
    by: str | None = None
    """Who decided, as the host application knows them."""

    @model_validator(mode="after")
    def _can_be_stored(self) -> Self:
        check_writable([value for value in vars(self).values() if not isinstance(value, Plan)])
        return self


class Approve(_Decision):
    """Yes, to exactly what was shown."""

    type: Literal["approve"] = "approve"


class Edit(_Decision):
    """Yes, but with these arguments, or with this plan; validated again before anything runs."""

    type: Literal["edit"] = "edit"
    args: dict[str, JsonValue] | None = None
    plan: Plan | None = None


class Reject(_Decision):
    """No. The planner may try another way, unless ``stop``."""

    type: Literal["reject"] = "reject"
    reason: str = ""
    stop: bool = False


class Respond(_Decision):
    """The answer to a question."""

    type: Literal["respond"] = "respond"
    text: str


class Resolve(_Decision):
    """What became of an effect whose outcome is not known."""

    type: Literal["resolve"] = "resolve"
    outcome: Literal["landed", "absent"]
    output: JsonValue = None


Decision = Annotated[Approve | Edit | Reject | Respond | Resolve, Field(discriminator="type")]


class Grant(Model):
    """A standing yes: to calls of one tool, with these arguments, until then. It answers for the policy's rules alone, never for a denial, a
    value from outside, or a step that was proposed after such a value had been read."""

    id: str
    tool: str
    schema_digest: Digest
    """Of the tool as it was; another schema, risk or recovery is another tool."""
    args: dict[str, JsonValue] | None = None
    """All of the arguments. None: ``when`` says which."""
    when: str | None = None
    """CEL over ``call`` (``tool``, ``risk``, ``args``), ``principal`` and ``now``, as in a rule; ``true`` is for whatever arguments."""
    principals: tuple[str, ...] = ()
    """For whom the run must act: names, or patterns with ``*``."""
    reason: str = ""
    by: str | None = None
    created: float
    """Seconds since the epoch, UTC."""
    expires: float | None = None
    revoked: float | None = None
    revoked_by: str | None = None


class Report(Model):
    """What the compiler found about a plan version."""

    issues: tuple[Issue, ...] = ()
    risk: Risk = "read_only"
    """The highest risk of the plan's steps."""
    calls: tuple[Call, ...] = ()
    """The calls that need a person and whose arguments are known now."""
    review: str = ""
    """Why the plan itself is shown to a person; empty when it is not."""
    asks: dict[str, str] = {}
    """By step, why a person will be asked; of the calls whose arguments are not known yet, as far as can be said now."""
    policy: str = ""
    """Digest of the policy that it was checked against."""

    @property
    def valid(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> tuple[Issue, ...]:
        return tuple(issue for issue in self.issues if issue.severity == "error")


# ── outcome of a run ──────────────────────────────────────────────────────────────────────────────────────────────────

Cause = Literal["plan", "execution", "tool", "policy", "human", "budget"]


class Diagnosis(Model):
    """Why a run failed: computed from what is recorded, not told by a model."""

    code: str
    cause: Cause
    message: str
    step_id: str | None = None
