"""``--takeover``: who is ended by it, and what else ends with that process."""

from __future__ import annotations

import os

from agent_graph.checkpoints.owners import command_given, is_local
from agent_graph.cli.output import Out
from agent_graph.errors import RunBusy
from agent_graph.identity import RunId
from agent_graph.ports import Store
from agent_graph.records import Owner


def owner_to_end(out: Out, store: Store, run_id: RunId) -> Owner | None:
    """Who drives the run, said aloud; None when nobody does.

    Raises RunBusy when that drive began after this command was given: whoever gave it meant another one, and may have been one of two.
    """
    holder = store.leases.holder(run_id)
    if holder is None:
        return None
    if is_local(holder) and holder.since > command_given():
        raise RunBusy(
            f"{holder} began to drive run {run_id} after this command was given; nothing was ended. Look at it with: agent-graph show {run_id}"
        )
    if is_local(holder) and holder.pid != os.getpid():
        out.say(f"ending {holder}, which drives run {run_id}", "yellow")
        others = [other for other in store.leases.driven_by(holder) if other != run_id]
        if others:
            out.say(f"  it also drives what ends with it, and can be resumed: {', '.join(others)}", "yellow")
    return holder
