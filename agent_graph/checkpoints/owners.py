"""The process that holds a lease: who it is, whether it lives, and its end.

A process is known by its pid and its start, counted from the boot, so that neither a pid that is used again nor a clock that is set makes
one process look like another.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent_graph.identity import new_id
from agent_graph.records import Owner

if TYPE_CHECKING:
    import psutil

# It is imported where a process is looked at: `runs` and `show` do so only while somebody drives a run.

DEATH = 10.0
"""Seconds that a killed process may take to be gone: the system waits for its disk."""

_TICK = 0.005 if sys.platform == "linux" else 1.0
"""Two starts that are closer are one: a clock tick of the kernel. Elsewhere a start is computed from times of the day, which are rounded."""


def new_owner(drive: str | None = None) -> Owner:
    """This process, as the owner of one drive that begins now."""
    host, begun = _this_process(os.getpid())
    return Owner(host=host, pid=os.getpid(), started=begun, drive=drive or new_id(), since=instant())


def command_given() -> float:
    """When this process was started, as ``instant`` counts."""
    return _this_process(os.getpid())[1]


def is_local(owner: Owner) -> bool:
    """Whether the owner is a process of this machine, boot and process namespace, so that it can be looked up and ended."""
    return owner.host == _this_process(os.getpid())[0]


def alive(owner: Owner, expires: float, now: float) -> bool:
    """Of a process elsewhere, which cannot be asked, only the expiry tells."""
    return runs(owner) if is_local(owner) else now < expires


def runs(owner: Owner) -> bool:
    """Whether a process of this machine is there; a zombie is not."""
    import psutil

    try:
        process = psutil.Process(owner.pid)
        return abs(started(process) - owner.started) <= _TICK and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def end(owner: Owner) -> bool:
    """SIGKILL, and wait: even one that is stopped ends. False: it is still there. Raises PermissionError for another user's process.

    Where there is such a thing, the process is held by a descriptor from before it is verified, so that its pid cannot become another's
    between the look and the kill.
    """
    with contextlib.ExitStack() as stack:
        try:
            held = _hold(owner.pid)
        except ProcessLookupError:
            return True
        if held is not None:
            stack.callback(os.close, held)
        if not runs(owner):
            return True
        if held is None:
            return _end_by_pid(owner)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(held, signal.SIGKILL)
        poll = select.poll()
        poll.register(held, select.POLLIN)
        return bool(poll.poll(DEATH * 1000))


def _hold(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:  # a sandbox that does not know it
        return None


def _end_by_pid(owner: Owner) -> bool:
    import psutil

    try:
        psutil.Process(owner.pid).kill()  # it looks at the start once more before it kills
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied as error:
        raise PermissionError(str(error)) from error
    until = time.monotonic() + DEATH
    while runs(owner):  # not psutil's wait, which would take a child's exit code from whoever started it
        if time.monotonic() >= until:
            return False
        time.sleep(0.01)
    return True


def instant() -> float:
    """Seconds since the machine was started, as ``Owner.started`` counts them."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - _boot_time()


@functools.cache
def _this_process(pid: int) -> tuple[str, float]:
    # The pid is a key of the cache, so that a forked child asks anew.
    import psutil

    return _host(), started(psutil.Process(pid))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_this_process.cache_clear)  # the child may have been given the pid of a dead ancestor


def started(process: psutil.Process) -> float:
    """Seconds from boot to the start of the process. Not the time of day: that of a living process changes when the clock is set."""
    try:
        after_name = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return int(after_name.split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):  # not Linux
        return process.create_time() - _boot_time()


def _boot_time() -> float:
    import psutil

    return 0.0 if psutil.WINDOWS else float(psutil.boot_time())


def _host() -> str:
    """A name under which pids mean the same: containers share a kernel, not their process ids."""
    parts = [platform.node() or "localhost"]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8])
    except OSError:
        parts.append(str(int(_boot_time())))
    try:
        parts.append(str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]"))
    except OSError:
        parts.append("-")
    return "/".join(parts)
