"""``agent-graph revise``: change what a run that waits is to do, and go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent_graph.cancellation import end_if_asked
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli import inputs
from agent_graph.cli.drive import Driver, login_name
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
from agent_graph.cli.output import Out
from agent_graph.cli.recipe import recipe_here
from agent_graph.cli.resume import agent_again, remembered
from agent_graph.errors import RunFinished, UsageError
from agent_graph.ports import SystemClock
from agent_graph.runs import read_run


def revise(
    context: typer.Context,
    run: RunArgument,
    goal: Annotated[str | None, typer.Option("--goal", metavar="TEXT", help="What is wanted now.")] = None,
    constraint: Annotated[
        list[str],
        typer.Option("--constraint", metavar="TEXT", help="What must hold; once for each. They take the place of the earlier ones."),
    ] = [],  # noqa: B006
    no_constraints: Annotated[bool, typer.Option("--no-constraints", help="The earlier constraints hold no more.")] = False,
    param: Annotated[
        list[str], typer.Option("--param", "-p", metavar="NAME=VALUE", help="Another value of a parameter; the others stay.")
    ] = [],  # noqa: B006
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
    """Change the goal, constraints or parameters of a run that waits or was interrupted, and go on with it.

    What has landed stays and is not done again; the rest is planned anew, by the run's own planner, which must be able to replan. What
    waited for a decision is withdrawn, but for what is in doubt. Nothing is changed when the planner cannot make another plan.

    \b
      agent-graph revise 3f2a --goal "only the staging cluster"
      agent-graph revise 3f2a --constraint "nothing on a Sunday" --constraint "no mail"
      agent-graph revise 3f2a -p region=eu-west-1

    Exit codes are those of run.
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    if constraint and no_constraints:
        raise UsageError("--constraint and --no-constraints exclude each other")
    if goal is None and not (constraint or no_constraints or param):
        raise UsageError("say what changes: --goal TEXT, --constraint TEXT, --no-constraints or -p NAME=VALUE")
    here = recipe_here(tools, policy, limits, mcp, models=models, mode=mode, granularity=granularity, blueprints=blueprint)
    with SqliteStore(Path(store).absolute(), must_exist=True) as opened:
        found = opened.runs.find(run)
        end_if_asked(opened, SystemClock(), found)
        record = opened.runs.get(found)
        out.about(record.id, store)
        if record.finished:
            raise RunFinished(f"run {record.id} has ended ({record.status}); start another one")
        shown = read_run(opened, record.id)
        agent = agent_again(remembered(record, shown.plan, here, cwd), shown, record, opened)
        constraints = constraint or ([] if no_constraints else None)
        events = agent.stream_revise(record.id, goal=goal, constraints=constraints, params=inputs.plan_params(param), by=by or login_name())
        return Driver(out, agent, record.id, store, by or login_name()).to_the_end(events)
