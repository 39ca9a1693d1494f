"""What a process under attack does: begin the run or go on with it, answer what waits, and end."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import agent_graph.checkpoints.leases as leases
from agent_graph import AgentGraph, Approve, Policy, Request, Resolve, Run
from agent_graph.checkpoints.ledger import Ledger
from agent_graph.cli.recipe import Recipe
from agent_graph.errors import UnknownRun
from agent_graph.state import FINISHED

from .case import Case
from .plans import make_plan
from .seams import Death, Seams, watch_commits
from .world import HERE, TOOLS, WORKER, Here, World

RUN = "11111111-1111-4111-8111-111111111111"
STORE = "runs.db"
LOG = "world.log"

Tell = Callable[[dict[str, Any]], None]


def settle_in(case: Case, place: Path, drive: int, death: Death | None, tell: Tell) -> Here:
    """Everything of this process that must not have been there before the fork."""
    os.chdir(place)
    here = Here(
        world=World(place / LOG, drive),
        seams=Seams(death, lambda seam: tell({"seam": seam})),
        chance=random.Random(f"{case.seed} {case.name} {drive}"),
        probe_answers=case.fault != "no probe",
        keys_hold=case.fault != "new keys",
        effects_happen=case.fault != "no effects",
    )
    HERE.append(here)
    os.environ[WORKER] = f"{place / LOG}@{drive}"
    watch_commits(here.seams)
    if case.fault == "no intents":
        Ledger.begin = lambda self, lease, intent, approval: 1  # type: ignore[method-assign]
    if case.fault == "no lease":
        vars(leases)["alive"] = lambda owner, expires, now: False
    return here


def agent_of(case: Case, here: Here) -> AgentGraph:
    def answer(run: Run) -> Any:
        time.sleep(here.chance.uniform(0.0005, 0.004))  # the person thinks
        here.seams.reached("gate.waiting")
        return decisions(case, here, run) or None

    return AgentGraph(
        TOOLS,
        planner=make_plan(case.shape, case.mix, in_worker=case.in_worker) if case.by.startswith("graph") else None,
        policy=Policy.default() if case.gates else Policy.allow_all(),
        store=STORE,
        on_waiting=answer if case.stays else None,
    )


def decisions(case: Case, here: Here, run: Run) -> dict[str, Any]:
    """Yes to all that asks for leave, and the truth about what is in doubt: whoever answers looks at the world."""
    return {} if case.fault == "no answers" else {request.id: _decide(here, request) for request in run.requests}


def _decide(here: Here, request: Request) -> Approve | Resolve:
    if request.kind != "in_doubt":
        return Approve()
    step = str(request.step_id)
    here.world.write("parked", step, request.id)
    return Resolve(outcome="landed", output=step) if here.world.happened(step) else Resolve(outcome="absent")


def drive(case: Case, place: Path, number: int, death: Death | None, tell: Tell) -> dict[str, Any]:
    here = settle_in(case, place, number, death, tell)
    with agent_of(case, here) as agent:
        run = by_graph(case, here, agent) if case.by.startswith("graph") else by_agent(case, here, agent, place)
        diagnosis = run.diagnosis.model_dump() if run.diagnosis else None
        return {"status": run.status, "waits": [request.kind for request in run.requests], "diagnosis": diagnosis}


def by_agent(case: Case, here: Here, agent: AgentGraph, place: Path) -> Run:
    try:
        run = agent.get(RUN)
    except UnknownRun:
        given: dict[str, Any] = {
            "plan": make_plan(case.shape, case.mix, in_worker=case.in_worker),
            "run_id": RUN,
            "metadata": metadata_of(place),
        }
        return asyncio.run(agent.arun(**given)) if case.by == "arun" else agent.run(**given)
    if run.status in FINISHED:
        return run
    decided = decisions(case, here, run) or None
    return asyncio.run(agent.aresume(RUN, decided)) if case.by == "arun" else agent.resume(RUN, decided)


def by_graph(case: Case, here: Here, agent: AgentGraph) -> Run:
    """As LangGraph's documentation says: with input while there is no checkpoint, without it from then on. A decision goes through us."""
    made = [agent.get(run.id) for run in agent.runs()]
    if made and made[0].status in FINISHED:
        return made[0]
    if made and made[0].status == "paused":
        return agent.resume(made[0].id, decisions(case, here, made[0]) or None)
    config: Any = {"configurable": {"thread_id": RUN}}
    begun = agent.graph.get_state(config).created_at is not None
    durability: Any = case.by.removeprefix("graph ")
    agent.graph.invoke(None if begun else {"goal": "carry it out"}, config, durability=durability)
    (run,) = agent.runs()
    return agent.get(run.id)


def metadata_of(place: Path) -> dict[str, Any]:
    """So that the command line can go on with the run."""
    return Recipe(cwd=str(place), tools=(f"{__package__}.world:TOOLS",), policy=str(place / "policy.yaml")).metadata()
