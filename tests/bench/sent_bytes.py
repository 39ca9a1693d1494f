"""What a model is sent for a task of k tool calls: by each mode, and by langchain's loop, counted where it arrives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from agent_graph import AgentGraph, Limits
from agent_graph.model_server import ModelServer, Script
from agent_graph.models.roles import Models
from agent_graph.plan import Mode

from . import create_agent_loop
from .measure import Bench, in_child
from .model_task import Task, model_of
from .table import Found, Line

CALLS = (5, 10, 20)
SIZES = (1000, 200)
"""Characters of one output."""
REACH, REACHED_AT = 0.25, 10
LIMITS = Limits(max_steps=100, max_calls=100, max_turns=50)

Sent = tuple[int, int, int]
"""Requests, bytes of input, and of these the bytes that no earlier request began with."""


def counted(server: ModelServer) -> Sent:
    return len(server.asked), server.sent, server.new


def single_shot(task: Task) -> ModelServer:
    """One request for the plan; the answer is what its last step returned."""
    return _run(task, task.planned, "single_shot", "planner")


def summarized(task: Task) -> ModelServer:
    """And one more, in which the summarizer reads what the steps returned and writes the answer."""
    return _run(task, task.planned_and_summarized, "single_shot", "planner", "summarizer")


def iterative(task: Task) -> ModelServer:
    """One request for each step, which shows what the steps before it returned."""
    return _run(task, task.next_step, "iterative", "planner")


def inline(task: Task) -> ModelServer:
    """No plan: the executor's loop, as long as the peer's; each of its calls goes through the pipeline."""
    return _run(task, task.in_a_loop, "inline", "executor")


def _run(task: Task, script: Script, mode: Mode, *roles: str) -> ModelServer:
    """What its server was sent. Raises RuntimeError when the task was not done."""
    with ModelServer(script) as server, TemporaryDirectory() as folder:
        store = Path(folder) / "runs.db"
        with AgentGraph(
            task.tools(), models=Models.of(dict.fromkeys(roles, model_of(server))), mode=mode, limits=LIMITS, store=store
        ) as agent:
            run = agent.run(task.goal)
    if run.status != "succeeded" or task.entry(f"e{task.calls}")["text"] not in json.dumps(run.answer):
        raise RuntimeError(f"{mode} did not do the task: {run.status}, {run.error}, {str(run.answer)[:200]}")
    return server


MODES: dict[str, Callable[[Task], ModelServer]] = {
    "single_shot": single_shot,
    "single_shot and a summarizer": summarized,
    "iterative": iterative,
    "inline": inline,
}
PEER = "create_agent"


def measured(who: str, calls: int, size: int) -> Sent:
    """In a process of its own. Raises RuntimeError when the task was not done."""
    one = create_agent_loop.loop if who == PEER else MODES[who]
    return counted(one(Task(calls, size)))


def rows(bench: Bench) -> Found:
    found = Found()
    for size in SIZES:
        bench.say(f"input sent to a model, outputs of {size} characters")
        peer = [in_child(measured, PEER, calls, size) for calls in CALLS]
        for mode in MODES:
            ours = [in_child(measured, mode, calls, size) for calls in CALLS]
            ratios = [our[1] / their[1] for our, their in zip(ours, peer, strict=True)]
            reach = mode == "single_shot"
            found.lines.append(
                Line(
                    measured=f"input for k calls of {size} characters, {mode}: KB, k = {_cells(CALLS)}",
                    ours=f"{_kb(ours)}; requests {_cells([each[0] for each in ours])}; new {_kb(ours, 2)}",
                    against=f"create_agent {_kb(peer)}; requests {_cells([each[0] for each in peer])}; new {_kb(peer, 2)}",
                    ratio=_cells([f"{ratio:.2f}" for ratio in ratios]),
                    reach=f"k = {REACHED_AT}: ≤ {REACH}" if reach else "–",
                    reached=ratios[CALLS.index(REACHED_AT)] <= REACH if reach else None,
                )
            )
    found.notes.append(
        "Input is counted by the server from the bodies: UTF-8 bytes of messages, tools and the form of the reply; KB are 1000 bytes. "
        "New is what no earlier request began with: a provider that caches beginnings bills the rest at less. Each call needs what the one "
        "before it returned; where calls do not need each other, a loop that makes several in one turn sends less than this one."
    )
    return found


def _kb(sent: list[Sent], at: int = 1) -> str:
    return _cells([f"{each[at] / 1000:.1f}" for each in sent])


def _cells(values: object) -> str:
    assert isinstance(values, list | tuple)
    return " / ".join(map(str, values))
