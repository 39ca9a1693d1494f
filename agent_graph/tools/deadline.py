"""How long a tool may take by itself, so that it can end its call in order before the executor gives it up."""

from __future__ import annotations

import time


def seconds_left(deadline: float, most: float) -> float:
    """At most ``most``; less when ``deadline`` (seconds since the epoch; 0: none) is near, by a little more than an orderly end takes."""
    if not deadline:
        return most
    left = deadline - time.time()
    return max(0.0, min(most, left - min(2.0, left / 4)))
