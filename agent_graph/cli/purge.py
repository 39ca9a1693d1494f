"""``agent-graph purge``: remove runs that have ended, and give their space back. Does not load LangGraph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from agent_graph.checkpoints.database import parts_of
from agent_graph.checkpoints.owners import new_owner
from agent_graph.checkpoints.place import DEFAULT_PATH
from agent_graph.checkpoints.purge import choose
from agent_graph.checkpoints.store import SqliteStore
from agent_graph.cli.exits import SUCCEEDED
from agent_graph.cli.options import AsJson, StorePath
from agent_graph.cli.output import STYLES, Out
from agent_graph.cli.program import command
from agent_graph.errors import StoreError, UsageError
from agent_graph.records import RunRecord
from agent_graph.trace.amounts import byte_size, when
from agent_graph.visible import visible

SHOWN = 20
"""Runs that are listed; of more, the number is said."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def purge(
    context: typer.Context,
    runs: Annotated[list[str] | None, typer.Argument(metavar="RUN...", help="Runs, each by the beginning of its id.")] = None,
    finished: Annotated[bool, typer.Option("--finished", help="Every run that has ended.")] = False,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Every run that ended so long ago: 30d, 12h, 2w.")
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Only LangGraph's checkpoints of these runs, ended or not; all else stays.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StorePath = str(DEFAULT_PATH),
    as_json: AsJson = False,
) -> int:
    """Remove runs that have ended: plans, results, approvals, trace and checkpoints. There is no way back.

    A run that has not ended is refused. Of a thread with several runs, --finished and --older-than leave the newest as long as another
    one stays. The file is written anew without what was removed, and the space goes back to the disk.

    With --checkpoints a run itself stays, and one that has not ended goes on from the ledger: the way on when a checkpoint is damaged.

    \b
      agent-graph purge --older-than 30d --dry-run
      agent-graph purge --finished --yes
      agent-graph purge 3f2a 9c1e
      agent-graph purge 3f2a --checkpoints --yes
    """  # noqa: D301
    out = Out.of(context, as_json=as_json)
    named = runs or []
    if bool(named) == (finished or older_than is not None):
        raise UsageError(
            "say which runs by id, or --finished, or --older-than 30d" if not named else "name runs, or choose them by --finished; not both"
        )
    if checkpoints and not named:
        raise UsageError("--checkpoints is for runs that are named")
    age = seconds_of(older_than) if older_than is not None else 0.0
    with SqliteStore(store, must_exist=True) as opened:
        if checkpoints:
            found = [opened.runs.get(opened.runs.find(prefix)) for prefix in dict.fromkeys(named)]
        else:
            found = choose(opened, named=named, finished=not named, updated_before=opened.clock.now() - age if age else None)
        if not out.json:
            say_chosen(out, found, store, checkpoints=checkpoints)
        if dry_run or not (found or yes):
            return done(out, found, removed=0, freed=0)
        if not yes:
            ask(out, len(found))
        return remove(out, opened, found, checkpoints=checkpoints)


def remove(out: Out, store: SqliteStore, found: Sequence[RunRecord], *, checkpoints: bool) -> int:
    before = store.size()
    if checkpoints:
        for record in found:
            lease = store.leases.acquire(record.id, new_owner())
            try:
                store.drop_checkpoints(lease)
            finally:
                store.leases.release(lease)
    else:
        store.purge([record.id for record in found])
    try:
        store.reclaim()
    except StoreError as error:
        out.text(f"removed, but not overwritten yet, and the space was not given back; the same command does that later: {error}", "yellow")
    return done(out, found, removed=len(found), freed=max(0, before - store.size()))


def done(out: Out, found: Sequence[RunRecord], *, removed: int, freed: int) -> int:
    if out.json:
        chosen = [{"id": record.id, "status": record.status, "goal": record.goal.text, "updated": record.updated} for record in found]
        out.document({"runs": chosen, "removed": removed, "bytes_freed": freed})
    elif removed or freed:
        out.say(f"removed {runs_of(removed)}, {byte_size(freed)} given back to the disk")
    return SUCCEEDED


def say_chosen(out: Out, found: Sequence[RunRecord], store: str, *, checkpoints: bool) -> None:
    if not found:
        out.say(f"nothing to remove in {parts_of(store)[0]}; what is there: {command('runs', store=store)}")
        return
    out.say(f"{'LangGraph checkpoints of ' if checkpoints else ''}{runs_of(len(found))}:")
    for record in found[:SHOWN]:
        out.say(f"  {record.id[:8]}  {record.status:<9}  {when(record.updated)}  {visible(record.goal.text)}", STYLES[record.status])
    if len(found) > SHOWN:
        out.say(f"  … and {len(found) - SHOWN} more", "dim")


def ask(out: Out, count: int) -> None:
    if not out.asks:
        raise UsageError(f"nobody can be asked here; add --yes to remove {runs_of(count)}, or --dry-run to only look. Nothing was removed")
    if not typer.confirm(f"Remove {runs_of(count)} for good?"):
        raise UsageError("nothing was removed")


def runs_of(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"


def seconds_of(age: str, option: str = "--older-than") -> float:
    """``30d`` → seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", age.strip())
    if found is None:
        raise UsageError(f"{option} {age!r} is not an age; write a number and a unit: 90m, 12h, 30d, 2w")
    return float(found[1]) * UNITS[found[2]]
