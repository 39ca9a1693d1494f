"""What of the host's files a program in the sandbox gets to see, and what of them it may change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent_graph.errors import InvalidToolError

SYSTEM = ("/usr", "/nix/store", "/run/current-system")
"""Programs and their libraries: always there, read-only."""

_TAKEN = (*SYSTEM, "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/dev", "/proc", "/sys", "/run", "/boot", "/nix")

HIDDEN = (".agent-graph",)
"""Where the store of the runs is, when nobody says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Absolute paths without links, beside the system's own."""

    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    """Inside of the others; nothing is seen there, and nothing can be put there."""
    folder: str | None = None
    """Where a program starts; None: in its /tmp."""


def place_of(
    tool: str,
    cwd: str | os.PathLike[str] | None,
    readable: Sequence[str | os.PathLike[str]],
    hidden: Sequence[str],
    *,
    writable: bool,
) -> Place:
    """Raises InvalidToolError for what is not there, or is more than one can mean to show."""
    if writable and cwd is None:
        raise InvalidToolError(f"tool {tool}: writable=True needs cwd=…, the folder that may be changed")
    work = None if cwd is None else _folder(tool, cwd)
    shown = [each for each in dict.fromkeys(_folder(tool, one) for one in readable) if each != work]
    if work is not None and not writable:
        shown.append(work)
    return Place(
        readable=tuple(shown),
        writable=(work,) if work is not None and writable else (),
        hidden=tuple(_inside(tool, each, name) for each in dict.fromkeys([*shown, *([work] if work else [])]) for name in hidden),
        folder=work,
    )


def _folder(tool: str, given: str | os.PathLike[str]) -> str:
    path = Path(given).expanduser().resolve()
    if not path.is_dir():
        raise InvalidToolError(f"tool {tool}: there is no folder {path}; make it, or name another")
    if path in (Path("/"), Path("/tmp"), Path("/var"), Path.home().resolve()) or any(path.is_relative_to(each) for each in _TAKEN):  # noqa: S108
        raise InvalidToolError(f"tool {tool}: the folder {path} is the system's, or a whole home; name the one folder that is meant")
    if Path.home().resolve().is_relative_to(path):
        raise InvalidToolError(f"tool {tool}: the folder {path} holds whole homes; name the one folder that is meant")
    return str(path)


def _inside(tool: str, work: str, name: str) -> str:
    path = Path(work) / name
    if ".." in path.parts or not path.is_relative_to(work) or str(path) == work:
        raise InvalidToolError(f"tool {tool}: hidden names {name!r}, which is not inside of {work}")
    if any(each.is_symlink() for each in (path, *path.parents)):
        raise InvalidToolError(f"tool {tool}: hidden names {path}, which is a link; name what it leads to")
    return str(path)
