"""``agent-graph grants``: a yes to calls that are still to come, so that people are not asked the same thing fifty times a day."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli import inputs
from agent_graph.cli.drive import login_name
from agent_graph.cli.exits import SUCCEEDED
from agent_graph.cli.options import AsJson, By, McpPath, PolicyPath, StorePath, Tools
from agent_graph.cli.output import Out
from agent_graph.cli.purge import seconds_of
from agent_graph.cli.recipe import load_policy, load_registry, recipe_here
from agent_graph.policy.standing import make_grant
from agent_graph.trace.amounts import when as moment
from agent_graph.verdicts import Grant
from agent_graph.visible import visible

grants = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)


@grants.callback()
def listed(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also those that have ended or were revoked.")] = False,
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """Standing grants: a yes beforehand, to calls of one tool with these arguments, until then. Without a command: list them.

    A grant answers where the policy's rules ask. It never answers for a denial, for a value from outside, or for a step that was proposed after
    such a value had been read.
    """
    if context.invoked_subcommand is not None:
        return SUCCEEDED
    out = Out.of(context, as_json=as_json)
    with SqliteStore(store, must_exist=True) as opened:
        found = opened.grants.all() if every else opened.grants.standing()
    if out.json:
        out.document([grant.model_dump(mode="json") for grant in found])
        return SUCCEEDED
    for grant in found:
        say(out, grant)
    if not found:
        out.say(f"no standing grants in {store}")
    return SUCCEEDED


@grants.command("add")
def add(
    context: typer.Context,
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="A tool's name.")],
    args: Annotated[str | None, typer.Option("--args", metavar="FILE", help="All of its arguments, as YAML or JSON.")] = None,
    when: Annotated[str | None, typer.Option("--when", metavar="CEL", help="Instead: which calls, as in 'call.args.amount < 10'.")] = None,
    until: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 90s, 30m, 12h, 7d.")] = "1d",
    principal: Annotated[list[str], typer.Option("--principal", metavar="NAME", help="Only for runs that act for them.")] = [],  # noqa: B006
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept.")] = "",
    by: By = None,
    tools: Tools = [],  # noqa: B006
    mcp: McpPath = None,
    policy: PolicyPath = None,
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """Say yes beforehand. It is bound to the tool as it is now, and recorded with who said it.

    \b
      agent-graph grants add post_note --tools ops.py --when 'call.args.channel == "#ops"' --for 7d
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    recipe = recipe_here(tools, policy, mcp=mcp).model_copy(update={"bundled": not (tools or mcp)})
    registry, now = load_registry(recipe), time.time()
    values = inputs.read_args(args) if args is not None else None
    ends = now + seconds_of(until, "--for")
    with SqliteStore(store) as opened:
        made = make_grant(
            opened.grants, registry.specs, load_policy(recipe), now, tool, values, when, tuple(principal), ends, by or login_name(), reason
        )
    if out.json:
        out.document(made)
    else:
        say(out, made)
    return SUCCEEDED


@grants.command("revoke")
def revoke(
    context: typer.Context,
    grant: Annotated[str, typer.Argument(metavar="GRANT", help="A grant's id; its beginning is enough.")],
    by: By = None,
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """End a standing grant at once; it stays on record."""
    out = Out.of(context, as_json=as_json)
    with SqliteStore(store, must_exist=True) as opened:
        ended = opened.grants.revoke(grant, by or login_name())
    if out.json:
        out.document(ended)
    else:
        say(out, ended)
    return SUCCEEDED


def say(out: Out, grant: Grant) -> None:
    which = f"when {grant.when}" if grant.when is not None else ", ".join(f"{name}={value!r}" for name, value in (grant.args or {}).items())
    out.say(f"{grant.id}  {visible(grant.tool)}  {visible(which) or 'no arguments'}", "bold")
    ends = (
        f"revoked {moment(grant.revoked)} by {visible(grant.revoked_by or 'somebody')}"
        if grant.revoked
        else f"until {moment(grant.expires)}"
        if grant.expires
        else "until it is revoked"
    )
    for_whom = f", for {visible(', '.join(grant.principals))}" if grant.principals else ""
    why = f": {visible(grant.reason)}" if grant.reason else ""
    out.say(f"  {ends}, by {visible(grant.by or 'somebody')}{for_whom}{why}")
