"""Options that several commands share, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

StorePath = Annotated[
    str, typer.Option("--store", metavar="PATH", help="The store; .agent-graph/runs.db unless given.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on stdout; also for an error.")]
Params = Annotated[list[str], typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; give -p once for each.")]
Tools = Annotated[
    list[str],
    typer.Option("--tools", metavar="MODULE[:NAME]", help="Tools: an import name or a FILE.py; NAME is a tool, a list or a function."),
]
PolicyPath = Annotated[str | None, typer.Option("--policy", metavar="FILE", help="The policy, as YAML, TOML or JSON.")]
McpPath = Annotated[str | None, typer.Option("--mcp", metavar="FILE", help="MCP servers whose tools are given too, as YAML or JSON.")]
LimitsPath = Annotated[str | None, typer.Option("--limits", metavar="FILE", help="What the run may use at most, as YAML, TOML or JSON.")]
PrincipalName = Annotated[
    str | None, typer.Option("--principal", metavar="NAME", help="For whom the run acts; the policy says what they may.")
]
ModelsPath = Annotated[
    str | None,
    typer.Option("--models", metavar="FILE", help="The model of each role, as YAML or JSON; AGENT_GRAPH_MODEL and its like say more."),
]
ModeName = Annotated[
    str | None,
    typer.Option("--mode", metavar="MODE", help="How much a model plans before anything runs: inline, single_shot, iterative or auto."),
]
GranularityName = Annotated[
    str | None,
    typer.Option("--granularity", metavar="HOW", help="How fine a model plans: coarse, fine, or auto (by the risk of the tools)."),
]
Blueprints = Annotated[list[str], typer.Option("--blueprint", metavar="FILE", help="A nested plan that steps may name; once for each.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; the login name unless given.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id; its beginning is enough.")]
