"""The HTTP side: one request, one reply."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from agent_graph.model_server.asked import Asked
from agent_graph.model_server.replies import Reply, chunks, completion, problem

NONE: Mapping[str, str] = {}


class Listener(ThreadingHTTPServer):
    answer: Callable[[bytes], tuple[Asked, Reply]]


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # one request a connection: nothing is left open when the server closes
    server: Listener

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.endswith("/chat/completions"):
            return self._send(404, problem(f"{self.path} is not served here; POST …/v1/chat/completions is"))
        try:
            asked, said = self.server.answer(raw)
            streamed = bool(asked.body.get("stream"))
        except ValueError as error:
            return self._send(400, problem(f"the body is no JSON object: {error}"))
        time.sleep(said.delay_s)
        if said.status != 200:
            return self._send(said.status, problem(said.text or ""), said.headers)
        if streamed:
            return self._stream(chunks(asked, said), said)
        return self._send(200, completion(asked, said), said.headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] = NONE) -> None:
        with contextlib.suppress(OSError):  # whoever asked may have gone, after a timeout of its own
            self._begin(status, {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers})
            self.wfile.write(body)

    def _stream(self, pieces: Iterable[bytes], said: Reply) -> None:
        with contextlib.suppress(OSError):
            self._begin(200, {"Content-Type": "text/event-stream", **said.headers})
            for piece in pieces:
                self.wfile.write(piece)
                time.sleep(said.pause_s)

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...
