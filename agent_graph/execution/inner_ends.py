"""Why the loop of an ``agent`` step ends before its model says so. They are no errors: the step knows what to make of each."""

from __future__ import annotations

from agent_graph.execution.outcome import Later, Waits


class Stopped(Exception):
    """The step goes no further in this visit."""

    def __init__(self, came: Waits | Later) -> None:
        super().__init__()
        self.came = came


class Bound(Exception):
    """The step has reached what it may use; says what."""


class Overspent(Exception):
    """What comes next does not fit into what the run may still use; says why."""
