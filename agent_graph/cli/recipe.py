"""How to make the same agent again, kept with the run: another process resumes it without repeating a flag.

The folder is part of it. A tool that writes to a relative path would, from another folder, look at another world: its probe would find
nothing, and the effect would be done twice.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from pydantic import ValidationError

from agent_graph import examples
from agent_graph.cli.program import program
from agent_graph.documents import read_document
from agent_graph.errors import UsageError
from agent_graph.models.environment import variables
from agent_graph.models.roles import Models
from agent_graph.plan import Blueprint, Granularity, Mode, Model, Plan
from agent_graph.policy.limits import Limits
from agent_graph.policy.rules import Policy
from agent_graph.records import RunRecord
from agent_graph.tools.registry import ToolRegistry, load_tools

if TYPE_CHECKING:
    from agent_graph.agent import AgentGraph
    from agent_graph.ports import Store
    from agent_graph.tools.mcp import MCPServers

KEY = "cli"
DESK = "AGENT_GRAPH_DESK"

CHAIN = "chain"
"""The planner that needs no model: it goes by what tools need and give."""


class Recipe(Model):
    """What a run's metadata holds under ``cli``."""

    cwd: str
    tools: tuple[str, ...] = ()
    """As ``--tools`` takes them; paths are absolute."""
    bundled: bool = False
    """Whether the bundled tools are there, too; one of the user's with the same name comes first."""
    desk: str | None = None
    """The ticket desk of the bundled tools, where it was named."""
    policy: str | None = None
    limits: str | None = None
    mcp: str | None = None
    """The file that names MCP servers."""
    planner: str | None = None
    """The path of a blueprint, the name of a bundled one, or the spec of a model."""
    plan: str | None = None
    models: str | None = None
    """The file that says which model does what."""
    environment: dict[str, str] = {}
    """Variables that said so, too; none of them is a key."""
    mode: Mode | None = None
    granularity: Granularity = "auto"
    blueprints: tuple[str, ...] = ()
    """Files of nested plans."""

    def metadata(self) -> dict[str, Any]:
        return {KEY: self.model_dump(mode="json", exclude_defaults=True)}


def absolute(spec: str) -> str:
    """A ``--tools`` value that means the same from anywhere: the path of a file is made absolute."""
    source, colon, name = spec.partition(":")
    return f"{Path(source).absolute()}{colon}{name}" if source.endswith(".py") else spec


def recipe_here(
    tools: list[str],
    policy: str | None,
    limits: str | None = None,
    mcp: str | None = None,
    *,
    models: str | None = None,
    mode: str | None = None,
    granularity: str | None = None,
    blueprints: list[str] | None = None,
) -> Recipe:
    """For a run that starts in this folder. Raises UsageError for a mode or granularity that is none."""
    for option, given, known in (("--mode", mode, get_args(Mode)), ("--granularity", granularity, get_args(Granularity))):
        if given is not None and given not in known:
            raise UsageError(f"{option} is {given!r}; it is one of {', '.join(known)}")
    desk = os.environ.get(DESK)
    return Recipe(
        cwd=str(Path.cwd()),
        tools=tuple(absolute(spec) for spec in tools),
        desk=str(Path(desk).absolute()) if desk else None,
        policy=str(Path(policy).absolute()) if policy else None,
        limits=str(Path(limits).absolute()) if limits else None,
        mcp=str(Path(mcp).absolute()) if mcp else None,
        models=str(Path(models).absolute()) if models else None,
        environment=variables(os.environ),
        mode=cast("Mode | None", mode),
        granularity=cast("Granularity", granularity or "auto"),
        blueprints=tuple(str(Path(each).absolute()) for each in blueprints or ()),
    )


def recipe_of(record: RunRecord) -> Recipe | None:
    """The recipe of a run; None when it was not started on the command line. Raises UsageError when it cannot be read."""
    kept = record.metadata.get(KEY)
    if kept is None:
        return None
    try:
        return Recipe.model_validate(kept)
    except ValidationError:
        raise UsageError(f"run {record.id} was started by another version of agent-graph; give its --tools and --policy again") from None


def enter(recipe: Recipe, run_id: str) -> None:
    """Go to the folder of the run. Raises UsageError when it is not there any more."""
    before = str(Path.cwd())
    program()  # found now, as it is called from here
    try:
        os.chdir(recipe.cwd)
    except OSError as error:
        raise UsageError(
            f"run {run_id} was started in {recipe.cwd}, which cannot be entered ({error.strerror}); "
            "its tools may depend on it: put it back, or say where it is now with --cwd DIR"
        ) from None
    for folder in (before, recipe.cwd):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    if recipe.desk is not None:
        os.environ[DESK] = recipe.desk
    else:
        os.environ.pop(DESK, None)


def load_registry(recipe: Recipe) -> ToolRegistry:
    """Raises UsageError for a module that does not import, InvalidToolError for tools that cannot work."""
    own = [thing for spec in recipe.tools for thing in load_tools(spec)]
    if recipe.mcp is not None:
        own += servers(recipe.mcp).tools
    registry = ToolRegistry(own)
    if not recipe.bundled:
        return registry
    return ToolRegistry([*registry.values(), *(one for one in examples.tools() if one.name not in registry)])


@functools.cache
def servers(path: str) -> MCPServers:
    """Of one file, once in this process, at whose end they end too. Raises UsageError when the extra is not installed."""
    from agent_graph.tools.mcp import MCPServers

    return MCPServers.load(path)


def load_secrets(recipe: Recipe) -> dict[str, str]:
    """What MCP servers are sent as headers; kept out of whatever is written down."""
    return {} if recipe.mcp is None else servers(recipe.mcp).secrets


def names_bundled_tools(plan_tools: set[str]) -> bool:
    """Whether any of these is a bundled tool."""
    return bool(plan_tools & {one.name for one in examples.tools()})


def load_policy(recipe: Recipe) -> Policy:
    return Policy.default() if recipe.policy is None else Policy.load(recipe.policy)


def load_limits(recipe: Recipe) -> Limits:
    """Raises InvalidDocument."""
    return Limits() if recipe.limits is None else read_document(recipe.limits, Limits)


def load_models(recipe: Recipe) -> Models:
    """What the file says, and over it what the environment does: as it was at the start of the run, and over that as it is now.

    Raises InvalidDocument and UsageError.
    """
    base = Models() if recipe.models is None else Models.of(recipe.models)
    return Models.from_env({**recipe.environment, **variables(os.environ)}, base)


def load_blueprints(recipe: Recipe) -> dict[str, Blueprint]:
    """By name. Raises InvalidDocument, and UsageError for a name that two of them have."""
    found: dict[str, Blueprint] = {}
    for path in recipe.blueprints:
        blueprint = read_document(path, Blueprint)
        if found.setdefault(blueprint.name, blueprint) != blueprint:
            raise UsageError(f"{path}: another blueprint is called {blueprint.name!r}, too; give each a name of its own")
    return found


def agent_of(recipe: Recipe, registry: ToolRegistry, planner: Any, store: Store) -> AgentGraph:
    """The agent of a run. Raises UsageError and InvalidDocument for what of it cannot be made."""
    from agent_graph.agent import AgentGraph

    return AgentGraph(
        registry,
        planner=planner,
        policy=load_policy(recipe),
        limits=load_limits(recipe),
        store=store,
        secrets=load_secrets(recipe),
        models=load_models(recipe),
        mode=recipe.mode,
        granularity=recipe.granularity,
        blueprints=load_blueprints(recipe).values(),
    )


def check_tools(plan: Plan | None, ended: set[str], registry: ToolRegistry, run_id: str) -> None:
    """A run that goes on without one of its tools would fail for good, so it is refused before it goes on."""
    if plan is None:
        return
    missing = sorted({step.tool for step in plan.steps if step.tool and step.id not in ended} - registry.keys())
    if missing:
        raise UsageError(
            f"run {run_id} needs tools that are not here: {', '.join(missing)}; give them with --tools MODULE or --tools FILE.py. "
            "Nothing was done."
        )
