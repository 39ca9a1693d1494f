"""Which of LangGraph's checkpoints of a run are kept. Each holds the whole state, conversation included, so that keeping all of them costs
the square of what was said.

The ledger is the truth and is never pruned: what a dropped checkpoint takes along is a point in time to look at or to fork from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Bounds of one thread (in a larger graph: of one visit of our node). A checkpoint is only ever dropped when a newer one is there."""

    drives: int = 10
    """Of so many earlier drives, each begun by an input, the last checkpoint is kept: the end of the run, or the gate where it stopped."""
    checkpoints: int = 100
    """Of the drive under way, so many of the newest are kept."""
    every: int = 25
    """The drive under way is looked at once in so many checkpoints; in between there are that many more."""

    def __post_init__(self) -> None:
        if self.drives < 0 or self.checkpoints < 1 or self.every < 1:
            raise ValueError(
                "keep at least one checkpoint, and look at them at least now and then: drives >= 0, checkpoints >= 1, every >= 1"
            )

    def superseded(self, history: Sequence[tuple[str, bool]]) -> list[str]:
        """The ids that may go, of a thread's checkpoints from the oldest to the newest: each an id, and whether an input came with it."""
        inputs = [index for index, (_, is_input) in enumerate(history) if is_input] or [0]
        # What stands before the first input that is left was the end of its drive when that was looked at before.
        ends = [*range(inputs[0]), *(index - 1 for index in inputs[1:])]
        newest = range(max(inputs[-1] + 1, len(history) - self.checkpoints), len(history))
        kept = {*ends[max(0, len(ends) - self.drives) :], inputs[-1], *newest}
        return [checkpoint_id for index, (checkpoint_id, _) in enumerate(history) if index not in kept]


DEFAULT = Retention()
