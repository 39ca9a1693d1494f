"""Bundled blueprints, the tools that they use, and their data. Importing it loads none of the tools."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent_graph.errors import UsageError

if TYPE_CHECKING:
    from agent_graph.tools.tool import Tool

_HERE = Path(__file__).parent


def blueprints() -> dict[str, Path]:
    """Every bundled blueprint, by name."""
    return {path.stem: path for path in sorted(_HERE.glob("*.yaml"))}


def blueprint_path(name: str) -> Path:
    """The file of a bundled blueprint. Raises UsageError that lists what there is."""
    known = blueprints()
    if name not in known:
        raise UsageError(
            f"there is no bundled blueprint {name!r}; there is {', '.join(known)}; for one of your own, give the path of its YAML file"
        )
    return known[name]


def data_path(name: str) -> Path | None:
    """The file of a bundled series, by its name with or without ``.csv``; None when there is none."""
    from agent_graph.tools.series import bundled

    return bundled(name)


def tools(desk: str | Path | None = None) -> list[Tool]:
    """The tools that the bundled blueprints use. ``desk`` is the ticket desk's file: else ``$AGENT_GRAPH_DESK``, else ``.agent-graph/tickets.db``."""
    from agent_graph.tools.metrics import compare_with_other_days, describe_fleet, describe_series, find_outlier_windows, which_moved
    from agent_graph.tools.report import render_report
    from agent_graph.tools.severity import decide_severity
    from agent_graph.tools.sql import query_sqlite
    from agent_graph.tools.tickets import DEFAULT_DESK, ticket_desk

    metrics = [describe_series, describe_fleet, find_outlier_windows, compare_with_other_days, which_moved, decide_severity]
    return [*metrics, query_sqlite, render_report, *ticket_desk(desk or os.environ.get("AGENT_GRAPH_DESK") or DEFAULT_DESK)]
