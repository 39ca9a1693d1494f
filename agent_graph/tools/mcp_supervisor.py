"""Runs one MCP server and ends with it: a program of its own, started with nothing but the standard library.

A host that is killed cannot end what it started, so this process stands between the two. It gives the server the named variables and no
others, passes on what it says line by line, ends it when a line never ends, and kills all of its process group when the host is gone.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

LONGEST_LINE = 16 << 20
"""Bytes of one message; a server that sends more at once is ended, before it fills the host's memory."""

_CHUNK = 1 << 16
_LOOK = 500
"""Milliseconds between two looks whether server and host are still there."""


def command_for(command: list[str], variables: list[str]) -> list[str]:
    """The command line that runs the server under this program."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), ",".join(variables), *command]  # noqa: PTH100  # without pathlib it starts faster


def main() -> None:
    variables, *command = sys.argv[1:]
    environment = {name: os.environ[name] for name in variables.split(",") if name in os.environ}
    host = os.getppid()
    try:
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)  # noqa: S603  # the operator's own command
    except OSError as error:
        say(f"{command[0]} cannot be started: {error.strerror}")
        raise SystemExit(127) from None
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # only the server holds its stdin now: that it has ended is seen at once
    try:
        say(pass_on(server, host))
    finally:
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)  # and with it this process
        server.kill()


def pass_on(server: subprocess.Popen[bytes], host: int) -> str:
    """Copy its stdout to ours until one of the three has ended. Says which."""
    assert server.stdout is not None  # noqa: S101
    source, line = server.stdout.fileno(), 0
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(1, 0)  # no event is asked for; that nobody reads any more is told all the same
    while True:
        ready = dict(poll.poll(_LOOK))
        if 1 in ready or os.getppid() != host:
            return "the host is gone; the server was ended"
        if source in ready:
            chunk = os.read(source, _CHUNK)
            if not chunk:
                return _ended(server)
            first, *more = chunk.split(b"\n")
            if line + len(first) > LONGEST_LINE:
                return f"the server sent a message of more than {LONGEST_LINE:,} bytes; it was ended"
            line = len(more[-1]) if more else line + len(first)
            try:
                while chunk:
                    chunk = chunk[os.write(1, chunk) :]
            except OSError:
                return "the host is gone; the server was ended"
        elif server.poll() is not None:
            return _ended(server)


def _ended(server: subprocess.Popen[bytes]) -> str:
    try:
        code = server.wait(1)
    except subprocess.TimeoutExpired:
        return "the server closed its stdout; it was ended"
    return f"the server was ended by signal {-code}" if code < 0 else f"the server ended with exit code {code}"


def say(what: str) -> None:
    """Into the server's log."""
    os.write(2, f"agent-graph: {what}\n".encode(errors="replace"))


if __name__ == "__main__":
    main()
