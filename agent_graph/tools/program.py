"""Running one program to its end: within a deadline, with bounded output, and dead with all that it has started when the call is over."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import psutil

from agent_graph.errors import NotDone
from agent_graph.tools.captured import Captured
from agent_graph.tools.sandbox import PROGRAMS, Bounds, Bubblewrap, Confinement

LOOK_S = 0.1
"""Seconds between two looks at how many processes there are, and at their memory."""

ENDING_S = 7.0
"""Seconds that the supervisor has to end everything; more than it gives itself."""

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_MODULES = str(Path(psutil.__file__).parent.parent)
_BUBBLEWRAP_S_OWN = 2
"""Processes of bubblewrap beside the program's."""

Ended = Literal["itself", "deadline", "processes", "memory"]

_WHY = {
    "deadline": "its time was over",
    "processes": "it had too many processes",
    "memory": "it and its processes took too much memory",
}
_SIGNALS = {"SIGXCPU": "its computing time was used up", "SIGXFSZ": "a file grew larger than it may be"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The program is over, and so is what it had started."""

    ended: Ended
    code: int | None
    """Exit code; negative for the signal that ended it. None when we ended it."""
    stdout: Captured
    stderr: Captured
    answer: Captured
    """What came on the pipe of its own, where it was given one."""
    left: int
    """Processes that it had left behind, and that were ended then; not counted in the sandbox, which ends with its program."""

    @property
    def how(self) -> str:
        """What came of it, in words."""
        if self.code is None:
            return f"was ended, with all that it had started: {_WHY.get(self.ended, 'the call was given up')}"
        with contextlib.suppress(ValueError):
            name = signal.Signals(-self.code if self.code < 0 else self.code - 128).name
            why = f": {_SIGNALS[name]}" if name in _SIGNALS else ""
            return f"was ended by {name}{why}" if self.code < 0 else f"ended with exit code {self.code}, which stands for {name}{why}"
        return f"ended with exit code {self.code}"


class StillThere(RuntimeError):
    """A program was killed, and the kernel does not let it go."""


def run_program(
    argv: Sequence[str],
    *,
    confinement: Confinement,
    bounds: Bounds,
    environment: Mapping[str, str],
    seconds: float,
    max_bytes: int,
    said: bytes | None = None,
    answers: bool = False,
) -> Finished:
    """
    ``argv[0]`` is an absolute path. ``said`` is its standard input. ``answers``: it is given one more pipe, whose number is in the
    variable ANSWER. Raises NotDone when it was certainly not started, StillThere when it cannot be ended.
    """
    with contextlib.ExitStack() as opened:
        running = _start(opened, argv, confinement, bounds, environment, max_bytes, said, answers=answers)
        ended = running.attend(time.monotonic() + seconds)
    status, inside = running.reports()
    if "failed" in status:
        raise NotDone(f"it was not started: {status['failed']}")
    if "left" not in status:
        raise StillThere(f"{argv[0]}, or what it had started, was killed and may still be there; look at the processes of this machine")
    if running.sandboxed and status["code"] is not None and "exit-code" not in inside:
        why = running.captured["stderr"].whole or b"no reason was given"
        raise NotDone(f"{argv[0]} was not started in its sandbox: {why.decode('utf-8', 'replace').strip()[:500]}")
    parts = {name: running.captured[name] for name in ("stdout", "stderr", "answer")}
    return Finished(ended=ended, code=status["code"], left=0 if running.sandboxed else status["left"], **parts)


def _start(
    opened: contextlib.ExitStack,
    argv: Sequence[str],
    confinement: Confinement,
    bounds: Bounds,
    environment: Mapping[str, str],
    max_bytes: int,
    said: bytes | None,
    *,
    answers: bool,
) -> _Running:
    held, lifeline = _pipe(opened)
    pipes = {name: _pipe(opened) for name in ("status", "inside", "answer")}
    status, inside, answer = (pipes[name][1].fileno() for name in ("status", "inside", "answer"))
    given = {"PATH": PROGRAMS, "LANG": "C.UTF-8", "USER": "sandbox"}
    keep = [answer] if answers else []
    sandbox, place = confinement.sandbox, confinement.place
    if isinstance(sandbox, Bubblewrap):
        command, folder, own = sandbox.around(argv, place, bounds, inside), "/", "/tmp"  # noqa: S108
        keep.append(inside)
    else:
        own = opened.enter_context(tempfile.TemporaryDirectory(prefix="agent-graph-", ignore_cleanup_errors=True))
        command, folder = list(argv), place.folder or own
    given |= {"HOME": own, "TMPDIR": own, **({"ANSWER": str(answer)} if answers else {}), **environment}
    asked = {
        "lifeline": held.fileno(),
        "status": status,
        "keep": keep,
        "limits": bounds.of_the_kernel(),
        "modules": _MODULES,
    }
    try:
        supervisor = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", _SUPERVISOR, json.dumps(asked), *command],
            stdin=subprocess.DEVNULL if said is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=given,
            cwd=folder,
            pass_fds=(held.fileno(), status, *keep),
            start_new_session=True,
            bufsize=0,
        )
    except (OSError, ValueError) as error:
        raise NotDone(f"{argv[0]} was not started: {error}") from None
    running = _Running(supervisor, lifeline, bounds, said or b"", max_bytes, sandboxed=isinstance(sandbox, Bubblewrap))
    opened.callback(running.put_away)
    held.close()
    for name, (reads, writes) in pipes.items():
        writes.close()
        running.read(name, reads)
    return running


def _pipe(opened: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    reads, writes = os.pipe()
    return opened.enter_context(FileIO(reads, "r")), opened.enter_context(FileIO(writes, "w"))


@dataclass(slots=True)
class _Running:
    supervisor: subprocess.Popen[bytes]
    lifeline: FileIO
    bounds: Bounds
    said: bytes
    max_bytes: int
    sandboxed: bool = field(kw_only=True)
    captured: dict[str, Captured] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def __post_init__(self) -> None:
        self.read("stdout", self.supervisor.stdout)
        self.read("stderr", self.supervisor.stderr)
        if self.supervisor.stdin is not None:
            os.set_blocking(self.supervisor.stdin.fileno(), False)
            self._selector.register(self.supervisor.stdin, selectors.EVENT_WRITE)

    def read(self, name: str, pipe: Any) -> None:
        os.set_blocking(pipe.fileno(), False)
        self.captured[name] = Captured(self.max_bytes if name in ("stdout", "stderr", "answer") else 1 << 16)
        self._selector.register(pipe, selectors.EVENT_READ, name)

    def attend(self, until: float) -> Ended:
        """Read what it says until it and all that it has started are gone; end them when that is due."""
        ended: Ended = "itself"
        looks = 0.0
        while self._selector.get_map():
            now = time.monotonic()
            if not self.lifeline.closed:
                found: Ended = "deadline" if now >= until else "itself"
                if found == "itself" and now >= looks:
                    found, looks = self._grown(), now + LOOK_S
                if found != "itself":
                    ended, until = found, now + ENDING_S
                    self.lifeline.close()
            elif now >= until:
                break
            for key, _ in self._selector.select(max(0.0, min(until - now, LOOK_S))):
                self._move(key)
        return ended

    def _move(self, key: selectors.SelectorKey) -> None:
        pipe: Any = key.fileobj
        over = False
        try:
            if key.events == selectors.EVENT_WRITE:
                self.said = self.said[os.write(pipe.fileno(), self.said[: 1 << 16]) :]
                over = not self.said
            else:
                chunk = os.read(pipe.fileno(), 1 << 16)
                self.captured[key.data].add(chunk)
                over = not chunk
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            over = True
        if over:
            self._selector.unregister(pipe)
            pipe.close()

    def _grown(self) -> Ended:
        """Whether the processes are more, or larger, than may be."""
        memory = count = 0
        with contextlib.suppress(psutil.Error):
            for each in psutil.Process(self.supervisor.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    memory += each.memory_info().rss
                    count += 1
        if count - (_BUBBLEWRAP_S_OWN if self.sandboxed else 0) > self.bounds.processes:
            return "processes"
        return "memory" if memory > self.bounds.memory_bytes else "itself"

    def reports(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the supervisor said of the program, and what bubblewrap did."""
        found: list[dict[str, Any]] = []
        for name in ("status", "inside"):
            said: dict[str, Any] = {}
            for line in (self.captured[name].whole or b"").splitlines():
                with contextlib.suppress(ValueError):
                    said |= json.loads(line)
            found.append(said)
        return found[0], found[1]

    def put_away(self) -> None:
        self.lifeline.close()
        try:
            self.supervisor.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            self.supervisor.wait()
        self._selector.close()
        for pipe in (self.supervisor.stdin, self.supervisor.stdout, self.supervisor.stderr):
            if pipe is not None:
                pipe.close()
