"""SQLite's write-ahead log, read past SQLite: where a frame is damaged, SQLite takes the log for ended, and leaves out all that follows.

The format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from pathlib import Path

HEADER, FRAME = 32, 24
"""Bytes of the log's header, and of each frame's, which a page follows."""

_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
"""And in which order of bytes the checksums read their words."""

_ALL = 0xFFFFFFFF


def left_out(log: Path) -> int:
    """How many commits stand in the log behind a frame that is damaged. 0: none, as after any crash of a process.

    What a crash leaves at the end of the log was never committed, and is not counted.
    """
    content = log.read_bytes() if log.exists() else b""
    if len(content) <= HEADER:
        return 0
    magic, _, page_size, _, *salts_and_sums = struct.unpack(">8I", content[:HEADER])
    salts, sums = tuple(salts_and_sums[:2]), tuple(salts_and_sums[2:])
    order = _MAGIC.get(magic, "")
    if not order or _summed(content[: HEADER - 8], (0, 0), order) != sums:
        return 1  # how many cannot be told
    frames = range(HEADER, len(content) - FRAME - page_size + 1, FRAME + page_size)
    for number, at in enumerate(frames):
        head, page = content[at : at + FRAME], content[at + FRAME : at + FRAME + page_size]
        _, _, salt1, salt2, sum1, sum2 = struct.unpack(">6I", head)
        sums = _summed(head[:8] + page, sums, order)
        if (salt1, salt2) != salts or (sum1, sum2) != sums:
            return sum(_commits(content, later, salts) for later in frames[number + 1 :])
    return 0


def _commits(content: bytes, at: int, salts: tuple[int, ...]) -> bool:
    """Whether a frame ends a transaction of this log. Frames of an earlier use of the file have other salts."""
    _, pages, salt1, salt2 = struct.unpack(">4I", content[at : at + 16])
    return pages != 0 and (salt1, salt2) == salts


def _summed(content: bytes, sums: tuple[int, ...], order: str) -> tuple[int, int]:
    one, two = sums
    for first, second in struct.iter_unpack(f"{order}2I", content):
        one = (one + first + two) & _ALL
        two = (two + second + one) & _ALL
    return one, two
