"""A question to a folder of documents: facts with quotes that are looked up, notes after a yes, and an answer whose claims are held against them.

python examples/research/run.py                  a new run; it stops before the notes are written
python examples/research/run.py RUN --approve    any time later, in any process
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from drive import arguments, drive, model
from research.library import tools
from research.models import models
from research.script import reply

from agent_graph import AgentGraph, Goal
from agent_graph.plan import Judge

DOCUMENTS = HERE.parents[1] / "docs" / "adr"
"""Decisions of this very project: real documents, about which nothing was made up."""

QUESTION = Goal(
    text="Why are calls made in worker processes, what was decided, and what was given up for it? Keep what you find in notes/workers.md.",
    constraints=("say nothing that the documents do not say",),
    success_criteria=(Judge(judge="It is said what was decided, and what was given up for it."),),
)


def main() -> int:
    args = arguments(__doc__)
    (args.folder / "notes").mkdir(exist_ok=True)
    with model(reply) as spec:
        own = tools(DOCUMENTS, args.folder / "notes")
        with AgentGraph(own, models=models(spec), store=args.folder / "runs.db") as agent:
            return drive(args, agent, lambda: agent.stream(QUESTION))


if __name__ == "__main__":
    sys.exit(main())
