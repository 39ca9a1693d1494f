"""``agent-graph policy``: try a policy out on a table of calls, and say which rule decided about a step."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli.exits import FAILED, SUCCEEDED
from agent_graph.cli.options import AsJson, RunArgument, StorePath, Tools
from agent_graph.cli.output import Out
from agent_graph.cli.recipe import load_registry, recipe_here
from agent_graph.documents import Document, describe, describe_path, read_text
from agent_graph.errors import InvalidDocument, UsageError
from agent_graph.policy.cases import Case, Tried, try_case
from agent_graph.policy.explanation import explain as explained
from agent_graph.policy.rules import Policy
from agent_graph.trace.render import value_lines
from agent_graph.visible import visible

policy = typer.Typer(add_completion=False, rich_markup_mode=None, invoke_without_command=True)


@policy.callback()
def about(context: typer.Context) -> None:
    """Try a policy out on a table of calls, or see which rule decided."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@policy.command("test")
def try_out(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="POLICY", help="The policy: YAML, TOML or JSON.")],
    cases: Annotated[str, typer.Argument(metavar="CASES", help="A list of calls with the verdicts that are expected.")],
    tools: Tools = [],  # noqa: B006
    as_json: AsJson = False,
) -> int:
    """Run a table of calls with expected verdicts against a policy. No call is made.

    A case says call, expect (allow, ask, deny), and where it matters args, principal, time, risk (where no tools are given), rule (the name of
    the rule that is to decide), and reaches (values from outside: label, into, source).

    \b
      agent-graph policy test policy.yaml cases.yaml
      agent-graph policy test policy.yaml cases.yaml --tools ops.py

    Exit: 0 all as expected, 1 not, 2 a file that cannot be read.
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    held, table = Policy.load(file), read_cases(cases)
    specs = load_registry(recipe_here(tools, None)).specs if tools else {}
    now = time.time()
    tried: list[Tried] = []
    for number, case in enumerate(table, 1):
        try:
            tried.append(try_case(case, held, specs, now))
        except ValueError as error:
            raise UsageError(f"{cases}: case {number}: {error}") from None
    wrong = [one for one in tried if not one.as_expected]
    if out.json:
        out.document(
            {
                "policy": held.name,
                "digest": held.digest,
                "cases": [{**one.model_dump(mode="json"), "as_expected": one.as_expected} for one in tried],
            }
        )
        return FAILED if wrong else SUCCEEDED
    for number, one in enumerate(tried, 1):
        case = one.case
        head = f"{'ok   ' if one.as_expected else 'WRONG'} {number:>3}  {visible(case.call)}  {one.verdict}"
        out.say(f"{head}  by {visible(one.rule) or 'nothing'}", "" if one.as_expected else "bold red")
        if not one.as_expected:
            wanted = f"{case.expect}{f' by {case.rule}' if case.rule else ''}"
            out.say(f"           expected {visible(wanted)}{f' ({visible(case.why)})' if case.why else ''}")
            if one.reason:
                out.say(f"           {visible(one.reason)}")
    out.say(f"{len(tried) - len(wrong)} of {len(tried)} as expected under {visible(held.name)!r} ({held.digest[:12]})", "bold")
    return FAILED if wrong else SUCCEEDED


@policy.command("explain")
def explain(
    context: typer.Context,
    run: RunArgument,
    step: Annotated[str, typer.Argument(metavar="STEP", help="A step's id.")],
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """Say which rule decided about a step's newest call, as it was recorded then.

    \b
      agent-graph policy explain 3f2a refund
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    with SqliteStore(store, must_exist=True) as opened:
        said = explained(opened, opened.runs.find(run), step)
    if out.json:
        out.document(said)
        return SUCCEEDED
    out.say(f"{said.verdict}  {visible(said.decided_by) or 'no rule'}", "bold")
    if said.waits:
        out.say(f"waits for a person: {visible(said.waits)}")
    out.say(f"policy {visible(said.policy)!r}, digest {said.digest or 'not on record'}")
    for rule in said.rules:
        out.say()
        for line in value_lines(rule, "  "):
            out.say(line)
    return SUCCEEDED


def read_cases(path: str) -> tuple[Case, ...]:
    """A list of cases, or a mapping with the list under ``cases``. Raises InvalidDocument with every error at once."""
    document = Document(read_text(path), path)
    value = document.value.get("cases") if isinstance(document.value, dict) else document.value
    at = ("cases",) if isinstance(document.value, dict) else ()
    if not isinstance(value, list) or not value:
        raise InvalidDocument(f"{path}: expected a list of cases, each with call and expect")
    try:
        return TypeAdapter(tuple[Case, ...]).validate_python(value)
    except ValidationError as error:
        said = []
        for one in error.errors(include_url=False):
            place = (*at, *one["loc"])
            line = document.line(place)
            said.append(f"{path}{f', line {line}' if line is not None else ''}: {describe_path(place)}: {describe(one)}")
        raise InvalidDocument("\n".join(said)) from None
