"""From a topic to a draft in the CMS: confirmed first, written from sources, saved after a yes, read back by the id that the CMS gave.

python examples/content/run.py                  a new run; it asks for topic and audience
python examples/content/run.py RUN --approve    as proposed; then yes to the draft
python examples/content/run.py RUN --answer "…" another topic or audience
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from content import cms, desk
from content.script import reply
from drive import arguments, drive, model

from agent_graph import AgentGraph, Goal

GOAL = "Write a post for our engineering blog from what the desk has in sources/, by the guidance in guidance/style.md, and save it as a draft."
CONSTRAINTS = ("topic and audience are confirmed by a person before anything is written", "nothing is published")


def main() -> int:
    args = arguments(__doc__)
    given = os.environ.get(desk.ADDRESS)
    with model(reply) as spec, nullcontext(given) if given else cms.serving(args.folder / "cms.db") as address:
        os.environ[desk.ADDRESS] = address
        models = {"planner": spec, "executor": spec}
        with AgentGraph(desk.tools(Path(__file__).parent / "desk"), models=models, store=args.folder / "runs.db") as agent:
            return drive(args, agent, lambda: agent.stream(Goal(text=GOAL, constraints=CONSTRAINTS)))


if __name__ == "__main__":
    sys.exit(main())
