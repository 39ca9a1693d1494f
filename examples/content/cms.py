"""A small content management system: drafts over HTTP, kept in one SQLite file. What comes twice with one Idempotency-Key is one draft."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_CREATE = "CREATE TABLE IF NOT EXISTS drafts (id TEXT PRIMARY KEY, key TEXT UNIQUE, document TEXT NOT NULL)"


@contextmanager
def serving(file: Path) -> Iterator[str]:
    """Its address, for as long as the block lasts."""
    with closing(sqlite3.connect(file)) as made, made:
        made.execute(_CREATE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Connection", (_Connection,), {"file": file}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Connection(BaseHTTPRequestHandler):
    """``POST /drafts``, ``GET /drafts/ID``, ``GET /drafts?key=KEY``."""

    file: Path

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not document.get("title") or not document.get("body"):
            return self._send(422, {"problem": "a draft needs a title and a body"})
        key = self.headers["Idempotency-Key"]
        with closing(sqlite3.connect(self.file)) as drafts, drafts:
            drafts.execute(
                "INSERT INTO drafts VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING", (uuid.uuid4().hex[:12], key, json.dumps(document))
            )
            ((draft_id,),) = drafts.execute("SELECT id FROM drafts WHERE key = ?", (key,))
        return self._send(201, {"id": draft_id})

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        column, value = ("key", parse_qs(place.query)["key"][0]) if place.query else ("id", place.path.rpartition("/")[2])
        with closing(sqlite3.connect(self.file)) as drafts:
            found = drafts.execute(f"SELECT id, document FROM drafts WHERE {column} = ?", (value,)).fetchone()
        if found is None:
            return self._send(404, {"problem": f"there is no draft {value}"})
        return self._send(200, {"id": found[0], "status": "draft", **json.loads(found[1])})

    def _send(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...
