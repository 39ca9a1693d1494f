"""From a topic to a draft, as somebody would run it: nothing is written before a yes, and a draft that is not there is no success."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest


def drafts(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / "cms.db")) as cms:
        return [{"id": draft_id, **json.loads(document)} for draft_id, document in cms.execute("SELECT id, document FROM drafts")]


def test_topic_is_confirmed_then_the_draft_and_what_the_cms_has_is_read_back(example: Callable[[str], Any], tmp_path: Path) -> None:
    content = example("content")
    assert "proposed: How we cut build times" in content.begin()
    shown = content(content.run, "--approve", code=3)
    assert "save_draft (write)" in shown
    assert "[sources/build-times.md]" in shown
    assert drafts(tmp_path) == []

    done = content(content.run, "--approve", code=0)
    (draft,) = drafts(tmp_path)
    assert f'id: "{draft["id"]}"' in done
    assert draft["sources"] == ["sources/build-times.md", "sources/interview-rollout.md"]
    assert "cafeteria" not in draft["body"]


def test_another_topic_is_taken_as_it_was_answered(example: Callable[[str], Any], tmp_path: Path) -> None:
    content = example("content")
    content.begin()
    shown = content(content.run, "--answer", "What nightly runs found; for testers", code=3)
    assert 'title: "What nightly runs found"' in shown
    assert 'audience: "testers"' in shown
    assert drafts(tmp_path) == []


@pytest.fixture
def cms_that_mixes_up() -> Iterator[str]:
    """It says one id, and has the draft under another."""
    kept: dict[str, Any] = {}

    class Connection(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._send(201, {"id": "said"})

        def do_GET(self) -> None:
            self._send(200, {"id": "another", "status": "draft", **kept})

        def _send(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Connection) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_draft_that_is_not_under_the_id_that_the_cms_gave_is_no_success(
    example: Callable[[str], Any], cms_that_mixes_up: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMS_URL", cms_that_mixes_up)
    content = example("content")
    content.begin()
    content(content.run, "--approve", code=3)
    said = content(content.run, "--approve", code=1)
    assert "output.id == steps.save.output.id" in said
