"""What a judge remarks on a plan before a person sees it: warnings beside what code has found, never errors."""

from __future__ import annotations

from agent_graph.nodes.visit import Visit
from agent_graph.plan import Plan


def remarks(visit: Visit, plan: Plan) -> None:
    """Asked by ``plan`` and ``replan`` right before they write the version; ``validate`` reads what came of it.

    Does nothing unless ``Models.judge_plans`` says so. A judge that cannot be asked costs the plan nothing: it is said in the trace.
    """
