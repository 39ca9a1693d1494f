"""Durations as people write them."""

import re

UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text):
    """``1h30m`` as 5400. Raises ValueError for what is no duration."""
    if not re.fullmatch(r"(\d+[smh])+", text):
        raise ValueError(f"{text!r} is no duration; write it like 1h30m")
    total = 0
    for amount, unit in re.findall(r"(\d+)([smh])", text):
        total = int(amount) * UNITS[unit]
    return total
