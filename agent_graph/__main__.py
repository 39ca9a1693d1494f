"""``python -m agent_graph`` is ``agent-graph``."""

from __future__ import annotations

import sys

from agent_graph.cli import main

if __name__ == "__main__":
    sys.exit(main())
