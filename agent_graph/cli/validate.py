"""``agent-graph validate``: everything that is wrong with a plan or blueprint, before anything runs. Loads no LangGraph."""

from __future__ import annotations

from typing import Annotated

import typer

from agent_graph.cli import inputs
from agent_graph.cli.exits import SUCCEEDED, USAGE
from agent_graph.cli.options import AsJson, Params, PolicyPath, Tools
from agent_graph.cli.output import Out
from agent_graph.cli.recipe import load_policy, load_registry, recipe_here
from agent_graph.cli.run import Wanted, with_tools
from agent_graph.identity import RunId
from agent_graph.plan import Blueprint, Step
from agent_graph.policy.compiler import Rules, compile_plan
from agent_graph.policy.limits import Limits
from agent_graph.verdicts import Ask, Issue
from agent_graph.visible import visible


def validate(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="PLAN|BLUEPRINT", help="A file, or a bundled blueprint.")],
    param: Params = [],  # noqa: B006
    tools: Tools = [],  # noqa: B006
    policy: PolicyPath = None,
    as_json: AsJson = False,
) -> int:
    """Check a plan or blueprint against tools and policy, and list all issues at once. Nothing runs.

    A blueprint is checked without values for parameters that are not given.

    \b
      agent-graph validate plan.yaml --tools ops.py
      agent-graph validate investigate-metric

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
    plan = inputs.plan_of(source, params)
    recipe = with_tools(recipe_here(tools, policy), Wanted(source=source, named=what, goal=None, params={}))
    rules = Rules(tools=load_registry(recipe).specs, policy=load_policy(recipe), limits=Limits())
    report = compile_plan(plan, rules, RunId("preview"))
    issues = [issue for issue in report.issues if not _only_open(issue, open_params)]
    errors = [issue for issue in issues if issue.severity == "error"]
    if out.json:
        out.document(
            {
                "valid": not errors,
                "issues": [issue.model_dump(mode="json") for issue in issues],
                "risk": report.risk,
                "steps": len(plan.steps),
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
    for step in plan.steps:
        if (why := asks(step, rules)) is not None:
            out.say(f"  a person is asked before {step.id} ({visible(step.tool)}): {visible(why)}")
    return SUCCEEDED


def asks(step: Step, rules: Rules) -> str | None:
    """Why a person is asked before the step; None when nobody is."""
    spec = rules.tools.get(step.tool or "")
    if step.approval == "required":
        return "the step requires it"
    verdict = rules.policy.judge(spec) if spec is not None else None
    return verdict.reason if isinstance(verdict, Ask) else None


def _only_open(issue: Issue, names: set[str]) -> bool:
    """Whether the issue says no more than that a parameter has no value yet."""
    return issue.code == "unknown_param" and any(f"params.{name}," in issue.message for name in names)
