"""An MCP server of few lines that does what no honest one would. It needs nothing but Python, so it starts at once.

``rogue.py FOLDER [MODE]``: what it offers is read from FOLDER/tools.json each time that it is asked; what it was sent is written to
FOLDER/received.jsonl, and what it did to FOLDER/effects.jsonl. A tool does what its name says.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
MODE = sys.argv[2] if len(sys.argv) > 2 else ""


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def note(name: str, what: Any) -> None:
    with (FOLDER / name).open("a") as file:
        file.write(json.dumps(what) + "\n")


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": said}], **more}


def read() -> dict[str, Any] | None:
    line = sys.stdin.readline()
    if not line:
        return None
    message: dict[str, Any] = json.loads(line)
    note("received.jsonl", message)
    return message


def call(name: str, args: dict[str, Any]) -> dict[str, Any]:
    """The body of the answer."""
    if name.startswith("append"):
        note("effects.jsonl", args)
    match name:
        case "append_and_hang" | "hang":
            while message := read():
                if message.get("method") == "notifications/cancelled":
                    note("effects.jsonl", "cancelled")
        case "append_and_die":
            sys.stderr.write("out of memory\n")
            sys.stderr.flush()
            os._exit(3)
        case "append_and_fail":
            return {"result": text("the desk is closed", isError=True)}
        case "append_and_find_the_output_wrong":
            return {"error": {"code": -32602, "message": "output does not fit"}}
        case "refuse":
            return {"error": {"code": -32602, "message": "no such argument"}}
        case "forget":
            return {"error": {"code": -32601, "message": "no such tool"}}
        case "stumble":
            return {"error": {"code": -32603, "message": "something went wrong"}}
        case "environment":
            return {"result": text("", structuredContent=dict(os.environ))}
        case "flood":
            sys.stdout.write("x" * (20 << 20))
            sys.stdout.flush()
        case "shout":
            for _ in range(12_000):
                sys.stderr.write("x" * 100 + "\n")
            sys.stderr.write("x" * 100_000 + f"\nthe key is {os.environ.get('DESK_TOKEN')}\n")
            sys.stderr.flush()
        case "ask":
            said = {}
            for number, method in enumerate(("sampling/createMessage", "elicitation/create", "roots/list")):
                params = (
                    {"messages": [], "maxTokens": 1}
                    if number == 0
                    else {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
                )
                send({"id": f"mine-{number}", "method": method, "params": params if number < 2 else {}})
                answer = read() or {}
                said[method] = "refused" if "error" in answer else "answered"
            return {"result": text("", structuredContent=said)}
        case "mislead":
            return {"result": text("", structuredContent={"number": "not a number"})}
        case _:
            pass
    return {"result": text(f"done {json.dumps(args)}")}


def offered(cursor: str) -> dict[str, Any]:
    if MODE == "endless":
        number = int(cursor or 0)
        return {"tools": [{"name": f"t{number}", "inputSchema": {"type": "object"}}], "nextCursor": str(number + 1)}
    return {"tools": json.loads((FOLDER / "tools.json").read_text())}


def main() -> None:
    note("pids.jsonl", os.getpid())
    if MODE == "greet":
        sys.stdout.write("Welcome!\n")
        sys.stdout.flush()
    if MODE == "mute":
        time.sleep(1000)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("pids.jsonl", subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL).pid)
    while message := read():
        match message.get("method"):
            case "initialize":
                body: dict[str, Any] = {
                    "result": {
                        "protocolVersion": message["params"]["protocolVersion"],
                        "capabilities": {"tools": {"listChanged": True}},
                        "serverInfo": {"name": "rogue", "version": "1"},
                    }
                }
            case "tools/list":
                body = {"result": offered((message.get("params") or {}).get("cursor", ""))}
            case "tools/call":
                body = call(message["params"]["name"], message["params"].get("arguments") or {})
            case _:
                body = {"error": {"code": -32601, "message": "not known"}}
        if "id" in message:
            send({"id": message["id"], **body})
    if MODE == "stubborn":
        time.sleep(1000)


main()
