"""Times and sizes as people read them."""

from __future__ import annotations

from datetime import datetime


def when(at: float) -> str:
    """A moment in local time, with its offset."""
    return datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")


def seconds(value: float) -> str:
    """``0.12 s``, ``3.4 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if value < 1:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def byte_size(count: int) -> str:
    """``512 B``, ``3.4 kB``, ``135 MB``."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
