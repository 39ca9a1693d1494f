"""The parent of a program that a tool runs: a small process of its own, which sets the limits and ends whatever the program has started.

It is run by its path, with nothing of this package imported. What daemonises comes back to it, since it is the subreaper of its
descendants; and when whoever started it dies, its lifeline is cut, and it ends the program before it goes itself.

    python -I -S supervisor.py '{"lifeline": 5, "status": 6, "keep": [7], "limits": {"CPU": 10}, "modules": "…"}' PROGRAM ARGUMENT…
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

DYING_S = 5.0
"""Seconds that what was killed is waited for."""

_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux."""

_DEAF = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2)
"""The program may send these to its parent; only the lifeline says when it is over."""


def main() -> None:
    asked = json.loads(sys.argv[1])
    lifeline, status = asked["lifeline"], asked["status"]
    os.set_inheritable(lifeline, False)
    os.set_inheritable(status, False)
    for each in _DEAF:
        signal.signal(each, signal.SIG_IGN)
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)

    program = os.fork()
    if program == 0:
        _become(sys.argv[2:], asked, status)
    for end in (0, 1, 2, *asked["keep"]):  # else their readers would wait for us
        os.close(end)
    code = _wait_for(program, lifeline, woken)
    left, stuck = _end_all(asked["modules"], but=None if code is None else program)
    if not stuck:
        _say(status, {"code": code, "left": left})
    os._exit(0)


def _become(argv: list[str], asked: dict[str, Any], status: int) -> None:
    """The program, in a session of its own, within its limits."""
    try:
        os.setsid()
        for each in (*_DEAF, signal.SIGCHLD):
            signal.signal(each, signal.SIG_DFL)
        for each in asked["keep"]:
            os.set_inheritable(each, True)
        for name, most in asked["limits"].items():
            kind = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)  # noqa: PLW2901
            resource.setrlimit(kind, (most, most))
        os.execv(argv[0], argv)  # noqa: S606  # no shell is meant
    except BaseException as error:
        _say(status, {"failed": f"{argv[0]}: {getattr(error, 'strerror', None) or error}"})
    finally:
        os._exit(127)


def _wait_for(program: int, lifeline: int, woken: int) -> int | None:
    """Its exit code, negative for a signal; None when the lifeline was cut before it ended."""
    watched = select.poll()
    watched.register(lifeline, select.POLLIN)
    watched.register(woken, select.POLLIN)
    while True:
        ready = {each for each, _ in watched.poll()}
        if woken in ready:
            os.read(woken, 4096)
            while (found := _reaped()) is not None and found[0]:
                if found[0] == program:
                    return os.waitstatus_to_exitcode(found[1])
        if lifeline in ready:
            return None


def _end_all(modules: str, but: int | None) -> tuple[int, bool]:
    """How many descendants were killed, and whether one is still there. ``but`` has ended by itself."""
    killed: set[int] = set()
    until = time.monotonic() + DYING_S
    while (found := _reaped()) is not None:
        if found[0]:
            continue
        if time.monotonic() > until:
            return len(killed), True
        if modules not in sys.path:
            sys.path.append(modules)
        import psutil

        doomed = psutil.Process().children(recursive=True)
        for step in ("suspend", "kill"):  # what is stopped starts nothing more while the others are killed
            for each in doomed:
                try:
                    getattr(each, step)()
                except psutil.Error:
                    continue
                killed.add(each.pid)
        time.sleep(0.002)
    return len(killed - {but}), False


def _reaped() -> tuple[int, int] | None:
    """A descendant that has ended, (0, 0) when there are only living ones, None when there is none at all."""
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None


def _say(status: int, what: dict[str, Any]) -> None:
    os.write(status, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    main()
