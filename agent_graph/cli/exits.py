"""Exit codes."""

from __future__ import annotations

SUCCEEDED, FAILED, USAGE, PAUSED, BUSY, INTERRUPTED = 0, 1, 2, 3, 4, 130
