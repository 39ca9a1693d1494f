"""A server on loopback that speaks OpenAI's chat completions and replies as scripted: for examples without a key, tests and benches.

It stands where a model would be and is none. Everything on the way to it is real: the client, HTTP, retries, streaming. What it was sent is
kept as it came, so that a test can say what a model would have read, and how much of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Self

from agent_graph.errors import UsageError
from agent_graph.model_server.asked import Asked, data
from agent_graph.model_server.replies import Reply, Said, calls, failure, reply_of
from agent_graph.model_server.wire import Connection, Listener

__all__ = ["Asked", "ModelServer", "Reply", "Said", "Script", "calls", "data", "failure"]

NO_MORE = 418
"""The status of a request beyond the script; no client repeats it."""

Script = Callable[[Asked], Said] | Iterable[Said | Callable[[Asked], Said]]


class ModelServer:
    """``script``: a function from a request to a reply, or replies (and such functions) one after another.

    A context manager; it listens on a free port of 127.0.0.1. ``url`` is what OPENAI_BASE_URL or ``base_url`` wants, ``asked`` every request.
    """

    def __init__(self, script: Script = ()) -> None:
        self._function = script if callable(script) else None
        self._script = [] if callable(script) else list(script)
        self._lock = threading.Lock()
        self.asked: list[Asked] = []
        self._server = Listener(("127.0.0.1", 0), Connection)
        self._server.answer = self._answer
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="model-server", daemon=True)
        self._thread.start()

    def says(self, *more: Said | Callable[[Asked], Said]) -> None:
        """Add to the script."""
        if self._function is not None:
            raise UsageError("this server's script is a function; it has an answer to everything, so nothing can be added")
        with self._lock:
            self._script += more

    @property
    def left(self) -> int:
        """Replies of the script that nobody asked for yet."""
        return len(self._script)

    @property
    def sent(self) -> int:
        """Bytes of input in all requests, as they came."""
        return sum(len(each.input) for each in self.asked)

    @property
    def new(self) -> int:
        """Of these, the bytes after the longest beginning that an earlier request had: what no prefix cache can hold."""
        fresh = 0
        for index, each in enumerate(self.asked):
            known = max((_shared(each.input, before.input) for before in self.asked[:index]), default=0)
            fresh += len(each.input) - known
        return fresh

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, raw: bytes) -> tuple[Asked, Reply]:
        """Raises ValueError for what is no request; it takes no reply from the script."""
        asked = Asked(raw, time.monotonic())
        _ = asked.body
        with self._lock:
            self.asked.append(asked)
            said = self._function or (self._script.pop(0) if self._script else None)
        if said is None:
            return asked, failure(NO_MORE, "the script is at its end")
        try:
            return asked, reply_of(said(asked) if callable(said) else said)
        except Exception as error:  # of the script: said to whoever asked, or a client would only see a lost connection
            return asked, failure(NO_MORE, f"the script failed: {type(error).__name__}: {error}")


def _shared(one: bytes, other: bytes) -> int:
    """Bytes that both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low
