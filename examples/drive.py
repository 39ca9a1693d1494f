"""What the examples share: a model (a real one where there is a key, else a script), and a run that pauses here and goes on there."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent_graph import AgentGraph, AgentGraphError, Approve, Reject, Request, Respond, Run
from agent_graph.events import Drafted, Event, Token
from agent_graph.model_server import ModelServer, Script
from agent_graph.trace.render import event_line, value_lines

EXIT = {"succeeded": 0, "paused": 3}
"""Exit codes, as the command line has them; 1 is everything else."""


@contextmanager
def model(script: Script) -> Iterator[str]:
    """The model's name. With OPENAI_API_KEY it is a real one ($AGENT_GRAPH_MODEL); without, a server on loopback that replies as scripted."""
    if os.environ.get("OPENAI_API_KEY"):
        yield os.environ.get("AGENT_GRAPH_MODEL", "openai:gpt-5-mini")
        return
    with ModelServer(script) as server:
        os.environ |= {"OPENAI_API_KEY": "there-is-no-key", "OPENAI_BASE_URL": server.url}
        try:
            print(f"no OPENAI_API_KEY: the model's replies are scripted, at {server.url}; all else is real")
            yield "openai:scripted"
        finally:
            del os.environ["OPENAI_API_KEY"], os.environ["OPENAI_BASE_URL"]


def arguments(about: str | None) -> argparse.Namespace:
    """RUN and a decision, or nothing for a new run."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", metavar="RUN", help="go on with this run; the beginning of its id is enough")
    said = parser.add_mutually_exclusive_group()
    said.add_argument("--approve", action="store_true", help="yes, to exactly what was shown")
    said.add_argument("--reject", metavar="WHY", help="no")
    said.add_argument("--answer", metavar="TEXT", help="the answer to a question")
    parser.add_argument("--folder", type=Path, default=Path(".agent-graph"), help="where the runs and what they work on are kept")
    args = parser.parse_args()
    if args.run is None and (args.approve or args.reject or args.answer):
        parser.error("say of which run")
    args.folder = args.folder.absolute()
    args.folder.mkdir(parents=True, exist_ok=True)
    return args


def drive(args: argparse.Namespace, agent: AgentGraph, start: Callable[[], Iterator[Event]]) -> int:
    """Start a run, or go on with the one that is named; show what happens, what waits and what came of it. Returns the exit code."""
    try:
        if args.run is None:
            run_id = _watch(start())
        else:
            paused = agent.get(args.run)
            run_id = paused.id
            _watch(agent.stream_resume(run_id, _decision(args, paused), by=os.environ.get("USER", "somebody")))
    except AgentGraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    run = agent.get(run_id)
    _tell(run, args)
    return EXIT.get(run.status, 1)


def _decision(args: argparse.Namespace, run: Run) -> dict[str, Approve | Reject | Respond] | None:
    """For the request that has waited longest."""
    said = Approve() if args.approve else Reject(reason=args.reject) if args.reject else Respond(text=args.answer) if args.answer else None
    return {run.requests[0].id: said} if said and run.requests else None


def _watch(events: Iterator[Event]) -> str:
    run_id, since = "", None
    for event in events:
        run_id, since = event.run_id, event.at if since is None else since
        if isinstance(event, Token | Drafted):
            continue  # as it is written; what it amounts to comes after it
        print(event_line(event, since), flush=True)
    return run_id


def _tell(run: Run, args: argparse.Namespace) -> None:
    print(f"\n{run}")
    if run.requests:
        _ask(run.requests[0], run, args)
    if run.answer is not None:
        print("\n".join(value_lines(run.answer)))
    for role, used in run.usage.items():
        if isinstance(used, dict):
            print(f"{role}: requests {used['requests']}, tokens read {used['input_tokens']}, written {used['output_tokens']}")


def _ask(request: Request, run: Run, args: argparse.Namespace) -> None:
    print(f"\nwaits for you: {request.question or request.tool or request.kind} — {request.reason}")
    for call in request.calls or ((request,) if request.tool else ()):
        print(f"  {call.tool} ({call.risk})")
        print("\n".join(value_lines(call.args or {}, "    ")))
    for source in request.sources:
        print(f"  {source}")
    if request.choices:
        print(f"  one of: {', '.join(request.choices)}")
    if request.proposed is not None:
        print(f"  proposed: {request.proposed}")
    same = [] if args.folder == Path(".agent-graph").absolute() else ["--folder", str(args.folder)]
    words = ["--approve", "--reject WHY"] if request.kind != "question" or request.proposed is not None else []
    words += ["--answer TEXT"] if request.kind == "question" else []
    for word in words:
        print(" ".join(["go on with: python", sys.argv[0], run.id[:8], *same, word]))
