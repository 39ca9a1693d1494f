"""A folder that nothing leads out of: every name on the way is opened by itself, below the folder before it, and links are not followed.

What was checked is what is used, since both are the same open descriptor. A link that is put there between the check and the use is either
not followed or never seen.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent_graph.errors import InvalidToolError, NotDone
from agent_graph.tools.files_paths import Place, fold, place_of
from agent_graph.visible import visible

LOCK_S = 5.0
"""Seconds to wait for another writer of the same root."""
MOST_NAMES = 100_000
"""Names of one folder, or of one listing, that are looked at."""

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# Not blocking, since opening a pipe would else wait for whoever writes into it.
_READING = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
)


class Missing(NotDone):
    """Nothing of that name is there."""


@dataclass(frozen=True, slots=True)
class Root:
    path: Path
    """Absolute, and no link in it."""
    private: tuple[str, ...]
    hard_links: bool
    """Whether a file that has more than one name may be read: one of them may be outside."""

    def place(self, path: str) -> Place:
        return place_of(path, self.private)

    @contextmanager
    def folder(self, place: Place) -> Iterator[int]:
        """The folder as a descriptor. Raises NotDone when it is not there, or is a link or anything else."""
        try:
            opened = os.open(self.path, _FOLDER)
        except OSError as error:
            raise NotDone(f"the root {self.path} cannot be opened: {error.strerror}; it was a folder when the tools were made") from None
        try:
            for depth, name in enumerate(place.names):
                try:
                    below = os.open(name, _FOLDER, dir_fd=opened)
                except OSError as error:
                    raise refused(Place(place.names[: depth + 1]), opened, error, wanted="a folder") from None
                os.close(opened)
                opened = below
            yield opened
        finally:
            os.close(opened)

    @contextmanager
    def parent(self, place: Place) -> Iterator[int]:
        """The folder that holds the name. Raises NotDone for the root itself."""
        if not place.names:
            raise NotDone("the path names the root itself; give that of a file or folder below it")
        with self.folder(place.parent) as opened:
            yield opened

    @contextmanager
    def file(self, place: Place) -> Iterator[int]:
        """A regular file, open for reading."""
        with self.parent(place) as folder, open_file(folder, place) as opened:
            has = os.fstat(opened).st_nlink
            if has > 1 and not self.hard_links:
                raise NotDone(
                    f"{place} has {has} names (hard links), and one of them may be outside the root; it is not read. "
                    "files_tools(hard_links=True) allows it"
                )
            yield opened

    @contextmanager
    def locked(self, deadline: float, now: Callable[[], float]) -> Iterator[None]:
        """One writer at a time over all processes that use these tools on this root; others are kept off by nothing."""
        import fcntl

        until = min(now() + LOCK_S, deadline or now() + LOCK_S)
        opened = os.open(self.path, _FOLDER)
        try:
            while True:
                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if now() >= until:
                        raise NotDone(f"another call is writing below {self.path}; nothing was changed. Try again") from None
                    time.sleep(0.01)
                except OSError as error:
                    raise NotDone(f"{self.path} cannot be locked ({error.strerror}), so that nothing was changed") from None
                else:
                    break
            yield
        finally:
            os.close(opened)


def root_at(path: str | Path, private: Sequence[str], *, hard_links: bool) -> Root:
    """Raises InvalidToolError where such a root cannot be held together."""
    if os.open not in os.supports_dir_fd or os.scandir not in os.supports_fd or not hasattr(os, "O_NOFOLLOW"):
        raise InvalidToolError("files_tools needs a system that opens files relative to a folder (Linux, macOS); this one does not")
    try:
        found = Path(path).expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidToolError(f"files_tools: the root {visible(path)} cannot be used: {error}; make the folder first") from None
    if not found.is_dir():
        raise InvalidToolError(f"files_tools: the root {visible(path)} is not a folder")
    if found == Path(found.anchor):
        raise InvalidToolError("files_tools: the root is the whole file system; give the agent a folder of its own")
    return Root(found, tuple(private), hard_links)


@contextmanager
def open_file(folder: int, place: Place) -> Iterator[int]:
    """The name in the folder, when it is a regular file. It is looked at before it is opened, since opening a device may do something."""
    seen = look(folder, place)
    if seen is None:
        raise missing(place, folder)
    try:
        opened = os.open(place.name, _READING, dir_fd=folder)
    except OSError as error:
        raise refused(place, folder, error, wanted="a file") from None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise NotDone(f"{place} became something else than a file while it was opened; nothing was read")
        yield opened
    finally:
        os.close(opened)


def look(folder: int, place: Place) -> os.stat_result | None:
    """What the name is, links not followed; None when there is nothing. Raises NotDone when it is no regular file."""
    try:
        seen = os.stat(place.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(place, folder, error, wanted="a file") from None
    if not stat.S_ISREG(seen.st_mode):
        raise NotDone(f"{place} is {kind(seen.st_mode)}, not a file; it was left alone")
    return seen


def kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link, and links are not followed"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a pipe, a socket or a device"


def missing(place: Place, folder: int) -> Missing:
    other = twin(folder, place.name)
    return Missing(f"there is no {place}" + (f", but {visible(other)!r} beside it" if other else "; list_files says what there is"))


def twin(folder: int, name: str) -> str | None:
    """Another name in the folder that differs only in capitals or in how accents are stored."""
    wanted = fold(name)
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= MOST_NAMES:
                return None
            if entry.name != name and fold(entry.name) == wanted:
                return entry.name
    return None


def refused(place: Place, folder: int, error: OSError, *, wanted: str) -> NotDone:
    """What opening the name says, in words: the same number stands for a link and for a file in the way."""
    if isinstance(error, FileNotFoundError):
        return missing(place, folder)
    if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
        try:
            is_now = kind(os.stat(place.name, dir_fd=folder, follow_symlinks=False).st_mode)
        except OSError:
            is_now = "something else by now"
        return NotDone(f"{place} is {is_now}, not {wanted}; nothing was read or changed")
    return NotDone(f"{place} cannot be opened: {error.strerror}; nothing was read or changed")
