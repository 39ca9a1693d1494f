"""Why was it slow? Logs first, and when they are empty, the latency; then a ticket, after a yes.

python examples/incident/run.py                  a new run; it stops before the ticket
python examples/incident/run.py RUN --approve    any time later, in any process
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from drive import arguments, drive, model
from incident.operations import tools
from incident.script import reply

from agent_graph import AgentGraph

GOAL = "The checkout was reported slow in the evening of 18 March 2014. Find out why, and open a ticket with what you found."
PARAMS = {
    "service": "checkout",
    "since": "2014-03-18T20:00:00Z",
    "until": "2014-03-19T00:00:00Z",
    "latency": "ec2_request_latency_system_failure",
}


def main() -> int:
    args = arguments(__doc__)
    with model(reply) as spec, AgentGraph(tools(args.folder / "tickets.db"), planner=spec, store=args.folder / "runs.db") as agent:
        return drive(args, agent, lambda: agent.stream(GOAL, params=PARAMS))


if __name__ == "__main__":
    sys.exit(main())
