"""What a program says, in bounded memory: its beginning and its end are kept, and what was between them is counted."""

from __future__ import annotations

from agent_graph.redaction import OVERLAP, Redaction


class Captured:
    """At most ``most`` bytes are given back. Somewhat more is kept, so that a secret that the cut would split is found whole."""

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._room = self._half + OVERLAP
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = self._room - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[max(0, room) :]
        if len(self._tail) > 2 * self._room:
            del self._tail[: -self._room]

    @property
    def whole(self) -> bytes | None:
        """All of it, or None when it is longer than may be."""
        return bytes(self._head + self._tail) if self.total <= 2 * self._half else None

    def text(self, redaction: Redaction) -> tuple[str, int]:
        """As text without secrets, and how many bytes were left out of its middle."""
        if self.total <= 2 * self._half:
            return redaction.text(_decoded(self._head + self._tail)), 0
        if self.total <= 2 * self._room:  # nothing was dropped yet
            whole = bytes(self._head + self._tail)
            first, last = whole[: self._room], whole[-self._room :]
        else:
            first, last = bytes(self._head), bytes(self._tail[-self._room :])
        begin = redaction.text(_decoded(first)).encode()[: self._half]
        end = redaction.text(_decoded(last)).encode()[-self._half :]
        left_out = self.total - 2 * self._half
        return f"{begin.decode('utf-8', 'ignore')}\n… {left_out:,} bytes were left out here …\n{end.decode('utf-8', 'ignore')}", left_out


def _decoded(raw: bytes | bytearray) -> str:
    return raw.decode("utf-8", "replace")
