"""Agent steps in processes that are killed with SIGKILL, and gates that are answered from other processes. Effects are counted in a log of the
tools' own; the model is a server in this process that says something else each time it is asked."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent_graph.model_server import Asked, ModelServer, Reply, calls

WORLD = """
import os, random, signal, sys, time
from pathlib import Path
from agent_graph import AgentGraph, Absent, Approve, Landed, Plan, Policy, Step, ToolContext, tool
from agent_graph.verdicts import Resolve
from agent_graph.checkpoints.conversations import Conversations
from agent_graph.checkpoints.ledger import Ledger
import agent_graph.execution.agent_step, langchain_openai            # loaded once, before anything is forked

LOG, PAST = Path("world.log"), Path("past.log")
RUN = "11111111-1111-4111-8111-111111111111"
chosen = None

def say(line):
    with LOG.open("a") as log:
        log.write(line + "\\n")
        log.flush()

def said(line):
    return LOG.exists() and any(each.startswith(line + " ") for each in LOG.read_text().splitlines())

def seam(name):
    if name == chosen:
        with PAST.open("a") as past:
            past.write(name + "\\n")
        os.kill(os.getpid(), 9)

nth = {}
def count(name):
    nth[name] = nth.get(name, 0) + 1
    return nth[name]

def around(owner, name, what):
    real = getattr(owner, name)
    def around_it(self, *args, **kwargs):
        which = what(*args, **kwargs)
        seam(f"before {which}")
        made = real(self, *args, **kwargs)
        seam(f"after {which}")
        return made
    setattr(owner, name, around_it)

around(Conversations, "add", lambda lease, key, number, messages: f"message {number}")
around(Ledger, "begin", lambda lease, intent, approval: f"intent {intent.step_id}")
around(Ledger, "finish", lambda lease, key, state, result, **more: f"outcome {result.step_id}")

@tool(risk="read_only")
def look(name: str) -> str:
    return name

def made(kind, ctx, name):
    seam(f"before {ctx.step_id}")
    if kind != "keyed" or not said(f"keyed {ctx.idempotency_key}"):       # the receiver deduplicates by key
        say(f"{kind} {ctx.idempotency_key} {name}")
    seam(f"after {ctx.step_id}")
    return f"made {name}"

@tool(risk="write", recovery="keyed")
def keyed(ctx: ToolContext, name: str) -> str:
    return made("keyed", ctx, name)

@tool(risk="write", probe=lambda ctx, name: Landed(f"made {name}") if said(f"probeable {ctx.idempotency_key}") else Absent(), timeout=0.3)
def probeable(ctx: ToolContext, name: str) -> str:
    return made("probeable", ctx, name)

@tool(risk="write")
def blind(ctx: ToolContext, name: str) -> str:
    return made("blind", ctx, name)

def agent_of(policy):
    from langchain_openai import ChatOpenAI
    model = ChatOpenAI(model="scripted", base_url=os.environ["OPENAI_BASE_URL"], api_key="none", max_retries=0)
    return AgentGraph([look, keyed, probeable, blind], models={"executor": {"model": model}}, store="runs.db", policy=policy)

def work(kind):
    return Plan(goal="g", steps=(Step(id="work", agent=f"work with {kind}", allowed_tools=(kind, "look")),))

def drive(kind):
    with agent_of(Policy.default() if kind == "keyed" else Policy.allow_all()) as agent:
        if not agent.runs():
            run = agent.run(plan=work(kind), run_id=RUN)
        else:
            run = agent.get(RUN)
            if not run.finished:
                run = agent.resume(RUN)
        while run.status == "paused":
            (request,) = run.requests
            if request.kind == "step":
                run = agent.resume(run, Approve())
                continue
            landed = said(f"{kind} {request.idempotency_key}")
            say(f"asked {request.step_id} x")
            run = agent.resume(run, Resolve(outcome="landed" if landed else "absent"))
        Path("ended").write_text(f"{run.status} {run.answer}")

def gate(kind):
    # one step towards the end: run, or one yes
    with agent_of(Policy.default()) as agent:
        if not agent.runs():
            run = agent.run(plan=work(kind), run_id=RUN)
        else:
            run = agent.get(RUN)
            (request,) = run.requests
            with Path("gates.log").open("a") as log:
                log.write(request.step_id + "\\n")
            run = agent.resume(run, Approve())
        if run.finished:
            Path("ended").write_text(f"{run.status} {run.answer}")

def forked(kind, seam_name=None, seconds=None, what=None):
    global chosen
    child = os.fork()
    if child == 0:
        chosen = seam_name
        try:
            (what or drive)(kind)
        finally:
            os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

if __name__ == "__main__":
    kind, how = sys.argv[1:3]
    if how == "seams":
        for name in sys.argv[3:]:
            forked(kind, name)
    elif how == "gates":
        for _ in range(4):
            forked(kind, what=gate)
        sys.exit(0)
    else:
        dice = random.Random(int(how))
        for _ in range(15):
            if Path("ended").exists():
                break
            forked(kind, seconds=dice.uniform(0.0, 0.5))
    forked(kind)
"""

MESSAGES, CALLS = range(8), range(1, 4)
SEAMS = [
    *(f"{when} message {number}" for number in MESSAGES for when in ("before", "after")),
    *(f"{when} {what}work.{number}" for number in CALLS for what in ("intent ", "", "outcome ") for when in ("before", "after")),
    *(f"{when} outcome work" for when in ("before", "after")),
]
"""Everywhere between two things that an agent step does, in about the order in which they come."""


def in_order(seam: str) -> tuple[float, bool]:
    """Where a seam comes in the run: message 0 opens; then each turn is a reply, a call, and what it gave."""
    when, what = seam.split(" ", 1)
    number = int(what.rpartition(" ")[2].rpartition(".")[2]) if what != "outcome work" else 99
    at = number if what.startswith("message") else 99 if number == 99 else 2 * number - 1 + _WITHIN[what.split("work")[0]]
    return at, when == "after"


_WITHIN = {"intent ": 0.2, "": 0.4, "outcome ": 0.6}


def restless(numbers: Iterator[int]) -> Any:
    """A model that writes three times and ends. Each time that it is asked, it wants to write something else."""

    def said(asked: Asked) -> Reply:
        done = sum(message["role"] == "tool" for message in asked.messages)
        kind = str(asked.messages[1]["content"]).split("work with ")[1].split()[0]
        if done < 3:
            return calls((kind, {"name": f"w{done}-{next(numbers)}"}))
        return calls(("finish", {"answer": "done", "claims": []}))

    return said


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(restless(itertools.count())) as server:
        yield server


def world(place: Path, server: ModelServer, *args: str) -> Counter[str]:
    """What was done, and how often: ``w0`` is the first write, whatever the model called it."""
    (place / "world.py").write_text(WORLD)
    environment = {**os.environ, "OPENAI_BASE_URL": server.url}
    done = subprocess.run(
        [sys.executable, "world.py", *args], cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (place / "ended").exists(), done.stderr
    assert (place / "ended").read_text() == "succeeded done", done.stderr
    lines = (place / "world.log").read_text().splitlines()
    return Counter(line.split()[2].partition("-")[0] for line in lines if not line.startswith("asked"))


ONCE = {"w0": 1, "w1": 1, "w2": 1}


@pytest.mark.parametrize("kind", ["keyed", "blind"])
def test_an_agent_killed_at_each_of_its_boundaries_does_each_effect_once(kind: str, tmp_path: Path, server: ModelServer) -> None:
    """Each of the keyed writes waits for a yes."""
    seams = sorted(SEAMS, key=in_order)
    assert world(tmp_path, server, kind, "seams", *seams) == ONCE
    hit = (tmp_path / "past.log").read_text().splitlines()
    assert set(hit) >= {f"{when} message {number}" for number in (1, 3, 5, 7) for when in ("before", "after")}
    assert len(hit) >= 30, "the run was killed nearly everywhere"
    if kind == "blind":
        asked = [line.split()[1] for line in (tmp_path / "world.log").read_text().splitlines() if line.startswith("asked")]
        assert asked, "only a person can say what a blind effect that was cut off did"


def test_an_effect_of_an_agent_that_was_cut_off_is_probed_for(tmp_path: Path, server: ModelServer) -> None:
    assert world(tmp_path, server, "probeable", "seams", "before work.1", "after work.2", "before outcome work.3") == ONCE


@pytest.mark.parametrize(("kind", "seed"), [("keyed", 1), ("blind", 2)])
def test_an_agent_killed_at_random_moments_does_each_effect_once(kind: str, seed: int, tmp_path: Path, server: ModelServer) -> None:
    assert world(tmp_path, server, kind, str(seed)) == ONCE


def test_writes_of_an_agent_are_approved_one_by_one_each_from_another_process(tmp_path: Path, server: ModelServer) -> None:
    done = world(tmp_path, server, "keyed", "gates")
    assert done == ONCE
    assert (tmp_path / "gates.log").read_text().split() == ["work.1", "work.2", "work.3"]
    assert len(server.asked) == 4


def test_what_the_model_said_before_the_kill_is_not_asked_for_again(tmp_path: Path, server: ModelServer) -> None:
    world(tmp_path, server, "keyed", "seams", "after message 3", "before work.2", "after work.2", "before message 4")
    assert len(server.asked) == 4, "three writes and the end: each was asked for once"
