"""The goal's criteria that code cannot check: a judge or a person says whether they hold, before ``conclude`` ends the run."""

from __future__ import annotations

from agent_graph.nodes.visit import Visit
from agent_graph.verdicts import Observation


def unverified(visit: Visit) -> Observation | None:
    """Asked by ``observe`` before it says ``conclude`` of a run that has come to its end.

    Has the judge look at what no deterministic check stands against, and puts what stays open before a person. An observation that leads to
    ``approve`` when somebody is asked; None when nothing stands in the way of the end.
    """
    return None
