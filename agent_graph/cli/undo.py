"""``agent-graph undo``: take back what a run left behind, each call after a yes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli.drive import Driver, login_name
from agent_graph.cli.options import AsJson, By, McpPath, PolicyPath, RunArgument, StorePath, Tools
from agent_graph.cli.output import Out
from agent_graph.cli.recipe import enter, load_policy, load_registry, recipe_here
from agent_graph.cli.resume import remembered
from agent_graph.identity import RunId, new_id
from agent_graph.runs import read_run
from agent_graph.undo import UNDOES, undo_plan


def undo(
    context: typer.Context,
    run: RunArgument,
    by: By = None,
    tools: Tools = [],  # noqa: B006
    mcp: McpPath = None,
    policy: PolicyPath = None,
    cwd: Annotated[str | None, typer.Option("--cwd", metavar="DIR", help="The run's folder, if it was moved since the start.")] = None,
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """Take back what a run that ended left behind: the undo calls that its tools declare, the last effect first.

    It is a run of its own, and each call in it waits for a yes. What no tool can undo is listed by show.

    Exit codes are those of run.
    """
    out = Out.of(context, as_json=as_json)
    here = recipe_here(tools, policy, mcp=mcp)
    with SqliteStore(Path(store).absolute(), must_exist=True) as opened:
        record = opened.runs.get(opened.runs.find(run))
        plan = undo_plan(opened, record.id)
        recipe = remembered(record, read_run(opened, record.id, results=False).plan, here, cwd)
        enter(recipe, record.id)
        registry, rules = load_registry(recipe), load_policy(recipe)

        from agent_graph.agent import AgentGraph

        agent = AgentGraph(registry, policy=rules, store=opened)
        new = RunId(new_id())
        out.about(new, store)
        metadata = {**recipe.model_copy(update={"plan": None, "planner": None}).metadata(), UNDOES: record.id}
        return Driver(out, agent, new, store, by or login_name()).to_the_end(agent.stream(plan=plan, run_id=new, metadata=metadata))
