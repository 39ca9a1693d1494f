"""``agent-graph cancel``: end a run that nobody drives."""

from __future__ import annotations

from agent_graph.checkpoints.store import DEFAULT_PATH, SqliteStore
from agent_graph.cli.options import AsJson, RunArgument, StorePath
from agent_graph.cli.outcome import SUCCEEDED
from agent_graph.cli.output import Out


def cancel(run: RunArgument, store: StorePath = str(DEFAULT_PATH), as_json: AsJson = False) -> int:
    """End a run that nobody drives. What was done stays done; the run cannot be resumed."""
    out = Out.of(as_json)
    with SqliteStore(store, must_exist=True) as opened:
        from agent_graph.agent import AgentGraph

        ended = AgentGraph(store=opened).cancel(opened.runs.find(run))
    if out.json:
        out.document(ended)
    else:
        done = sum(result.landed for result in ended.results.values())
        out.say(f"run {ended.id} is cancelled; {done} call{'s' if done != 1 else ''} that it made stay done")
    return SUCCEEDED
