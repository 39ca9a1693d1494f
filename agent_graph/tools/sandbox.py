"""Where a program of ``shell`` and ``python`` runs: in bubblewrap's namespaces where that works, else as the user who runs us.

In the sandbox it sees a read-only ``/usr`` and little more, has a ``/tmp`` of its own, no network, no other process, no capability and no
way to get one. That it works is tried, not assumed: in many containers bubblewrap is installed and forbidden.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent_graph.errors import InvalidToolError
from agent_graph.tools.place import SYSTEM, Place

PROGRAMS = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/run/current-system/sw/bin"
"""Where programs are looked for; the PATH of whoever runs us is not asked."""

_LINKED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")
"""Of /etc: what a program needs to be loaded, and the time zone. No passwords, no keys, no host names."""

_TRIED_S = 10.0
_FLOOD = 8
"""Times as many processes as may be, at which the kernel makes no more of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of one call. What the kernel counts, it counts for each process."""

    cpu_s: int = 60
    """Seconds of computing, of each process."""
    memory_bytes: int = 1 << 30
    """Of each process, by the kernel; and of all of them together, as looked at several times a second."""
    file_bytes: int = 64 << 20
    """Of one file; in the sandbox also of all that is in its /tmp."""
    processes: int = 64
    """At once, threads not counted; as looked at several times a second."""
    open_files: int = 256

    def __post_init__(self) -> None:
        wrong = [name for name in self.__slots__ if getattr(self, name) < 1]
        if wrong:
            raise InvalidToolError(f"bounds: {', '.join(wrong)} must be at least 1; none can be switched off")

    def of_the_kernel(self) -> dict[str, int]:
        limits = {"CPU": self.cpu_s, "DATA": self.memory_bytes, "FSIZE": self.file_bytes, "NOFILE": self.open_files, "CORE": 0}
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The kernel counts all that the user runs, and of root nothing: this bounds a flood that begins between two looks.
            tasks = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
            limits["NPROC"] = tasks + _FLOOD * self.processes
        return limits


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """The sandbox works here."""

    path: str
    no_namespaces: bool
    """Whether it can forbid the program to make namespaces of its own: bubblewrap 0.8 or newer."""

    def around(self, argv: Sequence[str], place: Place, bounds: Bounds, status: int | None = None) -> list[str]:
        """The command that runs ``argv`` inside. On ``status`` bubblewrap says whether it was started, and what came of it."""
        # Without a new user namespace a root that keeps no capability would still be the host's root to some files of /proc.
        made = [self.path, "--unshare-all", "--unshare-user", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
        made += ["--hostname", "sandbox"]
        made += ["--disable-userns"] if self.no_namespaces else []
        for each in SYSTEM:
            made += ["--ro-bind-try", each, each]
        for each in _LINKED:
            made += ["--symlink", os.readlink(each), each] if Path(each).is_symlink() else ["--ro-bind-try", each, each]  # noqa: PTH115
        for each in _SETTINGS:
            made += ["--ro-bind-try", f"/etc/{each}", f"/etc/{each}"]
        made += ["--proc", "/proc", "--dev", "/dev"]
        for each in ("/tmp", "/dev/shm"):  # noqa: S108  # its own
            made += ["--size", str(bounds.file_bytes), "--tmpfs", each]
        for each in place.readable:
            made += ["--ro-bind", each, each]
        for each in place.writable:
            made += ["--bind", each, each]
        for each in place.hidden:
            if Path(each).is_file():
                made += ["--ro-bind", "/dev/null", each]
            elif Path(each).is_dir() or any(Path(each).is_relative_to(one) for one in place.writable):
                made += ["--size", "4096", "--tmpfs", each, "--remount-ro", each]
        # bubblewrap covers /proc/sys by its folder's mode only, and a root's files in it could be written: the machine's core_pattern, for one.
        made += ["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"]
        made += ["--chdir", place.folder or "/tmp"]  # noqa: S108
        made += [] if status is None else ["--json-status-fd", str(status)]
        return [*made, "--", *argv]


@dataclass(frozen=True, slots=True)
class NoSandbox:
    """There is none, and why."""

    reason: str


Sandbox = Bubblewrap | NoSandbox


@functools.cache
def sandbox_here() -> Sandbox:
    """Whether programs can be shut in on this machine. Tried once per process."""
    if sys.platform != "linux":
        return NoSandbox(f"bubblewrap, which the sandbox is made with, is for Linux, and this is {sys.platform}")
    return tried(shutil.which("bwrap", path=PROGRAMS))


def tried(path: str | None) -> Sandbox:
    """The sandbox, if a program that is run in it finds itself shut in."""
    if path is None:
        return NoSandbox("bubblewrap is not installed (Debian: apt-get install bubblewrap)")
    try:
        options = _run([path, "--help"])
        sandbox = Bubblewrap(path, "--disable-userns" in options.stdout + options.stderr)
        cat = shutil.which("cat", path=PROGRAMS) or "/bin/cat"
        looked = _run(sandbox.around([cat, "/proc/self/status", "/proc/self/mountinfo", "/proc/net/dev"], Place(), Bounds()))
    except (OSError, subprocess.SubprocessError) as error:
        return NoSandbox(f"{path} does not work here: {error}")
    if looked.returncode:
        said = (looked.stderr.strip().splitlines() or [f"exit code {looked.returncode}"])[-1]
        return NoSandbox(f"{path} is installed and may not make its namespaces here: {said[:200]}")
    open_door = _open_door(looked.stdout)
    if open_door:
        return NoSandbox(f"{path} runs a program here, but does not shut it in: {open_door}")
    return sandbox


def _open_door(said: str) -> str:
    """What a program that looked around in the sandbox has found and should not have; empty for nothing."""
    status = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    if status.get("NoNewPrivs") != "1" or set(status.get("CapEff", "1")) != {"0"}:
        return "it has capabilities, or may get some"
    mounts = [line.split() for line in said.splitlines() if " - " in line]
    written = [each[4] for each in mounts if "rw" in each[5].split(",") and each[4] != "/tmp" and not each[4].startswith("/dev/")]  # noqa: S108
    if written or not mounts:
        return f"it can write in {', '.join(written)}"
    devices = [line.partition(":")[0].strip() for line in said.partition("Inter-|")[2].splitlines()[2:]]
    return "" if devices == ["lo"] else f"it has a network: {', '.join(devices)}"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command,
        env={"LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TRIED_S,
        check=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """The sandbox of one tool: what it may see, and what is wrong when there is none."""

    sandbox: Sandbox
    place: Place
    unsafe: str = field(default="")
    """Why a person has to be asked before each call."""

    @property
    def harmless(self) -> bool:
        """Whether a program can change nothing that is there after it, and reach nobody."""
        return isinstance(self.sandbox, Bubblewrap) and not self.place.writable


def confined(tool: str, what: str, place: Place, sandboxed: bool | None) -> Confinement:
    """
    ``sandboxed``: True: the tool is refused where there is no sandbox; None: where there is none, a person is asked; False: there is to be
    none, and a person is asked.
    """
    if os.name != "posix":
        raise InvalidToolError(f"tool {tool}: programs are run on Linux and macOS only; leave the tool out here")
    found = NoSandbox("it was declared with sandboxed=False") if sandboxed is False else sandbox_here()
    if isinstance(found, Bubblewrap):
        return Confinement(sandbox=found, place=place)
    if sandboxed:
        raise InvalidToolError(
            f"tool {tool}: sandboxed=True, and there is no sandbox: {found.reason}. Leave sandboxed out, and a person is asked before each call"
        )
    return Confinement(
        sandbox=found,
        place=place,
        unsafe=f"{what} runs outside of a sandbox, with the files, the network and the rights of whoever runs the agent: {found.reason}",
    )
