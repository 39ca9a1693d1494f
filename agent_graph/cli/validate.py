"""``agent-graph validate``: everything that is wrong with a plan or blueprint, before anything runs. Loads no LangGraph."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import typer

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli import inputs
from agent_graph.cli.exits import SUCCEEDED, USAGE
from agent_graph.cli.options import (
    AsJson,
    Blueprints,
    LimitsPath,
    McpPath,
    ModelsPath,
    Params,
    PolicyPath,
    PrincipalName,
    StorePath,
    Tools,
)
from agent_graph.cli.output import Out
from agent_graph.cli.recipe import load_registry, recipe_here
from agent_graph.cli.run import Wanted, rules_of, with_tools
from agent_graph.errors import UsageError
from agent_graph.execution.history import before_edit, replans_made
from agent_graph.identity import RunId
from agent_graph.plan import Blueprint, Plan
from agent_graph.policy.compiler import Rules, SoFar, compile_plan
from agent_graph.policy.nesting import lay_out
from agent_graph.verdicts import Issue, Report
from agent_graph.visible import visible


def validate(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="PLAN|BLUEPRINT", help="A file, or a bundled blueprint.")],
    param: Params = [],  # noqa: B006
    tools: Tools = [],  # noqa: B006
    mcp: McpPath = None,
    models: ModelsPath = None,
    blueprint: Blueprints = [],  # noqa: B006
    policy: PolicyPath = None,
    limits: LimitsPath = None,
    principal: PrincipalName = None,
    run: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Check it as the next version of this run's plan.")] = None,
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """Check a plan or blueprint against tools and policy, and list all issues at once. Nothing runs.

    A blueprint is checked without values for parameters that are not given. With --run, a plan is held against what the run has done: before
    it is handed in at a gate.

    \b
      agent-graph validate plan.yaml --tools ops.py
      agent-graph validate investigate-metric
      agent-graph validate edited.yaml --run 3f2a --tools ops.py

    Exit: 0 valid, 2 not.
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    source = inputs.read_plan_or_blueprint(what)
    open_params: set[str] = set()
    if isinstance(source, Blueprint):
        params = inputs.blueprint_params(source, param, partly=True)
        open_params = inputs.missing_params(source, params)
    else:
        params = inputs.plan_params(param)
    plan = inputs.acting_for(inputs.plan_of(source, params), principal)
    here = recipe_here(tools, policy, limits, mcp, models=models, blueprints=blueprint)
    recipe = with_tools(here, Wanted(source=source, named=what, goal=None, params={}))
    rules = rules_of(recipe, load_registry(recipe))
    plan = lay_out(plan, rules.blueprints)
    report = compile_plan(plan, rules, RunId("preview"), SoFar(now=time.time())) if run is None else as_next(plan, run, store, rules)
    issues = [issue for issue in report.issues if not _only_open(issue, open_params)]
    errors = [issue for issue in issues if issue.severity == "error"]
    if out.json:
        out.document(
            {
                "valid": not errors,
                "issues": [issue.model_dump(mode="json") for issue in issues],
                "risk": report.risk,
                "steps": len(plan.steps),
                "asks": report.asks,
                "not_checked": sorted(open_params),
            }
        )
        return USAGE if errors else SUCCEEDED
    if errors:
        out.say(f"{visible(what)} cannot run: {len(errors)} issue{'s' if len(errors) != 1 else ''}", "bold red")
    for issue in issues:
        out.say(f"  {visible(issue)}" if issue.severity == "error" else f"  warning {visible(issue)}")
    if errors:
        if any(issue.code == "unknown_tool" for issue in errors):
            out.say("tools are given with --tools MODULE[:NAME] or --tools FILE.py")
        return USAGE
    out.say(f"{visible(what)} is valid: {len(plan.steps)} step{'s' if len(plan.steps) != 1 else ''}, risk {report.risk}", "bold green")
    if open_params:
        out.say(f"  not checked, since no value was given: {', '.join(sorted(open_params))}")
    for step_id, why in report.asks.items():
        out.say(f"  a person is asked before {step_id} ({visible(plan.by_id[step_id].tool or plan.by_id[step_id].kind)}): {visible(why)}")
    return SUCCEEDED


def as_next(plan: Plan, run: str, store: str, rules: Rules) -> Report:
    """The plan as a person would hand it in at a gate of the run. Raises UsageError for a run without a plan."""
    with SqliteStore(store, must_exist=True) as opened:
        run_id = opened.runs.find(run)
        current = opened.runs.plan(run_id)
        if current is None:
            raise UsageError(f"run {run_id} has no plan yet that this one could revise")
        made = plan.model_copy(update={"goal": current.plan.goal, "version": current.plan.version + 1, "parent": current.plan.version})
        planner = opened.runs.get(run_id).planner
        so_far = before_edit(opened, run_id, current, made, rules, time.time())
        return compile_plan(made, rules, run_id, replace(so_far, replans=replans_made(opened.runs.plans(run_id), planner)))


def _only_open(issue: Issue, names: set[str]) -> bool:
    """Whether the issue says no more than that a parameter has no value yet."""
    return issue.code == "unknown_param" and any(f"params.{name}," in issue.message for name in names)
