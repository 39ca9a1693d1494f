"""``agent-graph resume``: answer what waits, or go on after a crash; from any process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent_graph.cancellation import end_if_asked
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli import inputs
from agent_graph.cli.ask import choice
from agent_graph.cli.card import show_card
from agent_graph.cli.drive import Driver, login_name
from agent_graph.cli.exits import PAUSED
from agent_graph.cli.options import (
    AsJson,
    Blueprints,
    By,
    GranularityName,
    LimitsPath,
    McpPath,
    ModelsPath,
    ModeName,
    PolicyPath,
    RunArgument,
    StorePath,
    Tools,
)
from agent_graph.cli.outcome import report_outcome
from agent_graph.cli.output import Out
from agent_graph.cli.recipe import (
    CHAIN,
    Recipe,
    absolute,
    agent_of,
    check_tools,
    enter,
    load_models,
    load_registry,
    names_bundled_tools,
    recipe_here,
    recipe_of,
)
from agent_graph.cli.takeover import owner_to_end
from agent_graph.errors import AmbiguousDecision, NothingPending, RunBusy, RunFinished, UsageError
from agent_graph.plan import Plan
from agent_graph.planners.choose import names_model
from agent_graph.ports import SystemClock
from agent_graph.records import RunRecord
from agent_graph.runs import read_run
from agent_graph.state import Run
from agent_graph.verdicts import Approve, Decision, Edit, Reject, Request, Resolve, Respond

if TYPE_CHECKING:
    from agent_graph.agent import AgentGraph
    from agent_graph.ports import Planner


def resume(
    context: typer.Context,
    run: RunArgument,
    request: Annotated[str | None, typer.Option("--request", metavar="ID", help="Which request, when more than one waits.")] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Yes, to exactly what was shown; of a question, to what it proposes.")] = False,
    edit: Annotated[str | None, typer.Option("--edit", metavar="FILE", help="Yes, but with these arguments, or this plan.")] = None,
    reject: Annotated[str | None, typer.Option("--reject", metavar="REASON", help="No; the planner may try another way.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="No, and end the run.")] = False,
    answer: Annotated[str | None, typer.Option("--answer", metavar="TEXT", help="The answer to a question.")] = None,
    landed: Annotated[str | None, typer.Option("--landed", metavar="[FILE]", help="It happened; FILE holds what it returned.")] = None,
    absent: Annotated[bool, typer.Option("--absent", help="It did not happen.")] = False,
    takeover: Annotated[
        bool,
        typer.Option(
            "--takeover",
            help="When another process of this machine drives the run: kill that whole process first, with every other run that it drives.",
        ),
    ] = False,
    by: By = None,
    tools: Tools = [],  # noqa: B006
    mcp: McpPath = None,
    models: ModelsPath = None,
    mode: ModeName = None,
    granularity: GranularityName = None,
    blueprint: Blueprints = [],  # noqa: B006
    policy: PolicyPath = None,
    limits: LimitsPath = None,
    cwd: Annotated[str | None, typer.Option("--cwd", metavar="DIR", help="The run's folder, if it was moved since the start.")] = None,
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """Go on with a run: with a decision about what waits, or after its process died.

    Without a decision, what waits is shown and, on a terminal, asked. The run goes on in the folder and with the tools that it was
    started with; --tools, --mcp, --models, --blueprint, --policy and --limits replace them. A decision is on disk before the run goes on.

    \b
      agent-graph resume 3f2a                       what waits, or go on after a crash
      agent-graph resume 3f2a --approve
      agent-graph resume 3f2a --edit args.yaml      YAML or JSON
      agent-graph resume 3f2a --reject "not today" --stop
      agent-graph resume 3f2a --request 9c1e --answer "eu-west-1"
      agent-graph resume 3f2a --takeover            the process that drives it hangs

    A run is driven by one process at a time: a second one is refused and told which. A process that died has let go of its run; one that
    is there but silent is never robbed, only ended by --takeover. What it was about to do is settled by the tools' recovery classes.

    Exit codes are those of run.
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    here = recipe_here(tools, policy, limits, mcp, models=models, mode=mode, granularity=granularity, blueprints=blueprint)
    with SqliteStore(Path(store).absolute(), must_exist=True) as opened:
        found = opened.runs.find(run)
        end_if_asked(opened, SystemClock(), found)  # the driver that was to end it died
        record = opened.runs.get(found)
        out.about(record.id, store)
        if record.finished:
            raise RunFinished(f"run {record.id} has ended ({record.status}); look at it with: agent-graph show {record.id}")
        shown = read_run(opened, record.id)
        decides = chosen(approve=approve, edit=edit, reject=reject, stop=stop, answer=answer, landed=landed, absent=absent)
        asked = pick(shown, request, must=bool(decides))
        decision = (
            read_decision(asked, decides[0], edit=edit, reject=reject, stop=stop, answer=answer, landed=landed)
            if decides and asked
            else None
        )
        only_looks = decision is None and shown.status == "paused" and not opened.approvals.decided(record.id)
        if only_looks and not out.asks:
            return waiting(out, shown, asked if request else None, store)

        agent = agent_again(remembered(record, shown.plan, here, cwd), shown, record, opened)
        driver = Driver(out, agent, record.id, store, by or login_name())
        if only_looks:
            return driver.to_the_end(None, only=asked.id if request and asked else None)
        what: Any = {asked.id: decision} if asked is not None and decision is not None else None
        owner = owner_to_end(out, opened, record.id) if takeover else None
        events = agent.stream_resume(record.id, what, by=by or login_name(), takeover=owner or False)
        try:
            return driver.to_the_end(events)
        except RunBusy as error:
            if what is not None:
                raise RunBusy(f"{error}\nThe decision is on record; whoever drives the run finds it.") from None
            raise


def chosen(**given: Any) -> list[str]:
    """The one decision that was given, as the name of its option; none at all is fine. Raises UsageError for more."""
    names = [name for name, value in given.items() if value is not None and value is not False]
    if names == ["reject", "stop"]:
        names = ["reject"]
    if len(names) > 1:
        raise UsageError(f"one decision at a time: {', '.join('--' + name for name in names)} exclude each other")
    return names


def pick(run: Run, prefix: str | None, *, must: bool) -> Request | None:
    """The request that is meant. Raises NothingPending or AmbiguousDecision, which lists what waits."""
    if prefix is not None:
        found = [one for one in run.requests if one.id.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        if not run.requests:
            raise NothingPending(f"nothing of run {run.id} waits for a decision; resume it without one to go on")
        raise AmbiguousDecision(
            f"{'no' if not found else 'more than one'} request that waits starts with {prefix!r}; these wait:\n{_listed(run.requests)}"
        )
    if len(run.requests) == 1:
        return run.requests[0]
    if must and not run.requests:
        raise NothingPending(f"nothing of run {run.id} waits for a decision; resume it without one to go on")
    if must:
        raise AmbiguousDecision(f"{len(run.requests)} requests of run {run.id} wait; say which with --request ID:\n{_listed(run.requests)}")
    return None


def _listed(requests: Sequence[Request]) -> str:
    return "\n".join(f"  {request.id}  {request.kind}  {request.tool or request.question or 'the plan'}" for request in requests)


def read_decision(
    request: Request, kind: str, *, edit: str | None, reject: str | None, stop: bool, answer: str | None, landed: str | None
) -> Decision:
    """Raises InvalidDocument for a file that does not parse."""
    match kind:
        case "approve":
            return Approve()
        case "edit" if request.kind == "plan":
            return Edit(plan=inputs.read_plan(str(edit)))
        case "edit":
            return Edit(args=inputs.read_args(str(edit)))
        case "reject" | "stop":
            return Reject(reason=reject or "", stop=stop)
        case "answer":
            return Respond(text=choice(request, str(answer)))
        case "landed":
            return Resolve(outcome="landed", output=inputs.read_value(landed) if landed else None)
        case _:
            return Resolve(outcome="absent")


def waiting(out: Out, run: Run, only: Request | None, store: str) -> int:
    """Nobody is there to be asked: say what waits and how it is answered."""
    if only is not None and not out.json:
        show_card(out, run, only, more=len(run.requests) - 1, store=store)
        report_outcome(out, run, store, cards=False)
        return PAUSED
    return report_outcome(out, run, store)


def remembered(record: RunRecord, plan: Plan | None, here: Recipe, cwd: str | None) -> Recipe:
    """How the run was started, with what is given now in its place."""
    kept = recipe_of(record)
    if kept is None:
        used = {step.tool for step in plan.steps if step.tool} if plan is not None else set()
        if used and not here.tools and not names_bundled_tools(used):
            raise UsageError(f"run {record.id} was started from Python; give its tools with --tools MODULE or --tools FILE.py")
        kept = here.model_copy(update={"bundled": not here.tools and names_bundled_tools(used)})
    changed: dict[str, Any] = {}
    if here.tools:
        changed["tools"] = tuple(absolute(spec) for spec in here.tools)
    if here.policy is not None:
        changed["policy"] = here.policy
    if here.limits is not None:
        changed["limits"] = here.limits
    if here.mcp is not None:
        changed["mcp"] = here.mcp
    if here.models is not None:
        changed["models"] = here.models
    if here.mode is not None:
        changed["mode"] = here.mode
    if here.granularity != "auto":
        changed["granularity"] = here.granularity
    if here.blueprints:
        changed["blueprints"] = here.blueprints
    if cwd is not None:
        changed["cwd"] = str(Path(cwd).absolute())
    return kept.model_copy(update=changed)


def agent_again(recipe: Recipe, run: Run, record: RunRecord, store: SqliteStore) -> AgentGraph:
    """The run's agent, in the run's folder. Raises UsageError before anything is changed."""
    enter(recipe, record.id)
    registry = load_registry(recipe)
    check_tools(run.plan, {step for step, result in run.results.items() if result.status == "succeeded"}, registry, record.id)
    return agent_of(recipe, registry, planner_of(recipe, run, record), store)


FIXED = ("plan", "blueprint:")
"""How the names of planners begin whose plan is fixed."""


def planner_of(recipe: Recipe, run: Run, record: RunRecord) -> Planner | Plan | str | None:
    """Who plans, where there is still something to plan: a blueprint's plan is on record, and fixed; a model may make another."""
    if recipe.planner is not None and (names_model(recipe.planner) or recipe.planner == CHAIN):
        return recipe.planner
    if run.plan is not None and recipe.planner is None and record.planner.startswith(FIXED):
        return run.plan  # whatever models this process knows
    if recipe.planner is None and recipe.plan is None and (load_models(recipe).planner is not None or recipe.mode is not None):
        return None  # as ``models`` and ``mode`` say
    if run.plan is not None:
        return run.plan
    from agent_graph.planners.blueprint import BlueprintPlanner

    if recipe.plan is not None:
        return inputs.read_plan(recipe.plan)
    if recipe.planner is not None:
        return BlueprintPlanner(inputs.read_blueprint(recipe.planner))
    raise UsageError(f"run {record.id} has no plan yet, and its planner is not known here; go on with it where it was started")
