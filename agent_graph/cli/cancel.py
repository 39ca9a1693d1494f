"""``agent-graph cancel``: end a run that nobody drives."""

from __future__ import annotations

import typer

from agent_graph.checkpoints.store import DEFAULT_PATH, SqliteStore
from agent_graph.cli.options import AsJson, RunArgument, StorePath
from agent_graph.cli.outcome import SUCCEEDED
from agent_graph.cli.output import Out


def cancel(context: typer.Context, run: RunArgument, store: StorePath = str(DEFAULT_PATH), as_json: AsJson = False) -> int:
    """End a run that nobody drives. What was done stays done; the run cannot be resumed."""
    out = Out.of(context, as_json=as_json)
    with SqliteStore(store, must_exist=True) as opened:
        from agent_graph.agent import AgentGraph

        ended = AgentGraph(store=opened).cancel(opened.runs.find(run))
    if out.json:
        out.document(ended)
    else:
        done = sum(result.status == "succeeded" for result in ended.results.values())
        out.say(f"run {ended.id} is cancelled; the {done} step{'s' if done != 1 else ''} that it finished stay done")
    return SUCCEEDED
