"""A server made with the official SDK, over stdio or, with a port, over HTTP. What it did is written to a file."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer

FILE = Path(sys.argv[1])
server = MCPServer("desk")


@server.tool()
def book(title: str) -> dict[str, str]:
    """Book a seat."""
    with FILE.open("a") as file:
        file.write(title + "\n")
    return {"booked": title}


@server.tool()
def book_slowly(title: str) -> str:
    """Book a seat, and take long to say so."""
    book(title)
    time.sleep(60)
    return "late"


@server.tool()
def caller(ctx: Context) -> str:
    """Who calls, by the header."""
    request = ctx.request_context.request
    return str(request.headers.get("authorization")) if request is not None else "nobody"


if len(sys.argv) > 2:
    server.run("streamable-http", port=int(sys.argv[2]), host="127.0.0.1")
else:
    server.run("stdio")
