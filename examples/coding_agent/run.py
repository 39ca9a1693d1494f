"""A test fails: the agent finds out why, changes a clone of the project, runs the tests there, and commits after a yes.

python examples/coding_agent/run.py                  a new run; it stops before the commit and shows the whole change
python examples/coding_agent/run.py RUN --approve    the commit goes to the branch agent/fix of the project
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from coding_agent.script import reply
from coding_agent.workshop import make_project, workshop
from drive import arguments, drive, model

from agent_graph import AgentGraph

GOAL = "A test of this project fails. Find out why, repair it with as small a change as possible, and commit the change."


def main() -> int:
    args = arguments(__doc__)
    project, scratch = args.folder / "project", args.folder / "clone"
    if not project.exists():
        make_project(HERE / "project", project)
    tools = workshop(project, scratch)
    with model(reply) as spec:
        models = {"planner": spec, "executor": spec}
        with AgentGraph(tools, models=models, policy=HERE / "policy.yaml", store=args.folder / "runs.db") as agent:
            return drive(args, agent, lambda: agent.stream(GOAL))


if __name__ == "__main__":
    sys.exit(main())
