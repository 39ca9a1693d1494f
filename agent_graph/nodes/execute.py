"""``execute``: run every step that may run now. It invents no step and widens no permission."""

from __future__ import annotations

from agent_graph.execution.scheduler import Execution
from agent_graph.nodes.visit import Visit
from agent_graph.state import State, Update


def execute(state: State, visit: Visit) -> Update:
    """Refuses, by doing nothing, a version that was not validated, or was made for another goal; ``observe`` then finds what is missing."""
    if not visit.over and visit.current is not None and visit.current.verdict == "valid" and not visit.revised:
        visit.deps.store.runs.set_status(visit.lease, "running")
        Execution(visit.context()).drive()
    return {}
