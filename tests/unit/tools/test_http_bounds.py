"""Servers that mean no good: bombs, drips, endless headers, lies. Each is a real socket, and each call ends in time and memory that is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent_graph.errors import NotDone
from agent_graph.tools.http import http_tools
from agent_graph.tools.http_exchange import HttpFailed
from agent_graph.tools.tool import Tool, ToolContext

Speak = Callable[[socket.socket], None]
MAX = 10_000


@contextlib.contextmanager
def server(speak: Speak) -> Iterator[int]:
    """One that reads a request's headers and then says what ``speak`` says, to each connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            came = b""
            while b"\r\n\r\n" not in came:
                came += connection.recv(4096)
            speak(connection)

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def asked(speak: Speak, method: str = "GET", **more: Any) -> dict[str, Any]:
    with server(speak) as port:
        made: Tool = http_tools([f"http://127.0.0.1:{port}"], private=True, methods=[method], max_bytes=MAX, **more)[0]  # type: ignore[list-item]
        found: dict[str, Any] = asyncio.run(
            made.call(ToolContext(idempotency_key="k"), {"url": f"http://127.0.0.1:{port}/", "method": method})
        )
        return found


def drip(connection: socket.socket, what: bytes) -> None:
    for n in range(len(what)):
        connection.sendall(what[n : n + 1])
        time.sleep(0.05)


def says(what: bytes) -> Speak:
    return lambda connection: connection.sendall(what)


OK = b"HTTP/1.1 200 OK\r\n"


def packed(body: bytes, encoding: str = "gzip") -> bytes:
    return OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_a_bomb_takes_no_more_memory_than_may_be_kept() -> None:
    """100 MB in 100 kB."""
    bomb = packed(gzip.compress(b"0" * 100_000_000, 9))
    tracemalloc.start()
    try:
        found = asked(says(bomb))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(found["text"]), found["truncated"]) == (MAX, True)
    assert peak < 8_000_000


@pytest.mark.parametrize("length", [MAX - 1, MAX, MAX + 1])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_the_cap_is_on_what_was_unpacked(length: int, encoding: str) -> None:
    body = b"x" * length
    raw = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[encoding](body)  # type: ignore[operator]
    found = asked(says(packed(raw, encoding)))
    assert (len(found["text"]), found["truncated"]) == (min(length, MAX), length > MAX)


def test_an_answer_without_end_is_cut_off() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1000\r\n" + b"y" * 4096 + b"\r\n")

    found = asked(endless)
    assert (found["text"], found["truncated"]) == ("y" * MAX, True)


def test_packed_bytes_that_unpack_to_nothing_are_counted_too() -> None:
    empty = zlib.compressobj(wbits=31)
    header = empty.compress(b"") + empty.flush(zlib.Z_SYNC_FLUSH)

    def endless(connection: socket.socket) -> None:
        connection.sendall(OK + b"Content-Encoding: gzip\r\n\r\n" + header)
        while True:
            connection.sendall(b"\0\0\0\xff\xff" * 1000)  # a block that holds nothing

    began = time.monotonic()
    found = asked(endless)
    assert (found["text"], found["truncated"]) == ("", True)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 200])
def test_what_is_packed_in_a_way_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(HttpFailed, match="not asked for"):
        asked(says(packed(b"x", encoding)))


def test_what_cannot_be_unpacked_is_said() -> None:
    with pytest.raises(HttpFailed, match="cannot be unpacked"):
        asked(says(packed(b"not gzip at all")))


@pytest.mark.parametrize(
    "speak",
    [
        lambda connection: drip(connection, OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000),
        lambda connection: drip(connection, OK + b"X-Header: " + b"x" * 1000),
        lambda connection: drip(connection, b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
        lambda connection: time.sleep(5),
    ],
    ids=["body", "headers", "continue", "silence"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_server_that_drips_is_given_up_at_the_deadline_of_the_whole_call(speak: Speak, method: str) -> None:
    """Each single read is answered in time; all of them together are not."""
    began = time.monotonic()
    with pytest.raises(HttpFailed, match="in its time"):  # after it was sent: nobody says that it was not done
        asked(speak, method, timeout=0.4)
    assert time.monotonic() - began < 2


def test_headers_without_end_are_given_up() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(OK)
        while True:
            connection.sendall(b"X-Header: " + b"x" * 5000 + b"\r\n")

    began = time.monotonic()
    with pytest.raises(HttpFailed):
        asked(endless)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nx",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 999999 \r\n\r\n",
    ],
)
def test_a_server_that_does_not_speak_http_leaves_what_was_sent_in_doubt(said: bytes) -> None:
    with pytest.raises(HttpFailed, match="POST"):
        asked(says(said), "POST")


def test_a_connection_that_is_not_made_in_time_is_nothing_sent() -> None:
    """Nobody accepts, and the queue is full: the deadline comes before the first byte is sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
                waiting.append(one)
            made = http_tools([f"http://127.0.0.1:{port}"], private=True, methods=["POST"], timeout=0.4)[0]
            with pytest.raises(NotDone, match="nothing was sent"):
                asyncio.run(made.call(ToolContext(idempotency_key="k"), {"url": f"http://127.0.0.1:{port}/"}))
        finally:
            for one in waiting:
                one.close()
