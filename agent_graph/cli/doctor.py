"""``agent-graph doctor``: a look at a store that changes nothing in it. Does not load LangGraph."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from agent_graph.checkpoints.findings import Finding, Health, Severity, Verdict
from agent_graph.checkpoints.health import examine
from agent_graph.checkpoints.keys import HOW_TO_MAKE, Keys, keys_of_environment
from agent_graph.checkpoints.migrations import LATEST
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.seal_store import seal_store
from agent_graph.checkpoints.sealing import GIVE_THE_KEY
from agent_graph.cli.exits import FAILED, SUCCEEDED, USAGE
from agent_graph.cli.options import AsJson, StorePath
from agent_graph.cli.output import Out
from agent_graph.cli.program import command
from agent_graph.errors import UsageError
from agent_graph.ports import SystemClock
from agent_graph.trace.amounts import byte_size
from agent_graph.visible import visible

EXIT: dict[Verdict, int] = {"well": SUCCEEDED, "attention": FAILED, "broken": USAGE}

STYLES: dict[Severity, str] = {"broken": "bold red", "attention": "bold yellow", "note": "dim"}

ORDER: tuple[Severity, ...] = ("broken", "attention", "note")


Seal = Annotated[
    bool,
    typer.Option("--seal", help="Seal every row as it stands with the key of the environment; a sealed store, anew with its first key."),
]


def doctor(context: typer.Context, store: StorePath = str(DEFAULT_PATH), seal: Seal = False, as_json: AsJson = False) -> int:
    """Look whether a store is well, and say what to do where it is not. Nothing in it is changed, whatever is wrong with it.

    Looked at: the file and its log, their modes, the schema, runs that nobody drives, effects that were begun and never ended, what
    waits for a person, plans and rows that were changed, seals (with AGENT_GRAPH_STORE_KEY), checkpoints that cannot be read.

    With --seal it writes: every row gets its seal as it stands, and from then on nothing is driven without the key.

    \b
      agent-graph doctor
      agent-graph doctor --store copy.db --json

    Exit: 0 all is well, 1 something needs attention, 2 not a store, or one that cannot be relied on.
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    keys = keys_of_environment(os.environ)
    if seal:
        say_sealed(out, store, keys)
    health = examine(store, SystemClock().now(), keys)
    if out.json:
        out.document(document(health, store))
    else:
        say_health(out, health, store)
    return EXIT[health.verdict]


def say_sealed(out: Out, store: str, keys: Keys) -> None:
    if not keys:
        raise UsageError(f"--seal needs a key, and none is given: {GIVE_THE_KEY}; {HOW_TO_MAKE}")
    rows, before = seal_store(store, keys, SystemClock().now())
    what = "was sealed and is as it was written; its rows are sealed with the first key now" if before else "is sealed from now on"
    out.say(f"{visible(store)} {what}: {rows} row{'s' if rows != 1 else ''}", "bold green")


def say_health(out: Out, health: Health, store: str) -> None:
    out.say(visible(health.path), "bold")
    if health.schema is not None:
        runs = ", ".join(f"{count} {status}" for status, count in health.runs.items()) or "none"
        out.say(f"  schema {health.schema}; runs: {runs}", "dim")
    if health.sizes:
        out.say("  " + ", ".join(f"{part} {byte_size(size)}" for part, size in health.sizes.items() if size), "dim")
    for severity in ORDER:
        for finding in health.findings:
            if finding.severity == severity:
                say_finding(out, finding, store)
    out.say()
    many = sum(finding.severity != "note" for finding in health.findings)
    match health.verdict:
        case "well":
            out.say("all is well", "bold green")
        case "attention":
            out.say(f"{many} thing{'s need' if many != 1 else ' needs'} attention", STYLES["attention"])
        case "broken":
            out.say("this store cannot be relied on", STYLES["broken"])


def say_finding(out: Out, finding: Finding, store: str) -> None:
    out.say()
    out.say(f"{finding.severity}: {visible(finding.what)}", STYLES[finding.severity])
    if finding.do != "nothing":
        out.say(f"  {visible(finding.do)}")
    if finding.command:
        out.say(f"    {command(*finding.command, store=store)}")


def document(health: Health, store: str) -> dict[str, Any]:
    return {
        "store": health.path,
        "verdict": health.verdict,
        "schema": {"found": health.schema, "known": LATEST},
        "runs": dict(health.runs),
        "bytes": dict(health.sizes),
        "findings": [
            {
                "severity": finding.severity,
                "code": finding.code,
                "run_id": finding.run_id,
                "what": finding.what,
                "do": finding.do,
                "command": command(*finding.command, store=store) if finding.command else None,
                "about": dict(finding.about),
            }
            for finding in sorted(health.findings, key=lambda finding: ORDER.index(finding.severity))
        ],
    }
