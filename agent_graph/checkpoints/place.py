"""Where a store is unless one is named: apart, so that printing a command line loads no store."""

from __future__ import annotations

from pathlib import Path

DEFAULT_PATH = Path(".agent-graph/runs.db")
