"""``agent-graph run``: start a run, or, without anything, say what can be run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from agent_graph import examples
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli import inputs
from agent_graph.cli.drive import Driver, login_name
from agent_graph.cli.exits import SUCCEEDED
from agent_graph.cli.options import (
    AsJson,
    Blueprints,
    By,
    GranularityName,
    LimitsPath,
    McpPath,
    ModelsPath,
    ModeName,
    Params,
    PolicyPath,
    PrincipalName,
    StorePath,
    Tools,
)
from agent_graph.cli.output import Out
from agent_graph.cli.program import command
from agent_graph.cli.recipe import (
    CHAIN,
    Recipe,
    agent_of,
    load_blueprints,
    load_limits,
    load_models,
    load_policy,
    load_registry,
    names_bundled_tools,
    recipe_here,
)
from agent_graph.documents import read_document
from agent_graph.errors import InvalidPlan, UnknownRun, UsageError
from agent_graph.identity import RunId, new_id
from agent_graph.plan import Blueprint, Param, Plan
from agent_graph.planners.choose import names_model
from agent_graph.policy.compiler import Rules, SoFar, compile_plan
from agent_graph.policy.nesting import lay_out
from agent_graph.tools.registry import ToolRegistry
from agent_graph.visible import visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be run."""

    source: Plan | Blueprint | None
    """None: a chat model plans."""
    named: str
    """The file, the name of a bundled blueprint, or the spec of a model."""
    goal: str | None
    params: dict[str, Any]


def run(
    context: typer.Context,
    what: Annotated[
        str | None, typer.Argument(metavar="GOAL|BLUEPRINT", help="A blueprint's file or bundled name, or a goal in words.")
    ] = None,
    param: Params = [],  # noqa: B006
    plan: Annotated[str | None, typer.Option("--plan", metavar="FILE", help="A plan to run, as YAML or JSON.")] = None,
    planner: Annotated[
        str | None,
        typer.Option(
            "--planner",
            metavar="BLUEPRINT|openai:MODEL|chain",
            help="Who plans for a goal: a blueprint's file or bundled name, a model ($OPENAI_API_KEY, $OPENAI_BASE_URL), or the tools' own facts.",
        ),
    ] = None,
    models: ModelsPath = None,
    mode: ModeName = None,
    granularity: GranularityName = None,
    blueprint: Blueprints = [],  # noqa: B006
    policy: PolicyPath = None,
    limits: LimitsPath = None,
    principal: PrincipalName = None,
    store: StorePath = str(DEFAULT_PATH),
    tools: Tools = [],  # noqa: B006
    mcp: McpPath = None,
    run_id: Annotated[str | None, typer.Option("--id", metavar="UUID", help="The id of the new run.")] = None,
    by: By = None,
    as_json: AsJson = False,
) -> int:
    """Start a run and drive it until it has ended or waits for a person.

    Without arguments: list the bundled blueprints and how to run them.

    \b
      agent-graph run investigate-metric -p series=ec2_cpu_utilization_825cc2
      agent-graph run deploy.yaml -p host=web-1 --tools ops.py
      agent-graph run "Why is it slow?" --planner investigate-metric -p series=cpu.csv
      agent-graph run "Why is it slow?" --planner openai:gpt-5-mini --tools ops.py
      agent-graph run "Why is it slow?" --models models.yaml --mode auto --tools ops.py
      agent-graph run "report" --planner chain -p metric=cpu --tools ops.py
      agent-graph run --plan plan.yaml --tools my_package.tools:TOOLS

    A user's tools and the bundled ones (agent_graph.examples:tools) can be given together.

    Exit: 0 succeeded, 1 failed, 2 wrong usage or invalid input, 3 paused and waiting for a person, 4 busy elsewhere,
    130 interrupted and resumable.
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    if what is None and plan is None and planner is None:
        return list_blueprints(out)
    new = RunId(inputs.check_run_id(run_id) if run_id is not None else new_id())
    here = recipe_here(tools, policy, limits, mcp, models=models, mode=mode, granularity=granularity, blueprints=blueprint)
    wanted = read_wanted(what, plan, planner, param, thinks=thinks(here))
    recipe = with_tools(here, wanted)
    registry = load_registry(recipe)
    if wanted.source is not None:
        check(wanted, wanted.source, rules_of(recipe, registry), principal)
    planner_or_none = wanted.named or None if wanted.source is None else wanted.source
    with agent_of(recipe, registry, planner_or_none, SqliteStore(store)) as agent:
        refuse_taken(agent.store, new)
        own_plan = wanted.source if isinstance(wanted.source, Plan) else None
        out.about(new, store)
        events = agent.stream(wanted.goal, params=wanted.params, plan=own_plan, run_id=new, principal=principal, metadata=recipe.metadata())
        return Driver(out, agent, new, store, by or login_name()).to_the_end(events)


def thinks(recipe: Recipe) -> bool:
    """Whether a model is there that plans, or that answers without a plan."""
    models = load_models(recipe)
    return models.planner is not None or (recipe.mode in ("inline", "auto") and models.executor is not None)


def rules_of(recipe: Recipe, registry: ToolRegistry) -> Rules:
    """What a plan is checked against."""
    return Rules(
        tools=registry.specs,
        policy=load_policy(recipe),
        limits=load_limits(recipe),
        blueprints=load_blueprints(recipe),
        models=load_models(recipe),
    )


def read_wanted(what: str | None, plan: str | None, planner: str | None, given: list[str], *, thinks: bool = False) -> Wanted:
    """``thinks``: a model is there for a goal in words. Raises UsageError that says what would do, InvalidDocument for a file that does not parse."""
    if plan is not None and planner is not None:
        raise UsageError("--plan and --planner exclude each other: a plan needs nobody to plan")
    if what is not None and (plan or planner) and inputs.looks_like_file(what):
        raise UsageError(
            f"{what} looks like a file, but {'--plan' if plan else '--planner'} says what to run; beside it, give a goal in words"
        )
    if plan is not None:
        own = inputs.read_plan(plan)
        return Wanted(source=own, named=plan, goal=what, params=inputs.plan_params(given))
    if planner is not None and (names_model(planner) or planner == CHAIN):
        if what is None:
            raise UsageError(
                f"{planner} plans for a goal: say what is wanted, as in: agent-graph run 'Why is it slow?' --planner {planner}"
            )
        return Wanted(source=None, named=planner, goal=what, params=inputs.plan_params(given))
    in_words = what is not None and not inputs.looks_like_file(what) and what not in examples.blueprints()
    if planner is None and thinks and in_words:
        return Wanted(source=None, named="", goal=what, params=inputs.plan_params(given))
    if planner is None and in_words and not inputs.looks_like_name(what or ""):
        raise UsageError(
            "a goal in words needs somebody to plan for it: give --planner BLUEPRINT, --planner openai:MODEL, --models FILE, or a plan with --plan FILE; "
            f"bundled blueprints are: {', '.join(examples.blueprints())}"
        )
    named = planner or what or ""
    blueprint = inputs.read_blueprint(named)
    return Wanted(source=blueprint, named=named, goal=what if planner else None, params=inputs.blueprint_params(blueprint, given))


def check(wanted: Wanted, source: Plan | Blueprint, rules: Rules, principal: str | None) -> None:
    """What cannot run is refused before LangGraph is loaded and before there is a store. Raises InvalidPlan."""
    plan = lay_out(inputs.acting_for(inputs.plan_of(source, wanted.params), principal), rules.blueprints)
    report = compile_plan(plan, rules, RunId("preview"), SoFar(now=time.time()))
    if not report.valid:
        raise InvalidPlan(report.errors, what=visible(wanted.named))


def with_tools(recipe: Recipe, wanted: Wanted) -> Recipe:
    """The bundled tools come with a bundled blueprint, and where no others were given and these are named."""
    if wanted.source is None:
        return recipe.model_copy(update={"bundled": not (recipe.tools or recipe.mcp), "planner": wanted.named or None})
    is_file = Path(wanted.named).is_file()
    used = {step.tool for step in wanted.source.steps if step.tool}
    bundled = not is_file or (not recipe.tools and names_bundled_tools(used))
    place = str(Path(wanted.named).absolute()) if is_file else wanted.named
    source = {"plan" if isinstance(wanted.source, Plan) else "planner": place}
    return recipe.model_copy(update={"bundled": bundled, **source})


def refuse_taken(store: Any, run_id: RunId) -> None:
    try:
        store.runs.get(run_id)
    except UnknownRun:
        return
    raise UsageError(f"there is a run {run_id} already; resume it, or give another --id")


def list_blueprints(out: Out) -> int:
    found = {name: read_document(path, Blueprint) for name, path in examples.blueprints().items()}
    if out.json:
        out.document([{"name": name, "description": one.description, "params": one.params_schema()} for name, one in found.items()])
        return SUCCEEDED
    out.say("Bundled blueprints:")
    for name, one in found.items():
        out.say()
        out.say(f"  {name}", "bold")
        out.say(f"    {visible(one.description)}")
        for param, about in one.params.items():
            out.say(f"    -p {param}={_kind(about)}", "cyan")
            if about.description:
                out.say(f"         {visible(about.description)}")
        required = " ".join(f"-p {param}=…" for param, about in one.params.items() if about.required)
        out.say(f"    run it:  {command('run', name)} {required}".rstrip())
    out.say()
    out.say(f"One of your own: {command('run', 'FILE.yaml')} -p name=value … --tools FILE.py")
    out.say(f"The whole way on real data: {command('demo')}")
    return SUCCEEDED


def _kind(param: Param) -> str:
    kind = "a,b,c" if param.type == "array" else param.type.upper()
    if param.enum:
        kind = "|".join(map(str, param.enum))
    if param.required:
        return f"{kind}  (required)"
    return f"{kind}  ({'may be left out' if param.default is None else f'default {visible(param.default)}'})"
