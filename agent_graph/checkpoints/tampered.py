"""How a row that is not as it was written is told."""

from __future__ import annotations

from agent_graph.errors import StoreUnreadable

OF_NO_RUN = "*"
"""In the place of a run's id, for rows that belong to none."""


def changed(table: str, row_id: object, run_id: str, how: str) -> StoreUnreadable:
    """Of a row that is not as it was written."""
    if run_id == OF_NO_RUN:
        return StoreUnreadable(
            f"the row {row_id} of {table} was changed outside of agent-graph: {how}. Nothing was done with it, and no run goes on. See what else "
            "was changed, with: agent-graph doctor; then restore the store from a copy"
        )
    return StoreUnreadable(
        f"the row {row_id} of {table} of run {run_id} was changed outside of agent-graph: {how}. Nothing was done with it, and the run stops here. "
        "See what else was changed, with: agent-graph doctor; then restore the store from a copy, or start another run"
    )
